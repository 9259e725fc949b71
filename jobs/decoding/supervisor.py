"""Decoding: recordings are decoded in a process of its own, where a file that crashes, hangs or swells a decoder
costs one row and nobody else notices.

```
worker process                        jobs.decoding.process
┌────────────────────┐   the file    ┌──────────────────────────┐
│ read_shard         ├──────────────►│ no secrets, no files,    │  one a worker, started at its first
│  └ Queue           │◄──────────────┤ bounded memory and CPU   │  recording, kept for thousands
└────────────────────┘   segments    └──────────────────────────┘
```

One death proves nothing: somebody may have killed the process, or an earlier recording may have broken it. So the
same recording is tried once more, in a new process. What happens there too is the recording's own fault, unless a
kill from outside ends it twice: that is the machine's trouble, and :class:`jobs.errors.RunAgain`.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import io
import json
import logging
import os
import select
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

import numpy as np

from detector.audio import DECODERS, MAX_CHANNELS, MAX_SECONDS, RATES, SAMPLE_RATE, WHOLE, Excerpt, Samples
from detector.errors import UtteranceError
from detector.recording import MIN_SEGMENT_SAMPLES, Facts
from detector.schema import DECODED, FAILURE_ERRORS
from jobs.decoding.process import FRAME, READ, READ_BYTES, SIZE, TEXT_BYTES, packed
from jobs.errors import CorruptError, RunAgain

CPU_SECONDS = 60.0  # of the decoder's process, from one segment to the next
MEMORY_BYTES = 1 << 30  # that a decoder may take beyond what its process is made of
TRIES = 2
LOOK_SECONDS = 5.0
STALLED_LOOKS = 120  # 120 × 5 s without a word or any CPU time: 10 minutes
DEATH_SECONDS = 5.0  # from closed pipes to an end
PIPE_BYTES = 1 << 20
KEPT_BYTES = 16 << 20
CODEC_CHARACTERS = 64
FAULT_SIGNALS = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")
CANNOT_BE = "the decoder's process says what cannot be"
KEPT_VARIABLES = ("LD_LIBRARY_PATH", "PYTHONHOME")  # without them some installations find no library

log = logging.getLogger(__name__)


def report_while_working(tell: Callable[[], None]) -> None:
    """Have ``tell`` called every few seconds while a decoder computes and says nothing; the kernel bounds how long."""
    _AT_WORK[:] = [tell]


class DecodeQueue:
    """Recordings in a row, for one decoder's process: one can be at work while the one before is looked at.

    They are read in the order in which they were put; one that is left in the middle costs its process.

    Parameters
    ----------
    segment_seconds : float
        Length of a segment.

    Examples
    --------
    >>> import soundfile
    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.full(40_000, 0.5), 16_000, format="WAV")
    >>> with Queue(segment_seconds=1.0) as queue:
    ...     recording = queue.put(file, "a tone")
    ...     print([len(segment) for segment in recording.segments()])
    [16000, 24000]
    >>> recording.facts.seconds, recording.facts.n_segments, round(recording.facts.rms_dbfs, 2)
    (2.5, 2, -6.02)
    """

    def __init__(self, segment_seconds: float) -> None:
        self.segment_seconds = segment_seconds
        self._waiting: deque[Recording] = deque()
        self._process: _Process | None = None
        self._content: _Content | None = None

    def __enter__(self) -> DecodeQueue:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None and not self._waiting:
            _IDLE.append(self._process)
        else:
            self._end()

    def put(self, file: BinaryIO, name: str, excerpt: Excerpt = WHOLE) -> Recording:
        """Hand a recording over.

        Parameters
        ----------
        file : binary file
            Seekable. A BytesIO is handed over whole; of any other the decoder is given what it asks for while its
            segments are read, so that what a store runs into is raised there. The same file again costs no second
            digest.
        name : str
            The utterance, for the log and the text of :class:`jobs.errors.RunAgain`.
        excerpt : Excerpt
            What of it; its digest is of all.
        """
        if self._waiting and not self._waiting[-1].is_held:
            raise RuntimeError("a recording that is not held in memory is read before the next is put")
        if self._content is None or self._content.file is not file:
            self._content = _Content(file, name)
        recording = Recording(self, self._content, name, excerpt)
        self._waiting.append(recording)
        if self._process is not None:
            self._process.send(*recording.request())
        if recording.is_held:
            self._content.hash()  # while the decoder is at work
        return recording

    def process_for(self, recording: Recording) -> _Process:
        """The process, at work on a recording or soon: it is the first that waits."""
        if not self._waiting or self._waiting[0] is not recording:
            raise RuntimeError("recordings are read once, in the order in which they were put")
        return self._begin(_idle()) if self._process is None else self._process

    def again(self) -> _Process:
        """A new process, which begins with the first that waits."""
        self._end()
        return self._begin(_Process())

    def finish(self, recording: Recording) -> None:
        """Leave a recording behind."""
        self._waiting.remove(recording)
        if self._process is not None and self._process.is_busy:
            self._end()

    def _begin(self, process: _Process) -> _Process:
        self._process = process
        for recording in self._waiting:
            process.send(*recording.request())
        return process

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
        self._process = None


class Recording:
    """One recording, decoded apart; to its reader the same as :class:`detector.recording.Recording`."""

    def __init__(self, queue: DecodeQueue, content: _Content, name: str, excerpt: Excerpt) -> None:
        self.is_held = isinstance(content.file, io.BytesIO)
        self._queue = queue
        self._content = content
        self._name = name
        self._excerpt = excerpt
        self._n_passed_on = 0
        self._facts: Facts | None = None

    @property
    def facts(self) -> Facts:
        """The facts; there are none before `segments` was read to its end."""
        if self._facts is None:
            raise RuntimeError("read segments() to the end before asking for facts")
        return self._facts

    def segments(self) -> Iterator[Samples]:
        """Yield float32 arrays of shape (n_samples,), 16 kHz mono.

        Raises
        ------
        UtteranceError
            As :func:`detector.audio.decode`; and `decoder_crash`, `decoder_timeout`, `too_large`.
        RunAgain
            Where the decoder's process was killed from outside or stands still, twice, or does not start.
        """
        process = self._queue.process_for(self)
        try:
            for tries_left in reversed(range(TRIES)):
                try:
                    yield from self._answers(process)
                    break
                except _FailedError as failure:
                    log.warning("%s: %s; tries left: %d", self._name, failure, tries_left)
                    if not tries_left:
                        raise failure.verdict(self._name) from failure
                    process = self._queue.again()
        finally:
            self._queue.finish(self)

    def request(self) -> tuple[bytes, ...]:
        """What the decoder is told."""
        what = packed(self._queue.segment_seconds, self._excerpt)
        if isinstance(self._content.file, io.BytesIO):
            return b"held", what, self._content.file.getvalue()
        return b"view", what, SIZE.pack(self._content.size)

    def _answers(self, process: _Process) -> Iterator[Samples]:
        process.is_busy = True
        whole = round(self._queue.segment_seconds * SAMPLE_RATE)
        n_segments, n_samples, is_last = 0, 0, False
        while True:
            kind, n_bytes = process.header()
            if kind == b"wave":
                samples = process.samples(n_bytes, whole + MIN_SEGMENT_SAMPLES)
                n_segments, n_samples = n_segments + 1, n_samples + len(samples)
                _check(not is_last and n_samples <= (MAX_SECONDS + 1) * SAMPLE_RATE, "segments behind the last")
                is_last = len(samples) != whole
                if n_segments > self._n_passed_on:  # a second try begins anew; the same bytes give the same segments
                    self._n_passed_on = n_segments
                    yield samples
            elif kind == b"read":
                offset, n_wanted = READ.unpack(process.content(n_bytes, READ.size))
                process.send(b"data", self._content.read(offset, n_wanted))
            else:
                said = _parsed(process.content(n_bytes, TEXT_BYTES))
                break
        if kind == b"done":
            self._facts = _facts(said, self._content.hash(), n_samples, n_segments)
            process.is_busy = said.get("stays") is not True
            return
        fault = _fault(kind, said)
        if fault.error in ("decoder_crash", "too_large"):
            raise _FailedError(fault.error, fault.message)
        process.is_busy = said.get("stays") is not True
        raise fault


class _Content:
    """The bytes of a file, and their digest: taken here, since nobody need believe the decoder."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.file = file
        self.size = file.seek(0, os.SEEK_END)
        self._name = name
        self._digest = hashlib.sha256()
        self._n_hashed = 0

    def hash(self) -> str:
        """The digest, once all of it was read."""
        while self._n_hashed < self.size:
            self.read(self._n_hashed, min(READ_BYTES, self.size - self._n_hashed))
        return self._digest.hexdigest()

    def read(self, offset: int, n_bytes: int) -> bytes:
        """Read of the file; what comes for the first time goes into the digest, so that it need not come again."""
        _check(n_bytes <= READ_BYTES and offset + n_bytes <= self.size, f"a read of {n_bytes:,} B at {offset:,}")
        self.file.seek(offset)
        data = self.file.read(n_bytes)
        if len(data) != n_bytes:  # a decoder would take it for the recording's end
            raise CorruptError(f"{self._name}: {len(data):,} B came from byte {offset:,} on, {n_bytes:,} B stand there")
        if offset <= self._n_hashed < offset + n_bytes:
            self._digest.update(memoryview(data)[self._n_hashed - offset :])
            self._n_hashed = offset + n_bytes
        return data


def _parsed(text: bytes | bytearray) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    _check(isinstance(said, dict), "no JSON object")
    return cast(dict[str, Any], said)


def _facts(said: dict[str, Any], audio_sha256: str, n_samples: int, n_segments: int) -> Facts:
    """Check what the decoder states of a recording; digest and lengths are this process's own."""
    own = {"audio_sha256": audio_sha256, "seconds": n_samples / SAMPLE_RATE}
    stated = {column.name: said.get(column.name) for column in DECODED if column.name not in own}
    for column in DECODED:
        if column.name in stated:
            _check(column.accepts(stated[column.name]), f"{column.name} {stated[column.name]!r}")
    rate, channels, codec, decoder = (said[name] for name in ("native_rate", "channels", "codec", "decoder"))
    _check(RATES[0] <= rate <= RATES[1], f"native_rate {rate!r}")
    _check(1 <= channels <= MAX_CHANNELS, f"channels {channels!r}")
    _check(codec.isprintable() and len(codec) <= CODEC_CHARACTERS, f"codec {codec!r}")
    _check(decoder in DECODERS, f"decoder {decoder!r}")
    return Facts(**own, **stated, n_segments=n_segments)  # type: ignore[arg-type]  # checked above


def _fault(kind: bytes, said: dict[str, Any]) -> UtteranceError:
    error, message = said.get("error"), said.get("message")
    if kind == b"fail" and error in FAILURE_ERRORS and isinstance(message, str):
        # what is no text, half a surrogate pair, no table can hold
        return UtteranceError(error, message.encode(errors="backslashreplace").decode())
    raise _FailedError("decoder_crash", f"{CANNOT_BE}: {kind!r}")


def _check(holds: bool, found: str) -> None:
    """Doubt what the decoder says: the bytes that it reads may have taken it over."""
    if not holds:
        raise _FailedError("decoder_crash", f"{CANNOT_BE}: {found}")


class _FailedError(Exception):
    """The decoder's process failed on a recording: by a word of the closed list, or (None) for reasons of its own."""

    def __init__(self, error: str | None, message: str) -> None:
        super().__init__(message)
        self._error = error

    def verdict(self, name: str) -> UtteranceError | RunAgain:
        if self._error is not None:
            return UtteranceError(self._error, str(self))
        return RunAgain(
            f"{name}: {self}, {TRIES} times. That says nothing of the recording: look for what killed or stopped the "
            f"process (the machine's memory, an operator), and run the same command again."
        )


class _Process:
    """A decoder's process, the pipes to it, and the kernel's word on its end."""

    def __init__(self) -> None:
        self.is_busy = False
        self._left: list[memoryview] = []
        with contextlib.ExitStack() as opened:
            try:
                theirs_in, self._requests = _pipe(opened)
                self._replies, theirs_out = _pipe(opened)
                numbers = theirs_in.fileno(), theirs_out.fileno(), MEMORY_BYTES, CPU_SECONDS
                self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                    [sys.executable, "-P", "-m", "jobs.decoding.process", *map(str, numbers)],
                    stdin=subprocess.PIPE,  # the lifeline
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=numbers[:2],
                    env=_environment(),
                    cwd="/",
                    start_new_session=True,  # ctrl-c is for us to hear
                )
            except OSError as error:
                raise RunAgain(f"no decoder's process can be started: {error}. Run the same command again.") from error
            theirs_in.close()
            theirs_out.close()
            opened.pop_all()
        os.set_blocking(self._requests.fileno(), False)
        self._when_said, self._when_either = select.poll(), select.poll()
        self._when_said.register(self._replies, select.POLLIN)
        self._when_either.register(self._replies, select.POLLIN)
        self._when_either.register(self._requests, select.POLLOUT)
        self._greet()

    def _greet(self) -> None:
        said = cast(BinaryIO, self._process.stderr)
        try:
            _check(self.header() == (b"here", 0), "no greeting")
        except _FailedError as failure:
            self._process.kill()
            words = said.read().decode(errors="replace").strip()[-1_000:]
            self.end()
            raise RunAgain(
                f"the process for decoding does not start: {failure}. {words or 'It said nothing.'} Check the "
                f"installation and the machine, and run the same command again."
            ) from failure
        except BaseException:
            self.end()
            raise
        said.close()  # what libraries have to say of their bytes stays unsaid

    def is_alive(self) -> bool:
        """Whether it is still there, after a while without work."""
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """What it has used up since it started."""
        with open(f"/proc/{self._process.pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime

    def end(self) -> None:
        """Kill it, and leave nothing of it behind."""
        self._process.kill()
        self._process.wait()
        for file in (self._requests, self._replies, self._process.stdin, self._process.stderr):
            cast(BinaryIO, file).close()

    def send(self, kind: bytes, *parts: bytes) -> None:
        """Send a frame, as far as the pipe takes it now; the rest follows while we wait for answers."""
        self._left += map(memoryview, (FRAME.pack(kind, sum(map(len, parts))), *parts))
        self._push()

    def header(self) -> tuple[bytes, int]:
        """Kind and bytes of the next frame."""
        kind, n_bytes = FRAME.unpack(self.content(FRAME.size, FRAME.size))
        return kind, n_bytes

    def content(self, n_bytes: int, most: int) -> bytearray:
        """So many bytes, where they are not too many."""
        _check(n_bytes <= most, f"{n_bytes:,} B where {most:,} B are the most")
        content = bytearray(n_bytes)
        self._fill(memoryview(content))
        return content

    def samples(self, n_bytes: int, most: int) -> Samples:
        """So many bytes, as samples, where they are not too many."""
        _check(n_bytes % 4 == 0 and 0 < n_bytes <= 4 * most, f"a segment of {n_bytes:,} B")
        samples = np.empty(n_bytes // 4, np.float32)
        self._fill(samples.view(np.uint8).data)
        return samples

    def _push(self) -> None:
        try:
            while self._left:
                n_bytes = os.writev(self._requests.fileno(), self._left)
                while self._left and n_bytes >= len(self._left[0]):
                    n_bytes -= len(self._left.pop(0))
                if n_bytes:
                    self._left[0] = self._left[0][n_bytes:]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._left.clear()  # whoever waits for an answer finds out why

    def _fill(self, view: memoryview) -> None:
        while len(view):
            self._wait()
            n_bytes = os.readv(self._replies.fileno(), [view])
            if not n_bytes:
                raise self._death()
            view = view[n_bytes:]

    def _wait(self) -> None:
        """Wait for a word, for as long as it takes: a busy machine is slow, and that says nothing of a recording.

        The kernel counts the CPU time. We look only for what will never move again; and count looks, since the
        clock also runs while we are stopped ourselves.
        """
        n_looks, used = 0, -1.0
        while True:
            poll = self._when_either if self._left else self._when_said
            ready = [file for file, _ in poll.poll(LOOK_SECONDS * 1_000)]
            if self._replies.fileno() in ready:
                return
            if ready:
                self._push()
                continue
            before, used = used, self.cpu_seconds()
            n_looks = n_looks + 1 if used == before else 0
            if not n_looks:
                _AT_WORK[-1]()
            if n_looks >= STALLED_LOOKS:
                raise _FailedError(None, f"{n_looks * LOOK_SECONDS:g} s without a word or any CPU time of the decoder")

    def _death(self) -> _FailedError:
        """What ended the process, now that its pipe is closed."""
        try:
            code = self._process.wait(DEATH_SECONDS)
        except subprocess.TimeoutExpired:
            return _FailedError("decoder_crash", "the decoder's process closed its pipe")
        if code == 0:  # or somebody else has its exit code
            return _FailedError(None, "the decoder's process is gone")
        if code > 0:
            return _FailedError("decoder_crash", f"the decoder's process ended with exit code {code}")
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        if name == "SIGXCPU":
            words = f"no segment in {CPU_SECONDS:g} s of CPU time, nor in as many as it lasts"
            return _FailedError("decoder_timeout", words)
        return _FailedError("decoder_crash" if name in FAULT_SIGNALS else None, f"the decoder's process died of {name}")


_AT_WORK: list[Callable[[], None]] = [lambda: None]
_IDLE: list[_Process] = []  # a queue takes one and puts it back: so threads never share one


def _idle() -> _Process:
    while _IDLE:
        with contextlib.suppress(IndexError):  # another thread was faster
            process = _IDLE.pop()
            if process.is_alive():
                return process
            process.end()
    return _Process()


def _end_idle() -> None:
    while _IDLE:
        _IDLE.pop().end()


atexit.register(_end_idle)
os.register_at_fork(after_in_child=_IDLE.clear)  # they answer our parent


def _pipe(opened: contextlib.ExitStack) -> tuple[io.FileIO, io.FileIO]:
    reader, writer = os.pipe()
    with contextlib.suppress(OSError):  # a user may have only so many large ones; a small one is slower
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return opened.enter_context(io.FileIO(reader, "r")), opened.enter_context(io.FileIO(writer, "w"))


def _environment() -> dict[str, str]:
    """What it takes to find the modules that we found; no key, no token, no address."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OPENBLAS_NUM_THREADS": "1",  # threads that it would never use take address space
        # it keeps the memory of one recording for the next: asking the kernel anew takes 10 % of the time
        "MALLOC_MMAP_THRESHOLD_": str(KEPT_BYTES // 2),
        "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
        **kept,
    }
