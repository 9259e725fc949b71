"""Drift: a comparison of an archive's scores with those of the calibration rows. It only warns; it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detector.logistic import Bools, Indices
from detector.metrics import Floats
from detector.rejection import p_spoof

EDGES = np.arange(-12.0, 12.01, 0.5)  # nats; scores beyond fall into the first or last bin
MIDDLES = np.concatenate([EDGES[:1], (EDGES[1:] + EDGES[:-1]) / 2, EDGES[-1:]])
FAR = 0.99  # quantile of the training distances
MAX_DISTANCE = 0.2
MAX_FAR = 0.05
EM_STEPS = 1_000


@dataclass(frozen=True)
class Drift:
    """Statistics of an archive's scores that show whether the head still fits it.

    Parameters
    ----------
    estimated_prior : float
        Share of spoof that fits the scores best, in (0, 1). It is an indicator of drift, not a basis for decisions: it
        is wrong wherever the calibration is, and no score, probability or label depends on it.
    distance : float
        Total variation distance of the scores from the best mixture of the calibration rows: the share of scores that
        would have to move. The part expected by chance at this number of rows is subtracted; in [0, 1].
    far : float
        Share of the rows that are farther out than 99 % of the training rows, in [0, 1]; 0.01 is normal.
    """

    estimated_prior: float
    distance: float
    far: float

    def warnings(self, prior: float) -> list[str]:
        """Warnings for people, with the remedy.

        Parameters
        ----------
        prior : float
            Share of spoof that the run assumed, in (0, 1).
        """
        found = []
        if self.distance > MAX_DISTANCE:
            found.append(
                f"the archive's scores differ from those of the calibration rows ({self.distance:.0%} of them would "
                f"have to move): probabilities and reject flags may be wrong. Evaluate the head on labelled rows of "
                f"this archive."
            )
        if self.far > MAX_FAR:
            found.append(
                f"{self.far:.0%} of the archive is farther from the training embeddings than {FAR:.0%} of them are, "
                f"perhaps because of another channel, language or codec. Add labelled rows of this archive, or fit "
                f"with --max-ood {FAR}."
            )
        odds = np.log(self.estimated_prior / (1 - self.estimated_prior)) - np.log(prior / (1 - prior))
        if abs(odds) > np.log(3.0):
            found.append(
                f"the scores suggest {self.estimated_prior:.2%} spoof, but the run assumed {prior:.2%}. Listen to a "
                f"sample and set --prior if the assumption is wrong; nothing was changed."
            )
        return found


def histogram(score: Floats) -> Indices:
    """Count scores by bin: int64 array of shape (n_bins,). Counts of shards can be added.

    Examples
    --------
    >>> int(histogram(np.array([-99.0, 0.1, 0.2])).max())
    2
    """
    return np.bincount(np.searchsorted(EDGES, score), minlength=len(MIDDLES)).astype(np.int64)


def histograms(score: Floats, is_bonafide: Bools) -> dict[str, list[int]]:
    """Count the calibration rows by class and bin, for :func:`drift`."""
    return {
        "bonafide": histogram(score[is_bonafide]).tolist(),
        "spoof": histogram(score[~is_bonafide]).tolist(),
    }


def estimated_prior(counts: Indices) -> float:
    """Estimate the share of spoof that maximises the likelihood of calibrated scores.

    Parameters
    ----------
    counts : int64 array of shape (n_bins,)
        As :func:`histogram` returns them.

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
        Number of rows with an `ood` above :data:`FAR`.
    calibration : dict
        As :func:`histograms` returns it.

    Returns
    -------
    Drift or None
        None if there is nothing to compare.
    """
    classes = [np.array(calibration.get(name, [])) for name in ("bonafide", "spoof")]
    if not counts.sum() or any(len(each) != len(counts) or not each.sum() for each in classes):
        return None
    prior = estimated_prior(counts)
    bonafide, spoof = (each / each.sum() for each in classes)
    expected = (1 - prior) * bonafide + prior * spoof
    # the mean absolute error of a share q that is estimated from n rows is sqrt(2 q / (pi n))
    n_rows = 1 / (1 / counts.sum() + 1 / sum(int(each.sum()) for each in classes))
    chance = np.sqrt(2 * expected / (np.pi * n_rows)).sum() / 2
    distance = np.abs(counts / counts.sum() - expected).sum() / 2
    return Drift(prior, float(max(distance - chance, 0.0)), far / int(counts.sum()))
