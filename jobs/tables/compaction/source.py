"""The source of a copy: one ledger of the output, and what the copy lacks of it."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from detector.errors import SchemaError
from jobs.tables.compaction.markers import WORTH, Markers, remember, remembered
from jobs.tables.compaction.objects import CopiedObject, RowRange
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Marker, slot_of_shard


@dataclass(frozen=True)
class Rewrite:
    """An object that holds rows it should not hold.

    Parameters
    ----------
    standing : CopiedObject
    replacements : list
        For each of its row ranges: the range itself, the marker of its new rows, or None if it has no rows any more.
    """

    standing: CopiedObject
    replacements: list[RowRange | Marker | None]


@dataclass(frozen=True)
class Backlog:
    """What a copy lacks of one ledger.

    Parameters
    ----------
    rewrites : list of Rewrite
    new : dict
        Slots of shards that no object holds, by table and folder, in the order of their plans.
    unproven : list of CopiedObject
        Written, but not read back: the command that wrote them was stopped.
    """

    rewrites: list[Rewrite]
    new: dict[tuple[str, str], list[str]]
    unproven: list[CopiedObject]

    @property
    def n_shards(self) -> int:
        """Number of row ranges to copy."""
        return sum(map(len, self.new.values())) + sum(len(each.replacements) for each in self.rewrites)


@dataclass(frozen=True)
class Source:
    """One ledger of the output, as it was read at one moment.

    Parameters
    ----------
    table : Ledger
    markers : Markers
        For a slot that waits, and whose rows the copy has, the last marker: rows may have been erased
        by it.
    waiting : set of str
        Slots that are planned and not done.
    lost : set of str
        Waiting slots whose rows the copy has, but of which no marker is left to compare these with.
    tags : dict
        Name and ETag of the last marker of each slot, as they were before any marker was read.
    n_read : int
        Markers that were read.
    """

    table: Ledger
    markers: Markers
    waiting: set[str]
    lost: set[str]
    tags: dict[str, tuple[str, str]]
    n_read: int

    @classmethod
    def read(cls, table: Ledger, place: str, standing: dict[str, CopiedObject]) -> Source:
        """Read a ledger as it is now, but for markers that the copy remembers."""
        history, tags = table.history(), table.tags()
        waiting = set(history.current.lacking(tags))
        copied = [each.compacted for each in standing.values() if each.compacted.ledger == table.name]
        copied_and_waiting = {each.slot for compacted in copied for each in compacted.ranges} & waiting
        last = {slot: name for name in sorted(tags) if (slot := slot_of_shard(name)) in copied_and_waiting}
        names = {*(history.names & tags.keys()), *last.values()}
        known = remembered(place, table.name).listed(tags, names)
        read = Markers.of(table.markers(names.difference(known.names)), tags)
        return cls(
            table,
            known.with_others(read),
            waiting,
            copied_and_waiting - last.keys(),
            _last_markers(tags),
            len(read),
        )

    def remember(self, place: str) -> None:
        """Let the copy remember the markers, if many of them were read."""
        if self.n_read >= WORTH:
            remember(place, self.table.name, self.markers)

    def unchanged(self) -> bool:
        """Return True if the markers that were read are still the last ones of their slots, with the same content."""
        now = _last_markers(self.table.tags())
        return all(now.get(slot) == self.tags[slot] for slot in self.markers)

    def backlog(self, standing: dict[str, CopiedObject]) -> Backlog:
        """Compare the ledger with the objects of the copy."""
        mine = [each for each in standing.values() if each.compacted.ledger == self.table.name]
        rewrites = [
            Rewrite(each, replacements)
            for each in mine
            if (replacements := self._replacements(each)) != [*each.compacted.ranges]
        ]
        copied = {(each.compacted.table, row_range.slot) for each in mine for row_range in each.compacted.ranges}
        new: dict[tuple[str, str], list[str]] = {}
        for marker in self.markers.by_plan():
            slot = slot_of_shard(marker.name)
            for table, name in marker.objects.items():
                if marker.rows[table] and (table, slot) not in copied:
                    new.setdefault((table, posixpath.dirname(name)), []).append(slot)
        rewritten = {each.standing.compacted.name for each in rewrites}
        unproven = [each for each in mine if not each.proven and each.compacted.name not in rewritten]
        return Backlog(rewrites, new, unproven)

    def _replacements(self, standing: CopiedObject) -> list[RowRange | Marker | None]:
        """Return what should replace each row range of an object, according to the markers."""
        table = standing.compacted.table
        replacements: list[RowRange | Marker | None] = []
        for row_range in standing.compacted.ranges:
            marker = self.markers.get(row_range.slot)
            if marker is None and row_range.slot not in self.waiting:
                raise SchemaError(
                    f"{standing.stored.uri}: holds shard {row_range.shard}, which {self.table.output} does not know. "
                    "Give another --to."
                )
            if marker is None or (marker.name, marker.sha256.get(table)) == (row_range.shard, row_range.sha256):
                replacements.append(row_range)
            else:
                replacements.append(marker if marker.rows.get(table) else None)
        return replacements


def _last_markers(tags: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return name and ETag of the last marker of each slot."""
    return {slot_of_shard(name): (name, tag) for name, tag in sorted(tags.items())}
