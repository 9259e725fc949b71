"""The rule from segments to recording: from the scores of its windows, whether a recording contains a spoofed part.

The score of a recording says whether it is spoofed as a whole. A spoofed sentence in an hour of genuine speech leaves
it as it is; the scores of windows say more. A rule makes one number of them, and a calibration of its own makes that a
log-likelihood ratio: `contains_score`.

```
windows ─► scores (nats) ─► rule ─► · slope + intercept ─► bounds ─► contains_score (nats)
```
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from detector.calibration import CALIBRATORS, bounded
from detector.metrics import Floats
from detector.windows import stored_windows

Rule = Callable[[float, Floats], float]
"""Takes the score of a recording, and those of its windows, of shape (n_windows,), at least one; returns a number that
is higher for bona fide."""

N_NUMBERS = 4  # slope, intercept, lowest and highest contains_score
SPOOFED_SHARE = 0.01  # of windows, that noisy-or assumes: its calibration makes up for another
LEAST = 1e-12  # of the sum in noisy-or, whose logarithm is taken


def lowest(n_windows: int = 1, share: float = 0.0) -> Rule:
    """Return the rule that takes the mean of the lowest scores: so many of them, or a share of all if that is more.

    Examples
    --------
    >>> lowest(2)(0.0, np.array([3.0, -1.0, 5.0])), lowest(share=0.5)(0.0, np.array([3.0, -1.0, 5.0, 7.0]))
    (1.0, 1.0)
    """

    def rule(_score: float, windows: Floats) -> float:
        n = min(len(windows), max(n_windows, math.ceil(share * len(windows))))
        return float(np.partition(windows, n - 1)[:n].mean())

    return rule


def noisy_or(_score: float, windows: Floats) -> float:
    """Return the log odds that no window is spoofed, as if windows were independent.

    With p the probability that a window is spoofed, the recording contains none with the product of all 1 - p.

    References
    ----------
    Pearl, Probabilistic Reasoning in Intelligent Systems, 1988, 4.3.2.

    Examples
    --------
    >>> p = 1 / (1 + np.exp(np.array([2.0, -3.0]) + np.log(0.99 / 0.01)))
    >>> none = np.prod(1 - p)
    >>> bool(np.isclose(noisy_or(0.0, np.array([2.0, -3.0])), np.log(none / (1 - none))))
    True
    """
    spoofed = math.log(SPOOFED_SHARE) - math.log1p(-SPOOFED_SHARE)
    total = max(float(np.logaddexp(0.0, spoofed - windows).sum()), LEAST)
    return -total - math.log(-math.expm1(-total))


RULES: dict[str, Rule] = {
    "mean": lambda score, _windows: score,
    "lowest-quarter": lowest(share=0.25),
    "lowest-tenth": lowest(share=0.1),
    "lowest-5": lowest(5),
    "lowest-3": lowest(3),
    "lowest": lowest(1),
    "noisy-or": noisy_or,
}
"""Rules by name, from the most cautious on: of rules that are equally good, the first is taken."""


def fits(name: str, numbers: tuple[float, ...]) -> bool:
    """Return True if numbers that were read from a file belong to a rule, or to none."""
    if not name:
        return numbers == ()
    return name in RULES and len(numbers) == N_NUMBERS and numbers[0] > 0.0 and numbers[2] < 0.0 < numbers[3]


def contains_scores(
    name: str,
    numbers: tuple[float, ...],
    rows: pa.Table,
    scores: Floats,
    score_windows: Callable[[Floats], Floats],
    silence_dbfs: float,
) -> Floats:
    """Compute :func:`contains_score` of rows of `embeddings`.

    Parameters
    ----------
    name, numbers
        As there; an empty name for no rule.
    rows : pyarrow.Table
    scores : array of shape (n_rows,)
        Of the recordings; NaN for those without one.
    score_windows : callable
        Computes scores of embeddings of shape (n_windows, dim); NaN for one that has none.
    silence_dbfs : float
        Windows as quiet as that, or quieter, say nothing.

    Returns
    -------
    array of shape (n_rows,)
        NaN for recordings without a score, or without a window that has one.
    """
    found = np.full(len(rows), np.nan)
    for windows in stored_windows(rows) if name else ():
        of_windows = score_windows(windows.vectors[windows.levels > silence_dbfs].astype(np.float64))
        of_windows = of_windows[np.isfinite(of_windows)]
        if len(of_windows) and np.isfinite(scores[windows.row]):
            found[windows.row] = contains_score(name, numbers, float(scores[windows.row]), of_windows)
    return found


def contains_score(name: str, numbers: tuple[float, ...], score: float, windows: Floats) -> float:
    """Compute the log-likelihood ratio that a recording contains no spoofed part against that it contains some.

    Parameters
    ----------
    name : str
        A key of :data:`RULES`.
    numbers : tuple of floats
        Slope and intercept, and the bounds of the result.
    score : float
        Of the recording, in nats.
    windows : array of shape (n_windows,)
        Scores of its windows in nats; at least one, none of them NaN.

    Returns
    -------
    float
        In nats, higher for bona fide, within the bounds.

    Examples
    --------
    >>> round(contains_score("lowest", (2.0, 1.0, -7.0, 7.0), 3.0, np.array([3.0, -1.0])), 2)
    -1.0
    """
    found = CALIBRATORS["affine"].apply(numbers[:2], np.array([RULES[name](score, windows)]))
    return float(bounded(found, (numbers[2], numbers[3]))[0])
