"""A head that names the nearest system: which rows get a name, what a file may hold, and what stays as it was."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import starter
from detector.attribution import COSINE, MAHALANOBIS, SIMILARITIES, UNKNOWN_SYSTEM, Attribution
from detector.calibration import LARGEST
from detector.errors import ConfigError
from detector.head import Head
from detector.signature import key_pair
from tests.support.made_heads import PLAIN
from tests.unit.detector.test_judging import rows

# PLAIN's score is the first number of an embedding, spoof below 0; here, the second number tells systems apart.
NAMED = Attribution(
    systems=("high", "low"),
    similarity=MAHALANOBIS,
    axes=np.array([[0.0, 1.0]]),
    centre=np.array([1.0]),
    references=np.array([[4.0], [-4.0]]),
    threshold=0.5,
    alike=0.9,
    false_attribution=0.05,
)
HEAD = replace(PLAIN, attribution=NAMED.to_dict())


def test_the_nearest_system_is_named_and_one_that_is_near_none_is_unknown() -> None:
    # coordinate z = second number - 1; systems at 4 and -4 spread as a normal of variance 17 over all
    # similarity = (z^2 / 17 + ln 17 - (z - m)^2) / 2
    scored = HEAD.judge(rows([[-5.0, 5.0], [-5.0, -2.5], [-5.0, 1.0]]), None, "scored")

    assert scored["nearest_system"].to_pylist() == ["high", "low", UNKNOWN_SYSTEM]
    assert scored["system_similarity"].to_pylist() == pytest.approx(
        [(16 / 17 + math.log(17)) / 2, (12.25 / 17 + math.log(17) - 0.25) / 2, (math.log(17) - 16) / 2]
    )


def test_a_cosine_is_of_coordinates_around_their_centre() -> None:
    space = replace(NAMED, similarity=COSINE, axes=np.eye(2), centre=np.array([1.0, 1.0]), references=np.eye(2))

    found = space.similarities(space.coordinates(np.array([[1.0, 3.0], [4.0, 5.0]])))

    np.testing.assert_allclose(found, [[0.0, 1.0], [0.6, 0.8]])


def test_only_rows_that_are_labelled_spoof_are_attributed() -> None:
    # uncertain rows are rejected, and still labelled; a person who listens to them asks, too
    scored = HEAD.judge(rows([[5.0, 5.0], [-1.0, 5.0], None]), None, "scored")

    assert scored["label"].to_pylist() == ["bonafide", "spoof", None]
    assert scored["reject_reason"].to_pylist()[1] == "uncertain"
    assert scored["nearest_system"].to_pylist() == [None, "high", None]
    assert [each is None for each in scored["system_similarity"].to_pylist()] == [True, False, True]


def test_a_head_without_attribution_names_nothing_and_its_file_has_no_such_key() -> None:
    scored = PLAIN.judge(rows([[-5.0, 5.0]]), None, "scored")

    assert scored["nearest_system"].to_pylist() == scored["system_similarity"].to_pylist() == [None]
    assert "attribution" not in json.loads(PLAIN.to_json())
    assert Head.starter().to_json().encode() == starter.HEAD.read_bytes()


def test_the_id_and_the_signature_cover_the_attribution() -> None:
    private, public = key_pair()
    text = HEAD.to_json(private)
    changed = text.replace('"high"', '"mine"')

    assert Head.from_json(text, "head.json", public) == HEAD
    assert HEAD.head_id != PLAIN.head_id
    assert changed != text
    with pytest.raises(ConfigError, match="as it states: it was changed"):
        Head.from_json(changed, "head.json", public)
    stripped = json.dumps({name: each for name, each in json.loads(text).items() if name != "attribution"})
    with pytest.raises(ConfigError, match="as it states: it was changed"):
        Head.from_json(stripped, "head.json", public)


def test_a_row_has_the_same_bits_whatever_rows_are_beside_it() -> None:
    rng = np.random.default_rng(0)
    space = Attribution(
        ("a", "b", "c"), COSINE, rng.normal(size=(2, 64)), np.zeros(2), rng.normal(size=(3, 2)), 0.5, None, 0.05
    )
    embeddings = rng.normal(size=(300, 64))

    together = space.similarities(space.coordinates(embeddings))

    for some in (slice(0, 1), slice(0, 7), slice(5, 6)):
        assert (space.similarities(space.coordinates(embeddings[some])) == together[some]).all()


@given(
    st.sampled_from(SIMILARITIES),
    st.lists(st.sampled_from([LARGEST, -LARGEST, 1.0, 1e-300, 0.0]), min_size=7, max_size=7),
    st.lists(st.sampled_from([2e100, -2e100, 1.0, 0.0]), min_size=2, max_size=2),
)
def test_a_similarity_is_finite_for_every_number_that_a_head_may_hold(
    kind: str, numbers: list[float], row: list[float]
) -> None:
    axes, centre, references = np.split(np.array(numbers), [4, 6])[0:3]
    space = replace(
        NAMED, similarity=kind, axes=axes.reshape(2, 2), centre=centre, references=np.array([references.repeat(2)] * 2)
    )

    found = space.similarities(space.coordinates(np.array([row])))

    assert np.isfinite(found).all()
    assert kind == MAHALANOBIS or (np.abs(found) <= 1.0 + 1e-12).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"systems": ["high"]}, "a list of 2 to 256 systems"),
        ({"systems": [f"s{n}" for n in range(257)]}, "a list of 2 to 256 systems"),
        ({"systems": ["high", "high"]}, "named twice"),
        ({"systems": ["high", "unknown"]}, "which means none of them"),
        ({"systems": ["high", ""]}, "no text of 1 to 200 characters"),
        ({"systems": ["high", "x" * 201]}, "no text of 1 to 200 characters"),
        ({"systems": ["high", 7]}, "no text of 1 to 200 characters"),
        ({"similarity": "euclidean"}, "similarity 'euclidean'; expected one of cosine, mahalanobis"),
        ({"axes": [0.0, 2e50]}, "axes of its attribution are no numbers of at most 1e"),
        ({"axes": [0.0, True]}, "axes of its attribution are no numbers"),
        ({"centre": "1.0"}, "centre of its attribution are no numbers"),
        ({"axes": [0.0, 1.0, 2.0]}, "3 numbers of axes and 2 of references; expected 2 and 2 for each"),
        ({"centre": []}, "of which 0 have a centre"),
        ({"references": [1.0]}, "1 of references"),
        ({"threshold": None}, "a threshold of its attribution is no number"),
        ({"alike": "0.9"}, "a threshold of its attribution is no number"),
        ({"false_attribution": 1.0}, "no share between 0 and 1"),
        ({"more": 1.0}, "has the keys"),
    ],
)
def test_a_block_that_fit_would_not_write_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PLAIN, attribution=NAMED.to_dict() | change)


def test_a_file_whose_attribution_is_no_table_is_refused() -> None:
    content = json.loads(HEAD.to_json()) | {"attribution": ["tacotron"]}

    with pytest.raises(ConfigError, match="attribution is list"):
        Head.from_json(json.dumps(content), "head.json")
