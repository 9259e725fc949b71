"""Faults of a decoder process, and the verdict on the recording that it was decoding.

One death proves nothing: an operator may have killed the process, or an earlier recording may have broken it. The same
recording is tried once more, in a new process. A fault that happens there too is the recording's own and becomes its
row in `failures`; a kill from outside that happens twice, which no confined decoder can feign, says something about the
machine, and the run ends with :class:`jobs.errors.RunAgain`.
"""

from __future__ import annotations

import signal

from detector.errors import UtteranceError
from jobs.errors import RunAgain

TRIES = 2
CANNOT_BE = "the decoder's process says what cannot be"
CRASH_SIGNALS = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")


class DecoderError(Exception):
    """The decoder process failed on a recording.

    Parameters
    ----------
    error : str or None
        One of :data:`detector.failures.FAILURE_ERRORS`, or None if the recording may not be the cause.
    message : str
        For the row of `failures`.
    """

    def __init__(self, error: str | None, message: str) -> None:
        super().__init__(message)
        self._error = error

    def verdict(self, name: str) -> UtteranceError | RunAgain:
        """Return the error that the caller gets after the last try; ``name`` is the utterance."""
        if self._error is not None:
            return UtteranceError(self._error, str(self))
        return RunAgain(
            f"{name}: {self}, {TRIES} times. That says nothing of the recording: look for what killed or stopped the "
            f"process (the machine's memory, an operator), and run the same command again."
        )


def check(holds: bool, found: str) -> None:
    """Raise :class:`DecoderError` unless a reply can be true: the bytes that the decoder reads may control it."""
    if not holds:
        raise DecoderError("decoder_crash", f"{CANNOT_BE}: {found}")


def exit_error(code: int, cpu_seconds: float) -> DecoderError:
    """Return the fault that an exit code stands for.

    Parameters
    ----------
    code : int
        As :class:`subprocess.Popen` gives it: negative for a signal.
    cpu_seconds : float
        The process's limit of CPU time for a segment.

    Examples
    --------
    >>> exit_error(-signal.SIGSEGV, 60.0)
    DecoderError("the decoder's process died of SIGSEGV")
    """
    if code >= 0:
        return DecoderError("decoder_crash", f"the decoder's process ended with exit code {code}")
    name = signal_name(-code)
    if name == "SIGXCPU":
        return timeout_error(cpu_seconds)
    return DecoderError("decoder_crash" if name in CRASH_SIGNALS else None, f"the decoder's process died of {name}")


def signal_name(number: int) -> str:
    """Return the name of a signal; one of the real-time signals has only a number.

    Examples
    --------
    >>> signal_name(11), signal_name(36)
    ('SIGSEGV', 'signal 36')
    """
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def stall_error(state: str, seconds: float) -> DecoderError:
    """Return the fault of a process that did not work for too long.

    Parameters
    ----------
    state : str
        As `/proc/PID/stat` gave it at most looks. A process that sleeps waits for itself: its recording has it do so.
        One that is stopped (T) or waits for a disk (D) shows a fault of the machine.
    seconds : float
        How long.

    Examples
    --------
    >>> stall_error("S", 600.0)
    DecoderError('asleep for 600 s of its work')
    """
    if state == "S":
        return DecoderError("decoder_timeout", f"asleep for {seconds:g} s of its work")
    return DecoderError(None, f"{seconds:g} s without a word or any CPU time of the decoder, in state {state}")


def excess_error(n_bytes: int) -> DecoderError:
    """Return the fault of a process that has used more CPU time over all segments than its recording's size allows."""
    return DecoderError("decoder_timeout", f"more CPU time in all than any recording of {n_bytes:,} bytes needs")


def timeout_error(cpu_seconds: float) -> DecoderError:
    """Return the fault of a process that has used its CPU time without a segment."""
    return DecoderError("decoder_timeout", f"no segment in {cpu_seconds:g} s of CPU time, nor in as many as it lasts")
