"""Run the whole job on the development corpus: 16 tar shards in a bucket, embed, fit, score, evaluate.

    python -m bench.dev_corpus [--backbone huggingface --model FOLDER --layer 9 …]

Starts a SeaweedFS server on loopback, checks that every recording ends in exactly one row and that neither the number
of encoders nor the batch size changes a bit of it, and writes a row into docs/results.md.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import io
import json
import os
import platform
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import fsspec

from bench.processes import Measured, run
from tests.support.seaweedfs import s3_server

ROOT = Path(__file__).parents[1]
CORPUS = ROOT.parent / "shared" / "corpus" / "dev"
RESULTS = ROOT / "docs" / "results.md"
BEGIN, END = "<!-- dev_corpus: begin -->", "<!-- dev_corpus: end -->"
N_SHARDS = 16
VARIANTS = {"one": ("--encoders", "1"), "two": ("--encoders", "2", "--batch-seconds", "20")}
LABEL_COLUMNS = ("label", "split", "system", "speaker", "source", "language")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job, check it, and write its row; return 0, or raise if a check fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.dev_corpus", description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="folder with metadata.csv [default: %(default)s]")
    parser.add_argument("--no-write", action="store_true", help="print the row, leave docs/results.md alone")
    known, embed = parser.parse_known_args(arguments)
    embed = embed or ["--backbone", "melstats"]
    with tempfile.TemporaryDirectory(prefix="bonafide-bench-") as folder, s3_server(Path(folder) / "s3") as store:
        environment = os.environ | store
        os.environ.update(store)
        rows = pack(known.corpus, "s3://bench/dev", Path(folder) / "labels.csv")
        figures = chain(environment, Path(folder), embed, rows)
    row = write_row(embed, figures, write=not known.no_write)
    print(row)
    return 0


def pack(corpus: Path, target: str, labels: Path) -> list[dict[str, str]]:
    """Put the corpus as tar shards into a bucket, and its labels by utterance id into a file."""
    with (corpus / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    store = fsspec.filesystem("s3")
    store.mkdir(target.split("/")[2])
    for shard in range(N_SHARDS):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            for row in rows[shard::N_SHARDS]:
                tar.add(corpus / row["file"], arcname=row["file"])
        store.pipe_file(f"{target}/{shard:04d}.tar", content.getvalue())
    with labels.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["utterance_id", *LABEL_COLUMNS])
        for number, row in enumerate(rows):
            name = f"{number % N_SHARDS:04d}.tar#{row['file']}"
            table.writerow([name, *(row[column] for column in LABEL_COLUMNS)])
    return rows


def chain(environment: dict[str, str], folder: Path, embed: list[str], rows: list[dict[str, str]]) -> dict[str, Any]:
    """Embed with two sets of flags, fit, score and evaluate; check the results and return the figures."""
    digests, measured = {}, {}
    for name, how in VARIANTS.items():
        output = f"s3://bench/{name}"
        measured[name] = job(environment, "embed", "--input", "s3://bench/dev/", *embed, "--output", output, *how)
        digests[name] = record(output)["digest"]
    check(len(set(digests.values())) == 1, f"embeddings differ by encoders or batch size: {digests}")
    labels, head, report = str(folder / "labels.csv"), str(folder / "head.json"), str(folder / "report")
    job(environment, "fit", "--embeddings", "s3://bench/one", "--labels", labels, "--output", head)
    scored = job(
        environment, "score", "--embeddings", "s3://bench/one", "--head", head, "--output", "s3://bench/scores"
    )
    job(environment, "evaluate", "--scores", "s3://bench/scores", "--labels", labels, "--output", report)
    sql = duckdb.connect()
    sql.register_filesystem(fsspec.filesystem("s3"))
    table = "read_parquet('s3://bench/scores/scores/**/*.parquet')"
    n_rows, n_ids = sql.sql(f"SELECT count(*), count(DISTINCT utterance_id) FROM {table}").fetchall()[0]
    failed = record("s3://bench/one")["failures"]
    check(n_rows + failed == len(rows) and n_ids == n_rows, f"{len(rows)} in, {n_rows} scored, {failed} failed")
    peaks = {
        name: max(each.peak_mb.get(name, 0.0) for each in (*measured.values(), scored))
        for each in (*measured.values(), scored)
        for name in each.peak_mb
    }
    check(max(peaks.values()) < 1536, f"a process took more than 1.5 GB: {peaks}")
    for name, megabytes in sorted(peaks.items(), key=lambda item: -item[1]):
        print(f"{megabytes:7.0f} MB  {name}")
    written = record("s3://bench/two")
    (judged,) = json.loads((folder / "report" / "report.json").read_text())["heads"]
    return {
        **{name: metric["value"] for name, metric in judged["headline"].items()},
        "interval": judged["headline"]["equal_error_rate"],
        "held_out": json.loads((folder / "head.report.json").read_text())["training"]["held_out"],
        "rows": n_rows,
        "audio_seconds": written["audio_seconds"],
        "pace": written["audio_seconds"] / measured["two"].seconds,
        "peak": max(peaks.items(), key=lambda item: item[1]),
    }


def job(environment: dict[str, str], *arguments: str) -> Measured:
    """Run a verb as a user does."""
    done = run([sys.executable, "-m", "jobs", *arguments], environment)
    print(f"$ bonafide {arguments[0]} …   {done.seconds:.1f} s\n{done.stdout}")
    return done


def record(output: str) -> dict[str, Any]:
    """Read the record of the only run of an output."""
    store = fsspec.filesystem("s3")
    (path,) = store.glob(f"{output}/runs/*.json")
    content: dict[str, Any] = json.loads(store.cat_file(path))
    return content


def check(holds: bool, found: str) -> None:
    """Exit with ``found`` unless ``holds``."""
    if not holds:
        raise SystemExit(f"check failed: {found}")


def write_row(embed: list[str], figures: dict[str, Any], *, write: bool) -> str:
    """Format the figures as a row of the table in docs/results.md; add it, or replace that of the same command."""
    name, megabytes = figures["peak"]
    command = f"python -m bench.dev_corpus {' '.join(embed)}"
    cells = [
        f"`{command}`",
        f"{figures['held_out']['equal_error_rate']:.1%}",
        f"{figures['equal_error_rate']:.1%} ({figures['interval']['low']:.1%} to {figures['interval']['high']:.1%})",
        f"{figures['expected_calibration_error']:.1%}",
        f"{figures['coverage']:.1%}",
        "–" if figures["risk"] is None else f"{figures['risk']:.1%}",
        f"{figures['risk_at_full_coverage']:.1%}",
        f"{figures['pace']:.0f}",
        f"{megabytes:.0f} MB ({name})",
        f"{datetime.datetime.now(datetime.UTC).date()}, {os.cpu_count()} × {platform.machine()}",
    ]
    row = f"| {' | '.join(cells)} |"
    if write:
        text = RESULTS.read_text()
        before, table, after = (
            text.partition(BEGIN)[0],
            text.partition(BEGIN)[2].partition(END)[0],
            text.partition(END)[2],
        )
        lines = [line for line in table.strip().splitlines() if f"`{command}`" not in line]
        RESULTS.write_text(f"{before}{BEGIN}\n" + "\n".join([*lines, row]) + f"\n{END}{after}")
    return row


if __name__ == "__main__":
    sys.exit(main())
