"""Changes: four numbers that say what a night did, whatever shares a shard with it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from detector.schema import SCORES
from jobs.reports.runs import read_record
from jobs.scoring.changes import FAILED_RUNS, count_changes
from tests.support import nightly_runs

NIGHT = datetime.date(2026, 11, 23)
URI = "s3://archive/2026/radio/0001.tar"

Run = Callable[..., tuple[int, str, str]]


def rows(*facts: tuple[str, str, str, bool]) -> pa.Table:
    """Rows of scores: id, the run that scored it, the run that first embedded it, whether it is there."""
    same: dict[str, Any] = dict.fromkeys(SCORES.names)
    named = [
        same | {"utterance_id": name, "run_id": run, "first_run_id": first, "removed_at": None if is_there else NIGHT}
        for name, run, first, is_there in facts
    ]
    return pa.Table.from_pylist(named, pa.schema([field.with_nullable(True) for field in SCORES]))


def counted(judged: pa.Table, former: pa.Table | None, *failed: str, by_others: str = "") -> dict[str, int]:
    found = count_changes(judged, former, failed, "score-2", lambda first_run_id: first_run_id == by_others)
    return {name: n for name, n in found.items() if n}


def test_each_kind_counts_by_itself_in_a_shard_that_is_written_again() -> None:
    former = rows(
        ("same", "score-1", "embed-1", True),
        ("other bytes", "score-1", "embed-1", True),
        ("goes", "score-1", "embed-1", True),
        ("was gone", "score-1", "embed-1", False),
        ("comes back", "score-1", "embed-1", False),
        ("breaks", "score-1", "embed-1", True),
        ("is pruned", "score-1", "embed-1", True),
    )
    judged = rows(
        ("same", "score-1", "embed-1", True),
        ("other bytes", "score-2", "embed-1", True),
        ("goes", "score-1", "embed-1", False),
        ("was gone", "score-1", "embed-1", False),
        ("comes back", "score-2", "embed-1", True),
        ("new", "score-2", "embed-2", True),
    )

    # what broke is replaced by a failure; what is pruned as soon as it goes is removed all the same
    assert counted(judged, former, "breaks") == {"new": 2, "replaced": 2, "removed": 2}


def test_another_head_rescores_what_was_there_and_scores_what_is_new() -> None:
    judged = rows(("old", "score-2", "embed-1", True), ("new", "score-2", "embed-2", True))

    assert counted(judged, None, by_others="embed-1") == {"rescored": 1, "new": 1}
    assert counted(judged, None) == {"new": 2}


def test_a_night_of_another_head_says_so(tmp_path: Path, bonafide: Run) -> None:
    output = str(tmp_path)
    shards = {URI: nightly_runs.recordings(nightly_runs.drawn(5, seed=5)[0])}
    other = dataclasses.replace(nightly_runs.head(), bias=0.25)

    runs = [
        nightly_runs.night(output, shards, {"a.flac": "truncated"}, date=date, judge=head)[0]
        for date, head in (("2026-11-23", nightly_runs.head()), ("2026-11-24", other))
    ]

    records = [read_record(output, run.history.plans[-1].run_id) for run in runs]
    assert [record and record["changes"] for record in records] == [
        {"new": 5, "replaced": 0, "rescored": 0, "removed": 0},
        {"new": 0, "replaced": 0, "rescored": 5, "removed": 0},
    ]
    _, out, _ = bonafide("sql", output, "SELECT new, rescored FROM nights ORDER BY run_id", "--format", "csv")
    assert out.splitlines()[1:] == ["5,0", "0,5"]


def test_rows_that_were_taken_out_are_counted_on_stdout_in_the_record_and_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings = nightly_runs.recordings(nightly_runs.drawn(5, seed=5)[0])
    nightly_runs.night(str(tmp_path), {URI: recordings}, state="1")
    assert " pruned" not in capsys.readouterr().out

    run, _ = nightly_runs.night(str(tmp_path), {URI: recordings[:3]}, state="2", date="2026-11-24")

    record = read_record(str(tmp_path), run.history.plans[-1].run_id)
    assert record is not None
    assert record["pruned"] == 2
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == [
        "0 new, 3 replaced, 0 rescored, 2 removed",
        "2 pruned: rows of recordings that are gone from the archive were taken out",
    ]
    page = (tmp_path / "runs" / f"{record['run_id']}.html").read_text()
    assert "<div><b>2</b>rows taken out, of recordings that are gone</div>" in page


def test_a_head_that_comes_back_counts_all_failures_since_it_was_last_on(tmp_path: Path) -> None:
    output = str(tmp_path)
    shards = {URI: nightly_runs.recordings(nightly_runs.drawn(5, seed=5)[0])}
    first, other = nightly_runs.head(), dataclasses.replace(nightly_runs.head(), bias=0.25)

    runs = [
        nightly_runs.night(output, shards, {"a.flac": "truncated"}, date=date, judge=head, state=state, pages=False)
        for date, head, state in (
            ("2026-11-23", first, "1"),
            ("2026-11-24", other, "2"),
            ("2026-11-25", other, "3"),
            ("2026-11-25", first, "3"),
        )
    ]

    scored, source = runs[-1]
    (marker,) = scored.ledger.markers(scored.history.names)
    assert marker.detail[FAILED_RUNS] == [plan.run_id for plan in source.history().plans[1:]]
