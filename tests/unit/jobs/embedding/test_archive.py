"""An archive is embedded without Ray: its rows are those of each recording alone, and a second run finds all done."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector import silence
from detector.backbones import load_backbone
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.embedding import embed_segments, join_segments
from detector.errors import ConfigError
from detector.recording import Recording
from jobs import storage
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.decoding import confinement
from jobs.embedding.config import EmbeddingConfig
from jobs.embedding.result import EmbeddingRun
from jobs.embedding.run import write_records
from jobs.execution.assemblers import Assembler, Commit
from jobs.execution.assembly import ShardRows
from jobs.execution.pool import Pool
from jobs.inputs.config import InputConfig
from jobs.inputs.shards import Shard
from jobs.storage import Stored
from jobs.tables import run_records
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.embedding_runs import embed_archive
from tests.support.runner import InProcessRunner

CONFIG = EmbedConfig(backbone="melstats", segment_seconds=2.0)
RECIPE = recipe_of(CONFIG, None)


def embedded(archive: Path, output: Path, runner: InProcessRunner) -> EmbeddingRun:
    inputs = InputConfig(input=(str(archive),))
    return embed_archive(runner, inputs, RECIPE, ModelConfig(), OutputConfig(output=str(output)), RunConfig())


def test_an_archive_is_embedded_and_committed_shard_by_shard(tmp_path: Path) -> None:
    recordings = {f"{number}.flac": encoded(tone(3.0 + number, seed=number)) for number in range(3)}
    archive = tmp_path / "archive"
    archive.mkdir()
    write_tar(archive / "0.tar", {"0.flac": recordings["0.flac"], "page.mp3": b"<html>"})
    write_tar(archive / "1.tar", {name: recordings[name] for name in ("1.flac", "2.flac")})
    runner = InProcessRunner()

    run = embedded(archive, tmp_path / "output", runner)

    counts = {marker.uri.rpartition("/")[2]: marker.rows for marker in run.markers}
    assert counts == {"0.tar": {"embeddings": 1, "failures": 1}, "1.tar": {"embeddings": 2, "failures": 0}}
    backbone = load_backbone(CONFIG)
    for marker in run.markers:
        table = run.ledger.read(marker, "embeddings")
        assert table is not None
        for member, vector in zip(table["member"].to_pylist(), table["embedding"].to_pylist(), strict=True):
            segments = list(Recording(io.BytesIO(recordings[member]), 2.0).segments())
            alone = join_segments(*embed_segments(backbone, segments))
            assert alone is not None
            assert vector == alone.tolist()
    # 3 + 4 + 5 s
    assert runner.encoder_stats.record()["n_encoders"] == 1
    assert sum(each.audio_seconds for each in runner.encoder_stats.encoders.values()) == pytest.approx(12.0)
    again = embedded(archive, tmp_path / "output", InProcessRunner())
    assert (again.markers, len(again.committed())) == ([], 2)


def test_objects_and_members_that_are_passed_over_are_counted_and_looked_at_in_one_night_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, output = tmp_path / "archive", tmp_path / "output"
    archive.mkdir()
    write_tar(archive / "0.tar", {"a.flac": encoded(tone(1.0)), "a.dss": b"dictation"})
    (archive / "call.17").write_bytes(encoded(tone(1.0, seed=1)))
    (archive / "weights").write_bytes(b"numbers")

    runner = InProcessRunner()
    run = embedded(archive, output, runner)
    settings = EmbeddingConfig(input=(str(archive),), output=str(output), backbone="melstats")
    (record,) = write_records(run, "embed", run_records.now(), settings, {"embed": "local"})

    tar = f"{archive}/0.tar#a.dss"
    assert (record["embeddings"], record["runners"]) == (2, {"embed": "local"})
    assert record["confinement"] == runner.confinement.level == confinement.level()
    assert record["passed_over"] == {"(no suffix)": {"count": 1, "examples": [f"{archive}/weights"]}}
    assert record["passed_over_members"] == {".dss": {"count": 1, "examples": [tar]}}
    monkeypatch.setattr(storage, "first_bytes", lambda stored, _: pytest.fail(f"asked for {stored.uri}"))
    again = embedded(archive, output, InProcessRunner())
    assert (again.markers, again.passed_over.total) == ([], 1)


def test_an_archive_without_audio_is_refused_and_nothing_is_committed(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    write_tar(archive / "0.tar", {"notes.txt": b"no audio"})

    for _ in range(2):  # the second run finds what the first one found
        with pytest.raises(ConfigError, match=r"no audio found in 1 shard\(s\).*1 \.txt"):
            embedded(archive, tmp_path / "output", InProcessRunner())
        assert not list((tmp_path / "output" / "_commits").rglob("*.json"))


class NotingRunner(InProcessRunner):
    """Notes the shards that its assembler commits, rather than the driver."""

    def __init__(self) -> None:
        super().__init__()
        self.committed: list[str] = []

    def assemblers(self, commit: Commit, _pool: Pool) -> Assembler:
        def noted(rows: ShardRows) -> Any:
            committed = commit(rows)
            self.committed += [marker.uri.rpartition("/")[2] for marker in committed.markers.values()]
            return committed

        return Assembler(noted)


def test_shards_without_audio_are_committed_as_any_other_once_a_recording_is(tmp_path: Path) -> None:
    archive, output, runner = tmp_path / "archive", tmp_path / "output", NotingRunner()
    archive.mkdir()
    paths = [archive / f"{number}.tar" for number in range(6)]
    for path in paths:
        write_tar(path, {"notes.txt": b"no audio"})
    paths.sort(key=lambda path: Shard("tar", (Stored(str(path), 0, ""),)).slot)  # the order in which they are read
    write_tar(paths[2], {"a.flac": encoded(tone(2.0))})

    run = embedded(archive, output, runner)

    counts = {marker.uri.rpartition("/")[2]: marker.rows["embeddings"] for marker in run.markers}
    assert counts == {path.name: int(path == paths[2]) for path in paths}
    assert all(".txt" in marker.detail["passed_over"] for marker in run.markers if not marker.rows["embeddings"])
    assert {path.name for path in paths[2:]} <= {
        *runner.committed
    }  # the others, too, if they were not delivered before

    write_tar(archive / "6.tar", {"notes.txt": b"no audio"})
    later = NotingRunner()
    assert [marker.rows["embeddings"] for marker in embedded(archive, output, later).markers] == [0]
    assert later.committed == ["6.tar"]  # rows of before show that the archive has audio


def test_a_recording_that_is_silent_as_a_whole_gives_a_row_and_no_work_to_the_encoder(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    pause = np.concatenate([np.zeros(70_000), tone(2.0), np.zeros(70_000)])
    write_tar(archive / "0.tar", {"silent.flac": encoded(np.zeros(200_000)), "pause.flac": encoded(pause)})
    write_tar(archive / "1.tar", {"faint.wav": encoded(np.full(90_000, 4e-5), kind="WAV")})
    runner = InProcessRunner()

    run = embedded(archive, tmp_path / "output", runner)

    tables = [table for marker in run.markers if (table := run.ledger.read(marker, "embeddings")) is not None]
    rows = {row["member"]: row for table in tables for row in table.to_pylist()}
    assert {name: row["embedding"] is None for name, row in rows.items()} == {
        **{"silent.flac": True, "pause.flac": False, "faint.wav": True}
    }
    assert [rows[name]["seconds"] for name in ("silent.flac", "faint.wav")] == [12.5, 5.625]
    # the silence before and behind the sound is encoded as ever: the mean depends on it
    segments = list(Recording(io.BytesIO(encoded(pause)), 2.0).segments())
    alone = join_segments(*embed_segments(load_backbone(CONFIG), segments))
    assert alone is not None
    assert rows["pause.flac"]["embedding"] == alone.tolist()
    assert sum(each.audio_seconds for each in runner.encoder_stats.encoders.values()) == pytest.approx(10.75)
    # a shard with nothing but silence has vectors of the encoder's length all the same
    assert len({table.schema.field("embedding").type for table in tables}) == 1


def test_sound_behind_a_long_silence_is_decoded_again_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "WITHHELD_BYTES", 4 * 40_000)
    late = encoded(np.concatenate([np.zeros(200_000), tone(1.0), np.zeros(50_000)]))
    archive = tmp_path / "archive"
    archive.mkdir()
    write_tar(archive / "0.tar", {"a.flac": late, "b.flac": encoded(tone(3.0))})

    run = embedded(archive, tmp_path / "output", InProcessRunner())

    table = run.ledger.read(run.markers[0], "embeddings")
    assert table is not None
    for row, content in zip(table.to_pylist(), (late, encoded(tone(3.0))), strict=True):
        segments = list(Recording(io.BytesIO(content), 2.0).segments())
        alone = join_segments(*embed_segments(load_backbone(CONFIG), segments))
        assert alone is not None
        assert row["embedding"] == alone.tolist()


@pytest.mark.parametrize(
    ("archive", "output"), [("data/calls", "data"), ("data", "data"), ("data/calls/*.wav", "data")]
)
def test_an_output_around_the_archive_is_refused_before_anything_is_written(
    archive: str, output: str, tmp_path: Path
) -> None:
    (tmp_path / "data" / "calls").mkdir(parents=True)
    (tmp_path / "data" / "calls" / "a.wav").write_bytes(encoded(tone(0.5), kind="WAV"))

    with pytest.raises(ConfigError, match="lies within it"):
        embed_archive(
            InProcessRunner(),
            InputConfig(input=(f"{tmp_path}/{archive}",)),
            recipe_of(EmbedConfig(backbone="melstats"), None),
            ModelConfig(),
            OutputConfig(output=f"{tmp_path}/{output}"),
            RunConfig(),
        )

    assert [path.name for path in tmp_path.rglob("*")] == ["data", "calls", "a.wav"]
