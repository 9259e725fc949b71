"""Night after night, a row keeps what concerns its own recording, and only what changed is encoded."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.result import EmbeddingRun
from jobs.inputs.config import InputConfig
from jobs.scoring.shards import score_shards
from jobs.tables.removal import PRUNED_ROWS
from jobs.tables.verification import verify_tables
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.embedding_runs import embed_archive
from tests.support.heads import some_head
from tests.support.runner import InProcessRunner

RECIPE = recipe_of(EmbedConfig(backbone="melstats", segment_seconds=2.0), None)
DAYS = tuple(f"2026-11-0{day}" for day in range(1, 8))


class Archive:
    """A folder, its output, and nights over it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.output = folder / "archive", folder / "output"
        self.folder.mkdir()
        self.encoded_seconds = 0.0
        self.run: EmbeddingRun

    def write(self, name: str, seconds: float, seed: int = 0) -> None:
        """Write a recording, or replace one."""
        self._put(name, encoded(tone(seconds, seed=seed)))

    def write_tar(self, name: str, **seeds: int) -> None:
        """Write a tar of recordings of a second each."""
        write_tar(self.folder / name, {f"{each}.flac": encoded(tone(1.0, seed=seed)) for each, seed in seeds.items()})

    def _put(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)

    def night(self, day: int, **settings: Any) -> dict[str, dict[str, Any]]:
        """Run `embed`, and return the rows of `embeddings` by the name of the recording."""
        config = RunConfig(run_date=DAYS[day], **settings)
        runner, inputs = InProcessRunner(), InputConfig(input=(str(self.folder),))
        self.run = embed_archive(runner, inputs, RECIPE, ModelConfig(), OutputConfig(output=str(self.output)), config)
        self.run.raise_set_aside()
        self.encoded_seconds = sum(each.audio_seconds for each in runner.encoder_stats.encoders.values())
        return self.rows()

    def score(self, day: int) -> dict[str, dict[str, Any]]:
        """Score what is embedded, and return the rows of `scores`."""
        config, shards = RunConfig(run_date=DAYS[day]), self.run.committed()
        score_shards(
            InProcessRunner(), self.run.ledger, shards, some_head(RECIPE), None, str(self.output), config, "head.json"
        )
        return self.rows("scores")

    def rows(self, table: str = "embeddings") -> dict[str, dict[str, Any]]:
        if not (self.output / table).exists():
            return {}
        rows = pq.ParquetDataset(self.output / table).read().to_pylist()
        names = [row["utterance_id"].removeprefix(storage.key_of(f"{self.folder}/")) for row in rows]
        assert len(set(names)) == len(names)
        return dict(zip(names, rows, strict=True))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    found = Archive(tmp_path)
    for number, name in enumerate("abc"):
        found.write(f"{name}.flac", 1.0 + number, number)
    return found


def history(row: dict[str, Any]) -> tuple[str | None, ...]:
    """The days on which a row was first seen, changed and removed."""
    days = (row[name] for name in ("first_seen", "changed_at", "removed_at"))
    return tuple(None if day is None else day.isoformat() for day in days)


def test_of_a_group_with_one_changed_file_only_that_is_encoded_and_its_neighbours_keep_their_rows(
    archive: Archive,
) -> None:
    before = archive.night(0)
    assert archive.encoded_seconds == pytest.approx(1 + 2 + 3)
    archive.write("b.flac", 5.0, 9)

    now = archive.night(1)

    assert archive.encoded_seconds == pytest.approx(5.0)
    assert {name: now[name] for name in ("a.flac", "c.flac")} == {name: before[name] for name in ("a.flac", "c.flac")}
    assert history(now["b.flac"]) == (DAYS[0], DAYS[1], None)
    assert now["b.flac"]["first_run_id"] == before["b.flac"]["run_id"] != now["b.flac"]["run_id"]
    assert now["b.flac"]["seconds"] == pytest.approx(5.0)
    assert list(now) == ["a.flac", "b.flac", "c.flac"]
    assert verify_tables(str(archive.output)) == []


@pytest.mark.long
def test_scores_keep_their_run_unless_their_own_recording_changed(archive: Archive) -> None:
    archive.night(0)
    before = archive.score(0)
    archive.write("b.flac", 5.0, 9)
    (archive.folder / "c.flac").unlink()
    archive.night(1, max_removed=1.0)

    now = archive.score(1)

    assert now["a.flac"] == before["a.flac"]
    assert history(now["b.flac"]) == (DAYS[0], DAYS[1], None)
    assert now["b.flac"]["run_id"].startswith(DAYS[1])
    assert now["c.flac"] == before["c.flac"] | {"removed_at": datetime.date.fromisoformat(DAYS[1])}


def test_the_night_that_finds_a_recording_again_names_itself_in_its_score(archive: Archive) -> None:
    archive.night(0)
    archive.score(0)
    path = archive.folder / "b.flac"
    content = path.read_bytes()
    path.unlink()
    archive.night(1)
    archive.score(1)
    path.write_bytes(content)
    archive.night(2)

    now = archive.score(2)

    assert now["b.flac"]["run_id"].startswith(DAYS[2])  # so that it is new on that night's page and in its record
    assert history(now["b.flac"]) == (DAYS[0], DAYS[0], None)
    assert {now[name]["run_id"][:10] for name in ("a.flac", "c.flac")} == {DAYS[0]}


def test_a_recording_that_is_gone_keeps_its_row_with_the_date_also_when_nothing_else_changed(archive: Archive) -> None:
    before = archive.night(0)
    (archive.folder / "b.flac").unlink()

    now = archive.night(1)
    again = archive.night(2)

    assert archive.encoded_seconds == 0.0
    assert now == again == before | {"b.flac": before["b.flac"] | {"removed_at": datetime.date.fromisoformat(DAYS[1])}}
    assert archive.rows("failures") == {}
    assert archive.run.markers == []
    assert verify_tables(str(archive.output)) == []


@pytest.mark.long
@pytest.mark.parametrize(("seconds", "changed"), [(2.0, DAYS[0]), (4.0, DAYS[2])])
def test_a_recording_that_comes_back_is_there_again_since_it_was_first_seen(
    archive: Archive, seconds: float, changed: str
) -> None:
    archive.night(0)
    (archive.folder / "b.flac").unlink()
    archive.night(1)
    archive.write("b.flac", seconds, 1)

    now = archive.night(2)

    assert history(now["b.flac"]) == (DAYS[0], changed, None)
    assert archive.encoded_seconds == pytest.approx(seconds)


@pytest.mark.long
def test_members_of_a_replaced_tar_keep_their_rows_where_their_bytes_are_the_same(archive: Archive) -> None:
    archive.write_tar("0.tar", same=1, other=2, gone=3)
    before = archive.night(0)
    archive.write_tar("0.tar", same=1, other=5, new=6)

    now = archive.night(1)

    assert now["0.tar#same.flac"] == before["0.tar#same.flac"]
    assert history(now["0.tar#other.flac"]) == (DAYS[0], DAYS[1], None)
    assert history(now["0.tar#gone.flac"]) == (DAYS[0], DAYS[0], DAYS[1])
    assert history(now["0.tar#new.flac"]) == (DAYS[1], DAYS[1], None)
    assert archive.encoded_seconds == pytest.approx(3.0)


@pytest.mark.long
def test_members_of_a_tar_that_could_not_be_read_to_its_end_are_not_gone(archive: Archive) -> None:
    archive.write_tar("0.tar", d=1, e=2, f=3)
    before = archive.night(0)
    whole = (archive.folder / "0.tar").read_bytes()
    first_member = 512 + -(-int(whole[124:135], 8) // 512) * 512
    archive._put("0.tar", whole[: first_member + 700])

    broken = archive.night(1, prune=True)
    archive._put("0.tar", whole)
    mended = archive.night(2, prune=True)

    assert archive.rows("failures") == {}
    assert set(before) == set(broken) == set(mended)
    unread = ["0.tar#e.flac", "0.tar#f.flac"]
    assert {name: broken[name] for name in unread} == {name: before[name] for name in unread}
    assert all(row["removed_at"] is None for rows in (broken, mended) for row in rows.values())
    assert {row["first_seen"].isoformat() for row in mended.values()} == {DAYS[0]}


def test_all_rows_of_a_tar_that_is_gone_stay_until_they_are_pruned(archive: Archive) -> None:
    archive.write_tar("0.tar", a=1, b=2)
    archive.night(0)
    (archive.folder / "0.tar").unlink()
    (archive.folder / "a.flac").unlink()

    gone = archive.night(1)
    pruned = archive.night(2, prune=True)
    again = archive.night(3, prune=True)

    assert {name for name, row in gone.items() if row["removed_at"]} == {"0.tar#a.flac", "0.tar#b.flac", "a.flac"}
    assert list(pruned) == list(again) == ["b.flac", "c.flac"]
    assert archive.run.markers == []
    pruned_rows = [each.detail.get(PRUNED_ROWS, 0) for each in archive.run.ledger.markers(archive.run.history.names)]
    assert sum(pruned_rows) == 3
    archive.write_tar("0.tar", a=1)
    assert history(archive.night(4)["0.tar#a.flac"]) == (DAYS[4], DAYS[4], None)


def test_of_an_archive_that_is_suddenly_empty_nothing_counts_as_gone(archive: Archive) -> None:
    before = archive.night(0)
    for name in "abc":
        (archive.folder / f"{name}.flac").unlink()

    with pytest.raises(ConfigError, match=r"3 of the 3 stored objects that it had are gone.*--max-removed 1\."):
        archive.night(1)

    assert archive.rows() == before
    assert {row["removed_at"] for row in archive.night(2, max_removed=1.0).values()} == {
        datetime.date.fromisoformat(DAYS[2])
    }
    assert list(archive.night(3)) == ["a.flac", "b.flac", "c.flac"]


def test_a_file_that_a_link_or_another_input_leads_to_is_not_gone(archive: Archive, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.rename(archive.folder / "c.flac", elsewhere / "c.flac")
    (archive.folder / "linked").symlink_to(elsewhere)
    config = dataclasses.replace(RunConfig(), run_date=DAYS[0])
    linked = InputConfig(input=(str(archive.folder),), follow_links="anywhere")
    embed_archive(InProcessRunner(), linked, RECIPE, ModelConfig(), OutputConfig(output=str(archive.output)), config)

    now = archive.night(1)

    assert {row["removed_at"] for row in now.values()} == {None}
    assert len(now) == 3


@pytest.mark.long
def test_a_neighbour_that_fails_keeps_its_failure_and_one_that_is_gone_loses_it(archive: Archive) -> None:
    (archive.folder / "d.flac").write_bytes(b"<html>")
    (archive.folder / "e.flac").write_bytes(b"<html>")
    archive.night(0)
    before = archive.rows("failures")
    archive.write("a.flac", 1.0, 7)
    (archive.folder / "e.flac").unlink()

    archive.night(1)

    assert archive.rows("failures") == {"d.flac": before["d.flac"]}


@pytest.mark.long
def test_a_run_that_was_killed_before_its_marker_is_finished_without_encoding_again(archive: Archive) -> None:
    archive.night(0)
    archive.write("b.flac", 5.0, 9)
    once = archive.night(1)
    (marker,) = archive.run.markers
    (archive.output / "_commits" / archive.run.ledger.name / f"{marker.name}.json").unlink()

    again = archive.night(2)

    assert archive.encoded_seconds == 0.0
    assert again == once
    detail = archive.run.markers[0].detail
    assert detail == marker.detail | {"read_bytes": 0}  # nothing was read by the run that finished it
    assert dataclasses.replace(archive.run.markers[0], detail=marker.detail) == marker


def test_rows_of_an_earlier_version_get_a_history_from_their_run(archive: Archive) -> None:
    archive.night(0)
    (path,) = (archive.output / "embeddings").rglob("*.parquet")
    (marker_path,) = (archive.output / "_commits").rglob("*.json")
    rows = pq.read_table(path, partitioning=None).drop_columns(
        ["first_seen", "changed_at", "first_run_id", "removed_at"]
    )
    marker_path.unlink()
    path.unlink()
    run = archive.run
    (planned,) = run.planned.values()
    run.ledger.commit(planned, "a", {"embeddings": (f"embeddings/backbone={RECIPE.slug}", rows)}, {})
    archive.write("b.flac", 5.0, 9)

    now = archive.night(3)

    assert history(now["a.flac"]) == (DAYS[0], DAYS[0], None)
    assert history(now["b.flac"]) == (DAYS[0], DAYS[3], None)
    assert now["a.flac"]["first_run_id"] == now["a.flac"]["run_id"]


def test_damaged_rows_are_never_taken_over(archive: Archive) -> None:
    archive.night(0)
    (path,) = (archive.output / "embeddings").rglob("*.parquet")
    rows = pq.read_table(path, partitioning=None)
    pq.write_table(rows.slice(0, 2), path)
    archive.write("b.flac", 5.0, 9)

    with pytest.raises(SchemaError, match="is damaged, and rows of it are to be kept"):
        archive.night(1)


def test_queries_night_by_night_lose_nothing_when_neighbours_are_replaced(archive: Archive) -> None:
    archive.night(0)
    archive.score(0)
    archive.write("b.flac", 5.0, 9)
    archive.write("d.flac", 1.0, 8)
    (archive.folder / "c.flac").unlink()
    archive.night(1)
    archive.score(1)
    page = (Path(__file__).parents[4] / "docs" / "how-to" / "run-nightly.md").read_text()
    queries = [each for block in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) for each in block.split(";")[:-1]]
    connection = duckdb.connect()
    scores = f"read_parquet('{archive.output}/scores/**/*.parquet', union_by_name = true)"
    connection.execute(f"CREATE VIEW recordings AS SELECT * FROM {scores}")

    new, replaced, removed, at_the_end = (connection.execute(query).fetchall() for query in queries)

    first, second = (datetime.date.fromisoformat(day) for day in DAYS[:2])
    assert (new, replaced, removed) == ([(first, 3), (second, 1)], [(second, 1)], [(second, 1)])
    assert [name.rpartition("/")[2] for (name,) in at_the_end] == ["a.flac", "b.flac", "d.flac"]


def test_an_attempt_that_finds_its_own_rows_without_a_marker_says_what_they_changed(archive: Archive) -> None:
    archive.night(0)
    archive.score(0)
    archive.write("b.flac", 5.0, 9)
    archive.write("d.flac", 1.0, 8)
    (archive.folder / "c.flac").unlink()
    archive.night(1)
    archive.score(1)

    def markers() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in archive.output.glob("_commits/scores-*/*.json")}

    def changes() -> Counter[str]:
        second = [content for content in markers().values() if json.loads(content)["detail"]["run_id"][:10] == DAYS[1]]
        return sum((Counter(json.loads(content)["detail"]["changes"]) for content in second), Counter())

    before = markers()
    assert changes() == {"new": 1, "replaced": 1, "removed": 1}

    for path, content in before.items():
        if json.loads(content)["detail"]["run_id"][:10] == DAYS[1]:
            path.unlink()  # as if the run had been killed between the rows and the marker
    archive.score(1)

    assert markers() == before
