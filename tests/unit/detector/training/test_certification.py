"""A certified risk holds on fresh rows, and its rows serve nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detector.rejection import entropy_bits
from detector.training.config import TrainingConfig
from detector.training.fitting import certification_rows
from tests.unit.detector.training.drawn import (
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
