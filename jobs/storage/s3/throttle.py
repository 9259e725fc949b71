"""The throttle: how many requests of this process are on their way at once; fewer while the store says "slow down".

When the store refuses a request for the rate of requests, half of those that are on their way are allowed from then on;
one more is allowed each time that as many as are allowed were answered. It is additive increase, multiplicative
decrease, as TCP shares a line (RFC 5681): processes that know nothing of one another come to what the store takes of
all of them. A request that waits to be sent again keeps its place, so the only one that is allowed may be a slow one.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Throttle:
    """Requests on their way, as many as it allows.

    Parameters
    ----------
    most : int
        Requests that it allows at first, and at most.

    Attributes
    ----------
    limit : float
        Requests that it allows, rounded down.
    n_slowed : int
        How often it was slowed down; a request notes it when it is sent.

    Examples
    --------
    >>> throttle = Throttle(64)
    >>> with throttle.place(), throttle.place(), throttle.place():
    ...     throttle.slow_down(throttle.n_slowed)
    >>> throttle.limit
    1.5
    """

    def __init__(self, most: int) -> None:
        self.limit, self.n_slowed = float(most), 0
        self._most = float(most)
        self._n_under_way = 0
        self._changing = threading.Condition()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Wait for a place, and hold it in the block."""
        with self._changing:
            self._changing.wait_for(lambda: self._n_under_way < max(1, int(self.limit)))
            self._n_under_way += 1
        try:
            yield
        finally:
            with self._changing:
                self._n_under_way -= 1
                self._changing.notify()

    def speed_up(self) -> None:
        """Note that a request was answered."""
        with self._changing:
            self.limit = min(self._most, self.limit + 1.0 / self.limit)
            self._changing.notify()

    def slow_down(self, sent: int) -> None:
        """Note that a request was refused for the rate of requests; those that were sent together count once.

        Parameters
        ----------
        sent : int
            :attr:`n_slowed` when it was sent.
        """
        with self._changing:
            if sent == self.n_slowed:
                self.n_slowed += 1
                self.limit = max(1.0, min(self.limit, self._n_under_way) / 2.0)
