"""Requests: what a step of the protocol asks of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Put:
    """Write an object if ``expected`` is the ETag of what stands there. Answer: None, or what was :class:`Found`."""

    name: str
    content: bytes
    expected: str


@dataclass(frozen=True, slots=True)
class Get:
    """Read a small object. Answer: its bytes, or None if it is gone."""

    name: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read objects, several at once. Answer: a list of what :class:`Get` answers for each, in their order."""

    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class List:
    """List a folder. Answer: the names of the objects right below it, which are read once."""

    folder: str


@dataclass(frozen=True, slots=True)
class Exist:
    """Look for objects, for many at once. Answer: the names of those that are there."""

    names: Sequence[str]
