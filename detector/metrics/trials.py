"""Trials: the scores, labels and decisions of one head, grouped into clusters of trials that are alike."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.metrics import calibration, checks, detection, likelihood, selective
from detector.metrics.detection import Floats

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Trials:
    """Trials judged by one head, and the cluster that each belongs to.

    Parameters
    ----------
    score : array of shape (n,)
        Log-likelihood ratios in nats, higher for bona fide; NaN where the row has no score.
    is_spoof : bool array of shape (n,)
        The labels.
    p_spoof, uncertainty : arrays of shape (n,)
        Probability of spoof at the run's prior, and its entropy in bits; NaN where there is no score.
    wrong : bool array of shape (n,)
        True where the decision is not the truth; False where there is no score.
    kept : bool array of shape (n,)
        True where the row is not rejected.
    cluster : array of shape (n,)
        Name of the speaker, source or system of each trial.

    Examples
    --------
    >>> truth = np.array([False, True, False, True])
    >>> score = np.array([2.0, -1.0, -1.5, -3.0])
    >>> chance = 1 / (1 + np.exp(score))
    >>> trials = Trials(score, truth, chance, np.abs(chance - 0.5), (chance > 0.5) != truth, truth, truth)
    >>> trials.measure()["equal_error_rate"], trials.measure()["coverage"]
    (0.5, 0.5)
    """

    score: Floats
    is_spoof: Bools
    p_spoof: Floats
    uncertainty: Floats
    wrong: Bools
    kept: Bools
    cluster: npt.NDArray[np.generic]

    def __post_init__(self) -> None:
        lengths = {name: len(each) for name, each in vars(self).items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"arrays of different lengths: {lengths}.")
        checks.check_floats(score=self.score, p_spoof=self.p_spoof, uncertainty=self.uncertainty)
        checks.check_booleans(is_spoof=self.is_spoof, wrong=self.wrong, kept=self.kept)

    def __getitem__(self, rows: Bools | npt.NDArray[np.integer[Any]]) -> Trials:
        """The selected trials, in the given order."""
        return Trials(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @cached_property
    def scored(self) -> Bools:
        """True for rows that have a score: bool array of shape (n,)."""
        return ~np.isnan(self.score)

    @cached_property
    def cluster_numbers(self) -> npt.NDArray[np.int64]:
        """The clusters, numbered in the order of their names: int array of shape (n,)."""
        _, numbers = np.unique(self.cluster, return_inverse=True)
        return numbers  # type: ignore[no-any-return]

    @cached_property
    def n_clusters(self) -> int:
        """Clusters with a score of the class that has fewer of them."""
        classes = (self.is_spoof, ~self.is_spoof)
        return min(len(np.unique(self.cluster_numbers[self.scored & of_class])) for of_class in classes)

    def measure(self) -> dict[str, float]:
        """Compute every metric of :data:`detector.metrics.resampling.MEASURES` from the trials as they are."""
        truth, wrong, uncertainty = self.is_spoof[self.scored], self.wrong[self.scored], self.uncertainty[self.scored]
        score, p_spoof = self.score[self.scored], self.p_spoof[self.scored]
        bonafide, spoof = score[~truth], score[truth]
        kept = self.kept[self.scored]
        return {
            "equal_error_rate": detection.equal_error_rate(bonafide, spoof),
            "area_under_roc": detection.area_under_roc(bonafide, spoof),
            "min_dcf": detection.min_dcf(bonafide, spoof),
            "act_dcf": detection.act_dcf(bonafide, spoof),
            "cllr": likelihood.cllr(bonafide, spoof),
            "min_cllr": likelihood.min_cllr(bonafide, spoof),
            "expected_calibration_error": calibration.expected_calibration_error(p_spoof, truth),
            "brier_score": calibration.brier_score(p_spoof, truth),
            "coverage": float(kept.sum() / len(self.score)),
            "risk": float(wrong[kept].mean()) if kept.any() else float("nan"),
            "risk_at_full_coverage": float(wrong.mean()),
            "risk_at_95_coverage": selective.risk_at_coverage(uncertainty, wrong, 0.95),
            "risk_at_90_coverage": selective.risk_at_coverage(uncertainty, wrong, 0.90),
            "risk_at_80_coverage": selective.risk_at_coverage(uncertainty, wrong, 0.80),
            "area_under_risk_coverage": selective.area_under_risk_coverage(uncertainty, wrong),
            "excess_area_under_risk_coverage": selective.excess_area_under_risk_coverage(uncertainty, wrong),
        }
