"""Comparison: a shard as it was planned, beside the archive as it is now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from detector.audio import WHOLE
from detector.errors import ConfigError
from jobs.inputs.archive import Archive
from jobs.inputs.existence import HIDDEN
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
    moved : dict of str to dict
        By slot: where sources lie now that were planned at another place, by that place.
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
        self._containers = {(each.kind, each.uri): each for each in archive.containers}
        self.loose = {stored.uri: stored for stored in archive.files}
        self.touched: list[str] = []
        self.moved: dict[str, dict[str, str]] = {}
        self._archive, self._before, self._committed, self._gone, self._look = archive, before, committed, gone, look

    @property
    def containers(self) -> list[Shard]:
        """Those that no planned shard was."""
        return list(self._containers.values())

    def now(self, slot: str, before: Shard, shard: Shard) -> tuple[Shard, list[str]]:
        """Return a container or group as it is now, and the URIs of its sources that the archive has.

        Parameters
        ----------
        slot : str
        before, shard : Shard
            As it was planned; and the same where its sources lie now, if they were moved.
        """
        if shard.kind != "files":
            found = self._containers.pop((shard.kind, shard.uri), None)
            found = found and replace(found, number=before.number)
            return self._container_now(slot, before, shard, found), [shard.uri] if found else []
        here = [source.uri for source in shard.sources if source.uri in self.loose]
        is_lost = slot in self._before and any(source.uri in self._gone for source in shard.sources)
        now = self._group_now(slot, before, shard) if here or is_lost else before
        for uri in here:
            del self.loose[uri]
        return now, here

    def _container_now(self, slot: str, before: Shard, shard: Shard, found: Shard | None) -> Shard:
        (was,), (source,) = before.sources, shard.sources
        if found is not None and not found.sources[0].is_absent:
            found = replace(found, sources=(self._as_planned(source, found.sources[0]),))
            _refuse_other_members(found, shard)
            if was.uri != source.uri:
                _refuse_other_id(was.uri, source.uri, before.id_of(None), found.id_of(None))
                self.moved[slot] = {was.uri: source.uri}
            return found
        if source.uri in self._gone and slot in self._before:
            return replace(before, sources=(removed(was),))
        return before if found is None or slot in self._committed or is_removed(was) else found

    def _as_planned(self, planned: Stored, found: Stored) -> Stored:
        """Return a source with the tag that it was planned with, if it still is as it was then."""
        if is_same(planned, found):
            return planned
        if without_ctime(planned) == without_ctime(found):
            self.touched.append(found.uri)
        return found

    def _group_now(self, slot: str, before: Shard, shard: Shard) -> Shard:
        planned = before.selections() or {}
        stands = _sources_of(self._before.get(slot))  # those whose rows are committed
        selections: dict[str, tuple[Selection, ...]] = {}
        moved: dict[str, str] = {}

        def now(was: Stored, source: Stored) -> Stored:
            found = self.loose.get(source.uri)
            if found is not None:
                asked = self._archive.selections_of(source.uri)
                self._refuse_other_names(was.uri, source.uri, planned[was.uri], asked)
            is_as_read = was.uri in stands and is_same(stands[was.uri], was)
            if found is not None and not (found.is_absent and (is_as_read or is_removed(was))):
                selections[source.uri] = asked
                moved.update({was.uri: source.uri} if was.uri != source.uri else {})
                return self._as_planned(source, found)
            selections.update({was.uri: planned[was.uri]} if was.uri in planned else {})
            if source.uri in self._gone:
                return removed(was)
            # what this archive leaves out stays as it was, unless it has to be read and cannot be
            if is_as_read or is_removed(was):
                return was
            left_out = self._look(was.uri)
            return removed(was) if left_out is None or left_out.etag == HIDDEN else left_out

        sources = [now(was, source) for was, source in zip(before.sources, shard.sources, strict=True)]
        if moved:
            self.moved[slot] = moved
        if tuple(sources) == before.sources and selections == planned:
            return before
        named = [(uri, item) for uri, each in selections.items() for item in each]
        return replace(Shard.selecting(shard.kind, sources, named), number=before.number)

    def _refuse_other_names(
        self, was: str, uri: str, before: tuple[Selection, ...], now: tuple[Selection, ...]
    ) -> None:
        _refuse_lost_excerpts(uri, before, now)
        _refuse_other_rule(uri, before, now)
        if was != uri and uri not in self._archive.selections:  # else a list states its id
            _refuse_other_id(was, uri, before[0].utterance_id, now[0].utterance_id)


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


def _refuse_other_id(was: str, uri: str, before: str, now: str) -> None:
    if before != now:
        raise ConfigError(
            f"{was}: its id in this output is {before!r}, and {uri} would be {now!r}, another recording. An archive "
            f"keeps its ids where it is moved as a whole, and what ids count is not renamed. Leave out --moved: what "
            f"has another id is new (docs/operations.md#move-the-archive)."
        )
