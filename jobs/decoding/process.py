"""The decoder process: it decodes untrusted files for one worker, with limits and without secrets.

A :class:`jobs.decoding.process_handle.DecoderProcess` starts it; :mod:`jobs.decoding.wire` says how both talk. The
kernel enforces the limits: address space, CPU time, open files, no byte written to a file, no core dump; and it kills
the process with its parent. Before the first byte of a recording is parsed, the process gives up every system call that
decoding does not need (:mod:`jobs.decoding.sandbox`): from then on it opens no file, starts no process and connects to
nothing. The greeting names the level that it reached.

It starts in 0.2 s and takes 50 MB: nothing that is not needed for decoding may be imported here, and all that is needed
must be, since nothing can be loaded later.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import sys
import time
from typing import Any, BinaryIO, cast

import av
import numpy as np
import soundfile

from detector.audio import SAMPLE_RATE, Excerpt
from detector.demuxing import ADDRESS
from detector.errors import UtteranceError
from detector.raw_file import RawFile
from detector.recording import Recording
from jobs.decoding.lifeline import end_with_parent
from jobs.decoding.sandbox.confinement import confine
from jobs.decoding.sandbox.limits import LIFE_CPU_SECONDS, set_hard_limits
from jobs.decoding.wire import FRAME, MAX_MESSAGE, READ, READ_BYTES, REQUEST, SIZE, drop_written, unpack_request

Frame = tuple[bytes, bytes | memoryview]


class Decoder:
    """Decodes file by file for one parent, until its pipe closes.

    Parameters
    ----------
    requests, replies : int
        File descriptors of the two pipes.
    memory_bytes : int
        Address space beyond that of the imports.
    """

    def __init__(self, requests: int, replies: int, memory_bytes: int) -> None:
        self._requests = os.fdopen(requests, "rb")
        self._replies = replies
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        self._base_bytes = self._address_space()
        self._memory_bytes = memory_bytes
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY and hard < self.most_bytes:
            raise RuntimeError(
                f"a limit on address space of {hard:,} B (ulimit -v) is below the {self.most_bytes:,} B that a decoder "
                f"may take: recordings would fail that are not at fault."
            )

    @property
    def most_bytes(self) -> int:
        """Address space that this process may take in all."""
        return self._base_bytes + self._memory_bytes

    def serve(self, level: str) -> None:
        """Send the greeting, which names the level of confinement, and answer requests."""
        self._send((b"here", level.encode()))
        while header := self._requests.read(FRAME.size):
            kind, n_bytes = FRAME.unpack(header)
            segment_seconds, max_seconds, excerpt = unpack_request(self._requests.read(REQUEST.size))
            file: io.IOBase
            if kind == b"held":
                file = io.BytesIO(self._requests.read(n_bytes - REQUEST.size))
            else:
                (size,) = SIZE.unpack(self._requests.read(SIZE.size))
                file = io.BufferedReader(_View(self, size), READ_BYTES)
            last_segment, kind, reply = self._decode(cast(BinaryIO, file), segment_seconds, max_seconds, excerpt)
            file.close()
            # a process that leaks or is old is replaced before it runs out of memory or time on another recording
            is_young = time.process_time() < LIFE_CPU_SECONDS // 4
            reply["stays"] = is_young and self._address_space() < self._base_bytes + self._memory_bytes // 4
            self._send(*last_segment, (kind, json.dumps(reply).encode()))

    def ask(self, offset: int, n_bytes: int) -> None:
        """Ask our parent for bytes of the viewed file, which only the parent can open."""
        self._send((b"read", READ.pack(offset, n_bytes)))

    def answer(self) -> bytes:
        """Receive the bytes of the oldest unanswered :meth:`ask`."""
        header = self._requests.read(FRAME.size)
        if not header:
            os._exit(0)  # our parent has ended; a decoder in C would take an exception for the end of the file
        return self._requests.read(FRAME.unpack(header)[1])

    def _decode(
        self, file: BinaryIO, segment_seconds: float, max_seconds: float, excerpt: Excerpt
    ) -> tuple[list[Frame], bytes, dict[str, Any]]:
        """Send all segments but the last; return that with the reply, since waking the parent twice costs time."""
        segment: list[Frame] = []
        try:
            # the digest is computed by our parent, which need not believe this process
            recording = Recording(file, segment_seconds, "", excerpt, max_seconds)
            for samples in recording.segments():
                self._send(*segment)
                segment = [(b"wave", np.ascontiguousarray(samples).view(np.uint8).data)]
        except UtteranceError as error:
            return [], b"fail", vars(error)
        except MemoryError as error:
            return [], b"fail", {"error": "too_large", "message": str(error) or "more memory than a decoder may take"}
        except Exception as error:  # an unforeseen error is about these bytes; it does not end the run
            message = ADDRESS.sub("", f"{type(error).__name__}: {error}")  # without addresses it is equal in every run
            return [], b"fail", {"error": "decoder_crash", "message": message[:MAX_MESSAGE]}
        return segment, b"done", dict(vars(recording.facts))

    def _address_space(self) -> int:
        return int(os.pread(self._statm, 64, 0).split()[0]) * resource.getpagesize()

    def _send(self, *frames: Frame) -> None:
        unsent = [memoryview(part) for kind, content in frames for part in (FRAME.pack(kind, len(content)), content)]
        while unsent:
            drop_written(unsent, os.writev(self._replies, unsent))


class _View(RawFile):
    """A file that our parent holds: read there block by block, the next one while this one is decoded."""

    def __init__(self, decoder: Decoder, size: int) -> None:
        super().__init__(size)
        self._decoder = decoder
        self._asked = (0, 0)  # offset and bytes of the block that is under way
        self._read_to = 0  # where the block before this one ends
        self._head = b""  # which is read again and again: for a manifest, for the layout, by each decoder

    def readinto(self, buffer: Any) -> int:
        block = (self._offset, min(len(buffer), READ_BYTES, max(0, self._size - self._offset)))
        data = self._head[self._offset : self._offset + block[1]]
        if not data:
            if block != self._asked:
                self._ask(*block)
            data = self._decoder.answer() if block[1] else b""
            self._asked = (0, 0)
        self._head = self._head or (data if self._offset == 0 else b"")
        buffer[: len(data)] = data
        is_reading_on, self._read_to = self._read_to == self._offset > 0, self._offset + len(data)
        self._offset += len(data)
        # whoever looks at one place only needs no more
        if len(data) == READ_BYTES and is_reading_on:
            self._ask(self._offset, min(READ_BYTES, self._size - self._offset))
        return len(data)

    def close(self) -> None:
        self._ask(0, 0)
        super().close()

    def _ask(self, offset: int, n_bytes: int) -> None:
        if self._asked[1]:
            self._decoder.answer()  # the decoder has seeked: the block that was under way is dropped
        self._asked = (offset, n_bytes)
        if n_bytes:
            self._decoder.ask(offset, n_bytes)


def main(requests: int, replies: int, memory_bytes: int, is_confined: bool) -> None:
    """Decode a tone with each decoder, give up all other rights, and serve."""
    end_with_parent()
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    decoder = Decoder(requests, replies, memory_bytes)
    _decode_a_tone()
    set_hard_limits(decoder.most_bytes)
    decoder.serve(confine() if is_confined else "none")


def _decode_a_tone() -> None:
    """Raise if this machine cannot decode, before its recordings are blamed for it; load what each decoder needs."""
    tone = np.sin(np.arange(8_000) / 10).astype(np.float32)
    flac, matroska = io.BytesIO(), io.BytesIO()
    soundfile.write(flac, tone, 8_000, format="FLAC")
    with av.open(matroska, "w", format="matroska") as container:
        stream = container.add_stream("pcm_f32le", rate=8_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone[None], format="flt", layout="mono")
        frame.sample_rate = 8_000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    for file, decoder in ((flac, "soundfile"), (matroska, "pyav")):
        recording = Recording(file, segment_seconds=1.0)
        n_samples = sum(len(samples) for samples in recording.segments())
        if (n_samples, recording.facts.decoder) != (SAMPLE_RATE, decoder):
            raise RuntimeError(f"a tone of {SAMPLE_RATE:,} samples came back as {n_samples:,}: {recording.facts}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] != "off")
