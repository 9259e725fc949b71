"""Mentions: which objects of an output name the recordings of an erasure request."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detector.errors import SchemaError
from detector.schema import FAILURES, SCORES, embeddings_schema
from jobs import storage
from jobs.erasure.request import ErasureRequest
from jobs.errors import StorageError
from jobs.inputs.shards import Shard
from jobs.storage import NotFoundError
from jobs.tables.canaries import FOLDER as CANARIES
from jobs.tables.canaries import without_names
from jobs.tables.checksummed_json import load_checksummed
from jobs.tables.protocol import PLAN_NAME, Marker, Plan

ID_COLUMNS = {"utterance_id", "uri"}
SAFE_COLUMNS = {field.name for schema in (embeddings_schema(1), SCORES, FAILURES) for field in schema}
SAFE_COLUMNS -= ID_COLUMNS | {"message", "claim_generator"}
"""Columns that name no recording: they hold fixed words, numbers and digests. `member` is only a part of an id."""

UNREADABLE = (pa.ArrowException, SchemaError, OSError, KeyError, TypeError, ValueError, AttributeError)


def find_mentions(output: str, request: ErasureRequest) -> tuple[list[str], int]:
    """Read every object under an output, and list those that mention the recordings or cannot be read.

    Returns
    -------
    list of str
        An object's URI and the problem with it.
    int
        How many objects there are.
    """
    uris = [stored.uri for stored in storage.listing(output) or []]
    return [f"{uri}: {problem}" for uri in uris if (problem := problem_with(output, uri, request))], len(uris)


def problem_with(output: str, uri: str, request: ErasureRequest) -> str:
    """Say which recordings an object mentions, or why it cannot be read; return an empty text if neither holds."""
    try:
        ids = set().union(*_ids_in_object(uri.removeprefix(f"{output}/"), storage.read_bytes(uri), request))
    except NotFoundError:
        return ""  # removed since it was listed
    except StorageError:
        raise
    except UNREADABLE as error:
        return f"cannot be read, so what it mentions is not known: {' '.join(str(error).split())}"
    return f"mentions {', '.join(sorted(ids))}" if ids else ""


def _ids_in_object(name: str, content: bytes, request: ErasureRequest) -> Iterator[set[str]]:
    """Yield the requested ids that an object mentions; its name below the output says how to read it."""
    if name.endswith(".parquet"):
        yield from _ids_in_table(content, request)
    elif name.startswith("_plans/") and PLAN_NAME.search(name):
        yield ids_in_plan(Plan.from_json(content, name), request)
    elif name.startswith("_commits/") and name.endswith(".json"):
        yield request.ids_in_label(Marker.from_json(content, name).uri)
    elif name.startswith("runs/") and name.endswith(".json"):
        yield ids_in_record(load_checksummed(content, name), request)
    elif name.startswith(f"{CANARIES}/"):
        yield request.ids_in_text(without_names(content.decode(errors="replace")))
    else:
        yield request.ids_in_text(content.decode(errors="replace"))


def _ids_in_table(content: bytes, request: ErasureRequest) -> Iterator[set[str]]:
    """Yield the requested ids in a table's texts and bytes, however nested, and in its footer."""
    file = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
    schema = file.schema_arrow
    description = schema.to_string(truncate_metadata=False, show_field_metadata=True, show_schema_metadata=False)
    yield request.ids_in_text(description)
    for pair in (file.metadata.metadata or {}).items():
        yield from (request.ids_in_text(each.decode(errors="replace")) for each in pair)
    text_columns = [field.name for field in schema if field.name not in SAFE_COLUMNS and _holds_text(field.type)]
    for batch in file.iter_batches(columns=text_columns):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            ids_in = request.ids_in_label if name in ID_COLUMNS else request.ids_in_text
            yield from (ids_in(value) for array in _text_arrays(column) for value in _distinct_texts(array))


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


def _text_arrays(column: pa.Array) -> Iterator[pa.Array]:
    """Yield the arrays of text or bytes that are nested in an array."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        yield from _text_arrays(column.dictionary)
    elif isinstance(kind, pa.BaseExtensionType):
        yield from _text_arrays(column.storage)
    elif pa.types.is_map(kind):
        yield from (*_text_arrays(column.keys), *_text_arrays(column.items))
    elif pa.types.is_struct(kind):
        yield from (array for each in column.flatten() for array in _text_arrays(each))
    elif kind.num_fields:
        yield from _text_arrays(column.flatten())
    elif _is_text(kind):
        yield column


def _distinct_texts(array: pa.Array) -> Iterator[str]:
    for value in pc.unique(array.drop_null()).to_pylist():
        yield value if isinstance(value, str) else value.decode(errors="replace")


def ids_in_plan(plan: Plan, request: ErasureRequest) -> set[str]:
    """Return the requested ids that a plan names: as recordings, or as files that recordings are read from."""
    sources = (source.uri for shard in shards_of(plan) for source in shard.sources)
    return recordings_in_plan(plan, request).union(*map(request.ids_in_label, sources))


def recordings_in_plan(plan: Plan, request: ErasureRequest) -> set[str]:
    """Return the requested ids that a plan lists as recordings."""
    return set().union(*(request.ids_of(name) for shard in shards_of(plan) for _, name in shard.names or ()))


def shards_of(plan: Plan) -> Iterator[Shard]:
    """Yield the shards of an archive that a plan reads; a plan of scores has none."""
    return (Shard.from_content(each.work) for each in plan.entries if isinstance(each.work, dict))


def ids_in_record(record: dict[str, Any], request: ErasureRequest) -> set[str]:
    """Return the requested ids that a run's record names, among its inputs and the shards that raised an alarm."""
    labels = (*record.get("alarms", ()), *record.get("settings", {}).get("input", ()))
    return set().union(*map(request.ids_in_label, labels))
