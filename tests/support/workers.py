"""Tests on two pytest workers: which of them must run in one worker, and in which order they begin.

A worker of pytest-xdist has its own session, module and package fixtures. So the tests of a module run in one worker,
and so do the rooms whose tests share a running Ray or a bucket. The longest rooms come first: what is short fills the
gaps at the end.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

ROOMS = ("tests/integration/ray/", "tests/drills/", "tests/integration/cluster/", "tests/integration/browser/")
"""Each runs in one worker, as a whole."""
LONG = ("tests/integration/", "tests/unit/jobs/decoding/", "tests/unit/jobs/tables/", "tests/hostile/", "tests/unit/")
"""Modules that begin before others."""


def unit_of(nodeid: str) -> str:
    """Return what a test shares a worker with: its room, or else its module."""
    module = nodeid.partition("::")[0]
    return next((room for room in ROOMS if module.startswith(room)), module)


def place_of(nodeid: str) -> int:
    """Return a number by which to sort: lower for what begins earlier."""
    order = (*ROOMS, *LONG)
    return next((at for at, prefix in enumerate(order) if nodeid.startswith(prefix)), len(order))


class RoomScheduling(LoadScopeScheduling):
    """Hand out whole units, in the order of collection."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        # otherwise xdist begins with what has most tests, not with what takes longest
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def sort(items: list[pytest.Item]) -> None:
    """Put what takes longest first; the order is kept among equals."""
    items.sort(key=lambda item: place_of(item.nodeid))
