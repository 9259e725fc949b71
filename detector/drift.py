"""Drift: a comparison of an archive's scores with those of the calibration rows. It only warns; it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detector.logistic import Bools, Indices
from detector.metrics import Floats
from detector.prior import LEAST, MOST, estimated_prior, prior_interval, widened
from detector.rejection import log_odds

EDGES = np.arange(-12.0, 12.01, 0.5)  # nats; scores beyond fall into the first or last bin
MIDDLES = np.concatenate([EDGES[:1], (EDGES[1:] + EDGES[:-1]) / 2, EDGES[-1:]])
FAR = 0.99  # quantile of the training distances
MAX_DISTANCE = 0.2
MAX_FAR = 0.05
# A share of spoof is told only where a wrong one would be noticed. With n scores in about 20 bins, chance makes a
# distance of 1.8 / sqrt(n): with MIN_ACCEPTED that of MAX_DISTANCE.
MIN_ACCEPTED = 100
MIN_ACCEPTED_SHARE = 0.5  # else most of the evidence is scores that the head itself declines to judge
MAX_CLLR = 1 - MAX_DISTANCE  # beyond, a misfit below MAX_DISTANCE may move the share from 0 to 1: prior.widened
MAX_ODDS = float(np.log(3.0))  # ratio of odds that is worth a warning: it moves the threshold by 1.1 nats


@dataclass(frozen=True)
class Drift:
    """Statistics of an archive's scores that show whether the head still fits it.

    Parameters
    ----------
    estimated_prior : float or None
        Share of spoof that fits the scores best, in (0, 1). It is an indicator of drift, not a basis for decisions: no
        score, probability or label depends on it. None where the scores cannot tell it.
    distance : float
        Total variation distance of the scores from the best mixture of the calibration rows: the share of scores that
        would have to move. The part expected by chance at this number of rows is subtracted; in [0, 1].
    far : float
        Share of the rows that are farther out than 99 % of the training rows, in [0, 1]; 0.01 is normal.
    prior_low, prior_high : float or None
        Interval of the share of spoof: 95 %, widened by what the distance may move it. None where there is no estimate,
        or an earlier version made it.
    not_estimated : str or None
        Reason why there is no estimate.
    """

    estimated_prior: float | None
    distance: float
    far: float
    prior_low: float | None = None
    prior_high: float | None = None
    not_estimated: str | None = None

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
        if self._contradicts(prior):
            found.append(
                f"the scores suggest {self.prior_low:.2%} to {self.prior_high:.2%} spoof, but the run assumed "
                f"{prior:.2%}. Listen to a sample and set --prior if the assumption is wrong; nothing was changed."
            )
        return found

    def _contradicts(self, prior: float) -> bool:
        """Return True if the whole interval has more than three times these odds of spoof, or less than a third."""
        if self.prior_low is None or self.prior_high is None:
            return False
        low, high = (log_odds(min(max(each, LEAST), MOST)) for each in (self.prior_low, self.prior_high))
        return not low - MAX_ODDS <= log_odds(prior) <= high + MAX_ODDS


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


def drift(
    counts: Indices, far: int, calibration: dict[str, list[int]], *, n_accepted: int, cllr: float | None
) -> Drift | None:
    """Compare an archive's scores with those of the calibration rows.

    Parameters
    ----------
    counts : int64 array of shape (n_bins,)
        :func:`histogram` of the archive's scores, those of rejected rows included.
    far : int
        Number of rows with an `ood` above :data:`FAR`.
    calibration : dict
        As :func:`histograms` returns it.
    n_accepted : int
        Number of rows that the head did not reject.
    cllr : float or None
        Of the head's held-out rows, in bits; None if unknown.

    Returns
    -------
    Drift or None
        None if there is nothing to compare.
    """
    bonafide, spoof = (np.array(calibration.get(name, []), dtype=np.int64) for name in ("bonafide", "spoof"))
    if not counts.sum() or any(len(each) != len(counts) or not each.sum() for each in (bonafide, spoof)):
        return None
    prior = estimated_prior(counts, MIDDLES)
    expected = (1 - prior) * bonafide / bonafide.sum() + prior * spoof / spoof.sum()
    # the mean absolute error of a share q that is estimated from n rows is sqrt(2 q / (pi n))
    n_rows = 1 / (1 / counts.sum() + 1 / (bonafide.sum() + spoof.sum()))
    chance = np.sqrt(2 * expected / (np.pi * n_rows)).sum() / 2
    distance = float(max(np.abs(counts / counts.sum() - expected).sum() / 2 - chance, 0.0))
    far_share = far / int(counts.sum())
    reason = _not_estimated(n_accepted, int(counts.sum()), cllr, distance, far_share)
    if reason is not None or cllr is None:
        return Drift(None, distance, far_share, not_estimated=reason)
    low, high = widened(prior_interval(counts, MIDDLES, (bonafide, spoof)), distance, cllr)
    return Drift(prior, distance, far_share, low, high)


def _not_estimated(n_accepted: int, n_rows: int, cllr: float | None, distance: float, far: float) -> str | None:
    """Return why the scores cannot tell the share of spoof, or None if they can."""
    if n_accepted < MIN_ACCEPTED:
        return f"the head accepted {n_accepted} recordings, fewer than {MIN_ACCEPTED}"
    if n_accepted < MIN_ACCEPTED_SHARE * n_rows:
        return f"the head rejected most recordings, {n_rows - n_accepted} of {n_rows}"
    if cllr is None:
        return "the head's held-out Cllr is unknown"
    if not cllr < MAX_CLLR:
        return f"the head tells the classes apart too badly: its held-out Cllr is {cllr:.3f}, not below {MAX_CLLR} bits"
    if distance > MAX_DISTANCE:
        return "the scores are unlike those of the calibration rows"
    if far > MAX_FAR:
        return "too many recordings are far from the training rows"
    return None
