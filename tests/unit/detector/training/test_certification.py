"""A certified risk holds on fresh rows, and its rows serve nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detector.groups import Groups, Names
from detector.head import Head
from detector.logistic import Matrix
from detector.rejection import entropy_bits
from detector.training.certificate import held_out_scores
from detector.training.config import TrainingConfig
from detector.training.crossfit import cross_fit
from detector.training.fitting import certification_rows, fit_head
from tests.unit.detector.training.drawn import (
    RECIPE,
    draw,
    fit,
    grouped,
    known_model,
)


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
    # one fold certifies and serves nothing else, less the few rows that are too far out to be kept
    counted = certificate["bonafide"]["rows"] + certificate["spoof"]["rows"]
    assert 0 < 20_000 - counted - report["bonafide"] - report["spoof"] < 20
    assert counted == pytest.approx(4_000, rel=0.1)


def test_without_a_certificate_every_row_is_rejected() -> None:
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


def of_systems(n_groups: int, n_rows: int, *, shift: float) -> tuple[np.ndarray, np.ndarray, Names]:
    """Embeddings of as many systems as sources, each with a direction of its own, labels, and names of the groups."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(2 * n_groups), n_rows)
    is_bonafide = group < n_groups
    embeddings = rng.normal(size=(len(group), 4)) + rng.normal(0.0, shift, (2 * n_groups, 4))[group]
    names = Names(group, tuple(f"group {number:04d}" for number in range(2 * n_groups)))
    return embeddings + np.where(is_bonafide, 1.0, -1.0)[:, None], is_bonafide, names


def fit_over(
    embeddings: np.ndarray, is_bonafide: np.ndarray, names: Names, groups: Groups, **settings: Any
) -> tuple[Head, dict[str, Any]]:
    config = TrainingConfig(c=1.0, standardise=True, certify_over="both", **settings)
    head, report, _ = fit_head(
        Matrix(embeddings),
        is_bonafide,
        groups,
        config,
        recipe=RECIPE,
        model="melstats",
        systems=names,
        sources=names,
    )
    return head, report


def test_a_risk_is_certified_over_systems_and_sources_with_its_price() -> None:
    rows = of_systems(60, 20, shift=0.3)

    head, report = fit_over(*rows, Groups(rows[2].code, "as drawn"), certify_miss=0.1, certify_false_alarm=0.1)

    certificate = report["certificate"]
    assert certificate["certified"] is True
    assert (certificate["spoof"]["groups"], certificate["bonafide"]["groups"]) == (60, 60)
    assert certificate["spoof"]["bound"] <= 0.1
    assert 0.0 < head.max_entropy_bits < 1.0
    assert 0.3 < certificate["coverage"] <= certificate["coverage_on_rows"] <= 1.0
    assert report["bonafide"] + report["spoof"] == len(rows[1])  # no row is set aside


def test_a_certificate_over_too_few_systems_rejects_every_row() -> None:
    rows = of_systems(12, 20, shift=0.3)

    head, report = fit_over(*rows, Groups(rows[2].code, "as drawn"), certify_miss=0.1, certify_false_alarm=0.1)

    assert (report["certificate"]["certified"], head.max_entropy_bits, report["coverage"]) == (False, 0.0, 0.0)
    assert report["certificate"]["spoof"]["groups_needed"] == 44  # a bet on 44 groups without an error reaches 60


def test_systems_that_are_in_several_folds_are_judged_in_folds_of_their_own() -> None:
    # grouped by speakers that each system cloned, every system is in all folds: its rows look easier than a new one's
    embeddings, is_bonafide, names = of_systems(60, 20, shift=0.8)
    speakers = Groups(np.arange(len(is_bonafide)) % 20, "speakers")
    settings = {"certify_miss": 0.3, "certify_false_alarm": 0.3}

    found = [
        fit_over(embeddings, is_bonafide, names, groups, **settings)[1]["certificate"]
        for groups in (speakers, Groups(names.code, "systems"))
    ]

    of_own = [(each["spoof"]["wrong"], each["spoof"]["kept"], each["coverage"]) for each in found]
    assert of_own[0] == pytest.approx(of_own[1], rel=0.1)


def test_a_fold_takes_no_part_in_its_own_calibration() -> None:
    rows = draw(200, 200)
    fold = grouped(rows.groups).folds(rows.is_bonafide, 4)
    config = TrainingConfig(c=1.0, standardise=True)
    logits = cross_fit(Matrix(rows.embeddings), rows.is_bonafide, fold, config)[2]
    swapped = np.where(fold == 1, ~rows.is_bonafide, rows.is_bonafide)

    score, other = (held_out_scores("affine", logits, truth, fold) for truth in (rows.is_bonafide, swapped))

    assert np.array_equal(score[fold == 1], other[fold == 1])
    assert not np.array_equal(score[fold == 0], other[fold == 0])
