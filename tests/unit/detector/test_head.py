"""A head file is read back to the bit or refused, and hand-made heads judge rows as computed by hand."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detector.config import EmbedConfig, Recipe
from detector.errors import ConfigError
from detector.head import Head
from detector.rejection import entropy_bits
from detector.schema import LEVELS, SCORES, embeddings_schema

RECIPE = Recipe(EmbedConfig(backbone="melstats"), "melstats", "")

PLAIN = Head(
    # the score of an embedding is its first number
    mean=(0.0, 0.0),
    scale=(1.0, 1.0),
    weights=(1.0, 0.0),
    bias=0.0,
    calibrator="affine",
    calibration=(1.0, 0.0),
    score_bounds=(-700.0, 700.0),
    prior=0.5,
    max_entropy_bits=0.499916,  # of probabilities 0.11 and 0.89, so of scores up to 2.09 in size
    max_ood=1.0,
    ood_directions=(),
    ood_variances=(),
    ood_rest=1.0,
    ood_quantiles=(0.0, 1.0, 3.0),
    min_seconds=0.5,
    silence_dbfs=-80.0,
    recipe=RECIPE.describe(),
    model="melstats",
    training={"bonafide": 10, "spoof": 12, "held_out": {"cllr": 0.1}},
)


LATER = ["start", "end", "channel", *(column.name for column in LEVELS)]
"""Columns that rows of earlier versions lack."""


def random_head(seed: int, dim: int) -> Head:
    rng = np.random.default_rng(seed)
    return replace(
        PLAIN,
        mean=tuple(rng.normal(size=dim).tolist()),
        scale=tuple(rng.lognormal(size=dim).tolist()),
        weights=tuple(rng.normal(size=dim).tolist()),
        bias=math.pi,
        calibration=(1 / 3, -0.0),
        ood_directions=tuple(np.linalg.qr(rng.normal(size=(dim, 3)))[0].T.ravel().tolist()),
        ood_variances=(9.0, 4.0, 1.0)[: min(dim, 3)],
        ood_rest=0.3,
        ood_quantiles=tuple(np.sort(rng.lognormal(size=101)).tolist()),
    )


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


def test_a_score_is_slope_times_logit_plus_intercept() -> None:
    head = replace(PLAIN, mean=(1.0, 2.0), scale=(2.0, 4.0), weights=(3.0, -1.0), bias=0.5, calibration=(2.0, -1.0))

    # standardised (1, 1), logit 3 - 1 + 0.5 = 2.5, score 2 * 2.5 - 1
    assert head.scores(np.array([[3.0, 6.0]])).tolist() == [4.0]


@pytest.mark.parametrize(
    ("embedding", "ood"),
    # root mean squares 0, 0.5, 1, 2 and 5 among training distances of 0, 1 and 3
    [([0.0, 0.0], 0.0), ([0.5, -0.5], 0.25), ([1.0, 1.0], 0.5), ([2.0, 2.0], 0.75), ([5.0, 5.0], 1.0)],
)
def test_ood_is_a_quantile_of_the_training_distances(embedding: list[float], ood: float) -> None:
    assert PLAIN.ood(np.array([embedding])).tolist() == [ood]


@pytest.mark.parametrize("dim", [1, 2, 1_024])
def test_a_file_comes_back_to_the_bit(dim: int) -> None:
    head = random_head(dim, dim)
    embeddings = np.random.default_rng(0).normal(size=(20, dim))

    read = Head.from_json(head.to_json(), "head.json")

    assert read == head
    assert read.head_id == head.head_id
    assert read.to_json() == head.to_json()
    assert read.scores(embeddings).tobytes() == head.scores(embeddings).tobytes()


def test_a_head_of_whole_numbers_comes_back() -> None:
    head = replace(PLAIN, bias=0, calibration=(1, 0), max_ood=1, silence_dbfs=-80)

    assert Head.from_json(head.to_json(), "head.json").head_id == head.head_id


@pytest.mark.parametrize(
    "changes",
    [{"bias": 1e-300}, {"prior": 0.4}, {"max_ood": 0.99}, {"model": "other"}, {"training": {}}, {"recipe": {}}],
)
def test_the_id_changes_with_every_field(changes: dict[str, Any]) -> None:
    assert replace(PLAIN, **changes).head_id != PLAIN.head_id


def edited(**changes: Any) -> str:
    return json.dumps(json.loads(PLAIN.to_json()) | changes)


def spliced(old: str, new: str) -> str:
    """A file with a constant that `json.dumps` would not write."""
    text = json.dumps(json.loads(PLAIN.to_json()))
    assert text.count(old) == 1
    return text.replace(old, new)


UNFIT = {
    "nothing": ("", "not a head"),
    "a pickle": (pickle.dumps(PLAIN, protocol=0).decode("latin-1"), "not a head"),
    "another document": ("[1, 2]", "not a head of version 2"),
    "another version": (edited(version=1), "not a head of version 2"),
    "half a file": (PLAIN.to_json()[:200], "not a head"),
    "brackets": ("[" * 100_000, "not a head"),
    "brackets inside": (
        spliced('"training": {', '"training": {"a": ' + "[" * 50_000 + "]" * 50_000 + ","),
        "not a head",
    ),
    "NaN": (spliced('"bias": 0.0', '"bias": NaN'), "NaN is not a number"),
    "infinity": (spliced('"bias": 0.0', '"bias": -Infinity'), "-Infinity is not a number"),
    "a number beyond doubles": (spliced('"bias": 0.0', '"bias": 1e999'), "NaN or infinity"),
    "a threshold beyond doubles": (spliced('"max_ood": 1.0', '"max_ood": 1e999'), "h.json"),
    "a recipe beyond doubles": (spliced('"segment_seconds": 30.0', '"segment_seconds": 1e999'), "h.json"),
    "a whole number beyond doubles": (spliced('"bias": 0.0', '"bias": 1' + "0" * 400), "h.json"),
    "a word for a number": (edited(bias="0.0"), "bias is str"),
    "a truth for a number": (edited(bias=True), "bias is bool"),
    "a null": (edited(ood_rest=None), "ood_rest is NoneType"),
    "a word among numbers": (edited(weights=[1.0, "0"]), "weights is str"),
    "a list for a recipe": (edited(recipe=[]), "recipe is list"),
    "a weight too many": (edited(weights=[1.0, 0.0, 0.0]), "weights has 3"),
    "no weights": (edited(mean=[], scale=[], weights=[]), "different sizes"),
    "a scale of zero": (edited(scale=[1.0, 0.0]), "a scale or variance is zero"),
    "a prior of one": (edited(prior=1.0), "prior 1.0"),
    "falling quantiles": (edited(ood_quantiles=[1.0, 0.0]), "rising"),
    "an unknown key": (edited(threshold=0.5), "threshold"),
    "a missing key": (json.dumps({k: v for k, v in json.loads(PLAIN.to_json()).items() if k != "bias"}), "bias"),
    "classes the other way round": (edited(classes=["bonafide", "spoof"]), "classes"),
    "a changed number": (edited(bias=1e-12), "it was changed"),
    "a changed note": (edited(training={}), "it was changed"),
    "another id": (edited(head_id="0" * 16), "it was changed"),
    "no id": (edited(head_id=None), "it was changed"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_content_that_is_not_a_head_is_refused(what: str) -> None:
    text, cause = UNFIT[what]

    with pytest.raises(ConfigError, match=cause) as refused:
        Head.from_json(text, "h.json")

    assert str(refused.value).startswith("h.json: ")
    assert len(str(refused.value)) < 1_000


@pytest.mark.parametrize(
    "changes",
    [
        {"max_entropy_bits": math.nan},
        {"max_ood": math.nan},
        {"max_ood": math.inf},
        {"weights": (math.nan, 0.0)},
        {"calibration": (math.inf, 0.0)},
        {"calibration": (1.0,)},
        {"calibrator": "platt"},
        {"score_bounds": (1.0, 2.0)},
        {"ood_variances": (1.0,)},
        {"ood_rest": 0.0},
        {"ood_quantiles": (0.0,)},
        {"prior": math.nan},
    ],
)
def test_a_head_of_impossible_numbers_cannot_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        replace(PLAIN, **changes)


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
        "entropy_bits": pytest.approx(entropy_bits(np.array([3.0]), 0.1)[0]),
        "ood": 1.0,  # its distance of sqrt(25 / 2) is beyond all
        "reject": False,
        "reject_reason": None,
        "head_id": PLAIN.head_id,
        "fingerprint": RECIPE.fingerprint,
        "run_id": "scored",
        **dict.fromkeys(LATER),
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
        (None, {"rms_dbfs": -120.0}),
        ([9.0, 0.0], {"seconds": 0.49}),
        ([9.0, 0.0], {"seconds": 0.49, "rms_dbfs": -120.0}),
    ],
)
def test_a_recording_that_is_too_short_has_no_score(embedding: list[float] | None, columns: dict[str, Any]) -> None:
    row = judged(PLAIN, embedding, **columns)

    assert (row["reject"], row["reject_reason"]) == (True, "too_short")
    assert [row[name] for name in ("score", "p_spoof", "label", "entropy_bits", "ood")] == [None] * 5
    assert (row["prior"], row["head_id"]) == (0.5, PLAIN.head_id)


def test_a_silent_recording_has_no_score() -> None:
    row = judged(PLAIN, [9.0, 0.0], rms_dbfs=-80.0)

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
