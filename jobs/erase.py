"""erase: take every row and every mention of a recording out of an output, and prove it.

Tables, markers, plans and records are rewritten in place, each by a conditional PUT, in an order that leaves no row
behind if it is broken off: the rows first, then what counts them. The same command then ends what was begun. Pages
that show the recording are removed. At the end every object under the output is read again.
"""

from __future__ import annotations

import html
import io
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detector.errors import ConfigError, SchemaError
from jobs import compacted, ledger, storage
from jobs.archive import Shard
from jobs.errors import RunAgain
from jobs.ledger import KINDS, Ledger
from jobs.progress import progress
from jobs.protocol import Entry, Marker, Plan
from jobs.sealed import seal, unseal

ERASED = "(erased)"
PART = r"(?:@[\d.]+-[\d.]*)?(?:/ch\d+)?"  # an excerpt or a channel of a recording

Json = TypeVar("Json")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Remove recordings from an output: rows, plans, records and pages, with their channels and excerpts; prove it."""

    utterance_id: Annotated[tuple[str, ...], "ids of the recordings, as the tables have them"] = field(
        metadata={"positional": True}
    )
    output: Annotated[str, "folder or prefix that holds the tables"]
    dry_run: Annotated[bool, "only say what would be removed"] = False

    def __post_init__(self) -> None:
        if not all(self.utterance_id):
            raise ConfigError("an empty utterance id; expected those of the tables.")


def run(settings: Settings) -> int:
    """Erase, read everything again, and say what was found; return the exit code.

    Raises
    ------
    ConfigError
        Where an id is nowhere in the output, or a run is not finished.
    SchemaError
        Where something of it is left.
    RunAgain
        Where another command wrote into the output meanwhile.
    """
    output = storage.normal(settings.output)
    if compacted.is_copy(output):
        first = next(iter(compacted.Copy(output).look().values()))
        raise ConfigError(f"{output}: is a copy of {first.fold.output}; erase there, then run `compact` again.")
    wanted = Wanted(settings.utterance_id)
    tables = [Ledger(output, kind, key) for kind in KINDS for key in ledger.keys(output, kind)]
    if not tables:
        raise ConfigError(f"{output}: no tables of ours here. Give the --output of a run.")
    _refuse_unfinished(tables)
    _say_copies(tables, wanted)
    if settings.dry_run:
        here, _ = traces(output, wanted)
        print("\n".join([*here, f"{len(here)} objects mention {wanted}"]))
        return 0
    n_rows = sum(_erase(table, wanted) for table in tables)
    n_pages = _erase_from_runs(output, tables, wanted)
    left, n_objects = traces(output, wanted)
    if left:
        raise SchemaError(f"{left[0]}: mentions {wanted} still, and {len(left) - 1} more objects do.")
    lost = sorted(set(wanted.ids) - wanted.seen)
    print(
        f"erased {n_rows} rows of {wanted}, and {n_pages} pages; read again: none of the {n_objects} objects under "
        f"{output} mentions it"
    )
    if lost and n_rows == wanted.n_rows:  # else what an earlier command began was ended here
        raise ConfigError(f"{output}: nothing of {', '.join(lost)} was here. Misspelt, or erased before.")
    print(
        "not reached: the recording itself (a run that finds its shard changed, another encoder or a new output embeds "
        "it again), older versions of objects in a versioned bucket, files that were exported or copied from here; "
        "a copy that `compact` keeps, until it runs again"
    )
    return 0


class Wanted:
    """Ids to erase, and which of them were met."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = tuple(dict.fromkeys(ids))
        self.seen: set[str] = set()
        self.n_rows = 0
        any_of = "|".join(map(re.escape, self.ids))
        self.rows = f"^(?:{any_of}){PART}$"
        spelt = {spelling: name for name in self.ids for spelling in _spellings(name)}
        mentions = "|".join(sorted(map(re.escape, spelt), key=len, reverse=True))
        self._mention = re.compile(rf"(?:^|://|://[^/\s\"'<>]*/|[^\w./-])({mentions})(?=\.?(?![\w.-]))")
        self._spelt = spelt

    def __str__(self) -> str:
        return self.ids[0] if len(self.ids) == 1 else f"{len(self.ids)} recordings"

    def met(self, rows: list[str]) -> None:
        """Note the ids of rows that are erased."""
        self.n_rows += sum(map(self.names, rows))

    def names(self, utterance_id: str) -> bool:
        """Whether an id is of a recording to erase, or of a part of it."""
        found = re.match(rf"({'|'.join(map(re.escape, self.ids))}){PART}$", utterance_id)
        self.seen.update(found.groups() if found else ())
        return found is not None

    def mentioned(self, text: str) -> bool:
        """Whether a text speaks of such a recording, however it is escaped."""
        found = self._mention.findall(text)
        self.seen.update(self._spelt[spelling] for spelling in found)
        return bool(found)

    def without(self, value: Json) -> Json:
        """A JSON value, with other words in the place of strings that speak of such a recording."""
        if isinstance(value, str):
            return ERASED if self.mentioned(value) else value  # type: ignore[return-value]
        if isinstance(value, dict):
            return {name: self.without(each) for name, each in value.items()}  # type: ignore[return-value]
        if isinstance(value, list | tuple):
            return type(value)(self.without(each) for each in value)
        return value


def _spellings(name: str) -> set[str]:
    """An id as it is, and in JSON, HTML and URIs."""
    return {name, json.dumps(name)[1:-1], html.escape(name), html.escape(name).replace("&#x27;", "&#39;"), quote(name)}


def _refuse_unfinished(tables: list[Ledger]) -> None:
    for table in tables:
        if left := table.book().names - table.done():
            raise ConfigError(
                f"{table.output}: {len(left)} shards of {table.name} are planned, not done, and may be in the works. "
                "Run the command that began them to its end, then erase."
            )


def _say_copies(tables: list[Ledger], wanted: Wanted) -> None:
    """Name other rows of the same audio: whoever wants a voice gone wants them gone, too."""
    for table in tables:
        if not table.name.startswith("embeddings-"):
            continue
        names: dict[str, set[str]] = {}
        for marker in table.committed():
            for batch in table.batches(marker, "embeddings", ["utterance_id", "audio_sha256"]):
                for row in batch.to_pylist():
                    names.setdefault(row["audio_sha256"], set()).add(row["utterance_id"])
        for same in names.values():
            others = sorted(name for name in same if not wanted.names(name))
            if others and len(others) < len(same):
                print(f"the same audio stands under other ids, which are not erased: {', '.join(others)}")


def _erase(table: Ledger, wanted: Wanted) -> int:
    """Take rows out of the objects of a ledger, then what its markers and plans say of them; return how many."""
    n_rows = 0
    markers = table.committed()
    with progress(f"erase from {table.name}", len(markers)) as shown:
        for marker in markers:
            n_rows += _erase_shard(table, marker, wanted)
            shown.shard(sum(marker.rows.values()))
    for uri in _of(table.output, "_plans", table.name):
        plan = Plan.from_json(storage.read_bytes(uri), uri)
        _rewrite(uri, plan.to_json(), replace(plan, entries=_entries(plan, wanted)).to_json())
    return n_rows


def _erase_shard(table: Ledger, marker: Marker, wanted: Wanted) -> int:
    """Rewrite the objects of a shard that hold such rows, and its marker; return how many it has fewer."""
    now = replace(marker, uri=wanted.without(marker.uri))
    for name, place in marker.objects.items():
        uri = storage.join(table.output, place)
        stored = storage.stat(uri)
        if stored is None:
            raise SchemaError(f"{uri}: is gone; it was committed with {marker.rows[name]} rows. `verify` says more.")
        content = storage.read_bytes(uri)
        rows = pq.read_table(io.BytesIO(content), partitioning=None)
        goes = pc.match_substring_regex(rows["utterance_id"], wanted.rows)
        if pc.any(goes).as_py():
            wanted.met(rows["utterance_id"].filter(goes).to_pylist())
            content = table.without(marker, name, rows.filter(pc.invert(goes)))
            if storage.put(uri, content, stored.etag) is not None:
                raise RunAgain(f"{uri}: was replaced meanwhile; run the same command again.")
        now = table.recounted(now, name, content)
    if now != marker:
        uri = storage.join(table.output, "_commits", table.name, f"{marker.name}.json")
        _rewrite(uri, marker.to_json(), now.to_json())
    return sum(marker.rows.values()) - sum(now.rows.values())


def _entries(plan: Plan, wanted: Wanted) -> tuple[Entry, ...]:
    """The shards of a plan, where they are listed by recording without those that are erased."""
    return tuple(
        replace(each, work=_without_sources(Shard.from_content(each.work), wanted).to_content())
        if isinstance(each.work, dict)
        else each
        for each in plan.entries
    )


def _without_sources(shard: Shard, wanted: Wanted) -> Shard:
    if shard.names is None:
        return shard
    names = tuple((place, name) for place, name in shard.names if not wanted.names(name))
    excerpts = tuple(each for each in shard.excerpts if not wanted.names(each[0]))
    places = {place for place, _ in names}
    sources = tuple(each for each in shard.sources if shard.kind != "files" or each.uri in places)
    return replace(shard, sources=sources, names=names, excerpts=excerpts)


def _erase_from_runs(output: str, tables: list[Ledger], wanted: Wanted) -> int:
    """Bring the digests of records in line with the markers, and remove pages that show such a recording."""
    known = {table.name: table for table in tables}
    n_pages = 0
    for uri in _of(output, "runs"):
        content = storage.read_bytes(uri)
        if not uri.endswith(".json"):
            if wanted.mentioned(content.decode(errors="replace")):
                log.info("removing %s: it shows what is erased", uri)
                storage.remove(uri)
                n_pages += 1
            continue
        record = unseal(content, uri)
        now = wanted.without(record)
        if record.get("table") in known:
            now |= _totals(known[record["table"]], record)
        _rewrite(uri, seal(record, indent=1), seal(now, indent=1))
    return n_pages


def _totals(table: Ledger, record: dict[str, Any]) -> dict[str, Any]:
    """Digest of a record whose plan lost rows; the counts stay: so much was done."""
    names = {shard.name for shard in table.book().of_plan(record["plan"])} & table.done()
    markers = table.markers(names)
    erased = sum(marker.detail.get("erased", 0) for marker in markers)
    whole = len(names) == record["shards"]["committed"]
    return {"erased": erased, "digest": Ledger.digest(markers)} if erased and whole else {}


def _rewrite(uri: str, before: bytes, after: bytes) -> None:
    """Put an object anew where it still is what it was read as."""
    if before == after:
        return
    stored = storage.stat(uri)
    if stored is None or storage.read_bytes(uri) != before or storage.put(uri, after, stored.etag) is not None:
        raise RunAgain(f"{uri}: was changed meanwhile; run the same command again.")


def traces(output: str, wanted: Wanted) -> tuple[list[str], int]:
    """Objects under an output that still speak of such a recording, and how many there are in all."""
    everything = [stored.uri for stored in storage.listing(output) or []]
    return [uri for uri in everything if any(map(wanted.mentioned, _texts(uri)))], len(everything)


def _texts(uri: str) -> Iterator[str]:
    """All text that an object holds."""
    content = storage.read_bytes(uri)
    if not uri.endswith(".parquet"):
        yield content.decode(errors="replace")
        return
    file = pq.ParquetFile(io.BytesIO(content))
    yield str(file.metadata.metadata)
    text = [each.name for each in file.schema_arrow if pa.types.is_string(each.type)]
    for batch in file.iter_batches(columns=text):
        for column in batch.columns:
            yield from pc.unique(column.drop_null()).to_pylist()


def _of(output: str, *folders: str) -> list[str]:
    return [stored.uri for stored in storage.listing(storage.join(output, *folders)) or []]
