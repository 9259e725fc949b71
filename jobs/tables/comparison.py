"""Comparison: a shard as it was planned, beside the archive as it is now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from detector.audio import WHOLE
from detector.errors import ConfigError
from jobs.inputs.archive import Archive
from jobs.inputs.shards import Selection, Shard, is_removed, removed
from jobs.inputs.utterance_ids import root_of
from jobs.storage import Stored, is_same, without_ctime
from jobs.tables.protocol import PlannedShard


class Comparison:
    """What planned shards are now; what no shard that was asked for has stays in ``containers`` and ``loose``.

    Parameters
    ----------
    archive : Archive
    before : mapping of str to PlannedShard
        The last committed state of each slot that has rows.
    committed : collection of str
        Slots whose planned state is committed.
    gone : collection of str
        URIs of sources that are taken for gone.
    look : callable
        What the store holds at a URI now.

    Attributes
    ----------
    containers : dict of str to Shard
        By slot.
    loose : dict of str to Stored
        Files, by URI.
    touched : list of str
        URIs of sources of which only the time of change is another one.
    """

    def __init__(
        self,
        archive: Archive,
        before: Mapping[str, PlannedShard],
        committed: Collection[str],
        gone: Collection[str],
        look: Callable[[str], Stored | None],
    ) -> None:
        self.containers = {each.slot: each for each in archive.containers}
        self.loose = {stored.uri: stored for stored in archive.files}
        self.touched: list[str] = []
        self._archive, self._before, self._committed, self._gone, self._look = archive, before, committed, gone, look

    def now(self, slot: str, shard: Shard) -> tuple[Shard, list[str]]:
        """Return a planned container or group as it is now, and the URIs of its sources that the archive has."""
        if shard.kind != "files":
            found = self.containers.pop(slot, None)
            return self._container_now(slot, shard, found), [] if found is None else [shard.sources[0].uri]
        here = [source.uri for source in shard.sources if source.uri in self.loose]
        is_lost = slot in self._before and any(source.uri in self._gone for source in shard.sources)
        now = self._group_now(slot, shard) if here or is_lost else shard
        for uri in here:
            del self.loose[uri]
        return now, here

    def _container_now(self, slot: str, shard: Shard, found: Shard | None) -> Shard:
        (source,) = shard.sources
        if found is not None and not found.sources[0].is_absent:
            found = replace(found, sources=(self._as_planned(source, found.sources[0]),))
            _refuse_other_members(found, shard)
            return found
        if source.uri in self._gone and slot in self._before:
            return replace(shard, sources=(removed(source),))
        return shard if found is None or slot in self._committed or is_removed(source) else found

    def _as_planned(self, planned: Stored, found: Stored) -> Stored:
        """Return a source with the tag that it was planned with, if it still is as it was then."""
        if is_same(planned, found):
            return planned
        if without_ctime(planned) == without_ctime(found):
            self.touched.append(found.uri)
        return found

    def _group_now(self, slot: str, shard: Shard) -> Shard:
        planned = shard.selections() or {}
        selections = dict(planned)
        stands = _sources_of(self._before.get(slot))  # those whose rows are committed

        def now(source: Stored) -> Stored:
            found, asked = self.loose.get(source.uri), self._archive.selections_of(source.uri)
            if found is not None:
                _refuse_lost_excerpts(source.uri, planned[source.uri], asked)
                _refuse_other_rule(source.uri, planned[source.uri], asked)
            is_as_read = source.uri in stands and is_same(stands[source.uri], source)
            if found is not None and not (found.is_absent and (is_as_read or is_removed(source))):
                selections[source.uri] = asked
                return self._as_planned(source, found)
            if source.uri in self._gone:
                return removed(source)
            # what this archive leaves out stays as it was, unless it has to be read and cannot be
            return source if is_as_read or is_removed(source) else self._look(source.uri) or removed(source)

        sources = [now(source) for source in shard.sources]
        if tuple(sources) == shard.sources and selections == planned:
            return shard
        return Shard.selecting(shard.kind, sources, [(uri, item) for uri, each in selections.items() for item in each])


def _sources_of(planned: PlannedShard | None) -> dict[str, Stored]:
    """Return the sources of a shard of an earlier plan, by URI."""
    has_sources = planned is not None and planned.entry.has_sources
    return {source.uri: source for source in planned.shard.sources} if planned and has_sources else {}


def _refuse_other_members(container: Shard, before: Shard) -> None:
    if before.sources == container.sources and before != container:
        raise ConfigError(
            f"{container.uri}: its rows are in this output already, from another selection of its members or under "
            f"other ids (shard {before.shard_id}, now {container.shard_id}). They would stand twice; list it as before "
            f"(docs/inputs.md#ids), or use another --output."
        )


def _refuse_lost_excerpts(uri: str, before: tuple[Selection, ...], now: tuple[Selection, ...]) -> None:
    """A list may add excerpts to those that are planned; rows of one that it leaves out would be lost."""
    if any(excerpt != WHOLE for _, excerpt in (*before, *now)) and not set(before) <= set(now):
        (name, _), *_ = sorted(set(before) - set(now))
        raise ConfigError(
            f"{uri}: {name!r} is in this output already, and is not among the excerpts that are named now: its rows "
            f"would be replaced. Name all excerpts of a recording, or use another --output."
        )


def _refuse_other_rule(uri: str, before: tuple[Selection, ...], now: tuple[Selection, ...]) -> None:
    """A list may rename a recording, but one whose ids count from another folder does so to all, and by mistake."""
    names = before[0].utterance_id, now[0].utterance_id
    was, asked = (root_of(uri, name) for name in names)
    if was is not None and asked is not None and was != asked:
        raise ConfigError(
            f"{uri}: its id in this output is {names[0]!r}, and in the list {names[1]!r}: each recording would be "
            f"there twice, once as removed. List them with {f'--input {was}' if was else '--ids absolute'}, or use "
            f"another --output."
        )
