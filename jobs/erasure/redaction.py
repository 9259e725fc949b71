"""Redaction: copies of plans and run records that no longer name the recordings of an erasure request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jobs.erasure.request import ERASED, ErasureRequest
from jobs.inputs.shards import Shard
from jobs.tables.plan import AGAIN, PRUNE
from jobs.tables.protocol import DROPPED, Entry, Plan


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

    return replace(plan, entries=tuple(map(redact, plan.entries)))


def _redact_shard(shard: Shard, request: ErasureRequest) -> Shard:
    if shard.names is None:
        return shard
    names = tuple((place, name) for place, name in shard.names if not request.ids_of(name))
    excerpts = tuple(each for each in shard.excerpts if not request.ids_of(each[0]))
    places = {place for place, _ in names}
    sources = tuple(each for each in shard.sources if shard.kind != "files" or each.uri in places)
    return replace(shard, sources=sources, names=names, excerpts=excerpts)


def redact_record(record: dict[str, Any], request: ErasureRequest) -> dict[str, Any]:
    """Return a run's record in which :data:`~jobs.erasure.request.ERASED` replaces labels of the recordings."""

    def redact(labels: list[str]) -> list[str]:
        return [ERASED if request.ids_in_label(each) else each for each in labels]

    redacted = dict(record)
    if "alarms" in record:
        redacted["alarms"] = redact(record["alarms"])
    if record.get("settings", {}).get("input"):
        redacted["settings"] = record["settings"] | {"input": redact(record["settings"]["input"])}
    return redacted
