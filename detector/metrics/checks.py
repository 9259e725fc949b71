"""Checks: the arrays that a metric accepts. An array of another kind would give a wrong number, not an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def check_classes(bonafide: npt.NDArray[Any], spoof: npt.NDArray[Any]) -> None:
    """Refuse scores of the two classes that are empty, not floats in one dimension, or NaN.

    Raises
    ------
    ValueError
    """
    _check_numbers(bonafide_scores=bonafide, spoof_scores=spoof)
    if not len(bonafide) or not len(spoof):
        raise ValueError(f"{len(bonafide)} bona fide and {len(spoof)} spoof scores; expected at least one of each.")


def check_labelled(numbers: npt.NDArray[Any], is_true: npt.NDArray[Any], *, fewest: int = 1) -> None:
    """Refuse fewer rows than ``fewest``, numbers that are NaN, and labels that are not booleans, one for each number.

    Labels of 0 and 1 are refused, too: as an index they would select the first two rows again and again.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_labelled(np.array([0.5, 1.5]), np.array([0, 1]))
    Traceback (most recent call last):
      ...
    ValueError: labels of type int64; expected booleans. Compare them with a label: `labels == 1`.
    """
    _check_numbers(numbers=numbers)
    check_booleans(labels=is_true)
    if len(is_true) != len(numbers):
        raise ValueError(f"{len(is_true)} labels for {len(numbers)} numbers; expected one for each.")
    if len(numbers) < fewest:
        raise ValueError(f"no rows; expected at least {fewest}.")


def check_booleans(**arrays: npt.NDArray[Any]) -> None:
    """Refuse arrays that are not booleans in one dimension; the keywords are their names in the error."""
    for name, array in arrays.items():
        if array.dtype != np.bool_:
            raise ValueError(
                f"{name} of type {array.dtype}; expected booleans. Compare them with a label: `{name} == 1`."
            )
        if array.ndim != 1:
            raise ValueError(f"{name} of shape {array.shape}; expected one dimension.")


def check_floats(**arrays: npt.NDArray[Any]) -> None:
    """Refuse arrays that are not floats in one dimension; the keywords are their names in the error."""
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise ValueError(f"{name} of type {array.dtype}; expected floats.")
        if array.ndim != 1:
            raise ValueError(f"{name} of shape {array.shape}; expected one dimension.")


def check_share(name: str, share: float) -> None:
    """Refuse a share that is not in (0, 1], NaN included; 95 is not 95 %."""
    if not 0.0 < share <= 1.0:
        raise ValueError(f"{name} {share}; expected a share above 0 and up to 1.")


def _check_numbers(**arrays: npt.NDArray[Any]) -> None:
    check_floats(**arrays)
    for name, array in arrays.items():
        if np.isnan(array).any():
            raise ValueError(f"NaN among the {name.replace('_', ' ')}; leave out rows without a score.")
