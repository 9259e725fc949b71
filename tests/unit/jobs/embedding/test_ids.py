"""The ids of an output: relative or absolute, as its first plan says, and the same in every later run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.errors import ConfigError
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.result import EmbeddingRun
from jobs.erasure.erasing import erase
from jobs.erasure.request import ErasureRequest
from jobs.inputs.config import InputConfig
from jobs.inputs.manifest import list_recordings
from jobs.reports.nightly.redrawing import redraw_pages
from jobs.scoring.shards import score_shards
from jobs.tables.id_rule import id_roots_of
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.embedding_runs import embed_archive
from tests.support.heads import some_head
from tests.support.runner import InProcessRunner

RECIPE = recipe_of(EmbedConfig(backbone="melstats", segment_seconds=2.0), None)


def embedded(output: Path, *inputs: Path, ids: str | None = None, config: InputConfig | None = None) -> EmbeddingRun:
    config = config or InputConfig(input=tuple(map(str, inputs)), ids=ids)
    return embed_archive(
        InProcessRunner(), config, RECIPE, ModelConfig(), OutputConfig(output=str(output)), RunConfig()
    )


def rows(run: EmbeddingRun, table: str = "embeddings") -> dict[str, Any]:
    """Rows of a table by id."""
    _, tables = run.ledger.read_all(table)
    found = [row for each in tables for row in each.to_pylist()]
    assert len({row["utterance_id"] for row in found}) == len(found)
    return {row["utterance_id"]: row for row in found}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A tar of two recordings, a broken tar, a loose file in a group of two, and one in a group of its own."""
    folder = tmp_path / "archive" / "2026"
    (folder / "calls").mkdir(parents=True)
    write_tar(folder / "0.tar", {"a.flac": encoded(tone(1.0)), "b.flac": encoded(tone(1.1, seed=1))})
    (folder / "broken.tar").write_bytes(b"no tar")
    (folder / "c.flac").write_bytes(encoded(tone(1.2, seed=2)))
    (folder / "calls" / "d.flac").write_bytes(encoded(tone(1.3, seed=3)))
    return folder


IDS = {"0.tar#a.flac", "0.tar#b.flac", "c.flac", "calls/d.flac"}


def test_ids_are_relative_in_tables_and_failures_and_uris_stay_whole(archive: Path, tmp_path: Path) -> None:
    run = embedded(tmp_path / "output", archive, ids="relative")

    found = rows(run)
    assert found.keys() == IDS
    assert found["calls/d.flac"]["uri"] == f"{archive}/calls/d.flac"
    assert found["0.tar#a.flac"]["uri"] == f"{archive}/0.tar"
    assert rows(run, "failures").keys() == {"broken.tar"}


@pytest.mark.parametrize("rule", ["relative", "absolute"])
def test_an_output_continues_with_its_ids_and_refuses_the_other_rule(rule: str, archive: Path, tmp_path: Path) -> None:
    before = rows(embedded(tmp_path / "output", archive, ids=rule)).keys()
    (archive / "late.flac").write_bytes(encoded(tone(1.0, seed=9)))

    run = embedded(tmp_path / "output", archive)

    late = "late.flac" if rule == "relative" else f"{archive}/late.flac"
    assert rows(run).keys() == before | {late}
    assert len(run.markers) == 1  # the others were not done again
    other = {"relative": "absolute", "absolute": "relative"}[rule]
    with pytest.raises(ConfigError, match=f"its utterance ids are {rule}, so --ids {other} would name"):
        embedded(tmp_path / "output", archive, ids=other)
    assert embedded(tmp_path / "output", archive, ids=rule).markers == []


def test_a_new_output_has_relative_ids(archive: Path, tmp_path: Path) -> None:
    assert rows(embedded(tmp_path / "output", archive)).keys() == IDS


@pytest.mark.parametrize(("rule", "remedy"), [("relative", "--input {}/"), ("absolute", "--ids absolute")])
def test_a_manifest_whose_ids_count_from_elsewhere_would_name_all_anew_and_is_refused(
    rule: str, remedy: str, archive: Path, tmp_path: Path
) -> None:
    def listed(ids: str | None, folder: Path) -> InputConfig:
        table, _ = list_recordings(InputConfig(input=(str(folder),), ids=ids))
        pq.write_table(table, tmp_path / "manifest.parquet")
        return InputConfig(manifest=str(tmp_path / "manifest.parquet"))

    (archive / "broken.tar").unlink()
    (archive / "0.tar").unlink()
    output = tmp_path / "output"
    before = rows(embedded(output, config=listed(rule, archive))).keys()
    others = listed(None, archive if rule == "absolute" else archive.parent)

    with pytest.raises(ConfigError, match=re.escape(remedy.format(archive))) as refused:
        embedded(output, config=others)

    assert "would be there twice" in str(refused.value)
    assert rows(embedded(output, config=listed(rule, archive))).keys() == before


def test_a_run_of_another_input_keeps_ids_and_does_nothing_again(archive: Path, tmp_path: Path) -> None:
    embedded(tmp_path / "output", archive, ids="relative")
    (archive / "calls" / "e.flac").write_bytes(encoded(tone(1.0, seed=9)))

    outer = embedded(tmp_path / "output", archive.parent)
    single = embedded(tmp_path / "output", archive / "calls" / "d.flac")

    assert len(outer.markers) == 1
    assert single.markers == []
    assert rows(single).keys() == IDS | {"2026/calls/e.flac"}


def test_a_list_without_ids_that_lies_deeper_keeps_ids_and_does_nothing_again(archive: Path, tmp_path: Path) -> None:
    embedded(tmp_path / "output", archive)
    listing = archive / "calls" / "list.csv"
    listing.write_text("uri\nd.flac\n../c.flac\n")

    run = embedded(tmp_path / "output", listing)

    assert run.markers == []
    assert rows(run).keys() == IDS


def test_a_changed_source_is_replaced_under_its_relative_id(archive: Path, tmp_path: Path) -> None:
    before = rows(embedded(tmp_path / "output", archive, ids="relative"))
    write_tar(archive / "0.tar", {"a.flac": encoded(tone(2.0, seed=5))})
    os.utime(archive / "0.tar", ns=(1, 1))

    after = rows(embedded(tmp_path / "output", archive))

    assert {name for name, row in after.items() if row["removed_at"] is None} == IDS - {"0.tar#b.flac"}
    assert after["0.tar#a.flac"]["audio_sha256"] != before["0.tar#a.flac"]["audio_sha256"]


@pytest.mark.parametrize("victim", ["0.tar#b.flac", "calls/d.flac"])
def test_erasing_a_relative_id_leaves_no_mention_of_its_uri(victim: str, archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    embedded(output, archive / "calls", ids="relative")  # so that a marker is named by this file alone
    run = embedded(output, archive)
    victim = victim.removeprefix("calls/")
    assert victim in rows(run)

    erase(str(output), ErasureRequest([victim], sorted(id_roots_of(str(output)))), redraw_pages)

    assert victim not in rows(run)
    assert len(rows(run)) == len(IDS) - 1
    place = f"{archive}/{'calls/' if '#' not in victim else ''}{victim}".encode()
    assert not [path for path in output.rglob("*") if path.is_file() and place in path.read_bytes()]


@pytest.mark.parametrize("victim", ["0.tar#a.flac", "c.flac", "b.flac"])
def test_no_name_of_another_file_keeps_a_recording_from_being_erased(
    victim: str, archive: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    (archive / "b.flac").write_bytes(encoded(tone(1.4, seed=4)))
    (archive / "calls" / "b.flac").write_bytes(encoded(tone(1.4, seed=5)))  # as `b.flac` is called below the archive
    for name in ("0.tar#a.flac", "c.flac@0-5", "c.flac@0-end"):
        (archive / name).write_bytes(encoded(tone(1.5, seed=6)))
    embedded(output, archive)
    (archive / "calls" / "late.flac").write_bytes(encoded(tone(1.6, seed=7)))
    before = rows(embedded(output, archive / "calls"))
    assert before.keys() == IDS | {
        *("b.flac", "calls/b.flac", "late.flac"),
        *(r"0.tar\x23a.flac", r"c.flac\x400-5", r"c.flac\x400-end"),
    }

    erase(str(output), ErasureRequest([victim], sorted(id_roots_of(str(output)))), redraw_pages)

    assert rows(embedded(output, archive / "calls")).keys() == before.keys() - {victim}


def test_a_container_that_others_are_read_from_is_not_erased_by_its_relative_id(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    embedded(output, archive, ids="relative")

    with pytest.raises(ConfigError, match=r"other recordings, .*, are read from 0\.tar,"):
        erase(str(output), ErasureRequest(["0.tar"], sorted(id_roots_of(str(output)))), redraw_pages)


def test_scores_in_an_output_of_their_own_are_erased_with_the_uris_of_relative_ids(
    archive: Path, tmp_path: Path
) -> None:
    run = embedded(tmp_path / "embedded", archive / "calls", ids="relative")
    output = str(tmp_path / "scored")
    head = some_head(RECIPE)
    score_shards(InProcessRunner(), run.ledger, run.committed(), head, None, output, RunConfig(), "head.json")
    assert id_roots_of(output) == {f"{archive}/calls/"}

    erase(output, ErasureRequest(["d.flac"], sorted(id_roots_of(output))), redraw_pages)

    place = f"{archive}/calls/d.flac".encode()
    assert not [path for path in (tmp_path / "scored").rglob("*") if path.is_file() and place in path.read_bytes()]
