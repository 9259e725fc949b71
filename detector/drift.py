"""Drift: whether an archive's scores look like those that the head was calibrated on. It warns and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detector.logistic import Bools, Indices
from detector.metrics import Floats
from detector.rejection import p_spoof

EDGES = np.arange(-12.0, 12.01, 0.5)  # nats; what lies beyond is in the first or last bin
MIDDLES = np.concatenate([EDGES[:1], (EDGES[1:] + EDGES[:-1]) / 2, EDGES[-1:]])
FAR = 0.99  # quantile of the training distances
MAX_DISTANCE = 0.2
MAX_FAR = 0.05
EM_STEPS = 1_000


@dataclass(frozen=True)
class Drift:
    """What an archive's scores say of themselves.

    Parameters
    ----------
    estimated_prior : float
        Share of spoof that fits the scores best. A sign of drift, not a number to act on: it is wrong where the
        calibration is, and no score, probability or label is made of it.
    distance : float
        Share of the scores that would have to move to look like a mixture of the calibration rows' (total variation),
        less what chance makes of so few rows; 0 to 1.
    far : float
        Share of the rows farther out than 99 % of the training rows; 0.01 is usual.
    """

    estimated_prior: float
    distance: float
    far: float

    def warnings(self, prior: float) -> list[str]:
        """What a person should know, in words."""
        found = []
        if self.distance > MAX_DISTANCE:
            found.append(
                f"the archive's scores are unlike those of the calibration rows ({self.distance:.0%} of them would "
                f"have to move): its probabilities and reject flags may not hold. Evaluate on labelled rows of it."
            )
        if self.far > MAX_FAR:
            found.append(
                f"{self.far:.0%} of the archive lies farther from the training embeddings than {FAR:.0%} of these do: "
                f"another channel, language or codec? Add labelled rows of it, or fit with --max-ood {FAR}."
            )
        odds = np.log(self.estimated_prior / (1 - self.estimated_prior)) - np.log(prior / (1 - prior))
        if abs(odds) > np.log(3.0):
            found.append(
                f"the scores look like {self.estimated_prior:.2%} spoof, the run assumed {prior:.2%}; if you know no "
                f"better, listen to some and state --prior. Nothing was changed."
            )
        return found


def histogram(score: Floats) -> Indices:
    """Counts of scores by bin, of shape (n_bins,); what shards count can be added.

    Examples
    --------
    >>> int(histogram(np.array([-99.0, 0.1, 0.2])).max())
    2
    """
    return np.bincount(np.searchsorted(EDGES, score), minlength=len(MIDDLES)).astype(np.int64)


def histograms(score: Floats, is_bonafide: Bools) -> dict[str, list[int]]:
    """Counts of the calibration rows, by class: what :func:`drift` compares with."""
    return {
        "bonafide": histogram(score[is_bonafide]).tolist(),
        "spoof": histogram(score[~is_bonafide]).tolist(),
    }


def estimated_prior(counts: Indices) -> float:
    """Share of spoof that maximises the likelihood of calibrated scores.

    References
    ----------
    Saerens, Latinne and Decaestecker, Adjusting the outputs of a classifier to new a priori probabilities, Neural
    Computation 14, 2002.

    Examples
    --------
    >>> round(estimated_prior(histogram(np.repeat([-9.0, 9.0], [100, 900]))), 2)
    0.1
    """
    prior = 0.5
    for _ in range(EM_STEPS):
        before, prior = prior, float(np.average(p_spoof(MIDDLES, prior), weights=counts))
        prior = min(max(prior, 1e-6), 1 - 1e-6)
        if abs(prior - before) < 1e-9:
            break
    return prior


def drift(counts: Indices, far: int, calibration: dict[str, list[int]]) -> Drift | None:
    """Compare an archive's scores with those of the calibration rows.

    Parameters
    ----------
    counts : int64 array of shape (n_bins,)
        :func:`histogram` of the archive's scores.
    far : int
        How many rows have an `ood` above :data:`FAR`.
    calibration : dict
        As :func:`histograms` makes it.

    Returns
    -------
    Drift, or None where there is nothing to compare.
    """
    classes = [np.array(calibration.get(name, [])) for name in ("bonafide", "spoof")]
    if not counts.sum() or any(len(each) != len(counts) or not each.sum() for each in classes):
        return None
    prior = estimated_prior(counts)
    bonafide, spoof = (each / each.sum() for each in classes)
    expected = (1 - prior) * bonafide + prior * spoof
    # a share of q, seen in n rows, is off by sqrt(2 q / (pi n)) on average
    n_rows = 1 / (1 / counts.sum() + 1 / sum(int(each.sum()) for each in classes))
    chance = np.sqrt(2 * expected / (np.pi * n_rows)).sum() / 2
    distance = np.abs(counts / counts.sum() - expected).sum() / 2
    return Drift(prior, float(max(distance - chance, 0.0)), far / int(counts.sum()))
