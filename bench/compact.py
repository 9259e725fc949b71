"""Measure what a compacted copy costs and saves: compact small objects, then run the same query on both.

python -m bench.compact

An output of many small shards is committed as runs do, on a local disk and on a real S3 server on loopback. The command
that users call compacts it, in a process of its own whose peak memory is measured. Then other engines run one query
over `scores` and one over `embeddings`, in turn on the small objects and on the copy.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import polars
import pyarrow as pa

from bench.encoder import interval, machine
from bench.processes import Measured, run
from detector.schema import FAILURES, SCORES, embeddings_schema
from jobs import storage
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Entry, Plan, PlanHistory, PlannedShard
from tests.support.seaweedfs import s3_server

FINGERPRINT, HEAD = "f" * 16, "a" * 16
DATE = "2026-11-22"
WRITERS = 16
SCANS = {
    "scores": ("SELECT count(*), avg(score), max(entropy_bits) FROM {}", ("score", "entropy_bits")),
    "embeddings": ("SELECT count(*), avg(seconds), count(DISTINCT audio_sha256) FROM {}", ("seconds", "audio_sha256")),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.compact", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=5_000, help="shards, each with an object a table")
    parser.add_argument("--rows", type=int, default=20, help="recordings in a shard")
    parser.add_argument("--dim", type=int, default=256, help="of an embedding")
    parser.add_argument("--rounds", type=int, default=7)
    settings = parser.parse_args(arguments)
    print(f"{settings.objects:,} shards of {settings.rows} rows, {settings.dim} dimensions; {machine('cpu')}\n")
    print("| place | objects | compacted in, s | objects/s | MB/s | peak memory, MB | again, s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="bonafide-bench-") as scratch:
        folder = Path(scratch)
        scans = [*measured("local disk", str(folder / "local"), settings)]
        with s3_server(folder / "s3") as environment:
            os.environ.update(environment)
            bucket(environment)
            scans += measured("SeaweedFS", f"s3://bench/{uuid.uuid4().hex}", settings)
    print("\n| scan | small objects, s | compacted, s | ratio |\n| --- | --- | --- | --- |")
    print("\n".join(scans))
    return 0


def bucket(environment: dict[str, str]) -> None:
    """Make the bucket."""
    fsspec.filesystem(
        "s3",
        key=environment["AWS_ACCESS_KEY_ID"],
        secret=environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=environment["AWS_ENDPOINT_URL"],
    ).mkdir("bench")


def measured(where: str, place: str, settings: argparse.Namespace) -> list[str]:
    """Print what compacting took in a place; return the rows of its scans."""
    output, copy = f"{place}/tables", f"{place}/copy"
    write(output, settings)
    small = [stored.size for name in SCANS for stored in storage.listing(f"{output}/{name}") or []]
    first, again = compacted(output, copy), compacted(output, copy)
    large = [stored.size for name in SCANS for stored in storage.listing(f"{copy}/{name}") or []]
    print(
        f"| {where} | {len(small):,} of {sum(small) / 1e6:.0f} MB → {len(large)} of {sum(large) / 1e6:.0f} MB "
        f"| {first.seconds:.1f} | {len(small) / first.seconds:,.0f} | {sum(small) / 1e6 / first.seconds:.1f} "
        f"| {first.peak_mb['driver']:,.0f} | {again.seconds:.1f} |",
        flush=True,
    )
    return [
        f"| {where}, {engine}, `{name}` | {scanned(scan, output, copy, name, settings.rounds)} |"
        for engine, scan in engines(place).items()
        for name in SCANS
    ]


def compacted(output: str, copy: str) -> Measured:
    """The command that users call, from start to end."""
    return run([sys.executable, "-m", "jobs", "compact", output, "--to", copy], dict(os.environ))


Scan = Callable[[str, str], object]


def engines(place: str) -> dict[str, Scan]:
    """Return the engines that can read a place here: DuckDB's extension for S3 comes only from its own site."""
    if not place.startswith("s3://"):
        connection = duckdb.connect()

        def by_duckdb(folder: str, name: str) -> object:
            return connection.sql(SCANS[name][0].format(f"'{folder}/{name}/**/*.parquet'")).fetchall()

        return {"DuckDB": by_duckdb, "Polars": lambda folder, name: by_polars(folder, name, {})}
    options = {"aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"], "aws_region": "us-east-1", "aws_allow_http": "true"}
    options |= {name.lower(): os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    return {"Polars": lambda folder, name: by_polars(folder, name, options)}


def by_polars(folder: str, name: str, options: dict[str, str]) -> object:
    """Run the same query in Polars, or one that reads the same data."""
    one, other = map(polars.col, SCANS[name][1])
    scan = polars.scan_parquet(f"{folder}/{name}/**/*.parquet", storage_options=options)
    return scan.select(polars.len(), a=one.mean(), b=other.max() if name == "scores" else other.n_unique()).collect()


def scanned(scan: Scan, output: str, copy: str, name: str, rounds: int) -> str:
    """Seconds of either, in turn, and the ratio of each round."""
    seconds: dict[str, list[float]] = {output: [], copy: []}
    for number in range(rounds + 1):
        for place in seconds if number % 2 else reversed(seconds):
            start = time.monotonic()
            scan(place, name)
            if number:  # the first round warms both up
                seconds[place].append(time.monotonic() - start)
    small, large = (np.array(seconds[place]) for place in (output, copy))
    return f"{interval(small, 3)} | {interval(large, 3)} | {interval(small / large, 1)}"


def write(output: str, settings: argparse.Namespace) -> None:
    """Commit the shards of both ledgers, as `nightly` does."""
    entries = tuple(Entry(f"{number:016x}", "s") for number in range(settings.objects))
    for kind, key in (("embeddings", FINGERPRINT), ("scores", HEAD)):
        ledger = Ledger(output, kind, key)

        def propose(history: PlanHistory) -> Plan | None:
            return None if history.plans else Plan(f"{DATE}-bench", DATE, entries)

        shards = ledger.freeze(propose).current.values()

        def commit(shard: PlannedShard, kind: str = kind, ledger: Ledger = ledger) -> None:
            number = int(shard.slot, 16)
            if kind == "scores":
                tables = {"scores": (f"scores/run_date={DATE}", scores(number, settings))}
            else:
                tables = {
                    "failures": (f"failures/run_date={DATE}", FAILURES.empty_table()),
                    "embeddings": ("embeddings/backbone=b", embeddings(number, settings)),
                }
            ledger.commit(shard, f"s3://archive/{number}.tar", tables)

        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(commit, shards))


def same(number: int, rows: int) -> list[dict[str, object]]:
    """The columns that rows of both tables share, for each recording of a shard."""
    uri = f"s3://archive/2026/{number:06d}.tar"
    rng = np.random.default_rng(number)
    return [
        {"utterance_id": f"2026/{number:06d}.tar#{row:04d}.flac", "uri": uri, "member": f"{row:04d}.flac"}
        | {"seconds": seconds, "fingerprint": FINGERPRINT, "run_id": f"{DATE}-bench"}
        for row, seconds in enumerate(rng.uniform(1.0, 20.0, rows).tolist())
    ]


def scores(number: int, settings: argparse.Namespace) -> pa.Table:
    """Rows of one shard, drawn from its number."""
    drawn = np.random.default_rng(number).normal(size=settings.rows).tolist()
    facts = {"prior": 0.5, "ood": 0.5, "reject": False, "head_id": HEAD, "label": "spoof", "entropy_bits": 0.5}
    rows = [
        row | facts | {"score": score, "p_spoof": 0.5}
        for row, score in zip(same(number, settings.rows), drawn, strict=True)
    ]
    return pa.Table.from_pylist(rows, SCORES)


def embeddings(number: int, settings: argparse.Namespace) -> pa.Table:
    """Rows of one shard, drawn from its number."""
    rng = np.random.default_rng(number)
    facts = {"native_rate": 16_000, "channels": 1, "codec": "flac/pcm_16", "decoder": "soundfile", "rms_dbfs": -20.0}
    rows = [
        row | facts | {"layer": 9, "audio_sha256": rng.bytes(32).hex(), "embedding": rng.normal(size=settings.dim)}
        for row in same(number, settings.rows)
    ]
    return pa.Table.from_pylist(rows, embeddings_schema(settings.dim))


if __name__ == "__main__":
    sys.exit(main())
