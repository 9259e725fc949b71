"""Redaction: copies of rows, plans and run records that no longer name the recordings of an erasure request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.embedding.redo import VERSIONS
from jobs.erasure.request import ErasureRequest
from jobs.erasure.tables import TEXT_COLUMNS
from jobs.inputs.shards import Shard
from jobs.tables.canaries import REPLACES
from jobs.tables.erasures import ERASED
from jobs.tables.id_rule import ID_ROOTS
from jobs.tables.plan import AGAIN, OTHERS, PRUNE
from jobs.tables.protocol import DROPPED, Entry, Marker, Plan
from jobs.tables.repeated_ids import REPEATED

EXAMPLES = ("passed_over", "passed_over_members", REPEATED)
"""What markers and records have of files that were no recordings, with examples: one may have become one since; and of
ids that were refused."""


SAFE_DETAIL = frozenset(
    {"recipe", "model", OTHERS, ID_ROOTS, VERSIONS, "prior", "fingerprint", "head", "abandoned", "accepted", REPLACES}
)
"""Fields of the detail of plans and references that name encoders, folders and digests. Later runs need them as they
are, and anyone may call a recording like an encoder."""


def redact_texts(rows: pa.Table, request: ErasureRequest) -> pa.Table:
    """Return rows in which :data:`~jobs.tables.erasures.ERASED` replaces texts that name the recordings.

    A stranger decides what a row of another recording says: where a link led, or what a file claims of its maker.
    The same object is returned if nothing is to be replaced.
    """
    for name in TEXT_COLUMNS.intersection(rows.column_names):
        texts = pc.unique(rows[name].drop_null()).to_pylist()
        named = [each for each in texts if request.ids_in_text(each)]
        if named:
            is_named = pc.is_in(rows[name], pa.array(named, rows[name].type))
            redacted = pc.if_else(is_named, pa.scalar(ERASED, rows[name].type), rows[name])
            rows = rows.set_column(rows.column_names.index(name), rows.schema.field(name), redacted)
    return rows


def redact_plan(plan: Plan, request: ErasureRequest) -> Plan:
    """Return a plan that no longer lists the recordings."""

    def redact(entry: Entry) -> Entry:
        if not entry.has_sources:
            return entry
        shard = _redact_shard(Shard.from_content(entry.work), request)
        kept = {name: entry.work[name] for name in (DROPPED, PRUNE) if name in entry.work}
        left = {source.uri for source in shard.sources}
        if AGAIN in entry.work:
            kept[AGAIN] = [uri for uri in entry.work[AGAIN] if uri in left]
        return replace(entry, work=shard.to_content() | kept)

    entries = tuple(map(redact, plan.entries))
    detail = plan.detail | _redact_texts(texts_of(plan.detail), request)
    return replace(plan, entries=entries, detail=detail, known_seal="")


def texts_of(detail: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the detail of a plan or reference that may name recordings."""
    return {name: each for name, each in detail.items() if name not in SAFE_DETAIL}


def _redact_shard(shard: Shard, request: ErasureRequest) -> Shard:
    if shard.names is None:
        return shard
    names = tuple((place, name) for place, name in shard.names if not request.ids_of(name))
    excerpts = tuple(each for each in shard.excerpts if not request.ids_of(each[0]))
    places = {place for place, _ in names}
    sources = tuple(each for each in shard.sources if shard.kind != "files" or each.uri in places)
    return replace(shard, sources=sources, names=names, excerpts=excerpts)


def redact_marker(marker: Marker, request: ErasureRequest) -> Marker:
    """Return a marker whose label, and whose examples, no longer name the recordings."""
    uri = ERASED if request.ids_in_label(marker.uri) else marker.uri
    examples = {name: _redact_texts(marker.detail[name], request) for name in EXAMPLES if name in marker.detail}
    return replace(marker, uri=uri, detail=marker.detail | examples)


def redact_record(record: dict[str, Any], request: ErasureRequest) -> dict[str, Any]:
    """Return a run's record in which :data:`~jobs.tables.erasures.ERASED` replaces labels of the recordings."""

    def redact(labels: list[str]) -> list[str]:
        return [ERASED if request.ids_in_label(each) else each for each in labels]

    redacted = dict(record)
    if "alarms" in record:
        redacted["alarms"] = redact(record["alarms"])
    redacted |= {name: _redact_texts(record[name], request) for name in EXAMPLES if name in record}
    if "settings" in record:
        redacted["settings"] = _redact_texts(record["settings"], request)
        if record["settings"].get("input"):
            redacted["settings"]["input"] = redact(redacted["settings"]["input"])
    return redacted


def _redact_texts(value: Any, request: ErasureRequest) -> Any:
    """Return JSON values in which texts that name the recordings are replaced."""
    if isinstance(value, str):
        return ERASED if request.ids_in_setting(value) else value
    if isinstance(value, dict):
        return {key: _redact_texts(each, request) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_redact_texts(each, request) for each in value]
    return value
