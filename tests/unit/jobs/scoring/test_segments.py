"""The table of segments is committed with the scores of a shard, and follows them through all that happens to these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from detector.windows import Windows
from jobs.reports.nightly.report import _warnings
from jobs.reports.runs import read_record
from jobs.reports.sql.session import connect, read_content
from jobs.scoring.shards import score_shards
from jobs.tables.compaction.compact import compact
from jobs.tables.garbage import find_garbage
from jobs.tables.ledger import Ledger
from jobs.tables.row_digest import rows_digest
from jobs.tables.verification import verify_tables
from jobs.verbs import erase
from tests.support import nightly_runs
from tests.support.nightly_runs import DIM, Recording, drawn, night, recordings
from tests.support.runner import InProcessRunner

WINDOWS = Windows(2.0, 1.0)
TAR = "s3://archive/2026/radio/0001.tar"


def shard(n: int = 3, seed: int = 5, *, with_windows: bool = True) -> list[Recording]:
    vectors, _ = drawn(n, seed=seed)
    rows = recordings(vectors, TAR)
    rng = np.random.default_rng(seed)
    return [each.with_windows(rng.normal(size=(12, DIM)), WINDOWS) if with_windows else each for each in rows]


def stored(output: Path, table: str = "segments") -> list[dict[str, Any]]:
    return [row for path in sorted((output / table).rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def connection(output: Path) -> duckdb.DuckDBPyConnection:
    return connect(read_content(str(output)))


def expected_counts(rows: list[Recording]) -> dict[str, int]:
    return {each.utterance_id: WINDOWS.n_windows(each.seconds) for each in rows}


def test_windows_are_scored_with_their_recordings_and_join_with_them(tmp_path: Path) -> None:
    rows = shard()

    run, _ = night(str(tmp_path), {TAR: rows}, segments="2:1", pages=False)

    found = stored(tmp_path)
    assert Counter(row["utterance_id"] for row in found) == expected_counts(rows)
    window = next(row for row in found if (row["utterance_id"], row["segment"]) == (rows[1].utterance_id, 1))
    vector = np.array(rows[1].window_embeddings, np.float32).reshape(-1, DIM)[1:2].astype(np.float64)
    assert window["score"] == run.head.scores(vector)[0]
    assert (window["start_seconds"], window["end_seconds"]) == (1.0, 3.0)
    (marker,) = run.ledger.committed()
    assert marker.rows["segments"] == len(found)
    assert marker.digests["segments"] == rows_digest("segments", run.ledger.read(marker, "segments"))
    joined = connection(tmp_path).execute(
        "SELECT r.utterance_id, count(*) FROM recordings r JOIN segments s USING (utterance_id) GROUP BY ALL"
    )
    assert dict(joined.fetchall()) == expected_counts(rows)


def test_without_the_flag_there_is_no_table_and_the_view_has_no_rows(tmp_path: Path) -> None:
    night(str(tmp_path), {TAR: shard()}, pages=False)

    assert not (tmp_path / "segments").exists()
    assert connection(tmp_path).execute("SELECT count(*) FROM segments").fetchall() == [(0,)]


def test_recordings_that_were_scored_without_are_scored_again_and_keep_their_rows(tmp_path: Path) -> None:
    rows = shard()
    night(str(tmp_path), {TAR: rows}, pages=False)
    before = stored(tmp_path, "scores")

    run, _ = night(str(tmp_path), {TAR: rows}, date="2026-11-24", segments="2:1", pages=False)

    assert stored(tmp_path, "scores") == before
    assert Counter(row["utterance_id"] for row in stored(tmp_path)) == expected_counts(rows)
    assert {row["run_id"] for row in stored(tmp_path)} == {before[0]["run_id"]}
    night(str(tmp_path), {TAR: rows}, date="2026-11-25", segments="2:1", pages=False)
    assert len(run.ledger.history().plans) == 2


@pytest.mark.long
def test_recordings_without_windows_are_not_scored_again_for_them(tmp_path: Path) -> None:
    run, _ = night(str(tmp_path), {TAR: shard(with_windows=False)}, pages=False)

    night(str(tmp_path), {TAR: shard(with_windows=False)}, date="2026-11-24", segments="2:1", pages=False)

    assert len(run.ledger.history().plans) == 1


@pytest.mark.long
def test_another_head_has_segments_of_its_own_and_the_view_has_those_of_the_active_one(tmp_path: Path) -> None:
    rows = shard()
    first, _ = night(str(tmp_path), {TAR: rows}, segments="2:1", pages=False)
    other = nightly_runs.head(target_coverage=0.5)

    night(str(tmp_path), {TAR: rows}, date="2026-11-24", judge=other, head_uri="b.json", segments="2:1", pages=False)

    n_windows = sum(expected_counts(rows).values())
    assert Counter(row["head_id"] for row in stored(tmp_path)) == {
        first.head.head_id: n_windows,
        other.head_id: n_windows,
    }
    found = connection(tmp_path).execute("SELECT head_id, count(*) FROM segments GROUP BY ALL").fetchall()
    assert found == [(other.head_id, n_windows)]


def test_another_head_without_the_flag_says_that_the_view_of_segments_lacks_its_rows(
    tmp_path: Path, bonafide: Callable[..., tuple[int, str, str]]
) -> None:
    output, other = tmp_path / "tables", nightly_runs.head(target_coverage=0.5)
    night(str(output), {TAR: shard()}, segments="2:1", pages=False)
    (tmp_path / "b.json").write_text(other.to_json())
    command = ("score", "--embeddings", output, "--output", output, "--head", tmp_path / "b.json")

    code, out, err = bonafide(*command)

    assert code == 0, err
    assert "warning: 1 shard(s) have windows that this head has not judged" in out
    record = read_record(str(output), stored(output, "scores")[-1]["run_id"])
    assert record is not None
    assert record["unjudged_windows"] == {"shards": 1, "segments": "2:1"}
    assert any("has not judged" in each for each in _warnings(record))
    assert "same command with --segments 2:1" in out

    code, out, err = bonafide(*command, "--segments", "2:1")

    assert code == 0, err
    assert "has not judged" not in out
    assert Counter(row["head_id"] for row in stored(output))[other.head_id] == sum(expected_counts(shard()).values())


def test_stored_windows_are_not_judged_as_if_they_were_others(
    tmp_path: Path, bonafide: Callable[..., tuple[int, str, str]]
) -> None:
    night(str(tmp_path), {TAR: shard()}, segments="2:1", pages=False)
    (tmp_path / "head.json").write_text(nightly_runs.head().to_json())
    command = ("score", "--embeddings", tmp_path, "--output", tmp_path, "--head", tmp_path / "head.json", "--dry-run")

    code, _, err = bonafide(*command, "--segments", "8:4")

    assert code == 65
    assert "--segments 8:4: the embeddings have windows of 2:1" in err
    assert "embed --segments 8:4 --redo segments" in err
    assert bonafide(*command, "--segments", "2:1")[0] == 0


def test_a_replaced_source_replaces_its_segments_also_where_none_are_asked_for(tmp_path: Path) -> None:
    night(str(tmp_path), {TAR: shard()}, segments="2:1", pages=False)

    replaced = shard(2, seed=6)
    night(str(tmp_path), {TAR: replaced}, state="b", date="2026-11-24", segments="2:1", pages=False)
    assert Counter(row["utterance_id"] for row in stored(tmp_path)) == expected_counts(replaced)

    run, _ = night(str(tmp_path), {TAR: shard(2, seed=7)}, state="c", date="2026-11-25", pages=False)

    assert stored(tmp_path) == []
    assert next(run.ledger.committed()).rows["segments"] == 0
    assert [uri for uri in find_garbage(str(tmp_path)) if "/segments/" in uri] == []


@pytest.mark.long
def test_a_shard_gets_the_segments_that_its_plan_asked_for_whoever_scores_it(tmp_path: Path) -> None:
    run, source = night(str(tmp_path), {TAR: shard()}, segments="2:1", pages=False)
    before = stored(tmp_path)
    for path in (tmp_path / "_commits" / run.ledger.name).iterdir():
        path.unlink()
    for path in (tmp_path / "segments").rglob("*.parquet"):
        path.unlink()

    given = nightly_runs.NightlyConfig(input=("a",), output=str(tmp_path), run_date="2026-11-24")
    shards = list(source.history().current.values())
    score_shards(InProcessRunner(), source, shards, run.head, None, str(tmp_path), given, "head.json")

    assert stored(tmp_path) == before


def test_erasing_a_recording_erases_its_segments(tmp_path: Path) -> None:
    rows = shard()
    night(str(tmp_path), {TAR: rows}, segments="2:1", pages=False)

    erase.run(erase.Settings(output=str(tmp_path), utterance_id=(rows[0].utterance_id,)))

    expected = expected_counts(rows)
    del expected[rows[0].utterance_id]
    assert Counter(row["utterance_id"] for row in stored(tmp_path)) == expected
    assert rows[0].utterance_id.encode() not in b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )


@pytest.mark.long
def test_a_compacted_copy_has_the_segments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, place = str(tmp_path / "tables"), str(tmp_path / "copy")
    rows = shard()
    night(output, {TAR: rows}, segments="2:1", pages=False)

    compact(output, place, 1 << 20, dry_run=False)

    assert Counter(row["utterance_id"] for row in stored(tmp_path / "copy")) == expected_counts(rows)
    found = connection(tmp_path / "copy").execute("SELECT count(*) FROM all_segments").fetchall()
    assert found == [(sum(expected_counts(rows).values()),)]
    assert verify_tables(output) == []
    assert "segments" in capsys.readouterr().out


@pytest.mark.long
def test_a_record_counts_windows_and_recordings_without(tmp_path: Path) -> None:
    rows = [*shard(2), *shard(3, with_windows=False)[2:]]

    run, _ = night(str(tmp_path), {TAR: rows}, segments="2:1", pages=False)

    (marker,) = Ledger(str(tmp_path), "scores", run.head.head_id).committed()
    counted = marker.detail["segments"]
    assert counted["rows"] == sum(expected_counts(rows[:2]).values())
    assert (counted["recordings"], counted["recordings_without"]) == (2, 1)
