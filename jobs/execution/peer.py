"""A peer: a server that a run cannot do without, checked by connecting to it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

CONNECT_SECONDS = 2.0


class Peer:
    """A server that counts as gone once it has accepted no connection for ``patience`` seconds.

    Parameters
    ----------
    address : str
        `host:port`.
    patience : float
        Seconds, from the last connection that it accepted, or from now.
    clock : callable
        Seconds that never go back.
    """

    def __init__(self, address: str, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.address = address
        self.patience = patience
        self._clock = clock
        self._last_answer = clock()

    def answers(self) -> bool:
        """Return True if the server accepts a connection now."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except OSError:
            return False
        self._last_answer = self._clock()
        return True

    def is_gone(self) -> bool:
        """Return True if the server does not answer, and has not for longer than the patience."""
        return not self.answers() and self._clock() - self._last_answer > self.patience
