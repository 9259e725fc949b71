"""Calibration: the map from a logit to a log-likelihood ratio, learnt on rows that the head has not seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from detector.metrics import Floats


def affine(logits: Floats, is_bonafide: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Fit ``score = slope * logit + intercept`` by logistic regression with both classes weighing the same.

    With equal weights the log odds are the log-likelihood ratio: no prior of the rows stays in the score.

    Parameters
    ----------
    logits : array of shape (n,)
        Higher for bona fide, from a head that was not fitted on these rows.
    is_bonafide : bool array of shape (n,)
        Both classes must be there.

    Returns
    -------
    slope, intercept : float
        The intercept in nats. A slope at or below zero says that the logits rank no better than chance.

    References
    ----------
    Platt, Advances in Large Margin Classifiers, 1999; Brummer and du Preez, Computer Speech & Language, 2006.

    Examples
    --------
    >>> slope, intercept = affine(np.array([-1.0, 0.0, 2.0, 3.0]), np.array([False, True, False, True]))
    >>> slope > 0
    True
    """
    # C is large so that the slope is the maximum-likelihood one; the rows are few numbers each, not wide
    model = LogisticRegression(C=1e6, class_weight="balanced", max_iter=1_000, tol=1e-8)
    model.fit(logits[:, None], is_bonafide)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


CALIBRATORS: dict[str, Callable[[Floats, npt.NDArray[np.bool_]], tuple[float, float]]] = {"affine": affine}
