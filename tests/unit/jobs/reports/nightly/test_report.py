"""The figures of a page are those of the tables, counted by hand or by DuckDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from jobs.inputs.sources import source_of
from jobs.reports.nightly import history, page, source_counts
from jobs.reports.review.queue import COLUMNS, ReviewQueueBuilder, fold_similar
from jobs.reports.runs import read_record, scored_shards
from jobs.tables import parquet
from tests.support import nightly_runs

RADIO, CALLS = "s3://archive/2026/radio/0001.tar", "s3://archive/2026/calls/0001.tar"


def content(output: Path, *shards: Any, **how: Any) -> dict[str, Any]:
    """What the page says of a night of these shards."""
    scored, source = nightly_runs.night(str(output), *shards, pages=False, **how)
    record = read_record(str(output), scored.history.plans[-1].run_id)
    assert record is not None
    return page.page_content(scored, source, record)


@pytest.fixture(scope="module")
def two_sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A night of 300 recordings of the radio, and 200 calls that moved; a silent one; three that failed."""
    output = tmp_path_factory.mktemp("night")
    radio, calls = nightly_runs.drawn(300, seed=5)[0], nightly_runs.drawn(200, seed=6, moved=1.5)[0]
    shards = {RADIO: nightly_runs.recordings(radio), CALLS: nightly_runs.recordings(calls, CALLS)}
    shards[CALLS].append(nightly_runs.Recording(CALLS, "short.flac", None, 0.01))
    failures = {"a.flac": "truncated", "b.flac": "truncated", "c.mp3": "not_audio"}
    return output, content(output, shards, failures)


def test_counts_are_those_of_the_tables(two_sources: tuple[Path, dict[str, Any]]) -> None:
    output, found = two_sources
    (tonight,) = found["runs"]

    ((spoof, bonafide, uncertain, far, short, rows, seconds),) = duckdb.sql(
        "SELECT count(*) FILTER (NOT reject AND label = 'spoof'), count(*) FILTER (NOT reject AND label = 'bonafide'), "
        "count(*) FILTER (reject_reason = 'uncertain'), count(*) FILTER (reject_reason = 'out_of_distribution'), "
        f"count(*) FILTER (reject_reason = 'too_short'), count(*), sum(seconds) FROM '{output}/scores/**/*.parquet'"
    ).fetchall()
    assert (tonight["spoof"], tonight["bonafide"], tonight["recordings"]) == (spoof, bonafide, rows + 3)
    assert tonight["rejected_by"] == {
        "uncertain": uncertain,
        "out_of_distribution": far,
        "too_short": short,
        "silent": 0,
    }
    assert tonight["failed_by"] == {"truncated": 2, "not_audio": 1}
    assert short == 1
    assert found["seconds"] == pytest.approx(seconds)
    by_source = {each["name"]: (each["scored"], each["failed"]) for each in found["sources"]}
    assert by_source == {"radio": (300, 3), "calls": (201, 0)}
    assert sum(each["flagged"] for each in found["sources"]) == spoof


def test_drift_is_reported_by_source(two_sources: tuple[Path, dict[str, Any]]) -> None:
    _, found = two_sources

    rows = {row["name"]: row for row in found["drift"]["rows"]}
    words = {name: {each: shift["word"] for each, shift in row["shifts"].items()} for name, row in rows.items()}
    assert words["radio"]["ood"] != "moved far"
    assert words["calls"]["ood"] == "moved far"
    assert words["calls"]["seconds"] != "moved far"
    assert rows["radio"]["against"].startswith("radio, ")
    assert rows["calls"]["rows"] == 200  # the short one has no score
    # two in three of the calibration rows are of the radio, and 300 of 501 tonight
    assert found["drift"]["mix"]["value"] < 0.1


def test_the_queue_is_rejected_first_then_by_closeness_to_the_threshold(
    two_sources: tuple[Path, dict[str, Any]],
) -> None:
    output, found = two_sources
    queue = found["queue"]

    expected = duckdb.sql(
        "SELECT utterance_id FROM (SELECT *, entropy_bits > "
        f"{0.5 * nightly_runs.head().max_entropy_bits} AS near FROM '{output}/scores/**/*.parquet' "
        "WHERE score IS NOT NULL) "
        "WHERE reject OR near ORDER BY if(reject, 0, 2) - entropy_bits, utterance_id"
    ).fetchall()
    shown = [row["utterance_id"] for row in queue["rows"]]
    assert shown == [name for (name,) in expected][: len(shown)]
    assert queue["n_rejected"] + queue["n_borderline"] == len(expected)
    assert len(shown) == min(200, len(expected))
    scores = [row["score"] for row in found["flagged"]]
    assert scores == sorted(scores)
    assert all(row["label"] == "spoof" and not row["reject"] for row in found["flagged"])


def test_recordings_that_are_nearly_the_same_are_folded_into_one(tmp_path: Path) -> None:
    vectors, _ = nightly_runs.drawn(40, seed=7)
    vectors[:, 0] = 0.0  # at the threshold, or nearly
    twice = np.concatenate([vectors, vectors * 1.0001])

    queue = content(tmp_path, {RADIO: nightly_runs.recordings(twice)})["queue"]

    assert sorted(len(row["alike"]) for row in queue["rows"]) == [1] * 40
    pairs = {
        tuple(sorted(int(name[-9:-5]) % 40 for name in (row["utterance_id"], *row["alike"]))) for row in queue["rows"]
    }
    assert pairs == {(number, number) for number in range(40)}


def test_a_short_queue_is_the_beginning_of_a_long_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 32)
    scored, source = nightly_runs.night(
        str(tmp_path), {RADIO: nightly_runs.recordings(nightly_runs.drawn(500)[0])}, pages=False
    )

    def ids(n_rows: int) -> list[str]:
        builder = ReviewQueueBuilder(scored.head, scored.prior, n_rows)
        shards, embedded = scored_shards(scored.ledger, source, scored.history, 1)
        for number, scores in enumerate(shards):
            for batch in scored.ledger.batches(scores, "scores", list(COLUMNS)):
                builder.add(batch, number)
        return [row["utterance_id"] for row in builder.queue(source, embedded).rows]

    assert len(ids(400)) > 200
    assert ids(7) == ids(400)[:7]


def test_a_row_without_an_embedding_is_alike_to_none() -> None:
    rows = [{"utterance_id": name} for name in "ab"]

    assert [row["alike"] for row in fold_similar(rows, {})] == [[], []]


def test_a_night_is_held_against_the_nights_before_it(tmp_path: Path) -> None:
    for number in range(3):
        uri = f"s3://archive/2026/radio/{number}.tar"
        found = content(
            tmp_path,
            {uri: nightly_runs.recordings(nightly_runs.drawn(50 + number, seed=number)[0], uri)},
            {"x.flac": "empty"} if number == 1 else {},
            date=f"2026-11-2{number}",
        )

    assert [run["recordings"] for run in found["runs"]] == [50, 52, 52]
    assert found["previous"]["recordings"] == {"median": 51, "least": 50, "most": 52}
    assert found["previous"]["failed empty"] == {"median": pytest.approx(0.5 / 52), "least": 0.0, "most": 1 / 52}


def test_a_night_without_earlier_ones_says_why_in_a_part_of_its_own(tmp_path: Path) -> None:
    def compared(number: int) -> str:
        uri = f"s3://archive/2026/radio/{number}.tar"
        found = content(tmp_path, {uri: nightly_runs.recordings(nightly_runs.drawn(20, seed=number)[0], uri)})
        return page.render(found).partition("<h2>Compared with earlier runs</h2>")[2].partition("<h2>")[0]

    assert "This is the first run of this head on this output" in compared(0)
    for record in (tmp_path / "runs").glob("*.json"):
        record.unlink()
    assert "Earlier runs of this head on this output left no record" in compared(1)
    assert "The run before this one, of the same head" in compared(2)


def test_only_so_many_runs_before_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_PREVIOUS_RUNS", 2)
    for number in range(4):
        uri = f"s3://archive/2026/radio/{number}.tar"
        found = content(tmp_path, {uri: nightly_runs.recordings(nightly_runs.drawn(20, seed=number)[0], uri)})

    assert len(found["runs"]) == 3


def test_a_run_at_another_prior_does_not_compare_entropy(tmp_path: Path) -> None:
    found = content(tmp_path, {RADIO: nightly_runs.recordings(nightly_runs.drawn(50)[0])}, prior=0.01)["drift"]

    assert found["prior_differs"]
    assert found["quantities"] == ["score", "ood", "seconds"]


def test_a_source_is_the_first_folder_below_the_archive_then_inside_the_container() -> None:
    roots = ("/data/archive/",)

    assert source_of("/data/archive/a/b/c.flac", None, roots) == "a"
    assert source_of("/data/archive/x.tar", "./tv/c.flac", roots) == "tv"
    assert source_of("/data/archive/x.tar", "c.flac", roots) == "archive"
    assert source_of("/elsewhere/x.flac", None, roots) == "elsewhere"
    assert source_of("x.flac", None, ()) == "/"


def test_an_archive_with_too_many_folders_is_counted_as_one_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_counts, "MAX_SOURCES", 3)
    monkeypatch.setattr(source_counts, "SHOWN_SOURCES", 2)
    rows = nightly_runs.recordings(nightly_runs.drawn(60)[0], "s3://archive/2026/x.tar")
    for number, row in enumerate(rows):
        row.member = f"folder-{number % 6}/{row.member}"

    found = content(tmp_path, {"s3://archive/2026/x.tar": rows})["sources"]

    assert [each["name"] for each in found] == ["(all others)", "folder-0", "2 more"]
    assert sum(each["scored"] for each in found) == 60


def test_the_dearest_sources_are_those_with_most_audio_and_failed_recordings_count(tmp_path: Path) -> None:
    rows = nightly_runs.recordings(nightly_runs.drawn(60)[0], "s3://archive/2026/x.tar")
    for number, row in enumerate(rows):
        row.member, row.seconds = f"folder-{number % 12}/{row.member}", 10.0 + number % 12
    failures = {"folder-3/long.flac": "too_long"}

    found = content(tmp_path, {"s3://archive/2026/x.tar": rows}, failures, failed_seconds=3_600.0)["dearest"]

    # five recordings of 10 to 21 s in each folder; one of an hour in the fourth
    others = [(f"folder-{number}", 5 * (10.0 + number)) for number in (11, 10, 9, 8, 7, 6, 5, 4, 2)]
    assert [(each["name"], each["seconds"]) for each in found] == [("folder-3", 3_665.0), *others]
    assert found[0]["share"] == pytest.approx(3_665.0 / (3_600.0 + 5 * sum(range(10, 22))))


def test_what_was_passed_over_or_is_not_heard_is_on_the_page_with_its_names_escaped(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>.dss"
    found = {"passed_over": {".dss": {"count": 1_234, "examples": [hostile, "b.dss"]}}}
    found |= {"unheard": {"count": 4_321, "first": {"uri": f"s3://new/{hostile}", "other": "s3://old/a.wav"}}}

    shown = content(tmp_path, {RADIO: nightly_runs.recordings(nightly_runs.drawn(20, seed=5)[0])}, found=found)
    text = page.render(shown)

    assert shown["passed_over"]["below the archive's folders"] == found["passed_over"]
    assert "<td>1,234</td>" in text
    assert "<bdi>&lt;script&gt;alert(1)&lt;/script&gt;.dss</bdi>, <bdi>b.dss</bdi>" in text
    assert "<b>4,321</b>not heard" in text
    assert "s3://new/&lt;script&gt;" in text
    assert "<script>" not in text


def test_a_run_that_passed_nothing_over_has_no_such_part(two_sources: tuple[Path, dict[str, Any]]) -> None:
    assert "Passed over" not in page.render(two_sources[1])
