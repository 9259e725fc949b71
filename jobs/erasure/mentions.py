"""Traces: what an output says of recordings, object by object; and what its plans and records say without them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detector.errors import SchemaError
from detector.schema import FAILURES, SCORES, embeddings_schema
from jobs import storage
from jobs.erasure.request import ERASED, ErasureRequest
from jobs.errors import StorageError
from jobs.inputs.shards import Shard
from jobs.storage import NotFoundError
from jobs.tables.checksummed_json import load_checksummed
from jobs.tables.protocol import PLAN_NAME, Entry, Marker, Plan

IDS = {"utterance_id", "uri"}
OURS = {field.name for schema in (embeddings_schema(1), SCORES, FAILURES) for field in schema} - IDS - {"message"}
"""Columns of words, numbers and digests of our own; and `member`, which is no more than a part of an id."""

UNREADABLE = (pa.ArrowException, SchemaError, OSError, KeyError, TypeError, ValueError, AttributeError)


def mentions(output: str, wanted: ErasureRequest) -> tuple[list[str], int]:
    """Read every object under an output: what speaks of such recordings or cannot be read, and how many there are.

    Returns
    -------
    list of str, int
        Each an object's URI, and what is the matter with it.
    """
    everything = [stored.uri for stored in storage.listing(output) or []]
    return [f"{uri}: {found}" for uri in everything if (found := erasable_text(output, uri, wanted))], len(everything)


def erasable_text(output: str, uri: str, wanted: ErasureRequest) -> str:
    """What is the matter with an object under an output; empty where nothing is."""
    try:
        found = set().union(*_spoken_of(uri.removeprefix(f"{output}/"), storage.read_bytes(uri), wanted))
    except (StorageError, NotFoundError) as error:
        if isinstance(error, NotFoundError):
            return ""  # it went since it was listed
        raise
    except UNREADABLE as error:
        return f"cannot be read, so what it says is not known: {' '.join(str(error).split())}"
    return f"mentions {', '.join(sorted(found))}" if found else ""


def _spoken_of(name: str, content: bytes, wanted: ErasureRequest) -> Iterator[set[str]]:
    """Recordings that an object speaks of, by its name below the output."""
    if name.endswith(".parquet"):
        yield from _in_table(content, wanted)
    elif name.startswith("_plans/") and PLAN_NAME.search(name):
        yield in_plan(Plan.from_json(content, name), wanted)
    elif name.startswith("_commits/") and name.endswith(".json"):
        yield wanted.labelled(Marker.from_json(content, name).uri)
    elif name.startswith("runs/") and name.endswith(".json"):
        yield in_record(load_checksummed(content, name), wanted)
    else:
        yield wanted.spoken_of(content.decode(errors="replace"))


def _in_table(content: bytes, wanted: ErasureRequest) -> Iterator[set[str]]:
    """Of every text and every bytes in a table, however nested; and of its footer."""
    file = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
    schema = file.schema_arrow
    about = schema.to_string(truncate_metadata=False, show_field_metadata=True, show_schema_metadata=False)
    yield wanted.spoken_of(about)
    for pair in (file.metadata.metadata or {}).items():
        yield from (wanted.spoken_of(each.decode(errors="replace")) for each in pair)
    text = [field.name for field in schema if field.name not in OURS and _holds_text(field.type)]
    for batch in file.iter_batches(columns=text):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            speaks = wanted.labelled if name in IDS else wanted.spoken_of
            yield from (speaks(value) for leaf in _leaves(column) for value in _values(leaf))


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_text(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _holds_text(kind.storage_type)
    if kind.num_fields:
        return any(_holds_text(kind.field(number).type) for number in range(kind.num_fields))
    return _is_text(kind)


def _is_text(kind: pa.DataType) -> bool:
    tests = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "fixed_size_binary")
    return any(getattr(pa.types, f"is_{test}")(kind) for test in tests)


def _leaves(column: pa.Array) -> Iterator[pa.Array]:
    """Arrays of text or bytes inside of an array."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        yield from _leaves(column.dictionary)
    elif isinstance(kind, pa.BaseExtensionType):
        yield from _leaves(column.storage)
    elif pa.types.is_map(kind):
        yield from (*_leaves(column.keys), *_leaves(column.items))
    elif pa.types.is_struct(kind):
        yield from (leaf for each in column.flatten() for leaf in _leaves(each))
    elif kind.num_fields:
        yield from _leaves(column.flatten())
    elif _is_text(kind):
        yield column


def _values(leaf: pa.Array) -> Iterator[str]:
    for value in pc.unique(leaf.drop_null()).to_pylist():
        yield value if isinstance(value, str) else value.decode(errors="replace")


def in_plan(plan: Plan, wanted: ErasureRequest) -> set[str]:
    """Those that a plan speaks of: as what is to be read, or as where it is read from."""
    shards = list(shards_of(plan))
    return picked(plan, wanted).union(*(wanted.labelled(source.uri) for each in shards for source in each.sources))


def picked(plan: Plan, wanted: ErasureRequest) -> set[str]:
    """Those that a plan lists as recordings."""
    return set().union(*(wanted.of(name) for each in shards_of(plan) for _, name in each.names or ()))


def shards_of(plan: Plan) -> Iterator[Shard]:
    """What a plan reads from an archive; a plan of scores reads nothing."""
    return (Shard.from_content(each.work) for each in plan.entries if isinstance(each.work, dict))


def plan_without(plan: Plan, wanted: ErasureRequest) -> Plan:
    """A plan that no longer lists such recordings."""

    def without(entry: Entry) -> Entry:
        if not isinstance(entry.work, dict):
            return entry
        return replace(entry, work=_without_sources(Shard.from_content(entry.work), wanted).to_content())

    return replace(plan, entries=tuple(map(without, plan.entries)))


def _without_sources(shard: Shard, wanted: ErasureRequest) -> Shard:
    if shard.names is None:
        return shard
    names = tuple((place, name) for place, name in shard.names if not wanted.of(name))
    excerpts = tuple(each for each in shard.excerpts if not wanted.of(each[0]))
    places = {place for place, _ in names}
    sources = tuple(each for each in shard.sources if shard.kind != "files" or each.uri in places)
    return replace(shard, sources=sources, names=names, excerpts=excerpts)


def in_record(record: dict[str, Any], wanted: ErasureRequest) -> set[str]:
    """Those that a run's record speaks of: it names what was given to it, and shards that gave an alarm."""
    labels = (*record.get("alarms", ()), *record.get("settings", {}).get("input", ()))
    return set().union(*map(wanted.labelled, labels))


def record_without(record: dict[str, Any], wanted: ErasureRequest) -> dict[str, Any]:
    """A record in which other words stand in the place of labels that speak of such recordings."""

    def without(labels: list[str]) -> list[str]:
        return [ERASED if wanted.labelled(each) else each for each in labels]

    now = dict(record)
    if "alarms" in record:
        now["alarms"] = without(record["alarms"])
    if record.get("settings", {}).get("input"):
        now["settings"] = record["settings"] | {"input": without(record["settings"]["input"])}
    return now
