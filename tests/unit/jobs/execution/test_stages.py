"""The stages as plain objects: they take a table, and yield tables."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detector.backbones import load_backbone
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, Recipe
from detector.embedding import embed_segments, join_segments
from detector.errors import ConfigError, DeviceError
from detector.recording import Recording
from jobs import storage
from jobs.config import ModelConfig
from jobs.decoding.canaries import hear
from jobs.errors import SourceChangedError, StorageError, from_text
from jobs.execution.assembly import ShardAssembler
from jobs.execution.stages import ITEM, DecodeStage, EncodeStage, ItemStage, results_of
from jobs.execution.worker_registry import WorkerRegistry
from jobs.inputs import pieces
from jobs.inputs.shards import Portion, Shard
from jobs.storage import Stored
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.runner import LocalReporter

CONFIG = EmbedConfig(backbone="melstats", segment_seconds=2.0)
RECIPE = recipe_of(CONFIG, None)
LONG = encoded(tone(5.5))


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    """A tar with a recording of three segments, what is no audio, and a click of 20 ms, under one frame."""
    members = {"long.flac": LONG, "page.mp3": b"<html>", "click.wav": encoded(tone(0.02), kind="WAV")}
    stored = storage.stat(str(write_tar(tmp_path / "0.tar", members)))
    assert stored is not None
    return Shard("tar", (stored,))


def items(*texts: str) -> pa.Table:
    return pa.table({ITEM: texts})


def decoded(shard: Shard, registry: WorkerRegistry | None = None) -> list[pa.Table]:
    reporter = LocalReporter(registry or WorkerRegistry())
    return list(DecodeStage(CONFIG, reporter, 1.0)(items(Portion(shard).to_json())))


def encoder(recipe: Recipe = RECIPE, model: str | None = None, registry: WorkerRegistry | None = None) -> EncodeStage:
    reporter = LocalReporter(registry or WorkerRegistry())
    return EncodeStage((recipe,), ModelConfig(model=model), "cpu", 1, reporter, 1.0)


def raise_trouble(table: pa.Table) -> None:
    for text in table["trouble"].drop_null().to_pylist():
        raise from_text(text)


def test_both_stages_give_what_the_encoder_gives_of_the_recording_alone(shard: Shard) -> None:
    assembler, encode = ShardAssembler(), encoder()

    (whole,) = [rows for table in decoded(shard) for rows in assembler.add(pieces.for_driver(encode(table))[1])]

    embeddings, failures = whole.tables(RECIPE, "run")
    alone = Recording(io.BytesIO(LONG), 2.0)
    vector = join_segments(*embed_segments(load_backbone(CONFIG), list(alone.segments())))
    assert vector is not None
    assert alone.facts.n_segments == 3  # 2 + 2 + 1.5 s
    assert embeddings.select(["member", "embedding"]).to_pylist() == [
        {"member": "long.flac", "embedding": vector.tolist()},
        {"member": "click.wav", "embedding": None},
    ]
    assert failures.select(["member", "error"]).to_pylist() == [{"member": "page.mp3", "error": "not_audio"}]


def test_small_shards_of_a_block_share_a_table_and_each_is_whole(shard: Shard, tmp_path: Path) -> None:
    stored = storage.stat(str(write_tar(tmp_path / "1.tar", {"a.flac": encoded(tone(1.0))})))
    assert stored is not None
    gone = Shard("tar", (replace(stored, uri=f"{tmp_path}/gone.tar"),))
    block = [Portion(each).to_json() for each in (shard, gone, Shard("tar", (stored,)))]

    (table,) = DecodeStage(CONFIG, LocalReporter(WorkerRegistry()), 1.0)(items(*block))

    troubles = table.filter(table["trouble"].is_valid())
    assert troubles["shard_id"].to_pylist() == [gone.shard_id]
    whole = ShardAssembler().add(pieces.for_driver(encoder()(table))[1])
    assert sorted(len(each.outcomes) for each in whole) == [1, 3]


def test_a_table_is_divided_into_what_an_encoder_works_off_in_half_a_second() -> None:
    lengths = [1.0, 3.0, 12.0, 0.5, 4.0, 2.0]
    rows = [pieces.segment("s", number, 0, tone(seconds).astype(np.float32)) for number, seconds in enumerate(lengths)]
    (table,) = pieces.batches([*rows, pieces.shard_end("s", len(lengths))])
    encode = encoder()

    parts = list(encode.parts(table))

    # an encoder whose speed is not known is taken to encode half a second in that time: each segment is a part
    assert [part["ordinal"].to_pylist() for part in parts] == [[0], [1], [2], [3], [4], [5], [None]]
    assert pa.concat_tables(parts).equals(table)
    encode(parts[0])
    assert len(list(encode.parts(table))) < len(parts)  # this one encodes more than that


def test_the_canaries_come_before_the_first_table() -> None:
    heard = hear()
    (table,) = pieces.batches([pieces.segment("s", 0, 0, tone(1.0).astype(np.float32))])
    encode = EncodeStage((RECIPE,), ModelConfig(), "cpu", 1, LocalReporter(WorkerRegistry()), 1.0, heard)

    first, *rest = encode.parts(table)
    canary, *others = encode(first), *map(encode, encode.parts(table))

    assert len(first) == 0
    assert len(rest) == len(others) == 1
    ((vectors, _),) = pieces.canaries_in(canary)
    assert len(vectors) == len(heard)
    assert all(pieces.canaries_in(each) == [] for each in others)


def test_a_table_without_segments_passes_through_the_encoder() -> None:
    (table,) = pieces.batches([pieces.shard_end("s", 0)])

    receipt, rest = pieces.for_driver(encoder()(table))

    (whole,) = ShardAssembler().add(rest)
    assert receipt["receipt"].to_pylist() == [{"bytes": 0, "recordings": 0, "segments": 0}]
    assert (whole.shard_id, whole.outcomes) == ("s", {})


def test_a_changed_container_travels_from_decode_to_the_driver_with_its_class(tmp_path: Path) -> None:
    shard = Shard("tar", (Stored(str(tmp_path / "gone.tar"), 10, "e"),))

    (table,) = decoded(shard)

    assert table.schema == pieces.DECODED
    assert table["shard_id"].to_pylist() == [shard.shard_id]
    embedded = encoder()(table)  # passes it on
    with pytest.raises(SourceChangedError, match=shard.uri):
        raise_trouble(embedded)


def test_an_encoder_of_another_recipe_refuses_all_work_with_both_recipes(shard: Shard) -> None:
    table, *_ = decoded(shard)

    refused = encoder(Recipe(CONFIG, "melstats", "other weights"))(table)

    assert refused.schema == pieces.EMBEDDED
    with pytest.raises(ConfigError, match=r"this worker would compute .*'weights': ''.*'weights': 'other weights'"):
        raise_trouble(refused)


def test_an_encoder_without_its_checkpoint_refuses_all_work(shard: Shard, tmp_path: Path) -> None:
    table, *_ = decoded(shard)
    config = EmbedConfig(backbone="huggingface")

    refused = encoder(Recipe(config, "m", "00"), f"{tmp_path}/none/at/all")(table)

    with pytest.raises(ConfigError, match="no such folder"):
        raise_trouble(refused)


def test_a_function_of_an_item_gives_its_result_or_its_error() -> None:
    def work(item: str) -> dict[str, Any]:
        if item == "bad":
            raise StorageError(f"{item}: the store gave up")
        return {"item": item}

    stage = ItemStage(work, LocalReporter(WorkerRegistry()), 1.0)

    assert list(results_of(stage(items("a", "b")))) == [{"item": "a"}, {"item": "b"}]
    with pytest.raises(StorageError, match="bad: the store gave up"):
        list(results_of(stage(items("bad"))))
    assert stage.__name__ == "work"


def test_no_stage_begins_a_task_once_the_registry_is_closed(shard: Shard) -> None:
    registry = WorkerRegistry()
    registry.close()
    stage = ItemStage(lambda item: {"item": item}, LocalReporter(registry), 1.0)

    assert decoded(shard, registry) == []
    assert list(results_of(stage(items("a")))) == []
    assert registry.current_tasks() == {}


def test_stages_report_their_steps_and_the_encoder_its_time(shard: Shard) -> None:
    registry = WorkerRegistry()
    encode = encoder(registry=registry)
    loaded = registry.progress_steps()

    tables = decoded(shard, registry)
    read = registry.progress_steps()
    for table in tables:
        encode(table)

    assert loaded < read < registry.progress_steps()
    assert registry.current_tasks() == {}
    (stats,) = registry.encoder_stats().values()
    # 5.5 s, and the click of 20 ms
    assert stats.audio_seconds == pytest.approx(5.52)
    assert stats.busy_seconds > 0.0


def test_a_failed_device_is_raised_and_never_a_row(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DeviceError("cuda:0: an illegal memory access")

    table, *_ = decoded(shard)
    encode = encoder()
    monkeypatch.setattr("jobs.execution.stages.embed_segments", fail)

    with pytest.raises(DeviceError, match="illegal memory access"):
        encode(table)
