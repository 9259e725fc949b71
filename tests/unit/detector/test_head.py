"""A head file is read back to the bit or refused."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detector.errors import ConfigError
from detector.head import Head
from tests.support.made_heads import PLAIN, random_head


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
