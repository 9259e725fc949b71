"""Measure the query of docs/sql.md for the recordings nearest to one, by cosine similarity, on DuckDB.

    python -m bench.nearest --rows 1000000

Embeddings are drawn at random, in objects as `compact` writes them. The query is the page's own, on the views of
`bonafide sql`; its peak memory is that of the process, which holds nothing else.
"""

from __future__ import annotations

import argparse
import re
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.encoder import interval, machine
from detector.contract import SQL_PAGE
from detector.schema import embeddings_schema
from jobs.reports.sql.session import connect
from jobs.reports.sql.views import Content
from jobs.tables.parquet import parquet_bytes

JUDGED = "calls/0.tar#a.flac"  # as the page names it


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a row of the table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.nearest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512, help="of an embedding: the starter's")
    parser.add_argument("--object-rows", type=int, default=100_000, help="recordings in an object")
    parser.add_argument("--rounds", type=int, default=5)
    settings = parser.parse_args(arguments)
    (query,) = (
        each for each in re.findall(r"```sql\n(.*?)```", SQL_PAGE.read_text(), re.DOTALL) if "AS cosine" in each
    )
    with tempfile.TemporaryDirectory(prefix="bonafide-bench-") as scratch:
        write_embeddings(Path(scratch), settings.rows, settings.dim, settings.object_rows)
        connection = connect(Content(scratch, frozenset({"embeddings"}), None, [], []))
        times = []
        for _ in range(settings.rounds):
            begun = time.perf_counter()
            found = connection.execute(query).fetchall()
            times.append(time.perf_counter() - begun)
            assert len(found) == 20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(machine("cpu"), "| rows | dimensions | s | peak memory, MiB |", "| --- | --- | --- | --- |", sep="\n")
    print(f"| {settings.rows:,} | {settings.dim} | {interval(np.array(times))} | {peak:,.0f} |")
    return 0


def write_embeddings(output: Path, n_rows: int, dim: int, object_rows: int) -> None:
    """Write objects of random embeddings; one row is that of the judged recording."""
    rng = np.random.default_rng(20)
    folder = output / "embeddings" / "backbone=drawn"
    folder.mkdir(parents=True)
    for number, first in enumerate(range(0, n_rows, object_rows)):
        n = min(object_rows, n_rows - first)
        names = [f"calls/{number}.tar#{index}.flac" for index in range(n)]
        names[0] = JUDGED if number == 0 else names[0]
        vectors = pa.array(rng.standard_normal(n * dim, np.float32))
        given = {
            "utterance_id": names,
            "uri": [f"s3://calls/{number}.tar"] * n,
            "fingerprint": ["f"] * n,
            "embedding": pa.FixedSizeListArray.from_arrays(vectors, dim),
        }
        schema = embeddings_schema(dim)
        columns = [given[each.name] if each.name in given else pa.nulls(n, each.type) for each in schema]
        table = pa.table(columns, schema=pa.schema([each.with_nullable(True) for each in schema]))
        (folder / f"{number:06d}.parquet").write_bytes(parquet_bytes(table))


if __name__ == "__main__":
    sys.exit(main())
