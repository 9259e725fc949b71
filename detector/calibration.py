"""Calibration: the map from a logit to a log-likelihood ratio, learnt on rows that the head has not seen.

Every calibrator gives both classes the same total weight, so that its log odds are the log-likelihood ratio and do not
contain the prior of the rows. Every map rises with the logit and is followed by :func:`bounded`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detector.errors import ConfigError
from detector.logistic import Bools, Matrix
from detector.logistic import fit as fit_logistic
from detector.metrics import Floats, cllr
from detector.metrics.checks import check_booleans, check_labelled
from detector.rejection import NEGLIGIBLE_NATS

LARGEST = 1e50  # size of any number of a head; what it divides by is at least 1 / LARGEST (detector/head_checks.py)

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Calibrator:
    """A family of maps: functions that learn, apply and check its numbers.

    Parameters
    ----------
    fit : callable
        Takes logits and `is_bonafide`, both of shape (n,); returns the numbers of the map.
    apply : callable
        Takes the numbers and logits of shape (n,); returns log-likelihood ratios in nats, not yet bounded.
    fits : callable
        Returns True if numbers that were read from a file belong to such a map.
    """

    fit: Callable[[Floats, Bools], Numbers]
    apply: Callable[[Numbers, Floats], Floats]
    fits: Callable[[Numbers], bool]


def calibrate(name: str, logits: Floats, is_bonafide: Bools) -> Numbers:
    """Learn the numbers of a calibrator, and check that it improves the scores.

    Parameters
    ----------
    name : str
        A key of :data:`CALIBRATORS`.
    logits : float64 array of shape (n,)
        Higher for bona fide, from a head that was not fitted on these rows.
    is_bonafide : bool array of shape (n,)
        Both classes must be present.

    Returns
    -------
    tuple of float
        The Cllr of the calibrated scores is not above that of the raw logits (both unbounded, or both bounded).

    Raises
    ------
    ConfigError
        If the logits rank no better than chance, or calibration would raise their Cllr.
    """
    check_labelled(logits, is_bonafide)
    slope, _ = _affine(logits, is_bonafide)
    if slope <= 0:
        raise ConfigError(
            f"held-out logits rank no better than chance (slope {slope:.3g}); the embeddings do not tell the "
            f"classes apart across groups, or the labels are swapped. Use another encoder or more systems."
        )
    numbers = CALIBRATORS[name].fit(logits, is_bonafide)
    score, bounds = CALIBRATORS[name].apply(numbers, logits), score_bounds(is_bonafide)

    def cost(values: Floats) -> float:
        return cllr(values[is_bonafide], values[~is_bonafide])

    before, after = cost(logits), cost(score)
    better = after <= before + 1e-6 or cost(bounded(score, bounds)) <= cost(bounded(logits, bounds)) + 1e-6
    if not better:
        raise ConfigError(
            f"calibration {name} raises the Cllr of its own rows from {before:.4f} to {after:.4f} bits. "
            f"Use --calibrator affine."
        )
    return numbers


def score_bounds(is_bonafide: Bools) -> tuple[float, float]:
    """Smallest and largest score that the number of rows supports: ``-ln(n_bonafide + 1)`` and ``ln(n_spoof + 1)``.

    A score states that the recording is exp(score) times likelier bona fide than spoof. With 99 spoof rows, nothing can
    be shown to be rarer among spoof than 1 in 100.

    Examples
    --------
    >>> low, high = score_bounds(np.arange(1_098) < 999)
    >>> round(np.exp(-low)), round(np.exp(high))
    (1000, 100)
    """
    check_booleans(is_bonafide=is_bonafide)
    return -float(np.log1p(is_bonafide.sum())), float(np.log1p((~is_bonafide).sum()))


def bounded(score: Floats, bounds: tuple[float, float]) -> Floats:
    """Limit scores smoothly to bounds: ``ln((e^s + e^low) / (1 + e^(s - high)))``.

    This is the likelihood ratio if a share of each class looks like the other. The order of the scores stays, and
    scores in the middle hardly change.

    Examples
    --------
    >>> bounded(np.array([-50.0, 0.0, 1.0, 50.0]), (-7.0, 7.0)).round(2).tolist()
    [-7.0, 0.0, 1.0, 7.0]
    """
    low, high = bounds
    score = np.minimum(score, high + NEGLIGIBLE_NATS)  # beyond, the two terms would cancel, or be infinite
    found, above = np.logaddexp(score, low), score - high
    found -= np.logaddexp(above, 0.0, out=above)  # in place, because rows may be millions
    return np.asarray(found)


def class_weights(n_spoof: int, n_bonafide: int) -> Floats:
    """Weights of a spoof row and of a bona fide row that give both classes the same total; their mean is 1.

    Examples
    --------
    >>> class_weights(3, 1).round(3).tolist()
    [0.667, 2.0]
    """
    return (n_spoof + n_bonafide) / (2.0 * np.array([n_spoof, n_bonafide]))


def balanced(is_bonafide: Bools) -> Floats:
    """Weight of every row, such that both classes have the same total: array of shape (n,) with mean 1."""
    return np.asarray(_class_weights(is_bonafide)[is_bonafide.astype(np.int8)])


def _class_weights(is_bonafide: Bools) -> Floats:
    n_bonafide = int(np.count_nonzero(is_bonafide))
    return class_weights(len(is_bonafide) - n_bonafide, n_bonafide)


def _affine(logits: Floats, is_bonafide: Bools) -> Numbers:
    """Fit ``score = slope * logit + intercept`` by logistic regression.

    References
    ----------
    Platt, Advances in Large Margin Classifiers, 1999; Brummer and du Preez, Computer Speech & Language, 2006.
    """
    return linear(logits[:, None], is_bonafide)


def linear(columns: Floats, is_bonafide: Bools) -> Numbers:
    """Coefficients of a logistic regression on a few columns, and its intercept."""
    centre, scale = columns.mean(axis=0), columns.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    # a penalty so small that it matters only if the classes are separable, where the optimum would be infinite
    penalty = np.full((1, columns.shape[1]), 1e-6)
    kind, weights = is_bonafide.astype(np.int8), _class_weights(is_bonafide)[:, None]
    models = fit_logistic(Matrix(columns), is_bonafide, kind, weights, centre, scale, penalty)
    slopes = models.weights[0] / scale
    return (*slopes.tolist(), float(models.bias[0] - slopes @ centre))


def _temperature(logits: Floats, is_bonafide: Bools) -> Numbers:
    """Fit ``score = slope * logit``: one number, for heads whose logit is zero where the classes are equally likely.

    References
    ----------
    Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    weights, sign = balanced(is_bonafide), np.where(is_bonafide, -1.0, 1.0)

    def loss(log_slope: Floats) -> float:
        return float((weights * np.logaddexp(0.0, sign * np.exp(log_slope[0]) * logits)).sum())

    from scipy.optimize import minimize  # only now: judging needs none of it

    found = minimize(loss, x0=-np.log(logits.std() + 1e-12), method="Nelder-Mead", options={"xatol": 1e-9})
    return (float(np.exp(np.clip(found.x[0], -50, 50))), 0.0)


def _beta(logits: Floats, is_bonafide: Bools) -> Numbers:
    """Fit ``score = a ln p - b ln(1 - p) + c``, p the logistic function of the logit: one slope per side.

    A slope that would be negative is set to zero, so that the score never falls.

    References
    ----------
    Kull, Silva Filho and Flach, Beta calibration, AISTATS 2017.
    """
    sides = np.column_stack([-np.logaddexp(0.0, -logits), np.logaddexp(0.0, logits)])
    left, right, offset = linear(sides, is_bonafide)
    if left >= 0 and right >= 0:
        return left, right, offset
    side = int(right > left)
    slope, offset = linear(sides[:, [side]], is_bonafide)
    return (slope, 0.0, offset) if side == 0 else (0.0, slope, offset)


def _isotonic(logits: Floats, is_bonafide: Bools) -> Numbers:
    """Fit any rising map: knots from pooling adjacent violators, straight lines between.

    It needs many rows: it has as many numbers as the rows have steps, and is constant beyond its ends.

    References
    ----------
    Zadrozny and Elkan, Transforming classifier scores into accurate multiclass probability estimates, KDD 2002.
    """
    from sklearn.isotonic import IsotonicRegression  # only now: it takes 0.5 s, and judging needs none of it

    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    model.fit(logits, is_bonafide.astype(np.float64), sample_weight=balanced(is_bonafide))
    low, high = score_bounds(is_bonafide)
    # a pool of a single class has an infinite score: clip it a little beyond the bounds of the score
    share = np.clip(model.y_thresholds_, 1e-300, 1.0 - 1e-16)
    score = np.clip(np.log(share) - np.log1p(-share), low - 3.0, high + 3.0)
    return (*model.X_thresholds_.tolist(), *score.tolist())


def _apply_linear(numbers: Numbers, logits: Floats) -> Floats:
    slope, intercept = numbers
    return np.asarray(slope * logits + intercept)


def _apply_beta(numbers: Numbers, logits: Floats) -> Floats:
    left, right, offset = numbers
    return np.asarray(left * -np.logaddexp(0.0, -logits) + right * np.logaddexp(0.0, logits) + offset)


def _apply_isotonic(numbers: Numbers, logits: Floats) -> Floats:
    knots = len(numbers) // 2
    return np.asarray(np.interp(logits, numbers[:knots], numbers[knots:]))


def _are_knots(numbers: Numbers) -> bool:
    half = len(numbers) // 2
    values = numbers[half:]
    return len(numbers) >= 2 and len(numbers) % 2 == 0 and can_interpolate(numbers[:half]) and is_rising(values)


def is_rising(numbers: Numbers) -> bool:
    """Return True if no number is below the one before it."""
    return all(left <= right for left, right in itertools.pairwise(numbers))


def can_interpolate(knots: Numbers) -> bool:
    """Return True if knots rise, each by nothing or by a step so large that a slope over it is finite.

    Examples
    --------
    >>> can_interpolate((0.0, 0.0, 1e-17)), can_interpolate((0.0, 5e-324)), can_interpolate((1.0, 0.0))
    (True, False, False)
    """
    return all(left == right or right - left >= 1.0 / LARGEST for left, right in itertools.pairwise(knots))


CALIBRATORS: dict[str, Calibrator] = {
    "affine": Calibrator(_affine, _apply_linear, lambda numbers: len(numbers) == 2),
    "temperature": Calibrator(_temperature, _apply_linear, lambda numbers: len(numbers) == 2),
    "beta": Calibrator(_beta, _apply_beta, lambda numbers: len(numbers) == 3),
    "isotonic": Calibrator(_isotonic, _apply_isotonic, _are_knots),
}
