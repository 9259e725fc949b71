"""A Parquet file of recordings that is replaced by a table without any: its rows are not taken for current."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.result import EmbeddingRun
from jobs.inputs.config import InputConfig
from jobs.inputs.containers import parquet
from tests.support.audio import encoded, tone
from tests.support.containers import in_parquet
from tests.support.embedding_runs import embed_archive
from tests.support.runner import InProcessRunner

RECIPE = recipe_of(EmbedConfig(backbone="melstats", segment_seconds=2.0), None)


def night(archive: Path, output: Path) -> EmbeddingRun:
    where = OutputConfig(output=str(output))
    return embed_archive(
        InProcessRunner(), InputConfig(input=(str(archive),)), RECIPE, ModelConfig(), where, RunConfig(max_removed=1.0)
    )


def here(run: EmbeddingRun) -> list[str]:
    _, tables = run.ledger.read_all("embeddings")
    rows = [row for each in tables for row in each.to_pylist()]
    return sorted(row["utterance_id"] for row in rows if row["removed_at"] is None)


def test_its_rows_are_removed_and_a_failure_says_what_it_holds_until_it_is_gone(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "0.parquet").write_bytes(in_parquet({"a.flac": encoded(tone(0.5))}))
    (archive / "b.flac").write_bytes(encoded(tone(0.5, seed=1)))
    assert here(night(archive, tmp_path / "output")) == ["0.parquet#a.flac", "b.flac"]

    for content in ({"words": ["no audio"]}, {"uri": ["b.flac"]}):
        pq.write_table(pa.table(content), archive / "0.parquet")
        run = night(archive, tmp_path / "output")
        assert here(run) == ["b.flac"]
        (failure,) = (row for each in run.ledger.read_all("failures")[1] for row in each.to_pylist())
        assert (failure["utterance_id"], failure["error"]) == ("0.parquet", "bad_archive")
        assert "no column with recordings" in failure["message"]

    assert night(archive, tmp_path / "output").markers == []
    (archive / "0.parquet").write_bytes(in_parquet({"a.flac": encoded(tone(0.5, seed=2))}))
    run = night(archive, tmp_path / "output")
    assert here(run) == ["0.parquet#a.flac", "b.flac"]
    assert run.ledger.read_all("failures")[1] == [] or not any(map(len, run.ledger.read_all("failures")[1]))


def test_a_table_that_never_held_recordings_is_no_row(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    pq.write_table(pa.table({"words": ["no audio"]}), archive / "0.parquet")
    (archive / "b.flac").write_bytes(encoded(tone(0.5, seed=1)))

    run = night(archive, tmp_path / "output")

    assert here(run) == ["b.flac"]
    assert not any(map(len, run.ledger.read_all("failures")[1]))


def test_a_table_without_recordings_is_parsed_by_one_run_alone_until_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, parsed = tmp_path / "archive", list[str]()
    archive.mkdir()
    content_of = parquet.content_of
    monkeypatch.setattr(parquet, "content_of", lambda stored: parsed.append(stored.uri) or content_of(stored))

    def put(number: int) -> None:
        (archive / f"{number}.flac").write_bytes(encoded(tone(0.5, seed=number)))

    pq.write_table(pa.table({"words": ["no audio"]}), archive / "0.parquet")
    put(1)
    night(archive, tmp_path / "output")
    put(2)
    assert here(night(archive, tmp_path / "output")) == ["1.flac", "2.flac"]
    assert parsed == [str(archive / "0.parquet")]

    (archive / "0.parquet").write_bytes(in_parquet({"a.flac": encoded(tone(0.5))}))
    assert here(night(archive, tmp_path / "output")) == ["0.parquet#a.flac", "1.flac", "2.flac"]
