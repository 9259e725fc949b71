"""Patience: the one rule by which a request to a store is tried again.

Full jitter: a pause is drawn between nothing and a bound that doubles from 0.2 s to 20 s, so that a thousand workers
that were refused together do not come back together. An operation is given up when nothing of it has got on for the
budget; what got on starts the budget anew.
"""

from __future__ import annotations

import logging
import random
import time

from jobs.errors import CorruptError, StorageError

log = logging.getLogger("jobs.storage")

BUDGET_SECONDS = 300.0
UNHEARD_SECONDS = 15.0  # for an address that never answered: more likely misspelt than in trouble
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 20.0
WARNING_SECONDS = 30.0
REFETCHES = 3


class CorruptReplyError(Exception):
    """An answer that cannot be what the store holds: another length, another digest."""


class _Process:
    """What all operations of this process know."""

    budget = BUDGET_SECONDS
    answered = False  # whoever started us has spoken to the store
    endpoints: set[str] = set()  # noqa: RUF012 - these have answered us
    warned = float("-inf")
    quiet = 0  # tries again since the last warning
    retries = 0


def set_retry_budget(seconds: float, answered: bool = False) -> None:
    """Set for this process how long an operation that does not get on is tried again.

    Parameters
    ----------
    seconds : float
        Since the operation began, or last got on.
    answered : bool
        Whether the store is known to have answered, if not to this process: a worker that starts while the store
        is away then waits like the others. Without it, an address that nobody answers at fails within half a minute.
    """
    _Process.budget = seconds
    _Process.answered = answered


def retries() -> int:
    """Requests that this process tried again so far."""
    return _Process.retries


class RetryBudget:
    """The tries of one operation."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._since = time.monotonic()
        self._tries = 0
        self._pauses = 0
        self._mangled = 0

    def heard(self, endpoint: str) -> None:
        """Something answered there, if only to refuse."""
        _Process.endpoints.add(endpoint)

    def got_on(self) -> None:
        """A part of the operation is done for good: the budget begins anew."""
        self._since = time.monotonic()
        self._pauses = 0

    def pause(self, cause: str, endpoint: str, error: Exception) -> None:
        """Wait before the next try.

        Raises
        ------
        CorruptError
            Where what came was mangled once more than it is fetched again.
        StorageError
            Where the budget is spent.
        """
        self._tries += 1
        _Process.retries += 1
        if isinstance(error, CorruptReplyError):
            self._mangled += 1
            if self._mangled > REFETCHES:
                raise CorruptError(f"{self._uri}: {cause}, {self._mangled} times over. Check the store.") from error
        known = _Process.answered or endpoint in _Process.endpoints
        budget = _Process.budget if known else min(_Process.budget, UNHEARD_SECONDS)
        spent = time.monotonic() - self._since
        if spent >= budget:
            raise StorageError(
                f"{self._uri}: the store gave up after {spent:.0f} s and {self._tries} tries: {cause}. "
                f"Check that {endpoint} answers, then run the same command again."
            ) from error
        bound = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self._pauses)
        self._pauses += 1
        self._warn(cause, budget - spent)
        time.sleep(min(random.uniform(0.0, bound), budget - spent))  # noqa: S311 - nobody guesses at a pause

    def _warn(self, cause: str, left: float) -> None:
        """Say why it takes so long; rarely, for in bad weather every request of every thread comes by here."""
        _Process.quiet += 1
        if time.monotonic() - _Process.warned < WARNING_SECONDS:
            return
        log.warning("%s: %s; trying again, %.0f s left (%d tries again)", self._uri, cause, left, _Process.quiet)
        _Process.warned = time.monotonic()
        _Process.quiet = 0
