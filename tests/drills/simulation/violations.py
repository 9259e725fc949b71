"""A promise of the protocol that does not hold, and how to see it again."""

from __future__ import annotations

from dataclasses import dataclass


class Violation(AssertionError):  # noqa: N818 - it is one
    """A promise of the protocol does not hold."""


@dataclass(frozen=True)
class Wrong:
    """A violation and the options of the command that repeats it."""

    again: str
    what: str
    n_steps: int = 0
