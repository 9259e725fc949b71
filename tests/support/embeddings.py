"""Tables of embeddings with labels, as `embed` writes them, and heads that are fitted on them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from detector.config import EmbedConfig, Recipe
from detector.head import Head
from detector.schema import FAILURES, embeddings_schema
from jobs.fitting.config import FitConfig
from jobs.fitting.run import fit
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Entry, Plan, PlanHistory

LAST = Recipe(EmbedConfig(backbone="huggingface"), "tiny", "00")
NINTH = Recipe(EmbedConfig(backbone="huggingface", layer=9), "tiny", "00")
N_ROWS, DIM = 240, 6


def vectors(strength: float) -> np.ndarray:
    """Return random embeddings; those of bona fide rows lie ``strength`` higher in every dimension."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(N_ROWS, DIM)) + strength * (np.arange(N_ROWS)[:, None] % 2)).astype(np.float32)


def write(
    output: Path,
    recipe: Recipe,
    embeddings: np.ndarray,
    n_shards: int = 3,
    ids: list[str] | None = None,
    digests: list[str] | None = None,
    failures: list[dict[str, Any]] | None = None,
    windows: Sequence[np.ndarray] | None = None,
) -> None:
    """Write a table as `embed` does, in ``n_shards`` shards; even rows are spoof, odd rows bona fide.

    ``failures`` stand in every shard. ``windows`` are those of each row, of shape (n_windows, dim): 4 s, every 2 s.
    """
    table = Ledger(str(output), "embeddings", recipe.fingerprint)
    ids = ids or [f"u{number:04d}" for number in range(len(embeddings))]
    entries = tuple(Entry(f"{number:016x}", "made") for number in range(n_shards))

    def propose(history: PlanHistory) -> Plan | None:
        return None if history.plans else Plan("run", "2026-01-01", entries)

    same = {"uri": "u", "member": None, "seconds": 3.0, "native_rate": 16_000, "channels": 1}
    same |= {"codec": "c", "decoder": "d", "rms_dbfs": -20.0, "layer": -1, "run_id": "run"}
    for shard in table.freeze(propose).current.values():
        of_shard = range(int(shard.slot, 16), len(embeddings), n_shards)
        rows = [
            same
            | {"utterance_id": ids[n], "fingerprint": recipe.fingerprint, "embedding": embeddings[n].tolist()}
            | {"audio_sha256": ids[n] if digests is None else digests[n]}
            | ({} if windows is None else with_windows(windows[n]))
            for n in of_shard
        ]
        short = {
            "utterance_id": f"unlabelled-{shard.slot}",
            "audio_sha256": "00",
            "fingerprint": recipe.fingerprint,
            "embedding": None,
        }
        rows.append(same | short)
        content = pa.Table.from_pylist(rows, embeddings_schema(embeddings.shape[1]))
        detail = {"recipe": recipe.describe(), "model": recipe.model}
        failed = FAILURES.empty_table() if failures is None else pa.Table.from_pylist(failures, FAILURES)
        tables = {
            "failures": ("failures/run_date=2026-01-01", failed),
            "embeddings": ("embeddings/backbone=x", content),
        }
        table.commit(shard, shard.slot, tables, detail)


def with_windows(windows: np.ndarray) -> dict[str, Any]:
    """Return the columns of a row with windows."""
    n = len(windows)
    same = {"window_seconds": 4.0, "hop_seconds": 2.0, "seconds": 2.0 * n + 2.0, "window_levels": [-20.0] * n}
    return same | {"window_speech_shares": [1.0] * n, "window_embeddings": windows.ravel().tolist()}


def fitted(table: Path, labels: str, name: str, *others: Path, **settings: Any) -> tuple[Head, dict[str, Any]]:
    """Fit a head on one or more tables, and return it with its report."""
    output = table / f"{name}.json"
    embeddings = tuple(map(str, (table, *others)))
    fit(FitConfig(embeddings=embeddings, labels=labels, output=str(output), **settings))
    report = json.loads((table / f"{name}.report.json").read_text())
    return Head.from_json(output.read_bytes(), str(output)), report


def write_labels(path: Path) -> str:
    """Write labels for the rows of :func:`vectors`: eight systems, eight speakers and eight sources."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["utterance_id", "label", "system", "speaker", "source"])
        for number in range(N_ROWS):
            group = number // 2 % 8
            spoof = number % 2 == 0
            known = [f"sys{group}", "-"] if spoof else ["-", f"spk{group}"]
            rows.writerow([f"u{number:04d}", "spoof" if spoof else "bonafide", *known, f"{number % 2}-{group // 2}"])
    return str(path)
