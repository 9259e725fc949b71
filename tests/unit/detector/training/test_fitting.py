"""A fitted head gives the log-likelihood ratio of known rows, and rows that cannot be fitted are refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from detector.errors import ConfigError
from detector.groups import Groups
from detector.logistic import Matrix
from detector.metrics import cllr, expected_calibration_error
from detector.rejection import entropy_bits, p_spoof
from detector.training.config import TrainingConfig
from detector.training.fitting import fit_head
from tests.unit.detector.training.drawn import (
    RECIPE,
    SCALES,
    Drawn,
    draw,
    fit,
    grouped,
    held_out_scores,
    known_model,
    labelled,
)


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


def test_the_same_rows_give_the_same_bytes() -> None:
    rows = draw(200, 100)

    assert fit(rows)[0].to_json() == fit(rows)[0].to_json()


@pytest.mark.parametrize("standardise", [True, False])
def test_the_head_computes_what_scikit_learn_fitted(standardise: bool) -> None:
    rows = draw(300, 100)
    constant = np.full((400, 1), 4.0)  # a constant dimension
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
def test_the_target_coverage_is_met_on_the_held_out_rows(target_coverage: float, prior: float) -> None:
    rows = draw(400, 400)

    head, report = fit(rows, target_coverage=target_coverage, prior=prior, max_ood=1.0)

    kept = entropy_bits(held_out_scores(rows, head), prior) <= head.max_entropy_bits
    assert report["target_met"]
    assert report["coverage"] == kept.mean()
    assert kept.mean() == pytest.approx(target_coverage, abs=1 / 800)


@pytest.mark.parametrize("prior", [0.1, 0.5])
@pytest.mark.parametrize(("target_risk", "aim"), [(None, 0.05), (0.02, 0.02), (0.1, 0.1)])
def test_the_target_risk_is_met_on_the_held_out_rows(target_risk: float | None, aim: float, prior: float) -> None:
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


def test_one_in_a_thousand_familiar_rows_is_out_of_distribution_and_every_unfamiliar_row_is() -> None:
    rows, fresh = known_model(20_000, 0), known_model(100_000, 1).embeddings

    head, report = fit(rows, target_coverage=0.8)

    assert report["out_of_distribution"] == pytest.approx(0.001, abs=1e-4)
    # 100 of 100,000 by the quantile, within three standard deviations of the count and of the quantile
    assert np.mean(head.ood(fresh) > head.max_ood) == pytest.approx(0.001, abs=0.001)
    assert (head.ood(fresh + 6.0) > head.max_ood).all()
    # the target coverage is met although these are rejected
    assert report["coverage"] == pytest.approx(0.8, abs=1e-4)


def test_a_class_of_one_group_is_refused_even_without_folds() -> None:
    with pytest.raises(ConfigError, match=r"2 labelled spoof rows in 1 group.*needs 2 or more of each class"):
        fit(labelled("bbbbss", "abcdee"))


def test_settings_are_written_into_the_head() -> None:
    head, _ = fit(draw(100, 100), prior=0.2, max_ood=0.95, min_seconds=1.5, silence_dbfs=-60.0)

    assert (head.prior, head.max_ood, head.min_seconds, head.silence_dbfs) == (0.2, 0.95, 1.5, -60.0)
    assert (head.recipe, head.model) == (RECIPE, "melstats")


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


def test_a_head_is_as_well_calibrated_as_the_model_that_drew_its_rows() -> None:
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
    # the rows that are rejected first are those that the true model is least certain about
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

    # logits, scores and sorted copies for the error rates: six numbers of eight bytes per row, and some flags
    assert (peak(100_000) - peak(40_000)) / 60_000 < 50


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
