"""Lists: tables whose rows name the recordings to read, with their members, ids and excerpts."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Collection
from dataclasses import dataclass

from detector.audio import WHOLE, Excerpt
from detector.decoders import MAX_CHANNELS
from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.inputs.containers import container_kind
from jobs.inputs.shards import Selection
from jobs.inputs.sources import folder_of
from jobs.inputs.table_files import FORMATS, missing_column, read_table, text_column
from jobs.inputs.utterance_ids import utterance_id

LIST_SUFFIXES = tuple(FORMATS)


@dataclass(frozen=True)
class ListEntry:
    """One row of a list.

    Parameters
    ----------
    uri : str
        The stored object.
    member : str or None
        Its member, if the object is a container and the row names one.
    given_id : str or None
        The utterance id, if the row gives one.
    where : str
        The list and the row number, for messages.
    excerpt : Excerpt
        The part of the recording that the row selects.
    root : str
        The folder that an id is relative to if the row gives none; empty for an absolute one.
    """

    uri: str
    member: str | None
    given_id: str | None
    where: str
    excerpt: Excerpt = WHOLE
    root: str = ""

    @property
    def selection(self) -> Selection:
        """The utterance that the row selects, under the id that it gives or that the contract's rule makes."""
        name = self.given_id or utterance_id(self.uri, self.member, self.excerpt, self.root)
        return Selection(name, self.excerpt)

    @property
    def is_whole_container(self) -> bool:
        """True if the row names a container without naming a member."""
        return self.member is None and container_kind(self.uri) is not None


def read_entries(uri: str, relative: bool = False) -> list[ListEntry]:
    """Read a list of recordings: a column `uri`, and any of `member`, `utterance_id`, `start`, `end` and `channel`.

    A URI without a scheme is a path, relative to the list's own folder. Start and end are in seconds; channels count
    from 0. With ``relative``, an id that a row does not give is the path below the list's folder, for what lies there.

    Raises
    ------
    SchemaError
        If the column `uri` is missing, or if a row holds an impossible value.
    """
    table = read_table(uri)
    if "uri" not in table.column_names:
        raise missing_column(uri, "uri", table.column_names)
    names = ("uri", "member", "utterance_id", "start", "end", "channel")
    columns = [text_column(table, name, uri).to_pylist() for name in names]
    root = folder_of(uri) if relative else ""
    entries = []
    for number, (place, member, name, start, end, channel) in enumerate(zip(*columns, strict=True), start=1):
        where = f"{uri} row {number}"
        if not place or "\0" in place:
            raise SchemaError(f"{uri}: row {number} has {'a zero byte in its' if place else 'no'} uri.")
        excerpt = _excerpt(start, end, channel, where)
        if "://" not in place and not posixpath.isabs(place):
            place = storage.join(posixpath.dirname(uri), place)
        entries.append(ListEntry(storage.normal(place), member, name, where, excerpt, root))
    return entries


def _excerpt(start: str | None, end: str | None, channel: str | None, where: str) -> Excerpt:
    try:
        excerpt = Excerpt(
            float(start or 0.0),
            float(end) if end else None,
            int(channel.removesuffix(".0")) if channel else None,  # tools such as pandas write 1.0 where rows are null
        )
    except ValueError as error:
        raise SchemaError(f"{where}: start {start!r}, end {end!r}, channel {channel!r}; expected numbers.") from error
    latest = math.inf if excerpt.end is None else excerpt.end
    if not (0.0 <= excerpt.start < latest and excerpt.start < math.inf) or excerpt.end == math.inf:
        raise SchemaError(f"{where}: from {start!r} to {end!r} s; expected 0 or more, and an end after the start.")
    if not 0 <= (excerpt.channel or 0) < MAX_CHANNELS:
        raise SchemaError(f"{where}: channel {channel!r}; expected 0 to {MAX_CHANNELS - 1}.")
    return excerpt


def refuse_conflicts(entries: list[ListEntry], inputs: Collection[str]) -> None:
    """Raise :class:`ConfigError` if rows of lists contradict one another or an `--input`.

    An id belongs to one recording, and a recording has one id. An object may be named whole or by its parts, but not
    both ways.
    """
    rows_of_ids: dict[str, str] = {}
    rows: dict[tuple[str, str | None, Excerpt], str] = {}
    for entry in entries:
        part = (entry.uri, entry.member, entry.excerpt)
        if entry.excerpt != WHOLE and entry.is_whole_container:
            raise ConfigError(
                f"{entry.where}: an excerpt of {entry.uri}, which is a container of many recordings; name a member."
            )
        if not entry.is_whole_container:
            name = entry.selection.utterance_id
            if name in rows_of_ids:
                raise ConfigError(
                    f"utterance id {name!r} occurs in {rows_of_ids[name]} and in {entry.where}; ids are unique."
                )
            if part in rows:
                raise ConfigError(f"{entry.uri}: {rows[part]} and {entry.where} give it two ids; keep one.")
            rows_of_ids[name] = entry.where
        rows[part] = entry.where
    for (uri, member, excerpt), where in rows.items():
        whole = rows.get((uri, None, WHOLE)) if member is not None else None
        if uri in inputs and (member is not None or excerpt != WHOLE):
            whole = "an --input"
        if whole is not None:
            first, second = sorted((where, whole))
            raise ConfigError(f"{uri}: named by {first} and by {second}, once as a whole and once in part; choose one.")
