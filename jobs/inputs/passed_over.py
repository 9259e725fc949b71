"""Passed over: objects and members that are not read as recordings, counted by suffix, with the first few names.

Names are held whole, as ids spell them: what is passed over today may be a recording tomorrow, and is found by its name
when it is to be erased. They are cut only in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from jobs.inputs.containers import shortened
from jobs.inputs.id_spelling import container_in_id, spelt_in_id
from jobs.inputs.suffixes import is_fork, suffix_of
from jobs.storage import Links, key_of
from jobs.telemetry.names import MAX_EXAMPLE, cut, printable

N_EXAMPLES = 3
MAX_EXAMPLES_LENGTH = 16 << 10  # of all examples together: a name that has no room is only counted
MAX_SUFFIXES = 40  # counted apart; a hostile archive may have a suffix for each file
SHOWN_SUFFIXES = 8  # in a line of the log
FORKS, NO_SUFFIX, OTHERS = "._*", "(no suffix)", "(other suffixes)"

log = logging.getLogger(__name__)


class PassedOver:
    """Counts what is not read, in bounded memory.

    Examples
    --------
    >>> counts = PassedOver()
    >>> for name in ("a.txt", "b.TXT", "README"):
    ...     counts.add(name)
    >>> str(counts)
    '2 .txt (a.txt, b.TXT); 1 (no suffix) (README)'
    """

    def __init__(self, content: Mapping[str, Any] | None = None) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}
        self._room = MAX_EXAMPLES_LENGTH
        self.merge(content or {})

    def add(self, name: str, container: str = "") -> None:
        """Count an object by its key, or a member by its name and that of its container."""
        suffix = FORKS if is_fork(name) else suffix_of(name) or NO_SUFFIX
        self._add(printable(suffix), 1, (_example(name, container),))

    def add_links(self, links: Mapping[str, Links]) -> None:
        """Count what a listing passed over for a reason other than its suffix, under that reason."""
        for reason, found in links.items():
            self._add(f"({reason})", found.n, (_example(key_of(found.first)),))

    def merge(self, content: Mapping[str, Any]) -> None:
        """Add the counts that :meth:`to_content` returned."""
        for suffix, found in content.items():
            self._add(suffix, found["count"], found["examples"])

    def _add(self, suffix: str, count: int, names: Iterable[str]) -> None:
        if suffix not in self._counts and len(self._counts) >= MAX_SUFFIXES:
            suffix = OTHERS
        self._counts[suffix] = self._counts.get(suffix, 0) + count
        examples = self._examples.setdefault(suffix, [])
        for name in names:
            if len(examples) < N_EXAMPLES and len(name) <= self._room:
                examples.append(name)
                self._room -= len(name)

    def to_content(self) -> dict[str, Any]:
        """Return the counts as JSON values, the most frequent suffix first."""
        ordered = sorted(self._counts, key=lambda suffix: (-self._counts[suffix], suffix))
        return {suffix: {"count": self._counts[suffix], "examples": self._examples[suffix]} for suffix in ordered}

    @property
    def total(self) -> int:
        """Number of names."""
        return sum(self._counts.values())

    def __bool__(self) -> bool:
        return bool(self._counts)

    def report(self, what: str) -> None:
        """Log the counts in one line, if there are any; ``what`` says of what they are."""
        if self._counts:
            log.info("passed over %d %s that are no recordings: %s", self.total, what, self)

    def __str__(self) -> str:
        content = self.to_content()
        parts = [
            f"{found['count']:,} {suffix}"
            + (f" ({', '.join(map(_shown, found['examples']))})" if found["examples"] else "")
            for suffix, found in list(content.items())[:SHOWN_SUFFIXES]
        ]
        n_others = sum(found["count"] for found in list(content.values())[SHOWN_SUFFIXES:])
        return "; ".join(parts + ([f"{n_others:,} of other suffixes"] if n_others else []))


def _example(name: str, container: str = "") -> str:
    """Return an object's key, or the place of a member, as an id spells it."""
    return container_in_id(container, container) + spelt_in_id(shortened(name)) if container else spelt_in_id(name)


def _shown(name: str) -> str:
    """Return a name that fits into a line of the log: without control characters, and without its middle if long."""
    return printable(cut(name, MAX_EXAMPLE))
