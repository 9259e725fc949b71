"""Hand-made heads judge rows as computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detector.config import EmbedConfig, Recipe
from detector.errors import ConfigError
from detector.head import Head
from detector.rejection import entropy_bits
from detector.schema import HISTORY, LEVELS, PROVENANCE, SCORES, embeddings_schema
from tests.support.made_heads import PLAIN, RECIPE, random_head

LATER = ["start", "end", "channel", *(column.name for column in (*LEVELS, *PROVENANCE, *HISTORY))]
"""Columns that rows of earlier versions lack."""


def rows(embeddings: list[list[float] | None], **columns: Any) -> pa.Table:
    """Rows of `embeddings` for three seconds of speech, with some columns replaced in all of them."""
    row = {
        "uri": "s3://archive/a.flac",
        "member": None,
        "audio_sha256": "00",
        "seconds": 3.0,
        "native_rate": 16_000,
        "channels": 1,
        "codec": "flac/pcm_16",
        "decoder": "soundfile",
        "rms_dbfs": -20.0,
        "layer": -1,
        "fingerprint": RECIPE.fingerprint,
        "run_id": "embedded",
    }
    dim = next((len(each) for each in embeddings if each), 2)
    return pa.Table.from_pylist(
        [row | columns | {"utterance_id": str(index), "embedding": each} for index, each in enumerate(embeddings)],
        schema=embeddings_schema(dim),
    )


def judged(head: Head, embedding: list[float] | None, prior: float | None = None, **columns: Any) -> dict[str, Any]:
    (row,) = head.judge(rows([embedding], **columns), prior, "scored").to_pylist()
    return dict(row)


def test_a_kept_row_has_every_column_of_the_contract() -> None:
    row = judged(PLAIN, [3.0, 4.0], prior=0.1, member="a/b.flac")

    # log odds of spoof ln(1/9) - 3
    assert row == {
        "utterance_id": "0",
        "uri": "s3://archive/a.flac",
        "member": "a/b.flac",
        "seconds": 3.0,
        "score": 3.0,
        "prior": 0.1,
        "p_spoof": pytest.approx(1 / (1 + 9 * math.exp(3))),
        "label": "bonafide",
        "head": None,
        "contains_score": None,
        "entropy_bits": pytest.approx(entropy_bits(np.array([3.0]), 0.1)[0]),
        "ood": 1.0,  # its distance of sqrt(25 / 2) is beyond all
        "reject": False,
        "reject_reason": None,
        "head_id": PLAIN.head_id,
        "fingerprint": RECIPE.fingerprint,
        "run_id": "scored",
        **dict.fromkeys([*LATER, "nearest_system", "system_similarity"]),
    }


@pytest.mark.parametrize(
    ("score", "prior", "label"),
    [
        (1.0, None, "bonafide"),  # the head's own prior of 0.5: threshold 0
        (-1.0, None, "spoof"),
        (1.0, 0.9, "spoof"),  # threshold ln 9 = 2.197
        (2.25, 0.9, "bonafide"),
        (-4.0, 0.01, "bonafide"),  # threshold -ln 99 = -4.595
        (0.0, 0.5, "bonafide"),  # a tie is not above 0.5
    ],
)
def test_the_label_is_the_decision_at_the_prior(score: float, prior: float | None, label: str) -> None:
    row = judged(PLAIN, [score, 0.0], prior)

    assert (row["label"], row["score"]) == (label, score)


@pytest.mark.parametrize(
    ("score", "prior", "reason"),
    [
        (2.0, 0.5, "uncertain"),  # the band is -2.09 to 2.09
        (-2.0, 0.5, "uncertain"),
        (2.2, 0.5, None),
        (-2.2, 0.5, None),
        (0.0, 0.9, None),  # moved by ln 9: 0.11 to 4.29
        (2.2, 0.9, "uncertain"),
    ],
)
def test_scores_within_the_band_of_the_prior_are_uncertain(score: float, prior: float, reason: str | None) -> None:
    row = judged(PLAIN, [score, 0.0], prior)
    low, high = PLAIN.reject_band(prior)

    assert (row["reject"], row["reject_reason"]) == (reason is not None, reason)
    assert (low < score < high) is row["reject"]


@pytest.mark.parametrize(
    ("embedding", "columns"),
    [
        (None, {}),
        ([9.0, 0.0], {"seconds": 0.49}),
        ([9.0, 0.0], {"seconds": 0.49, "rms_dbfs": -120.0}),
    ],
)
def test_a_recording_that_is_too_short_has_no_score(embedding: list[float] | None, columns: dict[str, Any]) -> None:
    row = judged(PLAIN, embedding, **columns)

    assert (row["reject"], row["reject_reason"]) == (True, "too_short")
    assert [row[name] for name in ("score", "p_spoof", "label", "entropy_bits", "ood")] == [None] * 5
    assert (row["prior"], row["head_id"]) == (0.5, PLAIN.head_id)


@pytest.mark.parametrize("embedding", [[9.0, 0.0], None])
def test_a_silent_recording_has_no_score(embedding: list[float] | None) -> None:
    row = judged(PLAIN, embedding, rms_dbfs=-80.0)

    assert (row["reject"], row["reject_reason"]) == (True, "silent")
    assert [row[name] for name in ("score", "p_spoof", "label", "entropy_bits")] == [None] * 4


def test_a_recording_exactly_at_the_limits_is_kept() -> None:
    assert judged(PLAIN, [9.0, 0.0], seconds=0.5, rms_dbfs=-79.9)["reject"] is False


def test_a_row_that_is_far_out_is_rejected_as_such_and_keeps_its_score() -> None:
    head = replace(PLAIN, max_ood=0.9)

    # a distance of 1 is the middle of the training rows, one of 5 beyond them all; its first number is uncertain
    assert judged(head, [1.0, 1.0])["reject_reason"] == "uncertain"
    far = judged(head, [1.0, 7.0])
    assert (far["ood"], far["reject_reason"], far["score"]) == (1.0, "out_of_distribution", 1.0)


def test_rows_keep_their_order_and_have_the_columns_of_the_contract() -> None:
    table = rows([[5.0, 0.0], None, [-5.0, 0.0], [0.0, 0.0]])

    scores = PLAIN.judge(table, None, "scored")

    assert scores.schema == SCORES
    assert scores["utterance_id"].to_pylist() == ["0", "1", "2", "3"]
    assert scores["score"].to_pylist() == [5.0, None, -5.0, 0.0]
    assert scores["reject_reason"].to_pylist() == [None, "too_short", None, "uncertain"]


def test_no_rows_give_no_rows() -> None:
    scores = PLAIN.judge(rows([]), None, "scored")

    assert (scores.num_rows, scores.schema) == (0, SCORES)


@pytest.mark.parametrize("dim", [2, 33, 1_024])
def test_a_row_has_the_same_bits_alone_in_a_slice_and_in_chunks(dim: int) -> None:
    head = random_head(0, dim)
    embeddings = np.random.default_rng(1).normal(size=(37, dim)).astype(np.float32).tolist()
    table = rows([*embeddings[:20], None, *embeddings[20:]])
    together = head.judge(table, None, "scored")

    one_by_one = [head.judge(table.slice(index, 1), None, "scored") for index in range(len(table))]
    chunked = head.judge(pa.concat_tables([table.slice(0, 5), table.slice(5, 30), table.slice(35)]), None, "scored")

    assert pa.concat_tables(one_by_one).equals(together)
    assert chunked.equals(together)


def test_rows_of_another_recipe_are_refused_with_both_fingerprints() -> None:
    with pytest.raises(ConfigError) as refused:
        PLAIN.judge(rows([[1.0, 0.0]], fingerprint="feedfacefeedface"), None, "scored")

    assert RECIPE.fingerprint in str(refused.value)
    assert "feedfacefeedface" in str(refused.value)


def test_one_row_of_another_recipe_among_many_is_refused() -> None:
    table = pa.concat_tables([rows([[1.0, 0.0]] * 9), rows([[1.0, 0.0]], fingerprint="feedfacefeedface")])

    with pytest.raises(ConfigError, match="feedfacefeedface"):
        PLAIN.judge(table, None, "scored")


@pytest.mark.parametrize("prior", [0.0, 1.0, 2.0, -0.1, math.nan])
def test_a_prior_outside_zero_and_one_is_refused(prior: float) -> None:
    with pytest.raises(ConfigError, match="prior"):
        PLAIN.judge(rows([[1.0, 0.0]]), prior, "scored")


def test_rows_of_another_size_are_refused() -> None:
    with pytest.raises(ConfigError, match="the head has 2 dimensions, the embeddings have 3"):
        PLAIN.judge(rows([[1.0, 0.0, 0.0]]), None, "scored")


def test_the_settings_of_the_encoder_come_back_from_the_recipe() -> None:
    config = EmbedConfig(backbone="huggingface", layer=9, segment_seconds=12.5)
    head = replace(PLAIN, recipe=Recipe(config, "xls-r", "ab").describe())

    assert head.embed_config == config
    assert head.fingerprint == Recipe(config, "other name", "ab").fingerprint


def test_a_head_judges_single_channels_and_keeps_their_number() -> None:
    sides = replace(RECIPE, config=replace(RECIPE.config, channels="each"))
    row = rows([[1.0, 2.0]], fingerprint=sides.fingerprint, channel=1)

    (verdict,) = PLAIN.judge(row, None, "run").to_pylist()

    assert PLAIN.fingerprints == {
        "mix": RECIPE.fingerprint,
        "first": replace(RECIPE, config=replace(RECIPE.config, channels="first")).fingerprint,
        "each": sides.fingerprint,
    }
    assert (verdict["fingerprint"], verdict["channel"]) == (sides.fingerprint, 1)
    assert verdict["score"] == PLAIN.judge(rows([[1.0, 2.0]]), None, "run")["score"][0].as_py()


def test_rows_of_earlier_versions_are_judged_without_the_columns_that_came_later() -> None:
    old = rows([[1.0, 2.0]]).drop_columns(LATER)

    (verdict,) = PLAIN.judge(old, None, "run").to_pylist()

    assert verdict["score"] is not None
    assert [verdict[name] for name in LATER] == [None] * len(LATER)
