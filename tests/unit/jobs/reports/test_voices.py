"""Clusters of flagged recordings of unknown systems: the same in any order, and called the same the next night."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from detector.attribution import UNKNOWN_SYSTEM
from detector.errors import ConfigError
from detector.head import Head
from detector.leaders import leaders
from jobs.erasure.erasing import erase
from jobs.erasure.request import ErasureRequest
from jobs.reports.nightly import page
from jobs.reports.review.config import VoicesConfig
from jobs.reports.runs import read_record
from jobs.reports.voices import Voices, cluster_name, find_voices
from jobs.scoring.result import ScoringRun
from jobs.tables.ledger import Ledger
from jobs.verbs import review
from tests.support import nightly_runs
from tests.support.attributed_nights import FIRST, attributing, voice
from tests.support.nightly_runs import night

SECOND = "s3://archive/2026/radio/0002.tar"


def found(scored: ScoringRun, source: Ledger, **limits: Any) -> Voices:
    return find_voices(scored.ledger, source, scored.ledger.history(), scored.head, **limits)


def sizes(voices: Voices) -> dict[str, list[str]]:
    """Members of each cluster, by its name."""
    return {rows[0]["cluster"]: [row["member"] for row in rows] for rows in voices.clusters}


def test_a_row_joins_the_leader_that_it_is_most_like() -> None:
    angles = np.radians([0.0, 30.0, 60.0, 16.0, 200.0])
    rows = np.column_stack([np.cos(angles), np.sin(angles)]) * [[1.0], [2.0], [3.0], [4.0], [5.0]]

    # 25 degrees are alike: 30 leads, as it is 30 from 0; 60 leads; 16 is 14 from 30 and 16 from 0
    assert leaders(rows, float(np.cos(np.radians(25.0)))).tolist() == [0, 1, 2, 1, 4]
    assert leaders(np.zeros((3, 2)), 0.5).tolist() == [0, 1, 2]
    assert leaders(np.zeros((0, 2)), 0.5).tolist() == []


def test_rows_that_come_later_change_no_cluster() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 3))

    assert leaders(rows[:40], 0.8).tolist() == leaders(rows, 0.8)[:40].tolist()


def test_recordings_of_one_machine_are_together_and_called_after_the_earliest(tmp_path: Path) -> None:
    shards = {FIRST: [*voice(0, 3), *voice(2, 2)], SECOND: [*voice(0, 4, SECOND, 50), *voice(5, 1, SECOND)]}

    voices = found(*night(str(tmp_path), shards, judge=attributing(), pages=False))

    assert [len(rows) for rows in voices.clusters] == [7, 2, 1]
    assert {len({row["member"][3:] for row in rows}) for rows in voices.clusters} == {1}
    assert [rows[0]["cluster"] for rows in voices.clusters] == [
        cluster_name("2026/radio/0001.tar#00-machine-0.flac"),
        cluster_name("2026/radio/0001.tar#00-machine-2.flac"),
        cluster_name("2026/radio/0002.tar#00-machine-5.flac"),
    ]


def test_a_cluster_keeps_its_name_from_night_to_night(tmp_path: Path) -> None:
    head, output = attributing(), str(tmp_path)

    before = sizes(found(*night(output, {SECOND: voice(0, 3, SECOND, 50)}, judge=head, date="2026-11-22", pages=False)))
    later = {FIRST: [*voice(0, 2), *voice(1, 2)]}  # ids that stand before those of the first night
    after = sizes(found(*night(output, later, judge=head, date="2026-11-23", pages=False)))

    (name,) = before
    assert after[name] == [*before[name], "00-machine-0.flac", "01-machine-0.flac"]
    assert len(after) == 2


def test_the_order_of_shards_changes_nothing(tmp_path: Path) -> None:
    shards = {FIRST: [*voice(0, 3), *voice(2, 2)], SECOND: [*voice(0, 2, SECOND, 50), *voice(1, 2, SECOND)]}
    reversed_shards = dict(reversed(shards.items()))

    one = found(*night(str(tmp_path / "a"), shards, judge=attributing(), pages=False))
    other = found(*night(str(tmp_path / "b"), reversed_shards, judge=attributing(), pages=False))

    assert one.n_rows == 9
    assert sizes(one) == sizes(other)


def test_shards_that_are_not_committed_yet_do_not_count(tmp_path: Path) -> None:
    shards = {FIRST: voice(0, 3), SECOND: voice(0, 2, SECOND, 50)}
    scored, source = night(str(tmp_path), shards, judge=attributing(), pages=False)
    whole = sizes(found(scored, source))
    (marker,) = (each for each in (tmp_path / "_commits").rglob("*.json") if _is_scores_of(each, SECOND))
    content = marker.read_bytes()
    marker.unlink()  # as if the run had been killed before this shard

    cut = sizes(found(scored, source))
    marker.write_bytes(content)

    assert {name: len(rows) for name, rows in cut.items()} == dict.fromkeys(whole, 3)
    assert sizes(found(scored, source)) == whole


def _is_scores_of(path: Path, shard: str) -> bool:
    return path.parent.name.startswith("scores-") and path.name.startswith(nightly_runs.slot_of(shard))


def test_a_cluster_whose_earliest_recording_is_erased_is_called_after_the_next(tmp_path: Path) -> None:
    output = str(tmp_path)
    scored, source = night(output, {FIRST: [*voice(0, 3), *voice(1, 2)]}, judge=attributing(), pages=False)
    before = sizes(found(scored, source))

    erase(output, ErasureRequest(["2026/radio/0001.tar#00-machine-0.flac"]), lambda *_: 0)

    after = sizes(found(scored, source))
    assert after[cluster_name("2026/radio/0001.tar#01-machine-0.flac")] == ["01-machine-0.flac", "02-machine-0.flac"]
    other = cluster_name("2026/radio/0001.tar#00-machine-1.flac")
    assert after[other] == before[other]


def test_the_newest_runs_that_fit_are_read_whole(tmp_path: Path) -> None:
    head, output = attributing(), str(tmp_path)
    for number in range(3):
        uri = f"s3://archive/2026/radio/{number}.tar"
        scored, source = night(output, {uri: voice(0, 4, uri)}, judge=head, date=f"2026-11-2{number}", pages=False)

    by_rows, by_shards = found(scored, source, max_rows=9), found(scored, source, max_shards=1)
    cut = found(scored, source, max_rows=3)

    assert (by_rows.n_rows, by_rows.n_runs, by_rows.of_runs, by_rows.is_cut) == (8, 2, 3, False)
    assert (by_shards.n_rows, by_shards.n_runs) == (4, 1)
    assert (cut.n_rows, cut.n_runs, cut.is_cut) == (3, 1, True)
    assert [row["member"][:2] for row in cut.clusters[0]] == ["00", "01", "02"]


def test_recordings_that_were_embedded_anew_since_are_left_out(tmp_path: Path) -> None:
    shards = {FIRST: voice(0, 3), SECOND: voice(0, 2, SECOND, 50)}
    scored, source = night(str(tmp_path), shards, judge=attributing(), pages=False)

    nightly_runs.embed(str(tmp_path), {SECOND: voice(0, 2, SECOND, 50)}, {}, "2026-11-24", state="changed")

    assert list(map(len, found(scored, source).clusters)) == [3]


def test_named_rejected_and_bona_fide_recordings_are_no_part_of_it(tmp_path: Path) -> None:
    bonafide = voice(3, 2)
    for each in bonafide:
        each.embedding[0] = 6.0  # type: ignore[index]
    shards = {FIRST: [*voice(0, 2), *voice(2, 2), *bonafide]}

    scored, source = night(str(tmp_path), shards, judge=attributing(threshold=0.9), pages=False)

    assert list(sizes(found(scored, source)).values()) == [["00-machine-2.flac", "01-machine-2.flac"]]


@pytest.mark.parametrize("head", [nightly_runs.head(), attributing(alike=None)])
def test_a_head_that_does_not_attribute_has_no_clusters(tmp_path: Path, head: Head) -> None:
    assert found(*night(str(tmp_path), {FIRST: voice(0, 3)}, judge=head, pages=False)).clusters == ()


def test_the_page_shows_systems_and_clusters_and_no_name_acts_on_it(tmp_path: Path) -> None:
    head, output = attributing(threshold=0.9), str(tmp_path)
    recordings = [*voice(0, 2), *voice(2, 3)]
    recordings[2].member = "00-<script>alert(1)</script>\u202e.flac"

    scored, source = night(output, {FIRST: recordings}, judge=head, pages=False)
    record = read_record(output, scored.history.plans[-1].run_id)
    assert record is not None
    content = page.page_content(scored, source, record)
    html = page.render(content)

    assert content["systems"]["counts"] == {"near the second axis": 2}
    assert content["systems"][UNKNOWN_SYSTEM] == 3
    (cluster,) = content["voices"]["clusters"]
    assert (cluster["recordings"], cluster["new"]) == (3, 3)
    assert cluster["name"] in html
    assert "Recordings that share a voice machine" in html
    assert "<script>alert" not in html
    assert "\u202e" not in html


def test_a_page_of_a_head_that_does_not_attribute_has_none_of_it(tmp_path: Path) -> None:
    night(str(tmp_path), {FIRST: voice(0, 2)})

    (html,) = (tmp_path / "runs").glob("*.html")
    assert "voice machine" not in html.read_text()
    assert "nearest system" not in html.read_text()


def test_the_table_of_voices_has_a_row_for_each_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, output = tmp_path / "head.json", str(tmp_path / "tables")
    head.write_text(attributing().to_json())
    recordings = [*voice(0, 3), *voice(2, 1)]
    recordings[0].member = "=1+1.flac"
    night(output, {FIRST: recordings}, judge=attributing(), head_uri=str(head), pages=False)

    for name in ("voices.csv", "voices.parquet"):
        review.run(VoicesConfig(output=output, to=str(tmp_path / name)))

    sheet = list(csv.DictReader((tmp_path / "voices.csv").read_text("utf-8-sig").splitlines()))
    stored = pq.read_table(tmp_path / "voices.parquet").to_pylist()
    assert [row["recordings"] for row in stored] == [3, 3, 3, 1]
    assert {row["cluster"] for row in stored[:3]} == {stored[0]["cluster"]}
    assert [row["cluster"] for row in sheet] == [row["cluster"] for row in stored]
    assert "'=1+1.flac" in [row["member"] for row in sheet]
    assert "1 clusters of two or more, 1 recordings like no other" in capsys.readouterr().out


def test_a_head_that_does_not_attribute_has_no_table_of_voices(tmp_path: Path) -> None:
    head, output = tmp_path / "head.json", str(tmp_path / "tables")
    head.write_text(nightly_runs.head().to_json())
    night(output, {FIRST: voice(0, 2)}, head_uri=str(head), pages=False)

    with pytest.raises(ConfigError, match="does not say which recordings are alike"):
        review.run(VoicesConfig(output=output, to=str(tmp_path / "voices.csv")))
    with pytest.raises(ConfigError, match="lies within the output"):
        review.run(VoicesConfig(output=output, to=f"{output}/voices.parquet"))
    with pytest.raises(ConfigError, match=r"expected a name that ends in \.csv, \.parquet"):
        VoicesConfig(output=output, to="voices.json")
