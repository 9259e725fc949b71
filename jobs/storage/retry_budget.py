"""The retry budget: how long, and with which pauses, a request to a store is repeated.

A pause is drawn uniformly between zero and a bound that doubles from 0.2 s to 20 s ("full jitter"), so that a thousand
workers that were refused at the same moment do not come back at the same moment. An operation is given up when it has
made no progress for the length of the budget; progress restarts the budget. While a store throttles, an operation
takes the progress of others in its process for its own, for ten budgets at most: a run gets slower, and goes on.

A reply that cannot be read may be about an object that its uploader gave such headers. If others are answered
meanwhile, it is given up after a tenth of the budget.
"""

from __future__ import annotations

import logging
import random
import time

from jobs.errors import CorruptError, StorageError
from jobs.storage.objects import RefusedError

log = logging.getLogger("jobs.storage")

BUDGET_SECONDS = 300.0
UNKNOWN_ENDPOINT_SECONDS = 15.0  # for an address that has never answered: a typo is more likely than an outage
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 20.0
WARNING_SECONDS = 30.0
REFETCHES = 3
UNREADABLE_SHARE = 0.1  # of the budget, for an object whose replies cannot be read, while others succeed
THROTTLED_BUDGETS = 10  # for which an operation is throttled, while others succeed, before it is given up


class CorruptReplyError(Exception):
    """A reply that differs from what the store holds: in its length or its digest."""


class _Process:
    """State that all operations of this process share."""

    budget = BUDGET_SECONDS
    answered = False  # the process that started this one has spoken to the store
    endpoints: set[str] = set()  # noqa: RUF012 - those that have answered this process
    last_success = float("-inf")
    warned = float("-inf")
    unreported = 0  # retries since the last warning
    retries = 0


def set_retry_budget(seconds: float, answered: bool = False) -> None:
    """Set for this process how long an operation without progress is retried.

    Parameters
    ----------
    seconds : float
        Since the operation began, or last made progress.
    answered : bool
        True if the store is known to have answered another process, such as the driver: then a worker that starts
        during an outage waits like the others. Without it, an address at which no server answers fails within half a
        minute.
    """
    _Process.budget = seconds
    _Process.answered = answered


def retries() -> int:
    """Return the number of requests that this process has retried so far."""
    return _Process.retries


class RetryBudget:
    """The attempts of one operation."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._since = self._begun = time.monotonic()
        self._attempts = 0
        self._pauses = 0
        self._n_corrupt = 0
        self._n_unreadable = 0

    def answered(self, endpoint: str) -> None:
        """Note that a server answered there, even if it refused the request."""
        _Process.endpoints.add(endpoint)

    def succeeded(self) -> None:
        """Note that the store did what it was asked for."""
        _Process.last_success = time.monotonic()

    def note_throttling(self) -> None:
        """Note that the store refuses the request for the rate of requests: it is answered, and others succeed."""
        if time.monotonic() - self._begun < THROTTLED_BUDGETS * _Process.budget:
            self._since = max(self._since, _Process.last_success)

    def note_unreadable(self) -> None:
        """Note that a reply came that cannot be read."""
        self._n_unreadable += 1

    def restart(self) -> None:
        """Restart the budget: the operation has made progress."""
        self._since = time.monotonic()
        self._pauses = 0

    def pause(self, cause: str, endpoint: str, error: Exception) -> None:
        """Sleep before the next attempt.

        Raises
        ------
        CorruptError
            If the reply was corrupt, and has been fetched again REFETCHES times.
        RefusedError
            If no reply could be read, and others could meanwhile, or the budget is spent.
        StorageError
            If the budget is spent.
        """
        self._attempts += 1
        _Process.retries += 1
        if isinstance(error, CorruptReplyError):
            self._n_corrupt += 1
            if self._n_corrupt > REFETCHES:
                raise CorruptError(f"{self._uri}: {cause}, {self._n_corrupt} times over. Check the store.") from error
        known = _Process.answered or endpoint in _Process.endpoints
        budget = _Process.budget if known else min(_Process.budget, UNKNOWN_ENDPOINT_SECONDS)
        spent = time.monotonic() - self._since
        others_succeed = _Process.last_success > self._begun
        if self._n_unreadable == self._attempts and spent >= budget * (UNREADABLE_SHARE if others_succeed else 1.0):
            raise RefusedError(f"{self._uri}: the store's replies about it cannot be read: {cause}.") from error
        if spent >= budget:
            raise StorageError(
                f"{self._uri}: the store gave up after {spent:.0f} s and {self._attempts} tries: {cause}. "
                f"Check that {endpoint} answers, then run the same command again."
            ) from error
        bound = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self._pauses)
        self._pauses += 1
        self._warn(cause, budget - spent)
        time.sleep(min(random.uniform(0.0, bound), budget - spent))  # noqa: S311 - jitter needs no secure randomness

    def _warn(self, cause: str, remaining: float) -> None:
        """Log the cause, at most once in 30 s: every request of every thread waits here while the store throttles."""
        _Process.unreported += 1
        if time.monotonic() - _Process.warned < WARNING_SECONDS:
            return
        log.warning("%s: %s; retrying, %.0f s left (%d retries)", self._uri, cause, remaining, _Process.unreported)
        _Process.warned = time.monotonic()
        _Process.unreported = 0
