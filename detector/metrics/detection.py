"""Detection: how well scores separate bona fide from spoof, and the cost of a threshold."""

from __future__ import annotations

import functools
from bisect import bisect_left
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from detector.metrics.checks import check_classes

Floats = npt.NDArray[np.float64]


def error_rates(bonafide: Floats, spoof: Floats) -> tuple[Floats, Floats, Floats]:
    """Compute miss and false-alarm rates at every distinct score: the points of the DET and ROC curves.

    Parameters
    ----------
    bonafide, spoof : arrays of shape (n_bonafide,) and (n_spoof,)
        Scores in nats, higher for bona fide. Neither may be empty.

    Returns
    -------
    thresholds : array of shape (n_thresholds,)
        Distinct scores in rising order, followed by infinity.
    p_miss : array of shape (n_thresholds,)
        Share of bona fide scores below each threshold, rising from 0 to 1.
    p_fa : array of shape (n_thresholds,)
        Share of spoof scores at or above each threshold, falling from 1 to 0.

    Raises
    ------
    ValueError
        If a class is empty, a score is NaN, or an array is not floats in one dimension.

    References
    ----------
    Martin et al., The DET curve in assessment of detection task performance, Eurospeech 1997.

    Examples
    --------
    >>> thresholds, p_miss, p_fa = error_rates(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    >>> p_miss.tolist(), p_fa.tolist()
    ([0.0, 0.0, 0.5, 1.0], [1.0, 0.5, 0.0, 0.0])
    """
    check_classes(bonafide, spoof)
    thresholds = np.append(np.unique(np.concatenate([bonafide, spoof])), np.inf)
    misses, rejections = (_n_below(thresholds, scores) for scores in (bonafide, spoof))
    return thresholds, misses / len(bonafide), (len(spoof) - rejections) / len(spoof)


def _n_below(thresholds: Floats, scores: Floats) -> Floats:
    """Number of scores below each threshold; all scores, even infinite ones, count as below the last."""
    return np.append(np.searchsorted(np.sort(scores), thresholds[:-1], "left"), len(scores)).astype(np.float64)


def probit(rates: Floats) -> Floats:
    """Map error rates to the axes of a DET plot, on which two normal distributions give a straight line.

    Parameters
    ----------
    rates : array of any shape
        In [0, 1].

    Returns
    -------
    array of the same shape
        Quantiles of the unit normal; minus and plus infinity for 0 and 1.

    References
    ----------
    Martin et al., Eurospeech 1997.

    Examples
    --------
    >>> probit(np.array([0.5, 0.1587])).round(3).tolist()
    [0.0, -1.0]
    """
    from scipy.special import ndtri  # only now: judging needs none of it

    return np.asarray(ndtri(rates))


def equal_error_rate(bonafide: Floats, spoof: Floats, *, interpolate: bool = True) -> float:
    """Compute the error rate at which misses and false alarms are equally frequent.

    Parameters
    ----------
    bonafide, spoof : arrays of shape (n_bonafide,) and (n_spoof,)
        Scores, higher for bona fide. Neither may be empty. Equal scores move together.
    interpolate : bool
        If True, interpolate the rates between thresholds, as the code of Pascu et al. does. If False, return the mean
        of the two rates at the score where they are closest, as the evaluation package of ASVspoof 5 does.

    Returns
    -------
    float
        In [0, 1], lower is better; 0.5 is chance, above 0.5 the scores point the wrong way.

    References
    ----------
    Pascu et al., Interspeech 2024, arXiv 2309.05384; Wang et al., ASVspoof 5, arXiv 2408.08739.

    Examples
    --------
    >>> equal_error_rate(np.array([1.0, 2.0, 3.0]), np.array([-1.0, 0.0, 1.5]))
    0.3333333333333333
    """
    check_classes(bonafide, spoof)
    return eer_of_sorted(np.sort(bonafide), np.sort(spoof), interpolate=interpolate)


def eer_of_sorted(bonafide: Floats, spoof: Floats, *, interpolate: bool = True) -> float:
    """Compute :func:`equal_error_rate` of sorted scores, by binary search.

    It saves time when many groups are compared with one class, which is then sorted only once.

    Parameters
    ----------
    bonafide, spoof : arrays of shape (n_bonafide,) and (n_spoof,)
        In rising order. Neither may be empty.
    interpolate : bool
        As for :func:`equal_error_rate`.

    Examples
    --------
    >>> eer_of_sorted(np.array([1.0, 2.0, 3.0]), np.array([-1.0, 0.0, 1.5]))
    0.3333333333333333
    """

    check_classes(bonafide[-1:], spoof[-1:])  # NaN sorts to the end

    def rates(threshold: float) -> tuple[float, float]:
        below = np.searchsorted(bonafide, threshold), np.searchsorted(spoof, threshold)
        return float(below[0] / len(bonafide)), float((len(spoof) - below[1]) / len(spoof))

    def met(scores: Floats, at: int) -> bool:
        p_miss, p_fa = rates(scores[at])
        return p_miss >= p_fa

    firsts = [
        (scores, bisect_left(range(len(scores)), True, key=functools.partial(met, scores)))
        for scores in (bonafide, spoof)
    ]
    after = min((float(scores[at]) for scores, at in firsts if at < len(scores)), default=None)
    lower = [scores[: len(scores) if after is None else np.searchsorted(scores, after)] for scores in (bonafide, spoof)]
    p_miss, p_fa = np.transpose(
        [
            rates(max(scores[-1] for scores in lower if len(scores))),
            (1.0, 0.0) if after is None else rates(after),
        ]
    )
    if interpolate:
        return float(crossing(p_miss, p_fa))
    nearest = int(np.argmin(np.abs(p_miss - p_fa)))
    return float((p_miss[nearest] + p_fa[nearest]) / 2.0)


def crossing(p_miss: Floats, p_fa: Floats) -> Floats:
    """Interpolate the rate at which rising misses equal falling false alarms.

    Parameters
    ----------
    p_miss, p_fa : arrays of shape (..., n_thresholds)
        From 0 to 1 and from 1 to 0, as :func:`error_rates` returns them.

    Returns
    -------
    array of shape (...,)
    """
    after = np.argmax(p_miss >= p_fa, axis=-1)[..., None]
    miss_before, miss_after = (np.take_along_axis(p_miss, at, -1)[..., 0] for at in (after - 1, after))
    fa_before, fa_after = (np.take_along_axis(p_fa, at, -1)[..., 0] for at in (after - 1, after))
    gap_before, gap_after = fa_before - miss_before, miss_after - fa_after
    share = gap_before / (gap_before + gap_after)
    return np.asarray(miss_before + share * (miss_after - miss_before))


def chance_interval(n_bonafide: int, n_spoof: int, level: float = 0.95) -> tuple[float, float]:
    """Compute the interval that holds the EER of random scores in the share ``level`` of all draws.

    To first order, each empirical distribution deviates from the true one with variance 1 / (4 n) at the median, and
    the error of the EER is half the difference of the two: its standard deviation is sqrt(1 / n_bonafide + 1 /
    n_spoof) / 4. This holds for independent trials; trials of few speakers or systems vary more.

    Examples
    --------
    >>> [round(rate, 4) for rate in chance_interval(400, 400)]
    [0.4654, 0.5346]
    """
    half = NormalDist().inv_cdf(0.5 + level / 2.0) * np.sqrt(1.0 / n_bonafide + 1.0 / n_spoof) / 4.0
    return float(max(0.0, 0.5 - half)), float(min(1.0, 0.5 + half))


def area_under_roc(bonafide: Floats, spoof: Floats) -> float:
    """Compute the probability that a bona fide score is above a spoof score; equal scores count half.

    Parameters
    ----------
    bonafide, spoof : arrays of shape (n_bonafide,) and (n_spoof,)
        Scores, higher for bona fide. Neither may be empty.

    Returns
    -------
    float
        In [0, 1], higher is better; 0.5 is chance.

    References
    ----------
    Hanley and McNeil, Radiology 143(1), 1982.

    Examples
    --------
    >>> area_under_roc(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    0.875
    """
    _, p_miss, p_fa = error_rates(bonafide, spoof)
    return float(area_of_rates(p_miss, p_fa))


def area_of_rates(p_miss: Floats, p_fa: Floats) -> Floats:
    """Integrate ``1 - p_miss`` over ``p_fa`` by trapezoids: arrays of shape (..., n_thresholds) to (...,)."""
    return np.asarray(np.trapezoid(p_miss - 1.0, p_fa, axis=-1))  # p_fa falls, so the step is negative


@dataclass(frozen=True)
class OperatingPoint:
    """The application of a detector: its share of spoof, and the costs of its errors.

    Parameters
    ----------
    p_spoof : float
        Share of spoof among the trials of the application, in (0, 1).
    miss_cost, false_alarm_cost : float
        Cost of a bona fide trial called spoof, and of a spoof trial called bona fide; above 0.

    References
    ----------
    Delgado et al., ASVspoof 5 evaluation plan, 2024; Wang et al., arXiv 2408.08739.

    Examples
    --------
    >>> round(ASVSPOOF5.beta, 6), round(ASVSPOOF5.threshold, 3)
    (1.9, -0.642)
    """

    p_spoof: float = 0.05
    miss_cost: float = 1.0
    false_alarm_cost: float = 10.0

    def __post_init__(self) -> None:
        are_costs = all(0.0 < cost < np.inf for cost in (self.miss_cost, self.false_alarm_cost))  # NaN is neither
        if not 0.0 < self.p_spoof < 1.0 or not are_costs:
            raise ValueError(f"{self}: p_spoof must be inside (0, 1), and the costs above 0 and finite.")

    @property
    def beta(self) -> float:
        """Weight of a miss relative to a false alarm: the ratio of cost times share."""
        return self.miss_cost * (1.0 - self.p_spoof) / (self.false_alarm_cost * self.p_spoof)

    @property
    def threshold(self) -> float:
        """Optimal threshold for log-likelihood ratios, in nats: ``-ln(beta)``."""
        return -float(np.log(self.beta))

    def cost(self, p_miss: Floats | float, p_fa: Floats | float) -> Floats:
        """Compute the detection cost relative to the better of accepting all and rejecting all, which has cost 1."""
        return np.asarray((self.beta * np.asarray(p_miss) + np.asarray(p_fa)) / min(1.0, self.beta))


ASVSPOOF5 = OperatingPoint()
"""Track 1 of ASVspoof 5: 5 % spoof, and a false alarm costs as much as ten misses."""


def min_dcf(bonafide: Floats, spoof: Floats, at: OperatingPoint = ASVSPOOF5) -> float:
    """Compute the detection cost at the threshold that is best for the given scores.

    Parameters
    ----------
    bonafide, spoof : arrays of shape (n_bonafide,) and (n_spoof,)
        Scores, higher for bona fide. Neither may be empty.
    at : OperatingPoint

    Returns
    -------
    float
        In [0, 1], lower is better; 1 is the cost of accepting all or rejecting all.

    References
    ----------
    Delgado et al., ASVspoof 5 evaluation plan, 2024, the primary metric of track 1.

    Examples
    --------
    >>> min_dcf(np.array([1.0, 2.0]), np.array([0.0, -1.0]))
    0.0
    """
    _, p_miss, p_fa = error_rates(bonafide, spoof)
    return float(at.cost(p_miss, p_fa).min())


def act_dcf(bonafide: Floats, spoof: Floats, at: OperatingPoint = ASVSPOOF5) -> float:
    """Compute the detection cost at the optimal threshold for log-likelihood ratios.

    Parameters
    ----------
    bonafide, spoof : arrays of shape (n_bonafide,) and (n_spoof,)
        Log-likelihood ratios in nats, higher for bona fide. Neither may be empty.
    at : OperatingPoint

    Returns
    -------
    float
        At least :func:`min_dcf`, lower is better; the difference is lost to calibration. May exceed 1.

    References
    ----------
    Delgado et al., ASVspoof 5 evaluation plan, 2024.

    Examples
    --------
    >>> act_dcf(np.array([1.0, -1.0]), np.array([-2.0, -3.0]))  # one of two bona fide is below -0.642
    0.95
    """
    check_classes(bonafide, spoof)
    return float(at.cost(float(np.mean(bonafide < at.threshold)), float(np.mean(spoof >= at.threshold))))
