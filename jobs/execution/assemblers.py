"""Assemblers: they put the pieces of shards together, and commit each shard once it is whole.

Each shard has one assembler, by a hash of its id. A small run has one, in the driver; with Ray they are actors
(:mod:`jobs.execution.ray_assemblers`), and the driver sees what came of each shard, but none of its rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from jobs.execution.assembly import ShardAssembler, ShardRows, failed_to_embed

Commit = Callable[[ShardRows], Any]
"""Commits a whole shard, and returns what the driver is to know, with a `shard_id`; its errors are in there, too."""


@dataclass(frozen=True)
class Unfinished:
    """What an assembler has of a shard that is not whole.

    Attributes
    ----------
    n_utterances : int or None
        None until the end of the shard has arrived.
    n_outcomes : int
        Utterances of which the outcome has arrived.
    missing : tuple of int
        Ordinals of utterances that are not complete, of those that are known of.
    """

    n_utterances: int | None
    n_outcomes: int
    missing: tuple[int, ...]


class Reply(NamedTuple):
    """An assembler's answer to the driver: results, how many shards are open and under commit, canaries to compare."""

    results: list[Any]
    n_open: int
    n_committing: int
    introduced: list[pa.Table]


class Assemblers(Protocol):
    """The assemblers of a run, as the driver and a runner see them."""

    def approve(self, canaries: Collection[str]) -> None:
        """Let encoders deliver pieces themselves if their canaries have one of these digests."""

    def commit_empty(self) -> None:
        """Commit shards without an utterance, too, from now on; until then each of them is a result as it is."""

    def add(self, table: pa.Table) -> None:
        """Deliver pieces from the driver."""

    def take(self) -> list[Any]:
        """Return the results of shards that were committed since the last call."""

    def is_idle(self) -> bool:
        """Return True if no commit is under way, and all results were taken."""

    @property
    def n_open(self) -> int:
        """Shards of which some pieces have arrived, but not all."""

    def unfinished(self) -> Mapping[str, Unfinished]:
        """Return what has arrived of shards that are not whole; nothing of those that a lost assembler had."""

    def forget(self, shard_id: str) -> None:
        """Drop the pieces of a shard."""

    def give_up(self, shard_id: str, error: str, message: str, attempts: int) -> list[str]:
        """Make the missing utterances of a shard failures, and commit it; return their ids, if it can be done."""


class Assembler:
    """One assembler; a run without Ray has no other :class:`Assemblers`.

    Parameters
    ----------
    commit : callable
    at_once : int
        Commits under way at once, in threads; whoever delivers waits where there are more. 0: they are made by the
        thread that delivers.
    """

    def __init__(self, commit: Commit, at_once: int = 0) -> None:
        self._commit = commit
        self._shards = ShardAssembler()
        self._results: list[Any] = []
        self._approved: set[str] = set()
        self._introduced: dict[str, pa.Table] = {}  # by their digests
        self._commits_empty = False
        self._n_committing = 0
        self._changing = threading.Lock()
        self._places = threading.BoundedSemaphore(max(at_once, 1))
        self._threads = ThreadPoolExecutor(at_once, "commit") if at_once else None

    def approve(self, canaries: Collection[str]) -> None:
        """Take pieces from encoders whose canaries have one of these digests."""
        with self._changing:
            self._approved.update(canaries)
            self._introduced = {each: report for each, report in self._introduced.items() if each not in canaries}

    def introduce(self, digest: str, report: pa.Table) -> None:
        """Keep the canaries of an encoder, as :func:`jobs.inputs.pieces.canaries` has them, until they are approved."""
        with self._changing:
            if digest not in self._approved:
                self._introduced[digest] = report

    def commit_empty(self) -> None:
        """Commit shards without an utterance, too, from now on."""
        self._commits_empty = True

    def deliver(self, table: pa.Table, canaries: str) -> bool:
        """Add pieces from an encoder; return False, and take none, if its canaries are not approved."""
        if canaries not in self._approved:
            return False
        self.add(table)
        return True

    def add(self, table: pa.Table) -> None:
        """Add pieces, in any order and any number of times; wait while too many shards are under commit."""
        with self._changing:
            whole = list(self._shards.add(table))
        for rows in whole:
            self._begin(rows)

    def reply(self, seen: Collection[str] = ()) -> Reply:
        """Return all results but those of shards that were ``seen`` in an earlier reply, and how much is under way.

        Results are kept until then: a reply may be lost on its way.
        """
        with self._changing:
            self._results = [result for result in self._results if result.shard_id not in seen]
            introduced = list(self._introduced.values())
            return Reply(list(self._results), len(self._shards.open), self._n_committing, introduced)

    def arrived(self, places: pa.Table) -> list[int]:
        """Return rows of a table of ``shard_id``, ``ordinal`` and ``segment``: those whose segments have arrived."""
        with self._changing:
            wanted = zip(*(places[name].to_pylist() for name in ("shard_id", "ordinal", "segment")), strict=True)
            return [row for row, place in enumerate(wanted) if self._shards.has(*place)]

    def take(self) -> list[Any]:
        """Return the results since the last call."""
        with self._changing:
            results, self._results = self._results, []
        return results

    def is_idle(self) -> bool:
        """Return True if no commit is under way, and all results were taken."""
        return not self._n_committing and not self._results

    @property
    def n_open(self) -> int:
        """Shards of which some pieces have arrived, but not all."""
        return len(self._shards.open)

    def unfinished(self) -> dict[str, Unfinished]:
        """Return what has arrived of each shard that is not whole."""
        with self._changing:
            return {
                shard_id: Unfinished(rows.n_utterances, len(rows.outcomes), tuple(rows.missing))
                for shard_id, rows in self._shards.open.items()
            }

    def forget(self, shard_id: str) -> None:
        """Drop the pieces of a shard."""
        with self._changing:
            self._shards.forget(shard_id)

    def give_up(self, shard_id: str, error: str, message: str, attempts: int) -> list[str]:
        """Make the missing utterances of a shard failures, and commit it; return their ids, if it can be done."""
        with self._changing:
            rows = self._shards.open.get(shard_id)
            if rows is None or len(rows.outcomes) != rows.n_utterances:
                return []
            missing = rows.missing
            for ordinal in missing:
                rows.outcomes[ordinal] = failed_to_embed(rows.outcomes[ordinal], error, message, attempts)
            failed = [rows.outcomes[ordinal]["utterance_id"] for ordinal in missing]
            self._shards.close(shard_id)
        self._begin(rows)
        return failed

    def _begin(self, rows: ShardRows) -> None:
        with self._changing:
            self._n_committing += 1
        self._places.acquire()
        if self._threads is None:
            self._finish(rows)
        else:
            self._threads.submit(self._finish, rows)

    def _finish(self, rows: ShardRows) -> None:
        try:
            result = self._commit(rows) if rows.outcomes or self._commits_empty else rows
            with self._changing:
                self._results.append(result)
        finally:
            with self._changing:
                self._n_committing -= 1
            self._places.release()
