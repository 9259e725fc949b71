"""Whatever the order of pieces, a shard comes out whole, once, and with the same rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from detector.config import EmbedConfig, Recipe
from detector.errors import UtteranceError
from detector.schema import FAILURES, embeddings_schema
from jobs import storage
from jobs.execution.assembly import ShardAssembler, ShardRows, failed_to_embed
from jobs.inputs import pieces
from jobs.inputs.pieces import Piece
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import CHANGED, Portion, Shard
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.facts import made_up_facts

DIM = 3
SAMPLES_A_FRAME = 10


def encode(rows: list[Piece]) -> pa.Table:
    """As an encoder does: the embedding is the segment's first sample, zero where it is shorter than a frame."""
    table = pa.concat_tables(pieces.batches(rows))
    places, samples = pieces.samples_of(table)
    n_frames = np.array([len(each) // SAMPLES_A_FRAME for each in samples], np.int64)
    first = [each[0] if count else 0.0 for each, count in zip(samples, n_frames, strict=True)]
    return pieces.embedded(table, places, np.repeat(np.array(first, np.float32)[:, None], DIM, axis=1), n_frames)


def segment(shard_id: str, ordinal: int, index: int, value: float, n_samples: int) -> Piece:
    return pieces.segment(shard_id, ordinal, index, np.full(n_samples, value, np.float32))


def whole(shard_id: str, ordinal: int, name: str, n_segments: int) -> Piece:
    facts = made_up_facts(seconds=float(n_segments), n_segments=n_segments)
    return pieces.outcome(shard_id, ordinal, pieces.decoded(f"{shard_id}/{name}", "u", None, 9, facts))


def shard(name: str) -> list[Piece]:
    """One utterance of two segments, one that failed after a segment, one shorter than a frame, one more."""
    broken = UtteranceError("decode_error", "stopped")
    return [
        segment(name, 0, 0, 1.0, 30),
        segment(name, 0, 1, 4.0, 10),
        whole(name, 0, "a", 2),
        segment(name, 1, 0, 7.0, 10),
        pieces.outcome(name, 1, pieces.failed(f"{name}/b", "u", "m", 9, "decode", broken)),
        segment(name, 2, 0, 5.0, SAMPLES_A_FRAME - 1),
        whole(name, 2, "c", 1),
        segment(name, 3, 0, 0.1, 10),
        whole(name, 3, "d", 1),
        pieces.shard_end(name, 4),
    ]


RECIPE = Recipe(EmbedConfig(backbone="huggingface", layer=9), "m", "00")


def assembled(*tables: pa.Table) -> tuple[ShardAssembler, list[ShardRows]]:
    assembler = ShardAssembler()
    return assembler, [rows for table in tables for rows in assembler.add(table)]


@pytest.mark.parametrize("seed", range(10))
def test_any_order_gives_each_shard_once_with_the_same_rows(seed: int) -> None:
    table = encode([*shard("s"), *shard("t")])
    order = np.random.default_rng(seed).permutation(len(table))

    _, shards = assembled(*(table.take(part) for part in np.array_split(order, 5)))

    assert sorted(rows.shard_id for rows in shards) == ["s", "t"]
    first = next(rows for rows in shards if rows.shard_id == "s")
    embeddings, failures = first.tables(RECIPE, "run")
    assert embeddings.schema == embeddings_schema(DIM)
    assert failures.schema == FAILURES
    # 3 frames at 1 and 1 at 4: their mean is 1.75; one segment alone keeps its bits
    assert embeddings.select(["utterance_id", "embedding", "layer", "fingerprint", "run_id"]).to_pylist() == [
        {"utterance_id": name, "embedding": vector, "layer": 9, "fingerprint": RECIPE.fingerprint, "run_id": "run"}
        for name, vector in (("s/a", [1.75] * DIM), ("s/c", None), ("s/d", [float(np.float32(0.1))] * DIM))
    ]
    assert failures.to_pylist() == [
        {
            "utterance_id": "s/b",
            "uri": "u",
            "member": "m",
            "stage": "decode",
            "error": "decode_error",
            "message": "stopped",
            "bytes": 9,
            "attempts": 1,
            "run_id": "run",
            "seconds": None,
            "seconds_claimed": None,
        }
    ]
    assert first.seconds == 4.0  # 2 + 1 + 1: the failed one counts nothing


@pytest.mark.parametrize("seed", range(3))
def test_pieces_that_come_again_change_nothing_even_after_their_shard_is_done(seed: int) -> None:
    table = encode(shard("s"))
    again = table.take(np.random.default_rng(seed).permutation(len(table)))

    _, (only,) = assembled(table.slice(0, 4), again, table, again.slice(3))

    _, (alone,) = assembled(table)
    assert only.tables(RECIPE, "run") == alone.tables(RECIPE, "run")


@pytest.mark.parametrize("missing", range(10))
def test_a_shard_is_not_whole_while_a_piece_that_counts_is_missing(missing: int) -> None:
    _, shards = assembled(encode([piece for index, piece in enumerate(shard("s")) if index != missing]))

    dropped_with_its_utterance = 3  # the failed utterance's segment counts for nothing
    assert bool(shards) == (missing == dropped_with_its_utterance)


def test_segments_are_joined_in_their_own_order_not_in_that_of_their_arrival() -> None:
    # (1e20 - 1e20 + 1) / 3 is a third; summed from the other end, the 1 would be lost
    rows = [segment("s", 0, index, value, 10) for index, value in enumerate((1e20, -1e20, 1.0))]
    ends = [whole("s", 0, "a", 3), pieces.shard_end("s", 1)]

    _, (found,) = assembled(encode([*ends, *reversed(rows)]))

    assert found.tables(RECIPE, "run")[0]["embedding"].to_pylist() == [[float(np.float32(1 / 3))] * DIM]


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_each_layer_takes_its_own_part_of_the_vectors(pooling: str) -> None:
    rows = [segment("s", 0, 0, 1.0, 30), segment("s", 0, 1, 5.0, 10), whole("s", 0, "a", 2), pieces.shard_end("s", 1)]
    _, (found,) = assembled(encode(rows))
    found.segments[0] = {0: (np.array([1, 101], np.float32), 30), 1: (np.array([5, 205], np.float32), 10)}

    values = {}
    for layer in (6, 9):
        recipe = replace(RECIPE, config=replace(RECIPE.config, layer=layer, pooling=pooling))
        embeddings, _ = found.tables(recipe, "run", layers=(6, 9))
        assert embeddings["layer"].to_pylist() == [layer]
        assert embeddings["fingerprint"].to_pylist() == [recipe.fingerprint]
        values[layer] = embeddings["embedding"].to_pylist()[0]

    # (30 * 1 + 10 * 5) / 40 = 2, and (30 * 101 + 10 * 205) / 40 = 127
    assert values == {"mean": {6: [2.0], 9: [127.0]}, "max": {6: [5.0], 9: [205.0]}}[pooling]


def test_an_embedding_that_is_finite_in_one_layer_only_fails_in_the_other() -> None:
    _, (found,) = assembled(encode([segment("s", 0, 0, 1.0, 9), whole("s", 0, "a", 1), pieces.shard_end("s", 1)]))
    found.segments[0] = {0: (np.array([np.nan, 1], np.float32), 9)}

    lower, upper = (
        found.tables(replace(RECIPE, config=replace(RECIPE.config, layer=layer)), "run", layers=(6, 9))
        for layer in (6, 9)
    )

    assert [len(table) for table in (*lower, *upper)] == [0, 1, 1, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_embedding_that_is_not_finite_is_a_failure_of_the_encoder(value: float) -> None:
    rows = [segment("s", 0, 0, 1.0, 10), segment("s", 0, 1, value, 10), whole("s", 0, "a", 2), pieces.shard_end("s", 1)]

    _, (found,) = assembled(encode(rows))
    embeddings, failures = found.tables(RECIPE, "run")

    assert len(embeddings) == 0
    assert failures.select(["utterance_id", "stage", "error", "bytes"]).to_pylist() == [
        {"utterance_id": "s/a", "stage": "embed", "error": "nonfinite", "bytes": 9}
    ]


def test_a_shard_without_a_recording_is_whole_and_has_no_rows() -> None:
    _, (found,) = assembled(encode([segment("t", 0, 0, 1.0, 10), pieces.shard_end("s", 0)]))

    assert [len(table) for table in found.tables(RECIPE, "run")] == [0, 0]
    assert found.outcomes == {}


def test_missing_segments_are_listed_by_utterance_and_dropped_pieces_are_gone() -> None:
    assembler, shards = assembled(encode([piece for index, piece in enumerate(shard("s")) if index not in (1, 7)]))

    assert not shards
    assert assembler.open["s"].missing == [0, 3]
    assembler.forget("s")
    assert "s" not in assembler.open
    assert [rows.shard_id for rows in assembler.add(encode(shard("s")))] == ["s"]


def test_a_shard_of_calls_is_whole_though_their_channels_leave_gaps_between_ordinals(tmp_path: Path) -> None:
    call = encoded(np.stack([tone(1.0, seed=1), tone(1.0, seed=2)], axis=1))
    stored = storage.stat(str(write_tar(tmp_path / "0.tar", {"a.flac": call, "b.flac": call})))
    assert stored is not None
    read = list(read_shard(Portion(Shard("tar", (stored,))), 30.0, "each"))
    table = encode(read)
    is_last = pc.equal(table["ordinal"], table["ordinal"].to_pylist()[-2])  # the second side of the second call

    assembler, shards = assembled(table.filter(pc.invert(pc.fill_null(is_last, False))))
    assert not shards
    (rows,) = assembler.open.values()
    assert rows.n_utterances == 4
    assert rows.missing == [row["ordinal"] for row in read if "outcome" in row][-1:]

    _, (found,) = assembled(table)
    assert [each["utterance_id"].rpartition("#")[2] for _, each in sorted(found.outcomes.items())] == [
        *("a.flac/ch0", "a.flac/ch1", "b.flac/ch0", "b.flac/ch1")
    ]


def test_a_shard_that_becomes_whole_without_a_new_piece_is_returned_once() -> None:
    assembler, _ = assembled(encode([piece for index, piece in enumerate(shard("s")) if index != 1]))
    assert assembler.close("s") is None
    rows = assembler.open["s"]

    rows.outcomes[0] = failed_to_embed(rows.outcomes[0], "encoder_crash", "dies of it", 3)

    assert assembler.close("s") is rows
    _, failures = rows.tables(RECIPE, "run")
    assert failures.select(["utterance_id", "stage", "error", "attempts"]).to_pylist() == [
        {"utterance_id": "s/a", "stage": "embed", "error": "encoder_crash", "attempts": 3},
        {"utterance_id": "s/b", "stage": "decode", "error": "decode_error", "attempts": 1},
    ]


@pytest.mark.parametrize("is_last", [True, False])
def test_that_a_source_changed_outweighs_what_was_read_of_it_before_whichever_arrives_first(is_last: bool) -> None:
    read = [segment("s", 0, 0, 1.0, 30), whole("s", 0, "a", 1)]
    error = UtteranceError(CHANGED, "u: 9 bytes were planned, now it has 10")
    changed = [pieces.outcome("s", 0, pieces.failed("s/a", "u", None, 9, "read", error))]
    # of a portion of segments alone, it passes too
    changed = list(pieces.of(Portion(Shard("files", ()), (0,), "segments"), changed))
    end = [pieces.shard_end("s", 1)]

    _, (rows,) = assembled(*map(encode, [*([read, changed] if is_last else [changed, read]), end]))

    embeddings, failures = rows.tables(RECIPE, "run")
    assert (len(embeddings), failures["error"].to_pylist()) == (0, [CHANGED])
