"""A recording of hours among short ones takes time, but no more memory, and changes no other row."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.codecs import by_ffmpeg
from bench.processes import Measured, run
from tests.hostile.harness import packed
from tests.support.audio import encoded, tone

RATE = 16_000
HOURS = 3
VOICES = [encoded(tone(25.0 + n, seed=n)) for n in range(5)]
SHORT = {f"{n:03d}.flac": VOICES[n % len(VOICES)] for n in range(200)}  # 1.5 h: as many as fill what is held at once
MIDDLE = 100
NAMES_AND_RUNS = ["utterance_id", "uri", "run_id", "first_run_id"]


def three_hours() -> bytes:
    """A minute of noise as MP3 of a constant rate, over and over: frames behind frames are an MP3."""
    minute = np.random.default_rng(0).normal(0.0, 3_000.0, 60 * RATE).astype(np.int16)
    return by_ffmpeg("mp3", "libmp3lame", bits=32_000)(minute, RATE) * (60 * HOURS)


def embedded(folder: Path, name: str, members: list[tuple[str, bytes]]) -> tuple[Measured, pa.Table]:
    """Embed an archive with the command, and read its rows."""
    (folder / name).mkdir()
    (folder / name / "0.tar").write_bytes(packed(members))
    output = folder / f"{name}-tables"
    command = [sys.executable, "-m", "jobs", "embed", "--backbone", "melstats", "--runner", "ray", "--encoders", "1"]
    done = run([*command, "--input", str(folder / name), "--output", str(output)], dict(os.environ))
    return done, pq.read_table(output / "embeddings").drop_columns(NAMES_AND_RUNS)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_three_hours_of_mp3_change_neither_peak_memory_nor_other_rows(tmp_path: Path) -> None:
    short = list(SHORT.items())
    without, right = embedded(tmp_path, "without", short)
    beside, rows = embedded(tmp_path, "beside", [*short[:MIDDLE], ("long.mp3", three_hours()), *short[MIDDLE:]])

    is_long = np.array(rows["member"].to_pylist()) == "long.mp3"
    assert rows.filter(pa.array(~is_long)).sort_by("member").equals(right.sort_by("member"))
    (seconds,) = rows.filter(pa.array(is_long))["seconds"].to_pylist()
    assert seconds == pytest.approx(HOURS * 3600.0, rel=0.01)  # an encoder's padding, a minute
    grown = {name: beside.peak_mb[name] - peak for name, peak in without.peak_mb.items() if name in beside.peak_mb}
    assert max(grown.values()) < 50.0, grown
