"""A source that changes while it is read is set aside alone, and read again; one that never rests is a failure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from jobs import storage
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.result import EmbeddingRun
from jobs.errors import RunAgain, StalledError, StoppedError
from jobs.execution.work import Work
from jobs.inputs.config import InputConfig
from jobs.inputs.shards import CHANGED, Portion
from jobs.scoring.shards import score_shards
from jobs.tables.verification import verify_tables
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.embedding_runs import embed_archive
from tests.support.heads import some_head
from tests.support.runner import InProcessRunner

RECIPE = recipe_of(EmbedConfig(backbone="melstats", segment_seconds=2.0), None)


class Meddling(InProcessRunner):
    """A runner during whose work something happens: before the first portion is read, or after it."""

    def __init__(self, before: Any = lambda: None, after: Any = lambda: None) -> None:
        super().__init__()
        self.before, self.after = before, after

    def embed_portions(self, portions: Iterable[Portion], work: Work, *, singly: bool = False) -> Iterator[pa.Table]:
        self.before()
        for portion in portions:
            yield from super().embed_portions([portion], work, singly=singly)
            self.after()


class Archive:
    """A folder of loose files, its output, and nights over it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.output = folder / "archive", folder / "output"
        self.folder.mkdir()
        self.run: EmbeddingRun
        for number, name in enumerate("abc"):
            self.write(name, number)

    def write(self, name: str, seed: int) -> None:
        (self.folder / f"{name}.flac").write_bytes(encoded(tone(1.0, seed=seed)))

    def night(self, day: int, runner: InProcessRunner | None = None) -> list[str]:
        """Embed, and return the names of the recordings that were read."""
        self.run = embed_archive(
            runner or InProcessRunner(),
            InputConfig(input=(str(self.folder),)),
            RECIPE,
            ModelConfig(),
            OutputConfig(output=str(self.output)),
            RunConfig(run_date=f"2026-11-{day:02d}"),
        )
        return sorted({uri for marker in self.run.markers for uri in self._read(marker)})

    def _read(self, marker: Any) -> list[str]:
        rows = [self.run.ledger.read(marker, table) for table in ("embeddings", "failures")]
        found = [row for each in rows if each is not None for row in each.to_pylist()]
        return [storage.name_of(row["uri"])[0] for row in found if row["run_id"] == marker.detail["run_id"]]

    def rows(self) -> dict[str, str | None]:
        """The error of each recording that is in the archive; None where it is embedded."""
        found: dict[str, str | None] = {}
        for table in ("embeddings", "failures"):
            for row in (row for each in self.run.ledger.read_all(table)[1] for row in each.to_pylist()):
                if row.get("removed_at") is None:
                    assert row["utterance_id"] not in found, "a recording has two rows"
                    found[row["utterance_id"]] = row.get("error")
        return {storage.name_of(name)[0]: error for name, error in found.items()}


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


class Once:
    """Does something the first time that it is called."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.acts = [act]

    def __call__(self) -> None:
        while self.acts:
            self.acts.pop()()


def test_a_file_that_is_replaced_while_it_is_read_is_read_again_in_the_same_run(archive: Archive) -> None:
    read = archive.night(1, Meddling(before=Once(lambda: archive.write("b", 7))))

    archive.run.raise_set_aside()
    assert read == ["b"]  # the rows of the others are taken over
    assert archive.rows() == {"a": None, "b": None, "c": None}
    assert [each.rows["embeddings"] for each in archive.run.ledger.markers(archive.run.replaced)] == [2]
    assert archive.night(1) == []
    assert archive.night(2) == []
    assert verify_tables(str(archive.output)) == []


def test_a_file_that_never_rests_is_a_failure_like_others_and_each_night_reads_it_alone(archive: Archive) -> None:
    seeds = iter(range(7, 20))
    archive.night(1, Meddling(before=lambda: archive.write("b", next(seeds))))
    restless = archive.rows()
    archive.run.raise_set_aside()

    again = archive.night(2, Meddling(before=lambda: archive.write("b", next(seeds))))
    at_rest = archive.night(3)

    assert restless == {"a": None, "b": CHANGED, "c": None}
    assert (again, at_rest) == (["b"], ["b"])
    assert archive.rows() == {"a": None, "b": None, "c": None}
    assert archive.night(4) == []
    assert verify_tables(str(archive.output)) == []


def test_a_container_that_never_rests_is_one_failure_and_each_night_reads_it_again(archive: Archive) -> None:
    seeds = iter(range(7, 20))

    def rewrite() -> None:
        write_tar(archive.folder / "1.tar", {"m.flac": encoded(tone(1.0, seed=next(seeds)))})

    rewrite()
    archive.night(1, Meddling(before=rewrite))
    restless = archive.rows()
    archive.run.raise_set_aside()
    archive.night(2)

    archive.run.raise_set_aside()
    assert restless == {"a": None, "b": None, "c": None, "1": CHANGED}
    assert archive.rows() == {"a": None, "b": None, "c": None, "1": None}
    assert verify_tables(str(archive.output)) == []


def test_a_file_that_is_put_back_as_it_was_planned_is_read_all_the_same(archive: Archive) -> None:
    path, hidden = archive.folder / "b.flac", archive.folder.parent / "b.flac"
    hide, put_back = Once(lambda: os.rename(path, hidden)), Once(lambda: os.rename(hidden, path))

    archive.night(1, Meddling(before=hide, after=put_back))

    archive.run.raise_set_aside()
    assert archive.rows() == {"a": None, "b": None, "c": None}


def test_a_file_that_is_removed_while_it_is_read_has_no_row(archive: Archive) -> None:
    archive.night(1, Meddling(before=Once((archive.folder / "b.flac").unlink)))

    archive.run.raise_set_aside()
    assert archive.rows() == {"a": None, "c": None}
    assert archive.night(2) == []


def test_what_was_committed_before_a_stall_is_scored(archive: Archive) -> None:
    write_tar(archive.folder / "1.tar", {"m.flac": encoded(tone(1.0, seed=9))})

    def stall() -> None:
        raise StalledError("no progress for 120 s; stuck: reading z.tar.gz.")

    archive.night(1, Meddling(after=stall))
    shards = archive.run.committed()
    how = (some_head(RECIPE), None, str(archive.output), RunConfig(run_date="2026-11-01"), "head.json")
    scored = score_shards(InProcessRunner(), archive.run.ledger, shards, *how)

    assert len(shards) == 1
    assert len(list(scored.ledger.markers(scored.history.names))) == 1
    with pytest.raises(RunAgain, match="no progress for 120 s"):
        archive.run.raise_set_aside()


def test_a_run_that_is_asked_to_stop_scores_nothing(archive: Archive) -> None:
    def stop() -> None:
        raise StoppedError("stopped by SIGTERM")

    with pytest.raises(StoppedError):
        archive.night(1, Meddling(before=stop))
