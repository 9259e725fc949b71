"""The retry loop: work is done again when workers were lost, for a bounded number of passes."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from jobs.errors import RunAgain, StalledError, WorkersLostError
from jobs.telemetry import metrics

PASSES = 3
PAUSE_SECONDS = 2.0  # before the second pass, with jitter; doubles

log = logging.getLogger(__name__)

Done = TypeVar("Done", covariant=True)


class Attempts(Protocol[Done]):
    """Work of one kind: how it is attempted, and what is still missing of it."""

    verb: str
    """The label that its metrics carry."""

    @property
    def is_done(self) -> bool:
        """True if nothing is missing."""

    def attempt(self, number: int) -> Iterator[Done]:
        """Do what is missing, in the pass of this number, from 1; yield each result once.

        Results that lost workers held are left out. Raises what would fail in every pass.
        """

    def end_pass(self, lost: WorkersLostError | None) -> None:
        """Take note that a pass is over: all that was under way has arrived, or is lost."""

    def describe_missing(self) -> str:
        """Return how much is missing, what comes first, and why, for a log line or an error."""

    def finish(self) -> Iterator[Done]:
        """Yield results for what no pass could do, where that is possible; raise the error that the run ends with.

        Where there is none and something is still missing, :func:`retry` raises :class:`jobs.errors.RunAgain`.
        """


def retry(work: Attempts[Done], pause: Callable[[float], None] = time.sleep) -> Iterator[Done]:
    """Attempt work until all of it is done, in :data:`PASSES` passes at most.

    Parameters
    ----------
    work : Attempts
    pause : callable
        Waits for a number of seconds.

    Yields
    ------
    Done
        Each result once.

    Raises
    ------
    StalledError
        At once, with the description of what is missing.
    RunAgain
        At the end, if something is still missing.
    Exception
        What :meth:`Attempts.attempt` raises, at once, and what :meth:`Attempts.finish` raises, at the end.
    """
    for number in range(1, PASSES + 1):
        lost = None
        try:
            yield from work.attempt(number)
        except WorkersLostError as error:
            lost = error
        except StalledError as error:
            if not work.is_done:  # else the stream merely did not end
                raise StalledError(f"{error} {work.describe_missing()}") from error
        work.end_pass(lost)
        if work.is_done:
            break
        metrics.count("bonafide_workers_lost_total", verb=work.verb)
        log.warning("pass %d of %d: %s", number, PASSES, work.describe_missing())
        if number < PASSES:
            pause(PAUSE_SECONDS * 2 ** (number - 1) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
    yield from work.finish()
    if not work.is_done:
        raise RunAgain(f"gave up after {PASSES} passes: {work.describe_missing()}. Run the same command again.")
