"""The decoder's process: it runs apart, with limits and without secrets, on bytes that nobody trusts.

:mod:`jobs.decoding.supervisor` starts it, asks it and judges its end. Both speak in frames of four
letters, a length and that many bytes, never in pickles:

```
parent                              decoder
                          ◄──────── here    (started, and it has decoded a tone)
held  what, the file      ────────►  (what: a segment's seconds, and the excerpt)
  or
view  what, size          ────────►
                          ◄──────── read    offset, bytes    (of a view, as often as a decoder likes)
data  bytes               ────────►
                          ◄──────── wave    float32 samples  (one segment, as many as there are)
                          ◄──────── done    facts    or
                          ◄──────── fail    error, message   (both as JSON; then the next file)
```

The kernel holds it to its limits: address space, CPU time between two segments, open files, no byte into a file,
no core dump; and ends it with its parent. Where it knows Landlock it also keeps it from all files but those of its
libraries, from executing anything and from TCP (:mod:`jobs.decoding.sandbox`). Elsewhere that is for the
container around us; and so are other system calls everywhere.
"""

from __future__ import annotations

import fcntl
import io
import json
import math
import os
import resource
import signal
import struct
import sys
import time
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile

from detector.audio import ADDRESS, SAMPLE_RATE, Excerpt
from detector.errors import UtteranceError
from detector.recording import Recording
from jobs.decoding.sandbox import confine

FRAME = struct.Struct("<4sQ")  # what follows, and how many bytes of it
WHAT = struct.Struct("<dddi")  # segment_seconds; start and end of the excerpt in seconds, and its channel or -1
SIZE = struct.Struct("<Q")  # of a file that is viewed
READ = struct.Struct("<QQ")  # offset, bytes
READ_BYTES = 1 << 20  # in one answer, of a file that is too long to be held
TEXT_BYTES = 64 << 10
OPEN_FILES = 32
LIFELINE = 0  # stdin: nothing comes through it, and its other end goes with our parent

Frame = tuple[bytes, bytes | memoryview]


class Decoder:
    """Decode for one parent, file by file, until its pipe closes.

    Parameters
    ----------
    requests, replies : int
        File descriptors of the two pipes.
    memory_bytes : int
        Address space beyond what the imports took.
    cpu_seconds : float
        CPU time from one segment to the next; a segment that lasts longer may take as long as it lasts.
    """

    def __init__(self, requests: int, replies: int, memory_bytes: int, cpu_seconds: float) -> None:
        self._requests = os.fdopen(requests, "rb")
        self._replies = replies
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        self._base_bytes = self._address_space()
        self._memory_bytes = memory_bytes
        self._cpu_seconds = cpu_seconds
        needed = self._base_bytes + memory_bytes
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise RuntimeError(
                f"a limit on address space of {hard:,} B (ulimit -v) is below the {needed:,} B that a decoder may "
                f"take: recordings would fail that are not at fault."
            )

    def serve(self) -> None:
        """Say that we are there, and answer what comes."""
        self._send((b"here", b""))
        while header := self._requests.read(FRAME.size):
            kind, n_bytes = FRAME.unpack(header)
            segment_seconds, excerpt = unpacked(self._requests.read(WHAT.size))
            file: io.IOBase
            if kind == b"held":
                file = io.BytesIO(self._requests.read(n_bytes - WHAT.size))
            else:
                (size,) = SIZE.unpack(self._requests.read(SIZE.size))
                file = io.BufferedReader(_View(self, size), READ_BYTES)
            segment, end, found = self._decode(cast(BinaryIO, file), segment_seconds, excerpt)
            file.close()
            # a decoder that leaks must not run out of memory on somebody else's recording
            found["stays"] = self._address_space() < self._base_bytes + self._memory_bytes // 4
            self._send(*segment, (end, json.dumps(found).encode()))

    def ask(self, offset: int, n_bytes: int) -> None:
        """Ask our parent for bytes of the file that is viewed; only it can open it."""
        self._send((b"read", READ.pack(offset, n_bytes)))

    def answer(self) -> bytes:
        """What was asked for, in the order of asking."""
        header = self._requests.read(FRAME.size)
        if not header:
            os._exit(0)  # our parent is gone; a decoder in C would take an exception for the end of the file
        return self._requests.read(FRAME.unpack(header)[1])

    def _decode(
        self, file: BinaryIO, segment_seconds: float, excerpt: Excerpt
    ) -> tuple[list[Frame], bytes, dict[str, Any]]:
        """Send all segments but the last; return it, and what goes out with it: waking somebody twice costs time."""
        self._limit_memory(segment_seconds)
        self._limit_cpu(segment_seconds + excerpt.start)  # what lies before it is decoded, too
        segment: list[Frame] = []
        try:
            # our parent hashes, and believes itself
            recording = Recording(file, segment_seconds, audio_sha256="", excerpt=excerpt)
            for samples in recording.segments():
                self._send(*segment)
                self._limit_cpu(segment_seconds)
                segment = [(b"wave", np.ascontiguousarray(samples).view(np.uint8).data)]
        except UtteranceError as error:
            return [], b"fail", {"error": error.error, "message": error.message}
        except MemoryError as error:
            return [], b"fail", {"error": "too_large", "message": str(error) or "more memory than a decoder may take"}
        except Exception as error:  # an unforeseen word of a decoder is about these bytes, and no end of the run
            words = ADDRESS.sub("", f"{type(error).__name__}: {error}")
            return [], b"fail", {"error": "decoder_crash", "message": words[:1_000]}
        return segment, b"done", dict(vars(recording.facts))

    def _limit_memory(self, segment_seconds: float) -> None:
        segment_bytes = 4 * round(segment_seconds * SAMPLE_RATE)
        # a segment is collected, joined and cut before it goes out
        limit = self._base_bytes + self._memory_bytes + 4 * segment_bytes
        _limit(resource.RLIMIT_AS, limit)

    def _limit_cpu(self, segment_seconds: float) -> None:
        limit = time.process_time() + max(self._cpu_seconds, segment_seconds)
        _limit(resource.RLIMIT_CPU, math.ceil(limit))

    def _address_space(self) -> int:
        return int(os.pread(self._statm, 64, 0).split()[0]) * resource.getpagesize()

    def _send(self, *frames: Frame) -> None:
        left = [memoryview(part) for kind, content in frames for part in (FRAME.pack(kind, len(content)), content)]
        while left:
            n_bytes = os.writev(self._replies, left)
            while left and n_bytes >= len(left[0]):
                n_bytes -= len(left.pop(0))
            if n_bytes:
                left[0] = left[0][n_bytes:]


def packed(segment_seconds: float, excerpt: Excerpt) -> bytes:
    """What is to be made of a file, for :func:`unpacked`."""
    end = math.inf if excerpt.end is None else excerpt.end
    return WHAT.pack(segment_seconds, excerpt.start, end, -1 if excerpt.channel is None else excerpt.channel)


def unpacked(content: bytes) -> tuple[float, Excerpt]:
    """A segment's seconds, and the excerpt.

    Examples
    --------
    >>> unpacked(packed(30.0, Excerpt(1.5, None, 1)))
    (30.0, Excerpt(start=1.5, end=None, channel=1))
    """
    segment_seconds, start, end, channel = WHAT.unpack(content)
    return segment_seconds, Excerpt(start, None if math.isinf(end) else end, None if channel < 0 else channel)


class _View(io.RawIOBase):
    """A file that lies with our parent: read there piece by piece, the next one while we decode this one."""

    def __init__(self, decoder: Decoder, size: int) -> None:
        self._decoder = decoder
        self._size = size
        self._offset = 0
        self._asked = (0, 0)  # where, and how many bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError(f"no byte {start + offset:,}")
        self._offset = start + offset
        return self._offset

    def readinto(self, buffer: Any) -> int:
        wanted = (self._offset, min(len(buffer), READ_BYTES, max(0, self._size - self._offset)))
        if wanted != self._asked:
            self._ask(*wanted)
        data = self._decoder.answer() if wanted[1] else b""
        self._asked = (0, 0)
        buffer[: len(data)] = data
        self._offset += len(data)
        if len(data) == READ_BYTES:
            self._ask(self._offset, min(READ_BYTES, self._size - self._offset))
        return len(data)

    def close(self) -> None:
        self._ask(0, 0)
        super().close()

    def _ask(self, offset: int, n_bytes: int) -> None:
        if self._asked[1]:
            self._decoder.answer()  # a decoder jumped: what was on its way is of no use
        self._asked = (offset, n_bytes)
        if n_bytes:
            self._decoder.ask(offset, n_bytes)


def main(requests: int, replies: int, memory_bytes: int, cpu_seconds: float) -> None:
    """Take the limits on, show that this machine can decode, and serve."""
    _end_with_parent()
    decoder = Decoder(requests, replies, memory_bytes, cpu_seconds)
    _decode_a_tone()
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    confine(os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    decoder.serve()


def _limit(which: int, most: int) -> None:
    """Set a limit, within the one that we were started with: to raise that is not for us."""
    _, hard = resource.getrlimit(which)
    resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _end_with_parent() -> None:
    """Let the kernel kill us when the lifeline's other end closes: it does even while a decoder spins in C."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    fcntl.fcntl(LIFELINE, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(LIFELINE, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(LIFELINE, fcntl.F_SETFL, fcntl.fcntl(LIFELINE, fcntl.F_GETFL) | os.O_ASYNC)


def _decode_a_tone() -> None:
    """Where this fails the machine is broken, not the recordings that would come next."""
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(8_000) / 10), 8_000, format="FLAC")
    recording = Recording(file, segment_seconds=1.0)
    n_samples = sum(len(samples) for samples in recording.segments())
    if (n_samples, recording.facts.decoder) != (SAMPLE_RATE, "soundfile"):
        raise RuntimeError(f"a tone of {SAMPLE_RATE:,} samples came back as {n_samples:,}: {recording.facts}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
