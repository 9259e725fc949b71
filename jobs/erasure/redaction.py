"""Redaction: copies of rows, plans and run records that no longer name the recordings of an erasure request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.embedding.redo import REDO
from jobs.erasure.request import ErasureRequest
from jobs.erasure.tables import TEXT_COLUMNS
from jobs.inputs.containers.tar import BREAKS_OFF
from jobs.inputs.id_spelling import spelt_in_id
from jobs.inputs.passed_over import OTHERS, PassedOver
from jobs.inputs.shards import FOLDER, SHARED, Shard
from jobs.inputs.suffixes import is_common
from jobs.tables.erasures import NAMES_IN_SETTINGS, is_stand_in
from jobs.tables.moves import MOVED
from jobs.tables.plan import AGAIN, PRUNE
from jobs.tables.protocol import DROPPED, Entry, Marker, Plan
from jobs.tables.repeated_ids import REPEATED, UNHEARD

EXAMPLES = ("passed_over", "passed_over_members", REPEATED, UNHEARD)
"""What markers and records have of files that were no recordings, with examples: one may have become one since; and of
ids that were refused."""

NEIGHBOUR = rf"(?s){BREAKS_OFF}|, to .*; links are not followed|^its header is broken: File name in "
"""Messages that name another member of the container, in one of many spellings; versions until 2026-12-01 wrote the
last two."""

TOLD = (REDO, MOVED)
"""What the detail of a plan has of what its run was told, which may be a recording. All other fields name encoders,
folders and digests, which later runs need as they are; and anyone may call a recording like one of these."""


def redact_texts(rows: pa.Table, request: ErasureRequest) -> pa.Table:
    """Return rows in which texts that name the recordings are replaced by :attr:`ErasureRequest.stand_in`.

    A stranger decides what a row of another recording says: where a link led, or what a file claims of its maker.
    The same object is returned if nothing is to be replaced.
    """
    for name in TEXT_COLUMNS.intersection(rows.column_names):
        texts = pc.unique(rows[name].drop_null()).to_pylist()
        named = [each for each in texts if request.ids_in_text(each)]
        rows = _replaced(rows, name, name, named, request)
    if {"message", "utterance_id", "uri"} <= set(rows.column_names):
        rows = _redact_neighbours(rows, request)
    return rows


def _redact_neighbours(rows: pa.Table, request: ErasureRequest) -> pa.Table:
    """Return rows without messages that may name another member of their container, which is erased."""
    telling = rows.filter(pc.match_substring_regex(rows["message"], NEIGHBOUR))
    places = zip(telling["utterance_id"].to_pylist(), telling["uri"].to_pylist(), strict=True)
    beside = [utterance_id for utterance_id, uri in places if request.is_beside(utterance_id, uri)]
    return _replaced(rows, "message", "utterance_id", beside, request)


def _replaced(rows: pa.Table, name: str, by: str, values: list[str], request: ErasureRequest) -> pa.Table:
    """Return rows with the stand-in for the texts of a column where the column ``by`` has one of these values."""
    if not values:
        return rows
    field = rows.schema.field(name)
    is_named = pc.is_in(rows[by], pa.array(values, rows[by].type))
    redacted = pc.if_else(is_named, pa.scalar(request.stand_in, field.type), rows[name])
    return rows.set_column(rows.column_names.index(name), field, redacted)


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
        if MOVED in entry.work:
            kept[MOVED] = {old: new for old, new in entry.work[MOVED].items() if new in left}
        return replace(entry, work=shard.to_content() | kept)

    entries = tuple(map(redact, plan.entries))
    detail = plan.detail | {name: _redact_texts(plan.detail[name], request) for name in TOLD if name in plan.detail}
    return replace(plan, entries=entries, detail=detail, known_seal="")


def _redact_shard(shard: Shard, request: ErasureRequest) -> Shard:
    if _is_folder_of(shard, request):
        return replace(shard, sources=(), names=())
    if shard.names is None:
        return shard
    if shard.kind == SHARED:
        return _redact_apart(shard, request)
    container = None if shard.kind == "files" else shard.sources[0].uri
    names = tuple(
        (place, name)
        for place, name in shard.names
        if not request.ids_of(name) and not request.has_place(container or place, place if container else None)
    )
    left = {name for _, name in names}
    excerpts = tuple(each for each in shard.excerpts if each[0] in left)
    places = {place for place, _ in names}
    sources = tuple(each for each in shard.sources if shard.kind != "files" or each.uri in places)
    return replace(shard, sources=sources, names=names, excerpts=excerpts)


def _is_folder_of(shard: Shard, request: ErasureRequest) -> bool:
    """Return True for a folder that could not be listed, and had a requested id: nothing was ever read from it."""
    return shard.kind == FOLDER and bool(shard.sources) and bool(request.ids_of(shard.id_of(None)))


def _redact_apart(shard: Shard, request: ErasureRequest) -> Shard:
    """Return a source that is not heard for its id without its name, if it or the one that has the id is erased.

    It may have been heard later, under the id that it was not heard for.
    """
    is_own = any(request.ids_of(name) for _, name in shard.names or ())
    if is_own or ids_of_apart(shard, request) or ids_of_other(shard, request):
        return replace(shard, sources=(), names=())
    return shard


def ids_of_apart(shard: Shard, request: ErasureRequest) -> set[str]:
    """Return the requested ids of a source that was not heard for its id, and was later."""
    return set().union(*(request.ids_of_heard(each.uri) for each in shard.sources)) if shard.kind == SHARED else set()


def ids_of_other(shard: Shard, request: ErasureRequest) -> set[str]:
    """Return the requested ids of the source that has, or would have, the id of one that is not heard for it."""
    others = {place for place, _ in shard.names or () if shard.kind == SHARED and not is_stand_in(place)}
    names = {*map(spelt_in_id, others), *([shard.id_of(None)] if others else ())}
    return set().union(*map(request.ids_of, names))


def _redact_examples(name: str, value: Any, request: ErasureRequest) -> Any:
    """Return one of :data:`EXAMPLES` without the recordings, and without what only a part of their names says."""
    redacted = _redact_texts(value, request)
    if redacted == value or name == REPEATED:
        return redacted
    if name == UNHEARD:  # the id is the end of both files' names
        return value | {"first": dict.fromkeys(value["first"], request.stand_in)}
    counts = PassedOver()
    for suffix, found in redacted.items():
        counts.merge({OTHERS if found != value[suffix] and not is_common(suffix) else suffix: found})
    return counts.to_content()


def redact_marker(marker: Marker, request: ErasureRequest) -> Marker:
    """Return a marker whose label, and whose examples, no longer name the recordings."""
    uri = request.stand_in if request.ids_in_label(marker.uri) else marker.uri
    detail = marker.detail
    examples = {name: _redact_examples(name, detail[name], request) for name in EXAMPLES if name in detail}
    return replace(marker, uri=uri, detail=detail | examples)


def redact_record(record: dict[str, Any], request: ErasureRequest) -> dict[str, Any]:
    """Return a run's record in which labels of the recordings are replaced by :attr:`ErasureRequest.stand_in`."""

    def redact(labels: list[str]) -> list[str]:
        return [request.stand_in if request.ids_in_label(each) else each for each in labels]

    redacted = dict(record)
    if "alarms" in record:
        redacted["alarms"] = redact(record["alarms"])
    redacted |= {name: _redact_examples(name, record[name], request) for name in EXAMPLES if name in record}
    if "settings" in record:
        settings = record["settings"]
        told = {name: _redact_texts(settings[name], request) for name in NAMES_IN_SETTINGS if name in settings}
        redacted["settings"] = settings | told
    return redacted


def _redact_texts(value: Any, request: ErasureRequest) -> Any:
    """Return JSON values in which texts that name the recordings are replaced."""
    if isinstance(value, str):
        return request.stand_in if request.ids_in_setting(value) else value
    if isinstance(value, dict):
        return {key: _redact_texts(each, request) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_redact_texts(each, request) for each in value]
    return value
