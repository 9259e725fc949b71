"""How many objects and bytes a night leaves in each table: for docs/operations.md.

`python -m bench.capacity` commits drawn embeddings as runs do, scores them, and counts what stands under the output.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np

from tests.support import nightly_runs

FOLDERS = ("embeddings", "scores", "_commits", "_plans")


def main() -> None:
    """Print a row for each size of a shard."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--recordings", type=int, default=4_000)
    parser.add_argument("--per-shard", type=int, nargs="+", default=[1, 50, 1_000])
    asked = parser.parse_args()
    print("| recordings a shard | " + " | ".join(f"`{name}`, bytes a recording" for name in FOLDERS) + " |")
    print("| ---: |" + " ---: |" * len(FOLDERS))
    for per_shard in asked.per_shard:
        n_shards = max(1, min(asked.recordings // per_shard, 200))
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            nightly_runs.night(folder, _shards(n_shards, per_shard), pages=False)
            sizes = [_bytes_below(Path(folder, name)) for name in FOLDERS]
        sizes[0] -= 4 * nightly_runs.DIM * n_shards * per_shard  # the vectors themselves
        print(f"| {per_shard:,} | " + " | ".join(f"{size / n_shards / per_shard:,.0f}" for size in sizes) + " |")


def _shards(n_shards: int, per_shard: int) -> dict[str, list[nightly_runs.Recording]]:
    uris = [f"s3://archive/recordings/2026/11/29/source-{number:04d}.tar" for number in range(n_shards)]
    rng = np.random.default_rng(0)
    drawn = {uri: rng.normal(size=(per_shard, nightly_runs.DIM)).astype(np.float32) for uri in uris}
    return {uri: nightly_runs.recordings(vectors, uri) for uri, vectors in drawn.items()}


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
