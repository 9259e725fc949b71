"""The handle of a decoder process: it starts the process, speaks to it through pipes, and learns how it ended."""

from __future__ import annotations

import contextlib
import fcntl
import io
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from detector.audio import SAMPLE_RATE
from detector.decoders import Samples
from jobs.decoding import confinement
from jobs.decoding.activity import STALLED_SECONDS, Activity
from jobs.decoding.faults import DecoderError, check, excess_error, exit_error, stall_error, timeout_error
from jobs.decoding.sandbox.limits import LIFE_CPU_SECONDS
from jobs.decoding.wire import FRAME, LEVEL_BYTES, drop_written
from jobs.errors import RunAgain

CPU_SECONDS = 60.0  # CPU time of the process from one segment to the next
START_CPU_SECONDS = 60.0  # and until it greets us
SECONDS_PER_BYTE = 120.0 / (1 << 20)  # CPU time of a recording, beside CPU_SECONDS; of what encoders write, 16 are most
MEMORY_BYTES = 1 << 30  # address space that a decoder may take beyond that of its imports
LOOK_SECONDS = 5.0  # between two looks at a process that is silent
SHORT_LOOK_SECONDS = 0.5  # where little is left of its CPU time
KERNEL_SECONDS = 60.0  # that the kernel, whose SIGKILL tells nothing of the cause, allows beyond our own limit
PARTS = 512  # most that one writev takes; the kernel's limit is 1,024
DEATH_SECONDS = 5.0  # from closed pipes to the end of the process
PIPE_BYTES = 1 << 20
MALLOC_KEPT_BYTES = 16 << 20
KEPT_VARIABLES = ("LD_LIBRARY_PATH", "PYTHONHOME")  # without them some installations find no library


_report: Callable[[], None] | None = None


def report_while_working(report: Callable[[], None]) -> None:
    """Have ``report`` called every few seconds while a decoder computes or sleeps without a reply.

    Both are limited here, and cost the recording a row; so such a worker has not stalled.
    """
    global _report
    _report = report


def report_work() -> None:
    """Report that the worker gets on, although it hands nothing over."""
    if _report is not None:
        _report()


class DecoderProcess:
    """A process that runs :mod:`jobs.decoding.process`.

    Parameters
    ----------
    segment_seconds : float
        Longest segment that it will be asked for; it decides the memory that the process may take, once and for all.

    Attributes
    ----------
    is_busy : bool
        True while it decodes, and if it must not decode anything else.

    Raises
    ------
    ConfigError
        If a full confinement is required (:func:`jobs.decoding.confinement.set_mode`), and this machine has none.
    RunAgain
        If the process does not start.
    """

    def __init__(self, segment_seconds: float) -> None:
        self.is_busy = False
        self.segment_seconds = segment_seconds
        self._mode = confinement.mode()
        # a segment is collected, joined and cut before it goes out
        memory_bytes = MEMORY_BYTES + 4 * 4 * round(segment_seconds * SAMPLE_RATE)
        self._unsent: list[memoryview] = []
        with contextlib.ExitStack() as opened:
            try:
                child_input, self._requests = _pipe(opened)
                self._replies, child_output = _pipe(opened)
                arguments = child_input.fileno(), child_output.fileno(), memory_bytes, self._mode
                self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                    [sys.executable, "-P", "-m", "jobs.decoding.process", *map(str, arguments)],
                    stdin=subprocess.PIPE,  # its lifeline: the kernel kills it when our end closes
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=(child_input.fileno(), child_output.fileno()),
                    env=_environment(),
                    cwd="/",
                    start_new_session=True,  # ctrl-c in a terminal reaches us only
                )
            except OSError as error:
                raise RunAgain(f"no decoder's process can be started: {error}. Run the same command again.") from error
            child_input.close()
            child_output.close()
            opened.pop_all()
        self.pid = self._process.pid
        self._cpu_clock = ~self.pid << 3 | 2  # as clock_getcpuclockid of the C library computes it
        self._cpu_seconds = 0.0
        self._activity = Activity(Path(f"/proc/{self.pid}"))
        self._n_bytes, self._cpu_end = 0, math.inf
        self._cpu_deadline = START_CPU_SECONDS
        # A write that blocks could deadlock: the decoder may be blocked too, writing samples that we do not read yet.
        os.set_blocking(self._requests.fileno(), False)
        self._readable, self._readable_or_writable = select.poll(), select.poll()
        self._readable.register(self._replies, select.POLLIN)
        self._readable_or_writable.register(self._replies, select.POLLIN)
        self._readable_or_writable.register(self._requests, select.POLLOUT)
        self._await_greeting()

    def _await_greeting(self) -> None:
        stderr = cast(BinaryIO, self._process.stderr)
        try:
            kind, n_bytes = self.header()
            check(kind == b"here", "no greeting")
            level = self.content(n_bytes, LEVEL_BYTES).decode(errors="replace")
            check(confinement.LEVEL.fullmatch(level) is not None, "a greeting without a level")
            confinement.note(level)
        except DecoderError as error:
            self._process.kill()
            output = stderr.read().decode(errors="replace").strip()[-1_000:]
            self.end()
            raise RunAgain(
                f"the process for decoding does not start: {error}. {output or 'It said nothing.'} Check the "
                f"installation and the machine, and run the same command again."
            ) from error
        except BaseException:
            self.end()
            raise
        stderr.close()  # warnings of libraries about the recordings are dropped: a full pipe would block the decoder

    def is_alive(self) -> bool:
        """Return True if the process has not ended while it was idle."""
        return self._process.poll() is None

    def is_fit_for(self, segment_seconds: float) -> bool:
        """Return True if the process is alive, and has the limits for segments of this length."""
        return self.is_alive() and (self.segment_seconds, self._mode) == (segment_seconds, confinement.mode())

    def cpu_seconds(self) -> float:
        """Return the CPU time that the process has used since it started."""
        with contextlib.suppress(OSError):  # it has ended
            self._cpu_seconds = time.clock_gettime(self._cpu_clock)
        return self._cpu_seconds

    def allow_cpu(self, seconds: float) -> None:
        """Let the process use :data:`CPU_SECONDS`, or ``seconds`` if that is more, from now to its next segment.

        This side keeps the time: a process that was taken over could prolong, ignore or stop a timer of its own.
        """
        most = min(LIFE_CPU_SECONDS - KERNEL_SECONDS, self._cpu_end)
        self._cpu_deadline = min(self.cpu_seconds() + max(CPU_SECONDS, seconds), most)

    def begin(self, seconds: float, n_bytes: int) -> None:
        """Let the process begin with a recording of so many bytes: give it CPU time, and count its sleep anew."""
        self._n_bytes, self._cpu_end = n_bytes, self.cpu_seconds() + CPU_SECONDS + n_bytes * SECONDS_PER_BYTE
        self.allow_cpu(seconds)
        self._activity.begin(self._cpu_seconds)

    def end(self) -> None:
        """Kill the process, and leave no zombie and no open file."""
        self._process.kill()
        self._process.wait()
        for file in (self._requests, self._replies, self._process.stdin, self._process.stderr):
            cast(BinaryIO, file).close()

    def send(self, kind: bytes, *parts: bytes) -> None:
        """Send a frame, as far as the pipe takes it now; the rest is sent while we wait for replies."""
        self._unsent += map(memoryview, (FRAME.pack(kind, sum(map(len, parts))), *parts))
        self._write()

    @property
    def has_read_all(self) -> bool:
        """False if the process has not taken all that was sent."""
        return not self._unsent

    def header(self) -> tuple[bytes, int]:
        """Receive the kind of the next frame, and its bytes of content.

        Raises
        ------
        DecoderError
            If the process has ended, or has not moved for too long; also from :meth:`content` and :meth:`samples`.
        """
        kind, n_bytes = FRAME.unpack(self.content(FRAME.size, FRAME.size))
        return kind, n_bytes

    def content(self, n_bytes: int, most: int) -> bytearray:
        """Receive ``n_bytes``, which may be no more than ``most``."""
        check(n_bytes <= most, f"{n_bytes:,} B where {most:,} B are the most")
        content = bytearray(n_bytes)
        self._read_into(memoryview(content))
        return content

    def samples(self, n_bytes: int, most: int) -> Samples:
        """Receive ``n_bytes`` as samples, which may be no more than ``most``."""
        check(n_bytes % 4 == 0 and 0 < n_bytes <= 4 * most, f"a segment of {n_bytes:,} B")
        samples = np.empty(n_bytes // 4, np.float32)
        self._read_into(samples.view(np.uint8).data)
        return samples

    def _write(self) -> None:
        try:
            while self._unsent:
                n_bytes = os.writev(self._requests.fileno(), self._unsent[:PARTS])
                self._activity.n_bytes += n_bytes
                drop_written(self._unsent, n_bytes)
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._unsent.clear()  # the process has ended; the next read says how

    def _read_into(self, view: memoryview) -> None:
        while len(view):
            self._wait()
            n_bytes = os.readv(self._replies.fileno(), [view])
            if not n_bytes:
                raise self._ended()
            self._activity.n_bytes += n_bytes
            view = view[n_bytes:]

    def _wait(self) -> None:
        """Wait for a reply, and write what is unsent meanwhile.

        There is no timeout: a busy machine is slow, which says nothing of a recording, so CPU time is limited instead;
        and so is the time that the process sleeps, in sum, since it may wake as often as it likes. The time that the
        polls waited is counted, since the clock goes on while our own process is stopped.
        """
        while True:
            poll = self._readable_or_writable if self._unsent else self._readable
            wait_seconds = min(LOOK_SECONDS, max(SHORT_LOOK_SECONDS, self._cpu_deadline - self._cpu_seconds))
            begun = time.monotonic()
            ready = [file for file, _ in poll.poll(wait_seconds * 1_000)]
            self._activity.waited_seconds += min(wait_seconds, time.monotonic() - begun)
            if not ready or self._activity.is_look_due(LOOK_SECONDS):
                self._look()
            if self._replies.fileno() in ready:
                return
            if ready:
                self._write()

    def _look(self) -> None:
        """Raise if the process has computed or slept for too long; report that the worker bounds both."""
        if self.cpu_seconds() > self._cpu_deadline:
            is_end = self._cpu_deadline == self._cpu_end
            raise excess_error(self._n_bytes) if is_end else timeout_error(CPU_SECONDS)
        runs = self._activity.note_state() == "R"  # a wait for a processor is counted once it is over
        if self._activity.asleep_seconds(self._cpu_seconds) >= STALLED_SECONDS and not runs:
            raise stall_error(self._activity.usual_state(), STALLED_SECONDS)
        report_work()

    def _ended(self) -> DecoderError:
        """Return the fault that ended the process, now that its pipe is closed."""
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:  # something else in our own process has reaped it, and knows how it ended
            return DecoderError(None, "the decoder's process is gone")
        try:
            return exit_error(self._process.wait(DEATH_SECONDS), CPU_SECONDS)
        except subprocess.TimeoutExpired:
            return DecoderError("decoder_crash", "the decoder's process closed its pipe")


def _pipe(opened: contextlib.ExitStack) -> tuple[io.FileIO, io.FileIO]:
    reader, writer = os.pipe()
    # the kernel limits a user's large pipes in number and in bytes; without one, decoding is only slower
    with contextlib.suppress(OSError):
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return opened.enter_context(io.FileIO(reader, "r")), opened.enter_context(io.FileIO(writer, "w"))


def _environment() -> dict[str, str]:
    """Return what the process needs to find our modules; no key, no token, no address."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(_module_folders()),
        "OPENBLAS_NUM_THREADS": "1",  # the stacks of threads that it never uses would take address space
        # malloc keeps one recording's memory for the next: asking the kernel anew takes 10 % of the time
        "MALLOC_MMAP_THRESHOLD_": str(MALLOC_KEPT_BYTES // 2),
        "MALLOC_TRIM_THRESHOLD_": str(MALLOC_KEPT_BYTES),
        **kept,
    }


def _module_folders() -> list[str]:
    """Return the folders that our modules come from; the working folder only if this product lies in it."""
    product, here = Path(__file__).parents[2], Path.cwd()
    return [folder for folder in sys.path if os.path.isabs(folder) and (Path(folder) != here or here == product)]
