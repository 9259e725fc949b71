"""The same archive with both runners: every object of the tables is the same, to the byte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.heads import some_head

LIMITS = ["--max-seconds", "8", "--max-source-hours", str(9.0 / 3600), "--max-failures", "1", "--segments", "2:1"]


def archive_of_failures(archive: Path) -> Path:
    """Recordings that fail in every way that needs no fault of a process, and some that do not."""
    archive.mkdir()
    odd = {
        "empty.wav": b"",
        "page.mp3": b"<html>",
        "click.wav": encoded(tone(0.02), kind="WAV"),
        "silent.flac": encoded(np.zeros(16_000)),
        "whole.flac": encoded(tone(5.0)),
        "long.flac": encoded(tone(9.0)),
        "second.flac": encoded(tone(4.0, seed=5)),
        "over.flac": encoded(tone(1.0)),
    }
    write_tar(archive / "odd.tar", odd)
    whole = write_tar(archive / "whole.tar", {f"{each}.flac": encoded(tone(2.0, seed=each)) for each in range(4)})
    (archive / "broken.tar").write_bytes(whole.read_bytes()[:90_000])
    for number in range(3):
        (archive / f"{number}.wav").write_bytes(encoded(tone(1.0 + number, seed=number), kind="WAV"))
    return archive


def test_rows_with_and_without_ray_are_the_same_to_the_byte(on_ray: dict[str, str], tmp_path: Path) -> None:
    archive, head = archive_of_failures(tmp_path / "archive"), tmp_path / "head.json"
    head.write_text(some_head().to_json())

    def objects(runner: str) -> dict[str, bytes]:
        output = tmp_path / runner
        command = [sys.executable, "-m", "jobs", "nightly", "--input", archive, "--output", output, *LIMITS]
        command += ["--head", head, "--run-date", "2026-11-23", "--runner", runner]
        done = subprocess.run(command, env=on_ray, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        assert f"runner {runner}" in done.stderr
        return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*.parquet"))}

    on_cluster, alone = objects("ray"), objects("local")

    assert {name.partition("/")[0] for name in alone} == {"embeddings", "scores", "segments", "failures"}
    assert alone == on_cluster
    windows = pq.read_table(tmp_path / "local" / "segments").to_pylist()
    assert [row["end_seconds"] for row in windows if row["utterance_id"] == "odd.tar#whole.flac"] == [2, 3, 4, 5]
    failures = set(pq.read_table(tmp_path / "local" / "failures")["error"].to_pylist())
    assert failures == {"not_audio", "empty", "too_long", "over_quota", "bad_archive"}
