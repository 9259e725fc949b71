"""Embeddings whose log-likelihood ratio is known, and rows that cannot be fitted."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from detector.calibration import CALIBRATORS, bounded
from detector.config import EmbedConfig, Recipe
from detector.errors import ConfigError
from detector.groups import Groups, Names
from detector.head import Head
from detector.logistic import Matrix
from detector.metrics import cllr, equal_error_rate, expected_calibration_error
from detector.rejection import entropy_bits, p_spoof
from detector.training.fitting import (
    RAW_C,
    STANDARDISED_C,
    Candidate,
    HeldOut,
    TrainingConfig,
    certification_rows,
    choose,
    edge_of_search,
    fit_head,
    held_out_logits,
    leave_one_out,
    outcomes,
    search,
)

RECIPE = Recipe(EmbedConfig(backbone="melstats"), "melstats", "").describe()
SCALES = np.array([1.0, 1e-3, 50.0, 7.0])  # of the dimensions, as different as those of an encoder
OFFSETS = np.array([0.0, 2.0, -30.0, 1e3])


@dataclass(frozen=True)
class Drawn:
    """Labelled rows, with the ratio that no head can better."""

    embeddings: np.ndarray
    is_bonafide: np.ndarray
    groups: np.ndarray
    llr: np.ndarray


def draw(n_bonafide: int, n_spoof: int, *, seed: int = 0, distance: float = 2.0) -> Drawn:
    """Unit normals around +mu / 2 and -mu / 2, stretched and moved: the ratio is mu · x."""
    rng = np.random.default_rng(seed)
    is_bonafide = rng.permutation(np.arange(n_bonafide + n_spoof) < n_bonafide)
    mu = np.full(4, distance / 2)  # of length `distance`
    x = rng.normal(size=(len(is_bonafide), 4)) + np.where(is_bonafide, 0.5, -0.5)[:, None] * mu
    groups = rng.integers(20, size=len(x)).astype(str)
    return Drawn(x * SCALES + OFFSETS, is_bonafide, groups, x @ mu)


def fit(rows: Drawn, **settings: Any) -> tuple[Head, dict[str, Any]]:
    config = TrainingConfig(**{"c": 1.0, "standardise": True} | settings)
    matrix, groups = Matrix(rows.embeddings), grouped(rows.groups)
    head, report, _ = fit_head(matrix, rows.is_bonafide, groups, config, recipe=RECIPE, model="melstats")
    return head, report


def grouped(names: np.ndarray) -> Groups:
    return Groups(np.unique(names, return_inverse=True)[1], "as drawn")


def held_out_scores(rows: Drawn, head: Head, **settings: Any) -> np.ndarray:
    config = TrainingConfig(**{"c": 1.0, "standardise": True} | settings)
    logits = held_out_logits(Matrix(rows.embeddings), rows.is_bonafide, grouped(rows.groups), config)
    return bounded(CALIBRATORS["affine"].apply(head.calibration, logits), head.score_bounds)


@pytest.mark.parametrize(("n_bonafide", "n_spoof"), [(2_000, 2_000), (400, 3_600), (3_600, 400)])
def test_scores_are_the_log_likelihood_ratio_whatever_the_share_of_spoof(n_bonafide: int, n_spoof: int) -> None:
    head, report = fit(draw(n_bonafide, n_spoof))
    fresh = draw(2_000, 2_000, seed=1)

    scores = head.scores(fresh.embeddings)

    assert np.corrcoef(scores, fresh.llr)[0, 1] > 0.995
    # one of nine would leave ln 9 = 2.2 nats in the score
    assert np.mean(scores - fresh.llr) == pytest.approx(0.0, abs=0.2)
    bonafide, spoof = fresh.is_bonafide, ~fresh.is_bonafide
    assert cllr(scores[bonafide], scores[spoof]) < cllr(fresh.llr[bonafide], fresh.llr[spoof]) + 0.01
    # Phi(-1) = 0.1587 for normals two apart
    assert report["held_out"]["equal_error_rate"] == pytest.approx(0.1587, abs=0.02)


def test_a_report_counts_the_rows_and_measures_the_held_out_ones() -> None:
    rows = draw(300, 200)

    head, report = fit(rows, folds=4, c=0.5)
    scores = held_out_scores(rows, head, folds=4, c=0.5)

    assert (report["bonafide"], report["spoof"], report["groups"], report["folds"], report["c"]) == (
        300,
        200,
        20,
        4,
        0.5,
    )
    bonafide, spoof = scores[rows.is_bonafide], scores[~rows.is_bonafide]
    assert report["held_out"]["equal_error_rate"] == equal_error_rate(bonafide, spoof)
    assert report["held_out"]["cllr"] == cllr(bonafide, spoof)
    assert head.training == report


def test_a_group_is_never_on_both_sides_of_a_fold() -> None:
    # An embedding says nothing but its group, and a group is of one class: known groups are told apart without
    # an error, unknown ones not at all.
    groups = np.repeat(np.arange(20), 10)
    embeddings, is_bonafide = np.eye(20)[groups], groups % 2 == 0

    config = TrainingConfig(c=1.0, standardise=True)

    by_group = held_out_logits(Matrix(embeddings), is_bonafide, grouped(groups), config)
    by_row = held_out_logits(Matrix(embeddings), is_bonafide, grouped(np.arange(200)), config)

    assert equal_error_rate(by_row[is_bonafide], by_row[~is_bonafide]) == 0.0
    assert equal_error_rate(by_group[is_bonafide], by_group[~is_bonafide]) > 0.4


def test_the_same_rows_give_the_same_bytes() -> None:
    rows = draw(200, 100)

    assert fit(rows)[0].to_json() == fit(rows)[0].to_json()


@pytest.mark.parametrize("standardise", [True, False])
def test_the_head_computes_what_scikit_learn_fitted(standardise: bool) -> None:
    rows = draw(300, 100)
    constant = np.full((400, 1), 4.0)  # a dimension without a scale
    embeddings = np.hstack([rows.embeddings / [1.0, 1e-3, 50.0, 1e3], constant])
    model = LogisticRegression(C=1.0, class_weight="balanced", solver="newton-cholesky", tol=1e-12)
    reference = make_pipeline(StandardScaler(), model) if standardise else model
    reference.fit(embeddings, rows.is_bonafide)

    head, _ = fit(replace(rows, embeddings=embeddings), standardise=standardise)
    logits = (embeddings - np.array(head.mean)) / np.array(head.scale) @ np.array(head.weights) + head.bias

    np.testing.assert_allclose(logits, reference.decision_function(embeddings), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("standardise", [True, False])
def test_training_rows_lie_between_the_quantiles_of_ood(standardise: bool) -> None:
    rows = draw(300, 300)

    head, _ = fit(rows, standardise=standardise)
    ood = head.ood(rows.embeddings)

    # a rank, so uniform over the rows that made it
    np.testing.assert_allclose(np.sort(ood), np.linspace(0, 1, 600), atol=0.03)
    assert head.ood(rows.embeddings + 100 * SCALES).tolist() == [1.0] * 600


@pytest.mark.parametrize("prior", [0.1, 0.5])
@pytest.mark.parametrize("target_coverage", [0.5, 0.9])
def test_the_wished_coverage_is_met_on_the_held_out_rows(target_coverage: float, prior: float) -> None:
    rows = draw(400, 400)

    head, report = fit(rows, target_coverage=target_coverage, prior=prior, max_ood=1.0)

    kept = entropy_bits(held_out_scores(rows, head), prior) <= head.max_entropy_bits
    assert report["target_met"]
    assert report["coverage"] == kept.mean()
    assert kept.mean() == pytest.approx(target_coverage, abs=1 / 800)


@pytest.mark.parametrize("prior", [0.1, 0.5])
@pytest.mark.parametrize(("target_risk", "aim"), [(None, 0.05), (0.02, 0.02), (0.1, 0.1)])
def test_the_wished_risk_is_met_on_the_held_out_rows(target_risk: float | None, aim: float, prior: float) -> None:
    rows = draw(400, 400)

    head, report = fit(rows, target_risk=target_risk, prior=prior, max_ood=1.0)

    scores = held_out_scores(rows, head)
    wrong = (p_spoof(scores, prior) > 0.5) == rows.is_bonafide
    kept = entropy_bits(scores, prior) <= head.max_entropy_bits
    assert report["target_met"]
    assert (report["target_risk"], report["coverage"], report["risk"]) == (aim, kept.mean(), wrong[kept].mean())
    assert wrong[kept].mean() <= aim < wrong.mean()


def test_a_risk_out_of_reach_rejects_everything() -> None:
    # two kinds of rows, a quarter of each mislabelled: the most certain are as wrong as all
    kind = np.tile([1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0], 50)
    is_bonafide = np.tile([True, True, True, False, False, False, False, True], 50)
    groups = np.repeat(np.arange(50), 8).astype(str)
    rows = Drawn(kind[:, None], is_bonafide, groups, kind)

    head, report = fit(rows, target_risk=0.2)

    assert report["target_met"] is False
    assert head.max_entropy_bits == 0.0
    assert report["coverage"] == 0.0
    assert (entropy_bits(head.scores(rows.embeddings), 0.5) > head.max_entropy_bits).all()


def test_one_in_a_thousand_like_the_training_rows_is_out_of_distribution_and_what_is_unlike_them_is() -> None:
    rows, fresh = known_model(20_000, 0), known_model(100_000, 1).embeddings

    head, report = fit(rows, target_coverage=0.8)

    assert report["out_of_distribution"] == pytest.approx(0.001, abs=1e-4)
    # 100 of 100,000 by the quantile, and as many standard deviations as three of it and of the estimate allow
    assert np.mean(head.ood(fresh) > head.max_ood) == pytest.approx(0.001, abs=0.001)
    assert (head.ood(fresh + 6.0) > head.max_ood).all()
    # these are rejected, and the wished coverage is met with them
    assert report["coverage"] == pytest.approx(0.8, abs=1e-4)


def test_of_settings_alike_on_the_folds_the_strongest_penalty_is_chosen() -> None:
    def tried(c: float, *of_folds: float | None, standardise: bool = False) -> Candidate:
        return Candidate(c, standardise, float(np.mean([each for each in of_folds if each is not None])), 0.3, of_folds)

    best = tried(1e6, 0.5, 1.1, 0.9, 0.4)
    alike = tried(1e4, 0.52, 1.08, 0.91, 0.41)  # 0.005 above, with a standard error of 0.009
    worse = tried(1e2, 0.62, 1.07, 0.94, 0.47)  # 0.05 above, with one of 0.03

    assert choose([best, alike, worse]) is alike
    assert choose([best, worse]) is best
    assert choose([best, tried(1.0, 0.5, 1.1, 0.9, 0.4, standardise=True)]) is best  # C is of other units there
    assert choose([tried(1.0, 0.5, None), tried(0.1, 0.5, None)]).c == 1.0  # one fold has no error to speak of
    assert choose([alike, tried(1e6, 0.53, 1.08, 0.91, 0.41)]) is alike


@pytest.mark.parametrize(("c", "said"), [(1e-4, "smallest"), (1e-2, None), (10.0, "largest")])
def test_a_choice_at_the_edge_of_what_was_tried_is_said(c: float, said: str | None) -> None:
    found = [Candidate(each, True, 0.5, 0.1, (0.5,)) for each in STANDARDISED_C]

    text = edge_of_search(Candidate(c, True, 0.5, 0.1, (0.5,)), found)

    assert text is None if said is None else said in str(text)
    assert edge_of_search(found[0], found[:1]) is None  # stated, not chosen


@pytest.mark.parametrize(
    ("n_groups", "folds", "expected", "because"),
    [
        (3, None, 3, "fewer than 5, because bonafide rows are of 3 groups"),
        (8, None, 5, "the default"),
        (3, 4, 4, "as stated"),
    ],
)
def test_folds_are_as_many_as_the_groups_allow_and_the_report_says_why(
    n_groups: int, folds: int | None, expected: int, because: str
) -> None:
    rows = draw(200, 400)
    of_class = np.random.default_rng(1).integers([[n_groups], [9]], size=(2, 600))
    names = np.where(
        rows.is_bonafide, np.char.add("b", of_class[0].astype(str)), np.char.add("s", of_class[1].astype(str))
    )

    _, report = fit(replace(rows, groups=names), folds=folds)

    assert (report["folds"], report["folds_because"]) == (expected, because)


def test_a_class_of_one_group_is_refused_also_without_folds() -> None:
    with pytest.raises(ConfigError, match=r"2 labelled spoof rows in 1 group.*needs 2 or more of each class"):
        fit(labelled("bbbbss", "abcdee"))


def test_settings_are_written_into_the_head() -> None:
    head, _ = fit(draw(100, 100), prior=0.2, max_ood=0.95, min_seconds=1.5, silence_dbfs=-60.0)

    assert (head.prior, head.max_ood, head.min_seconds, head.silence_dbfs) == (0.2, 0.95, 1.5, -60.0)
    assert (head.recipe, head.model) == (RECIPE, "melstats")


def labelled(labels: str, groups: str) -> Drawn:
    """Rows of two numbers, a letter each: `b` for bona fide or `s` for spoof, and the group's name."""
    is_bonafide = np.array([label == "b" for label in labels])
    embeddings = np.random.default_rng(0).normal(size=(len(labels), 2)) + 3.0 * is_bonafide[:, None]
    return Drawn(embeddings, is_bonafide, np.array(list(groups)), embeddings[:, 0])


def contradicting() -> Drawn:
    """Every group tells its classes apart, half of them the other way round than the others."""
    groups = np.repeat(np.arange(4), 20)
    is_bonafide = np.tile([True, False], 40)
    direction = np.where(is_bonafide, 1.0, -1.0) * np.where(groups % 2 == 0, 1.0, -1.0)
    return Drawn(direction[:, None], is_bonafide, groups.astype(str), direction)


UNFIT = {
    "one class": (labelled("bbbbbb", "abcdef"), 2, "0 labelled spoof rows"),
    "one group of a class": (labelled("bbbbss", "abcdee"), 2, "2 labelled spoof rows in 1 group"),
    "more folds than groups": (labelled("bbbbbbssssss", "aaabbbcccddd"), 5, "4 groups for 5 folds; use --folds 4"),
    "more folds than rows of a class": (labelled("bbsss", "abcde"), 5, "folds"),
    "half of the labels swapped": (contradicting(), 4, "no better than chance"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_rows_that_cannot_be_fitted_are_refused(what: str) -> None:
    rows, folds, cause = UNFIT[what]

    with pytest.raises(ConfigError, match=cause):
        fit(rows, folds=folds)


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"calibrator": "platt"}, "calibrator 'platt'"),
        ({"c": 0.0}, "c 0.0"),
        ({"c": math.nan}, "c nan"),
        ({"folds": 1}, "folds 1"),
        ({"folds": 1_001}, "folds 1001"),
        ({"max_ood": 0.0}, "max_ood 0.0"),
        ({"max_ood": 1.5}, "max_ood 1.5"),
        ({"folds": 2, "certify_miss": 0.1}, "folds 2"),
        ({"recipe": "pascu2023"}, "recipe 'pascu2023'"),
        ({"recipe": "pascu2024", "c": 1.0}, "recipe pascu2024 has c 1000000.0, not 1.0"),
        ({"class_weights": "inverse"}, "class_weights 'inverse'"),
        ({"certify_false_alarm": 0.0}, "certify_false_alarm 0.0"),
        ({"certify_miss": 0.1, "target_risk": 0.1}, "exclude each other"),
        ({"confidence": 1.0}, "confidence 1.0"),
        ({"prior": 0.0}, "prior 0.0"),
        ({"prior": math.nan}, "prior nan"),
        ({"target_risk": 1.0}, "target_risk 1.0"),
        ({"target_coverage": -0.5}, "target_coverage -0.5"),
        ({"target_risk": 0.1, "target_coverage": 0.9}, "exclude each other"),
        ({"max_ood": math.nan}, "max_ood nan"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        TrainingConfig(**settings)


def known_model(n_rows: int, seed: int) -> Drawn:
    """Sixteen dimensions in which a known logistic model says how likely each row is bona fide."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 16))
    direction = np.linspace(-1.0, 1.0, 16)
    llr = x @ direction * 0.8
    is_bonafide = rng.random(n_rows) < 1 / (1 + np.exp(-llr))  # symmetric, so the classes' share is one half
    return Drawn(x, is_bonafide, rng.integers(200, size=n_rows).astype(str), llr)


def test_a_head_is_as_honest_as_the_model_that_drew_its_rows() -> None:
    head, _, _ = fit_head(
        Matrix((rows := known_model(20_000, 0)).embeddings),
        rows.is_bonafide,
        grouped(rows.groups),
        TrainingConfig(target_coverage=0.8),
        recipe=RECIPE,
        model="melstats",
    )
    fresh = known_model(200_000, 1)  # ten times the rows: of 20,000, chance alone puts the ECE of the truth at 1 %

    scores = head.scores(fresh.embeddings)

    bonafide, spoof = fresh.is_bonafide, ~fresh.is_bonafide
    assert expected_calibration_error(p_spoof(scores, 0.5), spoof) < 0.01
    assert cllr(scores[bonafide], scores[spoof]) < 1.02 * cllr(fresh.llr[bonafide], fresh.llr[spoof])
    # what is rejected first is what the true model is least sure of
    assert spearmanr(entropy_bits(scores, 0.5), entropy_bits(fresh.llr, 0.5)).statistic > 0.98


class Drawer:
    """Rows that are drawn anew for every pass, and held nowhere."""

    dim = 2

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self.is_bonafide = np.random.default_rng(0).random(n_rows) < 0.5

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, self.n_rows, 5_000):
            index = np.arange(start, start + 5_000)
            yield index, np.random.default_rng(start).normal(size=(5_000, 2)) + self.is_bonafide[index, None]


def test_a_streamed_fit_takes_few_bytes_a_row() -> None:
    def peak(n_rows: int) -> int:
        rows, groups = Drawer(n_rows), Groups((np.arange(n_rows) % 40).astype(np.int8), "drawn")
        tracemalloc.start()
        config = TrainingConfig(c=1.0, standardise=True, folds=2)
        fit_head(rows, rows.is_bonafide, groups, config, recipe=RECIPE, model="drawn")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    # a logit, a score, what is sorted for the error rates: six numbers of eight bytes at once, and some flags
    assert (peak(100_000) - peak(40_000)) / 60_000 < 50


def test_a_risk_is_certified_on_rows_that_nothing_has_seen() -> None:
    rows = known_model(20_000, 0)

    head, report = fit(rows, certify_miss=0.05, certify_false_alarm=0.05)
    fresh = known_model(100_000, 1)

    score = head.scores(fresh.embeddings)
    kept, wrong = entropy_bits(score, 0.5) <= head.max_entropy_bits, (score < 0) == fresh.is_bonafide
    certificate = report["certificate"]
    assert report["target_met"]
    assert kept.mean() > 0.1
    for name, rows_of in (("bonafide", fresh.is_bonafide), ("spoof", ~fresh.is_bonafide)):
        assert wrong[kept & rows_of].mean() <= certificate[name]["bound"] <= 0.05
    # a fold certifies, and only that; less the few that lie too far out to be kept
    counted = certificate["bonafide"]["rows"] + certificate["spoof"]["rows"]
    assert 0 < 20_000 - counted - report["bonafide"] - report["spoof"] < 20
    assert counted == pytest.approx(4_000, rel=0.1)


def test_what_cannot_be_certified_rejects_everything() -> None:
    rows = draw(100, 100)

    head, report = fit(rows, certify_miss=0.001)

    assert (report["target_met"], report["coverage"], head.max_entropy_bits) == (False, 0.0, 0.0)
    assert report["certificate"]["certified"] is False


def test_certification_rows_change_nothing_but_the_threshold() -> None:
    rows = draw(600, 600)
    out = certification_rows(rows.is_bonafide, grouped(rows.groups), TrainingConfig(certify_miss=0.1))
    spoilt = rows.embeddings.copy()
    spoilt[out] = 1e3

    head, other = (fit(each, certify_miss=0.1)[0] for each in (rows, replace(rows, embeddings=spoilt)))

    assert 0 < out.sum() < len(out) / 2
    assert (head.weights, head.calibration, head.ood_quantiles) == (
        other.weights,
        other.calibration,
        other.ood_quantiles,
    )


def test_a_search_finds_the_penalty_that_few_rows_need() -> None:
    # 60 rows, 200 dimensions of which one says something: strong penalties are better, and it shows on the folds
    rng = np.random.default_rng(0)
    is_bonafide = np.arange(60) % 2 == 0
    embeddings = rng.normal(size=(60, 200))
    embeddings[:, 0] += 3.0 * is_bonafide
    groups = grouped(np.arange(60) // 3)

    found = search(Matrix(embeddings), is_bonafide, groups, TrainingConfig())

    assert [each.cllr for each in found] == sorted(each.cllr for each in found)
    assert choose(found).c < 10.0
    assert {(each.c, each.standardise) for each in found} == {
        *((c, True) for c in STANDARDISED_C),
        *((c, False) for c in RAW_C),
    }
    fixed = search(Matrix(embeddings), is_bonafide, groups, TrainingConfig(c=0.5, standardise=False))
    assert [(each.c, each.standardise) for each in fixed] == [(0.5, False)]


def test_the_paper_s_recipe_is_scikit_learn_with_its_settings() -> None:
    rows = draw(300, 200)
    embeddings = rows.embeddings / SCALES
    reference = LogisticRegression(C=1e6, solver="newton-cholesky", tol=1e-12).fit(embeddings, rows.is_bonafide)

    head, report = fit(replace(rows, embeddings=embeddings), recipe="pascu2024", c=1e6, standardise=False)

    weights = np.array(head.weights) / np.array(head.scale)
    np.testing.assert_allclose(weights, reference.coef_[0], rtol=1e-5)
    assert (report["recipe"], report["c"], report["standardise"], report["class_weights"]) == (
        "pascu2024",
        1e6,
        False,
        "none",
    )


def test_a_system_left_out_is_judged_by_a_model_that_never_saw_it() -> None:
    # system `odd` lies among the bona fide rows, and only seeing it could tell; `plain` is easy
    rng = np.random.default_rng(0)
    kind = np.repeat(["bonafide", "plain", "third", "odd"], 200)
    place = {"bonafide": (3, 0), "plain": (-3, 0), "third": (-3, 0), "odd": (3, 6)}
    embeddings = rng.normal(size=(800, 2)) + np.array([place[each] for each in kind])
    is_bonafide = kind == "bonafide"
    names = {"system": Names.of(np.where(is_bonafide, None, kind)), "source": Names.of(np.repeat(["u", "v"], 400))}
    config = TrainingConfig(c=1.0, standardise=True)

    found = leave_one_out(Matrix(embeddings), is_bonafide, names, config, (1.0, 0.0))

    assert found["system"]["odd"]["wrong"] > 0.95
    assert found["system"]["plain"]["wrong"] < 0.05
    assert {name: each["rows"] for name, each in found["system"].items()} == {"odd": 200, "plain": 200, "third": 200}
    assert set(found["source"]) == {"v"}  # without u there is no bona fide row left to learn from


def test_outcomes_count_what_became_of_the_rows() -> None:
    held_out = HeldOut(
        np.array([True, True, False, True]), np.zeros(3), np.array([True, False, True]), np.array([True, True, False])
    )
    is_bonafide = np.array([True, True, False, False])

    found = outcomes(held_out, is_bonafide, {"source": Names.of(["a", "a", "a", "b"])})

    assert found == {
        "source": {
            "bonafide a": {"rows": 2, "rejected": 1, "kept": 1, "wrong": 1},
            "spoof b": {"rows": 1, "rejected": 0, "kept": 1, "wrong": 0},
        }
    }
