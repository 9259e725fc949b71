"""A peer is gone once it has accepted no connection for its patience."""

from __future__ import annotations

import socket

from jobs.execution.peer import Peer


class Clock:
    """A clock that stands still until a test sets it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_server_is_gone_once_it_has_accepted_no_connection_for_its_patience() -> None:
    clock = Clock()
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = Peer(f"127.0.0.1:{server.getsockname()[1]}", 60.0, clock)
        clock.now = 100.0
        assert peer.answers()
        assert not peer.is_gone()

    assert not peer.answers()
    clock.now = 160.0
    assert not peer.is_gone()
    clock.now = 160.1
    assert peer.is_gone()
