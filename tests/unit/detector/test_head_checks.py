"""No finite embedding gets a score that is not finite; what is not finite is rejected, never accepted."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.calibration import CALIBRATORS, LARGEST
from detector.config import digest_of
from detector.errors import ConfigError
from detector.head import Head
from detector.head_checks import MAX_BYTES
from detector.schema import BONAFIDE
from tests.support.made_heads import PLAIN
from tests.unit.detector.test_judging import judged

FLOAT32 = float(np.finfo(np.float32).max)
SIZES = st.sampled_from([LARGEST, 1.0, 1e-50, 1e-300, 0.0])
NUMBERS = st.builds(math.copysign, SIZES, st.sampled_from([1.0, -1.0]))
DIVISORS = st.sampled_from([1.0 / LARGEST, 1e-20, 1.0, LARGEST])
DIM, KNOTS = 3, 4


def tuples(numbers: st.SearchStrategy[float], size: int) -> st.SearchStrategy[tuple[float, ...]]:
    return st.tuples(*[numbers] * size)


def rising(size: int) -> st.SearchStrategy[tuple[float, ...]]:
    return tuples(st.sampled_from([-LARGEST, -1.0, 0.0, 1.0 / LARGEST, 2.0 / LARGEST, 1.0, LARGEST]), size).map(
        lambda numbers: tuple(sorted(numbers))
    )


@st.composite
def heads(draw: st.DrawFn) -> Head:
    """Heads of the most extreme numbers that are allowed."""
    calibrator = draw(st.sampled_from(list(CALIBRATORS)))
    calibrations = {"beta": tuples(NUMBERS, 3), "isotonic": st.builds(lambda x, y: x + y, rising(KNOTS), rising(KNOTS))}
    return replace(
        PLAIN,
        mean=draw(tuples(NUMBERS, DIM)),
        scale=draw(tuples(DIVISORS, DIM)),
        weights=draw(tuples(NUMBERS, DIM)),
        bias=draw(NUMBERS),
        calibrator=calibrator,
        calibration=draw(calibrations.get(calibrator, tuples(NUMBERS, 2))),
        score_bounds=(draw(st.sampled_from([-LARGEST, -1.0])), draw(st.sampled_from([LARGEST, 1.0]))),
        prior=draw(st.sampled_from([5e-324, 0.5, 1.0 - 2.0**-53])),
        ood_directions=draw(tuples(st.sampled_from([1.0, -1.0, 0.0]), 2 * DIM)),
        ood_variances=draw(tuples(DIVISORS, 2)),
        ood_rest=draw(DIVISORS),
        ood_quantiles=draw(rising(KNOTS)),
    )


@given(heads(), tuples(st.sampled_from([-FLOAT32, FLOAT32, 0.0, 1.0, 1e-45, float("3e38")]), DIM))
def test_every_finite_embedding_gets_a_finite_score_from_the_most_extreme_head(
    head: Head, embedding: tuple[float, ...]
) -> None:
    rows = np.array([embedding])

    with np.errstate(over="raise", invalid="raise"):
        score, ood = head.scores(rows), head.ood(rows)

    assert np.isfinite(score).all()
    assert np.isfinite(ood).all()


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"weights": (1e308, -1e308)}, "1e\\+308 among weights; expected at most 1e\\+50"),
        ({"mean": (1e51, 0.0)}, "among mean"),
        ({"bias": -1e300}, "among bias"),
        ({"calibration": (1e200, 0.0)}, "among calibration"),
        ({"score_bounds": (-1e308, 1e308)}, "among score_bounds"),
        ({"scale": (1e-300, 1.0)}, "scale or variance of 1e-300; expected at least 1e-50"),
        ({"scale": (1e300, 1.0)}, "among scale"),
        ({"ood_rest": 1e-200}, "scale or variance of 1e-200"),
        ({"ood_variances": (5e-324,), "ood_directions": (1.0, 0.0)}, "scale or variance of 4.94066e-324"),
        ({"ood_variances": (1.0,), "ood_directions": (1.1, 0.0)}, "1.1 among ood_directions; expected at most 1 "),
        ({"ood_quantiles": (0.0, 5e-324, 1.0)}, "rising"),
        ({"calibrator": "isotonic", "calibration": (0.0, 5e-324, -1.0, 1.0)}, "no calibration isotonic"),
        ({"min_seconds": 1e60}, "among min_seconds"),
    ],
)
def test_finite_numbers_that_could_overflow_are_refused(changes: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        replace(PLAIN, **changes)


def test_a_file_of_such_numbers_is_refused_though_its_id_is_right() -> None:
    content = PLAIN._content() | {"weights": [1e308, 1e308]}
    text = PLAIN.to_json().replace(PLAIN.head_id, digest_of(content))
    text = text.replace('"weights": [\n  1.0,\n  0.0\n ]', '"weights": [\n  1e308,\n  1e308\n ]')
    assert "1e308" in text

    with pytest.raises(ConfigError, match=r"^h.json: head: 1e\+308 among weights"):
        Head.from_json(text, "h.json")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("max_ood", [0.999, 1.0])
def test_an_embedding_that_is_not_finite_is_out_of_distribution_without_a_score(
    number: float, place: int, max_ood: float
) -> None:
    embedding = [3.0, 3.0]
    embedding[place] = number  # the second has weight 0

    row = judged(replace(PLAIN, max_ood=max_ood), embedding)

    assert (row["reject"], row["reject_reason"]) == (True, "out_of_distribution")
    assert [row[name] for name in ("score", "p_spoof", "label", "entropy_bits", "ood")] == [None] * 5
    assert judged(PLAIN, [3.0, 0.0])["label"] == BONAFIDE


def test_a_short_row_that_is_not_finite_is_too_short() -> None:
    assert judged(PLAIN, [math.nan, 0.0], seconds=0.1)["reject_reason"] == "too_short"


def test_a_row_that_is_not_finite_leaves_the_bits_of_its_neighbours() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 2))
    alone = PLAIN.scores(rows), PLAIN.ood(rows)
    spoilt = np.insert(rows, 2, [np.nan, 0.0], axis=0)

    for before, after in zip(alone, (PLAIN.scores(spoilt), PLAIN.ood(spoilt)), strict=True):
        assert np.isnan(after[2])
        assert np.delete(after, 2).tobytes() == before.tobytes()


def test_a_file_that_is_too_large_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ConfigError, match=r"h.json: 67,108,865 bytes; a head has at most 67,108,864"):
        Head.from_json(" " * (MAX_BYTES + 1), "h.json")


@pytest.mark.parametrize(
    "report",
    [
        {"risk": ["' ]); COPY (SELECT 1) TO 'x'; --"]},
        {"coverage": 10**400},
        {"bonafide": True},
        {"held_out": 5},
        {"held_out": {"cllr": "0.1"}},
        {"certificate": 5},
        {"certificate": {"certified": True, "spoof": 5}},
        {"certificate": {"certified": True, "bonafide": {"limit": "low"}}},
        {"certificate": {"certified": True, "spoof": {"limit": 0.01, "groups": 7}}},
        {"score_histograms": 5},
        {"score_histograms": {"spoof": [1, "2"]}},
        {"score_histograms": {"spoof": [1, 1e49]}},
        {"calibration_rows": [1]},
    ],
)
def test_a_report_that_is_read_holds_numbers_where_numbers_are_read(report: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="report"):
        replace(PLAIN, training=report)


def test_half_a_surrogate_pair_is_refused_as_no_table_can_hold_it() -> None:
    text = replace(PLAIN, training={"corpus": "\ud800"}).to_json()

    with pytest.raises(ConfigError, match="surrogate"):
        Head.from_json(text, "h.json")
