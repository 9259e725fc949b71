"""Archive: the stored objects that `--input` names, and the shards that they are read in.

```
--input s3://archive/2026/   ─►  0001.tar ──► one shard          (a container is a shard)
                                 0002.zip ──► one shard
                                 a.flac ┐
                                 b.wav  ├──► one shard            (loose files share one)
                                 ...    ┘
```
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.errors import SourceChangedError
from jobs.inputs.arguments import (
    had_any,
    is_pattern,
    is_unclear,
    listing_of,
    means_others,
    object_called,
    overlap,
    root_of,
)
from jobs.inputs.config import InputConfig
from jobs.inputs.containers import CONTAINERS, container_kind, parquet
from jobs.inputs.contents import Contents
from jobs.inputs.existence import look_up
from jobs.inputs.lists import LIST_SUFFIXES, ListEntry, read_entries, refuse_conflicts
from jobs.inputs.passed_over import PassedOver
from jobs.inputs.places import Place
from jobs.inputs.shards import FOLDER, SHARED, Selection, Shard, group_files
from jobs.inputs.sources import folder_of
from jobs.inputs.suffixes import kind_of_name
from jobs.inputs.utterance_ids import utterance_id
from jobs.storage import Links, Listing, Stored

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """All containers and loose files that the settings name, sorted, each object once."""

    containers: tuple[Shard, ...]
    files: tuple[Stored, ...]
    selections: dict[str, tuple[Selection, ...]]
    """What to read of loose files, by URI, for files that a list names."""
    folders: tuple[Shard, ...] = ()
    """Folders that may not be listed: each a shard that is one row of failures."""
    roots: tuple[str, ...] = ()
    """Local folders that were listed."""
    places: tuple[Place, ...] = ()
    """What was listed: a source in one of them that was not found is gone, or was passed over."""
    links: dict[str, Links] = field(default_factory=dict)
    """Links that were passed over, by reason."""
    passed_over: PassedOver = field(default_factory=PassedOver)
    """Objects that are neither recordings nor containers."""
    id_roots: dict[str, str] | None = None
    """The folder that the id of an object is relative to, by its URI; None if ids are absolute."""

    def selections_of(self, uri: str) -> tuple[Selection, ...]:
        """Return what to read of a loose file: all of it, unless a list says otherwise."""
        root = (self.id_roots or {}).get(uri, "")
        return self.selections.get(uri, (Selection(utterance_id(uri, None, root=root)),))

    def ids(self) -> Iterator[tuple[str, str]]:
        """Yield (URI, id) of each recording; the id of a container stands for those of members that no list names."""
        for shard in self.containers:
            yield from shard.ids()
        for file in self.files:
            yield from ((file.uri, item.utterance_id) for item in self.selections_of(file.uri))

    def keeping_ids(self, planned: Iterable[Shard]) -> Archive:
        """Return the archive with the relative ids that recordings have in a plan, from whichever input these came.

        The next run of an output may name a folder above the one before, or a single file: ids stay.
        """
        found = self.id_roots
        if found is None:
            return self
        heard = (shard for shard in planned if shard.kind != SHARED)  # of the others, no row has the id
        roots = found | {uri: root for shard in heard for uri, root in shard.id_roots() if uri in found}

        def kept(shard: Shard) -> Shard:
            return replace(shard, root=roots.get(shard.uri, shard.root))

        def kept_selection(uri: str, item: Selection) -> Selection:
            was, now = (utterance_id(uri, None, item.excerpt, each[uri]) for each in (found, roots))
            return item._replace(utterance_id=now) if item.utterance_id == was else item  # a list may state ids

        return replace(
            self,
            containers=tuple(map(kept, self.containers)),
            folders=tuple(map(kept, self.folders)),
            selections={
                uri: tuple(kept_selection(uri, item) for item in items) for uri, items in self.selections.items()
            },
            id_roots=roots,
        )

    def walks(self, folder: str) -> bool:
        """Return True for a local folder that would have been listed if it were there, and might be."""
        return any(place.walks(folder) for place in self.places)

    def place_of(self, uri: str) -> Place | None:
        """Return the place whose listing would have found an object of this name, the longest if there are several."""
        places = (each for each in self.places if each.covers(uri))
        return max(places, key=lambda each: len(each.uri), default=None)

    def shards(self) -> list[Shard]:
        """Return the shards of the whole archive that hold recordings, regardless of earlier plans."""
        return [*self.containers, *group_files(self.files, self.selections_of)]


class Taken(Protocol):
    """Takes objects out of a listing that has many: see :class:`jobs.tables.instalments.Instalments`."""

    passed_over: PassedOver

    @property
    def has_any(self) -> bool:
        """True if it has taken recordings."""

    def thinned(self, kept: list[Stored], root: str) -> list[Stored]:
        """Return what the listing of a folder goes on with."""


def find(
    config: InputConfig,
    contents: Contents | None = None,
    before: Iterable[str] = (),
    *,
    relative: bool = False,
    leave_out: Callable[[Stored], bool] | None = None,
    taken: Taken | None = None,
) -> Archive:
    """List the stored objects that ``config`` names; two of them may have one id.

    Parameters
    ----------
    config : InputConfig
    contents : Contents, optional
        Knows objects whose suffix does not say what they are, and is told of those that are looked at.
    before : iterable of str
        URIs of sources that earlier runs found. A place that had some may be empty now. It may be read several times.
    relative : bool
        Ids are relative to the input that a recording was found in, the outermost if there are several.
    leave_out : callable, optional
        True for objects of listings that the archive is to be without; it is asked for each of them.
    taken : Taken, optional
        Takes further objects, many at a time, if no input lies in another one.

    Raises
    ------
    ConfigError
        If an input does not exist, or if there is no audio at all.
    SchemaError
        If a list or a Parquet file cannot be read as one.
    """
    search = _Search(config, contents or Contents(), before, relative=relative)
    thinned = taken.thinned if taken is not None and not overlap(config.input) else None
    for uri in map(storage.normal, config.input):
        search.look(uri, leave_out, thinned)
    if config.manifest is not None:
        search.read_list(storage.normal(config.manifest))
    return search.archive(taken)


class _Search:
    """Looks at one input after the other, and gathers what they name."""

    def __init__(self, config: InputConfig, contents: Contents, before: Iterable[str], *, relative: bool) -> None:
        self._config, self._contents, self._before, self._relative = config, contents, before, relative
        self._containers: dict[str, Shard] = {}
        self._files: dict[str, Stored] = {}
        self._entries: list[ListEntry] = []
        self._listings: list[Listing] = []
        self._places: list[Place] = []
        self._below: dict[str, Stored] = {}
        self._roots: dict[str, str] = {}

    def look(
        self,
        uri: str,
        leave_out: Callable[[Stored], bool] | None,
        thinned: Callable[[list[Stored], str], list[Stored]] | None,
    ) -> None:
        """Take what an `--input` names: a list, an object, or what is below a prefix or matches a pattern."""
        follow = self._config.follow_links
        called = object_called(uri)
        named = None if called is None or means_others(uri, follow) else called
        is_list = not _has_recordings(named) if named else not is_pattern(uri)
        if is_list and uri.lower().endswith(LIST_SUFFIXES):
            self.read_list(uri)
        elif named:
            self._take_named(uri, named)
        else:
            self._take_listing(uri, *listing_of(uri, called, follow, self._before, leave_out, thinned))

    def read_list(self, uri: str) -> None:
        self._entries += read_entries(uri, self._relative)

    def _take_named(self, uri: str, named: Stored) -> None:
        with storage.opened(named):
            pass  # what is named itself and may not be read ends the run: it is no exception of many
        self._note_root(uri, folder_of(uri))
        if not self._is_container(named):
            self._files[named.uri] = named  # it may have any suffix

    def _take_listing(self, uri: str, place: Place, listing: Listing) -> None:
        self._places.append(place)
        self._listings.append(listing)
        self._below |= {stored.uri: stored for stored in listing.objects}
        for found in (*(stored.uri for stored in listing.objects), *listing.denied):
            self._note_root(found, root_of(uri, found))
        for stored in _without_tables(listing.objects, self._before, self._contents):
            if not self._is_container(stored) and kind_of_name(stored.uri) == "audio":
                self._files[stored.uri] = stored

    def _note_root(self, found: str, root: str) -> None:
        self._roots[found] = min(root, self._roots.get(found, root), key=len)

    def _is_container(self, stored: Stored) -> bool:
        """Return True for a container, which is a shard of its own."""
        kind = container_kind(stored.uri)
        if kind is not None:
            self._containers[stored.uri] = Shard(kind, (stored,))
        return kind is not None

    def archive(self, taken: Taken | None) -> Archive:
        """Return what was found; raise if that is nothing."""
        containers, files = self._containers, self._files
        unclear = [each for uri, each in self._below.items() if uri not in files and is_unclear(uri)]
        files |= {stored.uri: stored for stored in self._contents.recordings(unclear)}
        selections = _add_listed(self._entries, containers, files, self._config.missing)
        roots = {entry.uri: entry.root for entry in self._entries} | self._roots if self._relative else {}
        denied = sorted({uri for listing in self._listings for uri in listing.denied})
        links = _links_of(self._listings)
        passed_over = self._passed_over(taken, links)
        if not containers and not files and not denied and not self._may_be_empty(taken):
            raise self._no_audio(passed_over)
        return Archive(
            tuple(replace(containers[uri], root=roots.get(uri, "")) for uri in sorted(containers)),
            tuple(sorted(files.values())),
            selections,
            tuple(Shard(FOLDER, (Stored(uri, 0, storage.DENIED),), root=roots.get(uri, "")) for uri in denied),
            tuple(listing.root for listing in self._listings if listing.root),
            tuple(self._places),
            links,
            passed_over,
            {uri: roots[uri] for uri in (*files, *containers, *denied)} if self._relative else None,
        )

    def _passed_over(self, taken: Taken | None, links: dict[str, Links]) -> PassedOver:
        passed_over = PassedOver(taken.passed_over.to_content() if taken else None)
        for uri in sorted(self._below.keys() - self._files.keys() - self._containers.keys()):
            passed_over.add(storage.key_of(uri))
        passed_over.add_links(links)
        return passed_over

    def _may_be_empty(self, taken: Taken | None) -> bool:
        """Return True if there were recordings that are known, or taken, or gone since an earlier run."""
        is_left_out = any(listing.n_left_out for listing in self._listings)
        return is_left_out or bool(taken and taken.has_any) or any(had_any(each, self._before) for each in self._places)

    def _no_audio(self, passed_over: PassedOver) -> ConfigError:
        where = self._config.manifest or ", ".join(self._config.input)
        suffixes = " ".join(suffix for each in CONTAINERS.values() for suffix in each.suffixes)
        return ConfigError(
            f"{where}: no audio found. Expected {suffixes}, or recordings such as .wav, .flac and .mp3; found "
            f"{passed_over or 'nothing'}."
        )


def names_lists(config: InputConfig) -> bool:
    """Return True if the settings may name a list, which says what to read of objects."""
    return config.manifest is not None or any(uri.lower().endswith(LIST_SUFFIXES) for uri in config.input)


def _has_recordings(stored: Stored) -> bool:
    """Return True if an object with the suffix of a list is a Parquet file of recordings."""
    if container_kind(stored.uri) != "parquet":
        return False
    content = parquet.content_of(stored)
    if content.kind is None:
        raise SchemaError(
            f"{stored.uri}: neither recordings nor a list of them. Expected a column of bytes, such as `audio`, or a "
            f"column `uri`; found {content.unread or 'a table of our own'}."
        )
    return content.kind == "audio"


def _without_tables(objects: list[Stored], before: Iterable[str], contents: Contents) -> list[Stored]:
    """Drop Parquet files without recordings: lists, labels, and the product's own tables.

    A file that cannot or may not be read, or that changes meanwhile, stays in, so that it becomes a row of failures. So
    does one that had recordings before: their rows must not stand as if it had them still. Those of other columns are
    told of by the run that sees them first.
    """
    unread: list[tuple[str, str]] = []

    def has_recordings(stored: Stored) -> bool:
        try:
            content = parquet.content_of(stored)
        except (SchemaError, storage.RefusedError, SourceChangedError):
            return True
        if content.unread:
            unread.append((stored.uri, content.unread))
        return content.kind == "audio"

    tables = [each for each in objects if container_kind(each.uri) == "parquet" and each.uri not in before]
    others = set(tables).difference(contents.told_apart(tables, has_recordings))
    if unread:
        log.warning(
            "passed over %d Parquet files without recordings that can be read; the first is %s, with the columns %s",
            *(len(unread), *min(unread)),
        )
    return [stored for stored in objects if stored not in others] if others else objects


def _links_of(listings: Iterable[Listing]) -> dict[str, Links]:
    """Return the links that any of the listings passed over, by reason."""
    links: dict[str, Links] = {}
    for reason, each in (pair for listing in listings for pair in listing.links.items()):
        before = links.get(reason, Links(0, each.first))
        links[reason] = before._replace(n=before.n + each.n)
    return links


def _add_listed(
    entries: list[ListEntry], containers: dict[str, Shard], files: dict[str, Stored], missing: str
) -> dict[str, tuple[Selection, ...]]:
    """Add the objects that lists name to ``containers`` and ``files``; return what to read of loose files."""
    refuse_conflicts(entries, {**containers, **files})
    of_files: dict[str, tuple[Selection, ...]] = {}
    of_members: dict[str, list[tuple[str, Selection]]] = {}
    for entry in entries:
        if entry.member is not None:
            of_members.setdefault(entry.uri, []).append((entry.member, entry.selection))
        elif not entry.is_whole_container:
            of_files[entry.uri] = (*of_files.get(entry.uri, ()), entry.selection)
    others = [entry for entry in entries if entry.uri not in containers and entry.uri not in files]
    for uri, stored in look_up(others, missing).items():
        if uri in of_files:
            files[uri] = stored
        else:
            containers[uri] = _listed_container(stored, of_members.get(uri))
    return {uri: tuple(sorted(each, key=lambda item: item.utterance_id)) for uri, each in of_files.items()}


def _listed_container(stored: Stored, members: list[tuple[str, Selection]] | None) -> Shard:
    """Return the shard of a container that a list names, whole (None) or by its members."""
    kind = container_kind(stored.uri) or "tar"  # a list may name members of a tar without a suffix
    if members is None:
        return Shard(kind, (stored,))
    in_order = sorted(members, key=lambda each: (each[0], each[1].utterance_id))
    return Shard.selecting(kind, (stored,), in_order)
