"""Windows stand in the row of their recording: taken over with it, embedded again by name, never left out unsaid."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from detector.backbones import load_backbone
from detector.embedding import embed_cells
from detector.errors import ConfigError
from detector.recording import Recording
from detector.windows import Windows
from jobs.embedding.segments import WITHOUT_SEGMENTS, n_shards_without
from jobs.execution import assembly
from jobs.tables.protocol import DROPPED, Entry, Plan, PlanHistory
from tests.support.audio import encoded, tone
from tests.support.canaries import RECIPE, embed

WINDOWS = Windows(2.0, 1.0)
WITH = replace(RECIPE, windows=WINDOWS)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Loose files of 5.5 s, 3 s and less than one frame, which are one shard, and a silent one."""
    archive = tmp_path / "archive"
    archive.mkdir()
    for name, seconds in {"a": 5.5, "b": 3.0, "short": 0.02}.items():
        (archive / f"{name}.flac").write_bytes(encoded(tone(seconds, seed=len(name) + round(seconds))))
    (archive / "silent.flac").write_bytes(encoded(np.zeros(64_000)))
    return archive


def rows(output: Path) -> dict[str, dict[str, Any]]:
    return {row["utterance_id"]: row for row in pq.read_table(output / "embeddings").to_pylist()}


def test_windows_are_those_of_the_recording_whose_embedding_stays_as_it_was(archive: Path, tmp_path: Path) -> None:
    without, run = embed(archive, tmp_path / "without"), embed(archive, tmp_path / "with", WITH)

    plain, found = rows(tmp_path / "without"), rows(tmp_path / "with")
    assert run.recipe.fingerprint == without.recipe.fingerprint
    assert run.markers[0].digests == without.markers[0].digests
    assert {name: len(row["window_levels"] or []) for name, row in found.items()} == {
        "a.flac": 4,  # 0-2, 1-3, 2-4, and 3-5.5, which keeps the tail
        "b.flac": 2,
        "short.flac": 0,
        "silent.flac": 0,
    }
    for name, row in found.items():
        assert row["embedding"] == plain[name]["embedding"]
        assert plain[name]["window_embeddings"] is None
    with (archive / "a.flac").open("rb") as file:
        segments = list(Recording(file, RECIPE.config.segment_seconds).segments())
    starts = np.cumsum([0, *map(len, segments[:-1])]).tolist()
    parts = embed_cells(load_backbone(RECIPE.config), segments, starts, WINDOWS)[2]
    expected = WINDOWS.joined(parts, 5.5, RECIPE.config.pooling)
    assert found["a.flac"]["window_embeddings"] == expected.reshape(-1).tolist()


def test_a_shard_that_was_dropped_does_not_count_as_one_without_windows() -> None:
    plans = [Plan("1", "2026-11-29", (Entry("a", "1"), Entry("b", "1")))]
    assert n_shards_without(PlanHistory(tuple(plans)), WINDOWS) == 2

    plans.append(Plan("2", "2026-11-30", (Entry("a", "1", {DROPPED: True}),)))

    assert n_shards_without(PlanHistory(tuple(plans)), WINDOWS) == 1


def test_a_changed_group_keeps_the_windows_of_what_did_not_change(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    embed(archive, output, WITH)
    before = rows(output)
    (archive / "b.flac").write_bytes(encoded(tone(4.0, seed=9)))

    run = embed(archive, output, WITH, run_date="2026-11-30")

    after = rows(output)
    assert after["a.flac"] == before["a.flac"]
    assert len(after["b.flac"]["window_levels"]) == 3
    assert WITHOUT_SEGMENTS not in run.markers[0].detail


@pytest.mark.long
def test_rows_without_windows_are_counted_and_embedded_again_by_name(
    archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "output"
    embed(archive, output)
    plain = rows(output)
    (archive / "b.flac").write_bytes(encoded(tone(4.0, seed=9)))

    with caplog.at_level(logging.WARNING):
        assert embed(archive, output, WITH, run_date="2026-11-30").record()["segments"] == {
            "windows": "2:1",
            "shards_without": 0,  # its last plan asked for them, and one of its rows was taken over
            WITHOUT_SEGMENTS: 1,
        }
        assert rows(output)["a.flac"] == plain["a.flac"]
        other = replace(RECIPE, windows=Windows(4.0, 2.0))
        assert embed(archive, output, other, run_date="2026-12-01").record()["segments"]["shards_without"] == 1
    assert "1 of 1 shards were embedded without windows of 4:2" in caplog.text

    again = embed(archive, output, WITH, redo="segments", run_date="2026-12-02")

    assert [marker.detail.get(WITHOUT_SEGMENTS) for marker in again.markers] == [None]
    assert {name: row["embedding"] for name, row in rows(output).items() if name != "b.flac"} == {
        name: row["embedding"] for name, row in plain.items() if name != "b.flac"
    }
    assert len(rows(output)["a.flac"]["window_levels"]) == 4
    assert embed(archive, output, WITH, redo="segments", run_date="2026-12-03").markers == []


@pytest.mark.long
def test_a_recording_that_is_gone_without_windows_is_not_asked_for_again(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    embed(archive, output)
    (archive / "b.flac").unlink()

    first = embed(archive, output, WITH, redo="segments", run_date="2026-11-30", max_removed=1.0)
    second = embed(archive, output, WITH, redo="segments", run_date="2026-12-01", max_removed=1.0)

    assert [marker.detail.get(WITHOUT_SEGMENTS) for marker in first.markers] == [None]
    assert second.markers == []


@pytest.mark.long
def test_windows_to_embed_again_have_to_be_named(archive: Path, tmp_path: Path) -> None:
    embed(archive, tmp_path / "output")

    with pytest.raises(ConfigError, match="--redo segments: embeds what has no windows; say which by --segments"):
        embed(archive, tmp_path / "output", redo="segments")


@pytest.mark.long
def test_a_shard_of_too_many_cells_has_no_windows_and_says_so(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "MAX_CELL_BYTES", 1_000)  # of 9 cells of 320 bytes

    run = embed(archive, tmp_path / "output", WITH)

    assert {row["window_seconds"] for row in rows(tmp_path / "output").values()} == {None}
    assert run.markers[0].detail[WITHOUT_SEGMENTS] == 2
