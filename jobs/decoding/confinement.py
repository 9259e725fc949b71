"""Confinement as the parent of decoder processes sees it: the level that it asks for, and the levels that it got."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from detector.errors import ConfigError
from jobs.config import CONFINEMENT

REQUIRE, PREFER, OFF = CONFINEMENT
FULL, NONE = "full", "none"
LEVEL = re.compile(r"full|seccomp|landlock-[1-9][0-9]?|none")

log = logging.getLogger(__name__)

_mode = PREFER
_levels: set[str] = set()


def set_mode(mode: str) -> None:
    """Set what decoder processes of this process must have: one of :data:`jobs.config.CONFINEMENT`."""
    global _mode
    if mode != _mode:
        _levels.clear()
    _mode = mode


def mode() -> str:
    """Return what :func:`set_mode` has set."""
    return _mode


def note(level: str) -> None:
    """Take the level of a process that has started; log it once.

    Raises
    ------
    ConfigError
        If a full confinement is required, and this is none.
    """
    if level not in _levels:
        _levels.add(level)
        log.log(severity(level, _mode), "%s", described(level))
    if _mode == REQUIRE and level != FULL:
        raise ConfigError(
            f"--confinement require: {described(level)}. Use Linux 5.13 or later with Landlock, and a container "
            f"profile that allows seccomp(2) and landlock_*(2); or --confinement prefer, which decodes all the same."
        )


def level() -> str | None:
    """Return the weakest level of the decoders that this process has started; None if it has started none."""
    return weakest(_levels)


def weakest(levels: Iterable[str]) -> str | None:
    """Return the weakest of some levels.

    Examples
    --------
    >>> weakest(["full", "landlock-7", "landlock-3", "seccomp"])
    'landlock-3'
    """
    return min(levels, key=_strength, default=None)


def severity(level: str, mode: str) -> int:
    """Return how loudly a level is logged: a warning where it is not full, unless that was asked for."""
    return logging.INFO if level == FULL or mode == OFF else logging.WARNING


def described(level: str) -> str:
    """Say what a level means, for people.

    Examples
    --------
    >>> described("full")
    'decoders are confined: full'
    """
    known = {
        FULL: "confined: full",
        "seccomp": "confined: seccomp, without Landlock: the kernel lacks it, or the container refuses it",
        NONE: "not confined: a hostile recording that takes a decoder over has all rights of this user",
    }
    without_filter = "without a filter of system calls: processes, UDP, metadata of files are open to a decoder"
    return f"decoders are {known.get(level, f'confined: {level}, {without_filter}')}"


def _strength(level: str) -> tuple[int, int]:
    name, _, version = level.partition("-")
    return (NONE, "landlock", "seccomp", FULL).index(name), int(version or 0)
