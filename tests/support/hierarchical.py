"""Scores of systems and sources whose true error rates are known: a hierarchical model with closed-form rates.

Every group has a level from a normal distribution, and every row a deviation from it. Scores are the log-likelihood
ratios of rows of unknown groups, so that they are calibrated over the population and wrong for each group by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, norm

from detector.group_guarantee import DOUBT
from detector.groups import Names
from detector.guarantee import Promise, rows_needed
from detector.logistic import Bools
from detector.metrics import Floats
from detector.rejection import band

LEVELS = 2_001  # points of the sums over levels


@dataclass(frozen=True)
class Population:
    """All sources and systems that there could be: their rows lie around two points, with variances that add up.

    Parameters
    ----------
    spread : float
        Standard deviation of the groups' levels; that of rows around the level of their group is 1.
    rows : int
        Rows of a group.
    distance : float
        Between the points, bona fide above zero and spoof as far below it.
    """

    spread: float = 0.5
    rows: int = 20
    distance: float = 2.0

    @property
    def slope(self) -> float:
        """Nats for one unit."""
        return self.distance / (1.0 + self.spread**2)

    def draw(self, rng: np.random.Generator, n_groups: int) -> tuple[Floats, Bools, dict[str, Names]]:
        """Draw groups of each class: scores, labels, and names of the groups, as `certify_over` takes them."""
        level = rng.normal(np.repeat([0.5, -0.5], n_groups) * self.distance, self.spread)
        group = np.repeat(np.arange(2 * n_groups), self.rows)
        score = self.slope * rng.normal(level[group], 1.0)
        names = Names(group, tuple(f"group {number:04d}" for number in range(2 * n_groups)))
        return score, group < n_groups, {"bonafide": names, "spoof": names}

    def rates(self, max_entropy_bits: float) -> tuple[Floats, Floats, Floats]:
        """Weight of each level, and for a source of it the share of rows that is kept and of those the share wrong."""
        level = norm.ppf((np.arange(LEVELS) + 0.5) / LEVELS) * self.spread + self.distance / 2.0
        width = band(max_entropy_bits, 0.5)[1] / self.slope
        wrong, right = norm.cdf(-width - level), norm.sf(width - level)
        return np.full(LEVELS, 1.0 / LEVELS), wrong + right, wrong / (wrong + right)

    def mean_rate(self, max_entropy_bits: float) -> float:
        """Expected error rate among the kept rows of a new group, of which at least one is kept."""
        weight, kept, rate = self.rates(max_entropy_bits)
        weight = weight * -np.expm1(self.rows * np.log1p(-np.minimum(kept, 1.0 - 1e-16)))
        return float((weight * rate).sum() / weight.sum())

    def pooled_rate(self, max_entropy_bits: float) -> float:
        """Error rate among the kept rows of all groups together."""
        weight, kept, rate = self.rates(max_entropy_bits)
        return float((weight * kept * rate).sum() / (weight * kept).sum())

    def breaks(self, promise: Promise, max_entropy_bits: float | None) -> bool:
        """True if a threshold breaks a promise over groups: the rates of both classes are the same."""
        (limit,) = set(promise.limits.values())
        if max_entropy_bits is None:
            return False
        if promise.quantile is None:
            return self.mean_rate(max_entropy_bits) > limit
        enough = rows_needed(limit, 1.0 - DOUBT)
        return self.share_above(limit, max_entropy_bits, enough) > 1.0 - promise.quantile

    def share_above(self, limit: float, max_entropy_bits: float, rows_enough: int) -> float:
        """Share of the groups, of which ``rows_enough`` or more rows are kept, whose error rate is above a limit."""
        weight, kept, rate = self.rates(max_entropy_bits)
        weight = weight * binom.sf(rows_enough - 1, self.rows, kept)
        return float(weight[rate > limit].sum() / weight.sum())
