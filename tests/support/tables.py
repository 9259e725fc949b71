"""Small tables under an output, committed as runs commit them, for tests of `verify` and `gc`."""

from __future__ import annotations

import pyarrow as pa

from detector.config import EmbedConfig, Recipe
from detector.schema import FAILURES, embeddings_schema
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Entry, Marker, Plan, PlanHistory, PlannedShard

KEY = "00112233aabbccdd"
RECIPE = Recipe(EmbedConfig(backbone="melstats"), "b", "00")
DETAIL = {"recipe": RECIPE.describe(), "model": RECIPE.model}
SLOTS = {name: f"{number:016x}" for number, name in enumerate("abc", start=1)}


def table(output: str) -> Ledger:
    return Ledger(output, "embeddings", KEY)


def plan(output: str, **states: str) -> PlanHistory:
    """Plan shards, given by name with their states."""
    entries = tuple(Entry(SLOTS[name], state) for name, state in states.items())

    def propose(history: PlanHistory) -> Plan | None:
        have = {(slot, each.entry.state) for slot, each in history.current.items()}
        new = tuple(entry for entry in entries if (entry.slot, entry.state) not in have)
        return Plan(f"2026-01-01-{len(history.plans) + 1:08x}", "2026-01-01", new, DETAIL) if new else None

    return table(output).freeze(propose)


def commit(output: str, shard: PlannedShard, n_rows: int, n_failures: int = 0) -> Marker | None:
    """Commit a shard with ``n_rows`` rows, whose ids contain its name."""
    name = next(name for name, slot in SLOTS.items() if slot == shard.slot)
    return table(output).commit(
        shard,
        name,
        {
            "failures": ("failures/run_date=2026-01-01", _failures(name, n_failures)),
            "embeddings": ("embeddings/backbone=b", _embeddings(f"{name}{shard.entry.state}", n_rows)),
        },
    )


def place(output: str, name: str, kind: str = "embeddings/backbone=b") -> str:
    """Return the URI of a shard's object."""
    return f"{output}/{kind}/{KEY}-{SLOTS[name]}.parquet"


def _embeddings(name: str, count: int) -> pa.Table:
    same = {"uri": "u", "audio_sha256": "ab", "seconds": 1.0, "native_rate": 8_000, "channels": 1, "codec": "c"}
    same |= {"decoder": "d", "rms_dbfs": -20.0, "layer": 1, "fingerprint": KEY, "run_id": "run", "embedding": [0.5]}
    return pa.Table.from_pylist(
        [{**same, "utterance_id": f"{name}#{index}"} for index in range(count)], embeddings_schema(1)
    )


def _failures(name: str, count: int) -> pa.Table:
    same = {"uri": "u", "stage": "read", "error": "empty", "message": "", "bytes": 0, "attempts": 1, "run_id": "run"}
    return pa.Table.from_pylist([{**same, "utterance_id": f"{name}!{index}"} for index in range(count)], FAILURES)
