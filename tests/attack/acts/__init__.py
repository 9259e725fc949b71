"""Hostile acts, as code does them that has taken a decoder over: each harms a victim of the test, or fails."""

from tests.attack.acts import connections, files, kernel, processes, shackles
from tests.attack.acts.act import ACTS, FILTER, LANDLOCK, LIMITS, SPOILS, may_still

__all__ = [
    "ACTS",
    "FILTER",
    "LANDLOCK",
    "LIMITS",
    "SPOILS",
    "connections",
    "files",
    "kernel",
    "may_still",
    "processes",
    "shackles",
]
