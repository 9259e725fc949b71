"""jobs.execution.cluster without Ray: the pool's sizes, and both stages as plain objects."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from detector.backbones import load_backbone
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, Recipe
from detector.embedding import embed_segments, join_segments
from detector.errors import ConfigError
from detector.recording import Recording
from jobs import storage
from jobs.config import ModelConfig, RunConfig
from jobs.errors import RunAgain, SourceChangedError, StorageError, from_text
from jobs.execution.assembly import ShardAssembler
from jobs.execution.cluster import Pool, WorkerRegistry, _Apply, _Decode, _Encode, _wait_for, fit_pool
from jobs.execution.watchdog import Peer
from jobs.inputs import pieces
from jobs.inputs.shards import Portion, Shard
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone

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
    return pa.table({"item": texts})


def decoded(shard: Shard) -> list[pa.Table]:
    return list(_Decode(CONFIG, 1.0)(items(Portion(shard).to_json())))


def encoder(recipe: Recipe = RECIPE) -> _Encode:
    return _Encode((recipe,), ModelConfig(), "cpu", 1, 1.0)


def raise_trouble(table: pa.Table) -> None:
    for text in table["trouble"].drop_null().to_pylist():
        raise from_text(text)


@pytest.mark.parametrize(
    ("settings", "cpus", "gpus", "expected"),
    [
        # an encoder a CPU, and half a CPU left for decode: (2 - 0.5) / 2, (8 - 0.5) / 8 rounded down
        ({}, 2, 0, Pool(2, 0.75, 0.0, 0.5, "cpu", 160.0, 8)),
        ({}, 8, 0, Pool(8, 0.93, 0.0, 0.5, "cpu", 160.0, 8)),
        ({"encoders": 1}, 8, 0, Pool(1, 1.0, 0.0, 0.5, "cpu", 160.0, 8)),
        ({"decode_cpus": 1.0, "encoder_cpus": 0.5}, 2, 0, Pool(2, 0.5, 0.0, 1.0, "cpu", 160.0, 8)),
        # an encoder a GPU, or a share of one
        ({"batch_seconds": 40.0}, 16, 2, Pool(2, 1.0, 1.0, 0.5, "cuda", 40.0, 32)),
        ({"encoder_gpus": 0.25}, 16, 2, Pool(8, 1.0, 0.25, 0.5, "cuda", 160.0, 32)),
        ({"encoders": 1}, 16, 2, Pool(1, 1.0, 1.0, 0.5, "cuda", 160.0, 32)),
        ({"window_mib": 64}, 16, 1, Pool(1, 1.0, 1.0, 0.5, "cuda", 160.0, 64)),
        ({"device": "cpu"}, 4, 2, Pool(4, 0.87, 0.0, 0.5, "cpu", 160.0, 8)),
        # less than a CPU each where decode would starve, with a GPU too
        ({}, 4, 4, Pool(4, 0.87, 1.0, 0.5, "cuda", 160.0, 32)),
    ],
    ids=str,
)
def test_the_pool_fills_the_cluster_and_leaves_room_for_decode(
    settings: dict[str, Any], cpus: float, gpus: float, expected: Pool
) -> None:
    assert fit_pool(RunConfig(**settings), cpus, gpus) == expected


@pytest.mark.parametrize(
    ("settings", "cpus", "gpus", "cause"),
    [
        ({"device": "cuda"}, 8, 0, r"the cluster has 0 GPU\(s\), an encoder wants 1"),
        ({"encoder_gpus": 2.0}, 8, 1, r"the cluster has 1 GPU\(s\), an encoder wants 2"),
        ({"encoders": 3}, 8, 2, "do not fit"),
        ({"encoders": 2, "encoder_cpus": 1.0}, 2, 0, "do not fit"),
        ({"decode_cpus": 3.0}, 2, 0, "do not fit"),
        ({}, 0, 0, "do not fit"),
    ],
    ids=str,
)
def test_a_pool_that_would_wait_for_ever_is_refused(
    settings: dict[str, Any], cpus: float, gpus: float, cause: str
) -> None:
    with pytest.raises(ConfigError, match=cause):
        fit_pool(RunConfig(**settings), cpus, gpus)


def test_the_default_pool_fits_every_machine() -> None:
    for quarters in range(2, 1_024):
        pool = fit_pool(RunConfig(), quarters / 4, 0)
        assert pool.encoders * pool.encoder_cpus + pool.decode_cpus <= quarters / 4


def test_both_stages_give_what_the_encoder_gives_of_the_recording_alone(shard: Shard) -> None:
    gatherer, encode = ShardAssembler(), encoder()

    (whole,) = [rows for table in decoded(shard) for rows in gatherer.add(encode(table))]

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


def test_a_table_without_segments_passes_through_the_encoder() -> None:
    (table,) = pieces.batches([pieces.shard_end("s", 0)])

    (whole,) = ShardAssembler().add(encoder()(table))

    assert (whole.shard_id, whole.outcomes) == ("s", {})


def test_a_changed_source_travels_from_decode_to_the_driver_with_its_class(shard: Shard) -> None:
    Path(shard.uri).unlink()

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

    refused = _Encode((Recipe(config, "m", "00"),), ModelConfig(model=f"{tmp_path}/none/at/all"), "cpu", 1, 1.0)(table)

    with pytest.raises(ConfigError, match="no such folder"):
        raise_trouble(refused)


def test_a_function_of_a_text_gives_a_row_or_its_trouble() -> None:
    def work(item: str) -> dict[str, Any]:
        if item == "bad":
            raise StorageError(f"{item}: the store gave up")
        return {"item": item}

    apply = _Apply(work, 1.0)

    good = apply(items("a", "b"))
    raise_trouble(good)
    assert [json.loads(text) for text in good["result"].to_pylist()] == [{"item": "a"}, {"item": "b"}]
    with pytest.raises(StorageError, match="bad: the store gave up"):
        raise_trouble(apply(items("bad")))
    assert apply.__name__ == "work"


def test_the_board_counts_what_is_begun_for_the_first_time_and_shows_who_holds_what() -> None:
    board = WorkerRegistry()
    assert board.begin("decode 1", "reading a.tar", 0)
    board.begin("encode 2", "encoding shard s", 10_000)
    begun = board.steps()

    board.begin("decode 3", "reading a.tar", 0)  # the same again, after a crash

    assert board.steps() == begun
    board.begin("decode 3", "reading a.tar", 1)
    assert board.steps() > begun
    board.rest("decode 1")
    assert {who: what for who, (what, _) in board.hands().items()} == {
        "encode 2": "encoding shard s, 10000",
        "decode 3": "reading a.tar, 1",
    }
    board.close()
    assert not board.begin("decode 4", "reading b.tar", 0)


def test_a_cluster_where_nothing_listens_is_named_before_ray_is_asked() -> None:
    with pytest.raises(RunAgain, match=r"cluster at 127.0.0.1:9 cannot be joined: nothing takes a connection there"):
        _wait_for(Peer("127.0.0.1:9", 0.0))


LISTENERS = """
import os, re
from pathlib import Path
from jobs.config import RunConfig
from jobs.execution.cluster import Cluster
with Cluster(RunConfig()) as cluster:
    cluster.pool()
    inodes = set()
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            session = int((fd.parents[1] / "stat").read_text().rpartition(")")[2].split()[3])
            if session == os.getsid(0) and (found := re.fullmatch(r"socket:.(\\d+).", str(fd.readlink()))):
                inodes.add(found[1])
        except OSError:
            continue
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, address, _, state, *_, inode = line.split()[:10]
            if state == "0A" and inode in inodes:
                print(address.partition(":")[0])
"""


def test_ray_that_we_start_listens_on_loopback_only() -> None:
    done = subprocess.run([sys.executable, "-c", LISTENERS], capture_output=True, text=True, start_new_session=True)

    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert len(found) > 3
    # 127.0.0.1, ::1 and ::ffff:127.0.0.1, as the kernel writes them
    assert set(found) <= {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
