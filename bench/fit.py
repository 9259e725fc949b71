"""Measure `fit` on tables larger than memory: peak resident memory, time, and distance from scikit-learn's optimum.

    python -m bench.fit [--rows 100000 --rows 1000000] [--dim 1024]

Draws embeddings from a known model into an embedding table as `embed` writes it, fits a head on it with a small
--memory-mib, and compares the head's weights with scikit-learn's if the table fits in memory. Changes no page of docs/.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression

from bench.processes import run
from detector.config import EmbedConfig, Recipe
from detector.schema import BONAFIDE, SPOOF, embeddings_schema
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Entry, Plan, PlanHistory

SHARD_ROWS = 10_000
MEMORY_MIB = 32
C = 0.01
RECIPE = Recipe(EmbedConfig(backbone="melstats"), "drawn", "")
Drawn = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit on tables of growing length, and print a row for each; return 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.fit", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, action="append", help="rows of a table; repeatable [default: 100000]")
    parser.add_argument("--dim", type=int, default=1_024)
    parser.add_argument("--folder", help="where the tables go: 4 KB a row of 1,024 [default: the system's]")
    known = parser.parse_args(arguments)
    for n_rows in known.rows or [100_000]:
        with tempfile.TemporaryDirectory(prefix="bonafide-bench-", dir=known.folder) as folder:
            measure(Path(folder), n_rows, known.dim)
    return 0


def measure(folder: Path, n_rows: int, dim: int) -> None:
    """Write a table and fit on it; return memory, time and distance."""
    write(folder, n_rows, dim)
    settings = ("--memory-mib", str(MEMORY_MIB), "--c", str(C), "--standardise", "--folds", "2")
    places = ("--embeddings", str(folder), "--labels", str(folder / "labels.parquet"), "--output", str(folder))
    done = run([sys.executable, "-m", "jobs", "fit", *places, *settings, "--search-rows", "2000"], {})
    head = json.loads((folder / "head.json").read_text())
    peak = max(done.peak_mb.values())
    passes, how = head["training"]["convergence"]["passes"], head["training"]["read"]
    row = f"{n_rows} x {dim}: {done.seconds:.0f} s, {passes} passes, peak {peak:.0f} MB resident, {how}"
    if n_rows <= 100_000:
        row += f"; largest difference from scikit-learn {difference(head, n_rows, dim):.1e} of the largest weight"
    print(row, flush=True)


def difference(head: dict[str, list[float]], n_rows: int, dim: int) -> float:
    """Return the largest difference of a weight from scikit-learn's, relative to the largest weight."""
    parts = [draw(start, dim) for start in range(0, n_rows, SHARD_ROWS)]
    embeddings = np.concatenate([part[0] for part in parts]).astype(np.float64)
    embeddings = (embeddings - embeddings.mean(axis=0)) / embeddings.std(axis=0)
    model = LogisticRegression(C=C, class_weight="balanced", solver="newton-cholesky", tol=1e-10)
    model.fit(embeddings, np.concatenate([part[1] for part in parts]))
    expected = model.coef_[0]
    return float(np.abs(np.array(head["weights"]) - expected).max() / np.abs(expected).max())


def draw(start: int, dim: int, n_rows: int = SHARD_ROWS) -> Drawn:
    """Draw the rows of one shard: correlated normals of different scales, labelled by a logistic model."""
    rng = np.random.default_rng([7, start])
    fixed = np.random.default_rng(7)
    mixing, scales = fixed.normal(size=(16, dim)), fixed.lognormal(size=dim)
    direction = fixed.normal(size=dim) / np.sqrt(dim)
    plain = rng.normal(size=(n_rows, dim)) + rng.normal(size=(n_rows, 16)) @ mixing / 4.0
    is_bonafide = plain @ direction + rng.logistic(size=n_rows) > 0
    return (plain * scales).astype(np.float32), is_bonafide


def write(folder: Path, n_rows: int, dim: int, recipe: Recipe = RECIPE, noise: float = 0.0) -> None:
    """Write the table as `embed` does, and its labels, with 20 speakers and 20 systems."""
    table = Ledger(str(folder), "embeddings", recipe.fingerprint)
    entries = tuple(Entry(f"{start:016x}", "drawn") for start in range(0, n_rows, SHARD_ROWS))

    def propose(history: PlanHistory) -> Plan | None:
        return None if history.plans else Plan("run", "2026-01-01", entries)

    labels = []
    for shard in table.freeze(propose).current.values():
        start = int(shard.slot, 16)
        size = min(SHARD_ROWS, n_rows - start)
        embeddings, is_bonafide = draw(start, dim, size)
        embeddings *= 1.0 + noise * np.random.default_rng(start).normal(size=embeddings.shape).astype(np.float32)
        ids = [f"u{start + number:09d}" for number in range(size)]
        schema = embeddings_schema(dim)
        same: dict[str, Any] = dict.fromkeys(schema.names)
        same |= {"uri": "u", "seconds": 3.0, "native_rate": 16_000, "channels": 1, "codec": "c", "decoder": "d"}
        same |= {"rms_dbfs": -20.0, "layer": recipe.config.layer, "run_id": "run", "fingerprint": recipe.fingerprint}
        same |= {"speech_share": 1.0, "clipped_share": 0.0, "truncated": False}
        del same["utterance_id"], same["audio_sha256"], same["embedding"]
        columns = {name: pa.array([value] * size, schema.field(name).type) for name, value in same.items()}
        digests = [hashlib.sha256(name.encode()).hexdigest() for name in ids]
        columns |= {"utterance_id": pa.array(ids), "audio_sha256": pa.array(digests)}
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(
            embeddings.ravel(), type=schema.field("embedding").type
        )
        rows = pa.table([columns[name] for name in schema.names], schema=schema)
        detail = {"recipe": recipe.describe(), "model": recipe.model}
        table.commit(shard, shard.slot, {"embeddings": (f"embeddings/backbone={recipe.slug}", rows)}, detail)
        group = np.random.default_rng(start).integers(20, size=size)
        words = np.where(is_bonafide, BONAFIDE, SPOOF)
        system = np.where(is_bonafide, "-", np.char.add("system-", group.astype(str)))
        speaker = np.where(is_bonafide, np.char.add("speaker-", group.astype(str)), "-")
        labels.append(pa.table({"utterance_id": ids, "label": words, "system": system, "speaker": speaker}))
    pq.write_table(pa.concat_tables(labels), folder / "labels.parquet")


if __name__ == "__main__":
    sys.exit(main())
