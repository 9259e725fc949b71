"""Resampling: every metric over many draws of clusters, with replacement.

Trials of one speaker or one system are alike, so whole clusters are drawn, not trials. Every metric here is a function
of counts that add up over clusters; so all draws together are one product of matrices.

```
draws (n_draws, n_clusters) × counts (n_clusters, n_counts) = counts of every draw ─► metric of every draw
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from detector.metrics import calibration, detection, likelihood, selective
from detector.metrics.detection import ASVSPOOF5, Floats
from detector.metrics.trials import Trials

if TYPE_CHECKING:
    from scipy import sparse

N_DRAWS = 1_000
SEED = 42
GRID = 2_048  # thresholds per class; draws are exact for up to this many distinct scores
CHUNK_NUMBERS = 8_000_000  # 64 MB in one product of matrices


@dataclass(frozen=True)
class Counts:
    """Counts of every draw; all arrays have n_draws rows.

    Parameters
    ----------
    bonafide, spoof : arrays of shape (n_draws, n_score_bins)
        Trials of each class by rising score.
    rows, wrong : arrays of shape (n_draws, n_uncertainty_bins)
        All trials, and wrong ones, by rising uncertainty.
    gaps : array of shape (n_draws, 15)
        Sum of label minus probability in each bin of the calibration error.
    sums : dict of str to array of shape (n_draws,)
        Totals over all trials of a draw, by name.
    """

    bonafide: Floats
    spoof: Floats
    rows: Floats
    wrong: Floats
    gaps: Floats
    sums: dict[str, Floats]

    @cached_property
    def p_miss(self) -> Floats:
        """Miss rates, as in :func:`detection.error_rates`, one row per draw."""
        return np.asarray(np.cumsum(self.bonafide, axis=1) / self.bonafide.sum(axis=1, keepdims=True))

    @cached_property
    def p_fa(self) -> Floats:
        """False-alarm rates, as in :func:`detection.error_rates`, one row per draw."""
        n_spoof = self.spoof.sum(axis=1, keepdims=True)
        return np.asarray((n_spoof - np.cumsum(self.spoof, axis=1)) / n_spoof)

    @cached_property
    def coverage(self) -> Floats:
        """Coverage, as in :func:`selective.risk_coverage`, one row per draw."""
        return np.asarray(np.cumsum(self.rows, axis=1) / self.rows.sum(axis=1, keepdims=True))

    @cached_property
    def risk(self) -> Floats:
        """Risk, as in :func:`selective.risk_coverage`, one row per draw; 0 before the first trial."""
        n_kept = np.cumsum(self.rows, axis=1)
        return np.asarray(np.cumsum(self.wrong, axis=1) / np.maximum(n_kept, 1.0))

    def risk_at(self, coverage: float) -> Floats:
        """Risk, as in :func:`selective.risk_at_coverage`: array of shape (n_draws,)."""
        at = selective.first_at(self.coverage, coverage)
        return np.asarray(np.take_along_axis(self.risk, at[:, None], axis=1)[:, 0])

    def share(self, name: str, among: str) -> Floats:
        """Ratio of two sums: array of shape (n_draws,), NaN where the denominator is 0."""
        part, whole = self.sums[name], self.sums[among]
        return np.asarray(np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0))


MEASURES: dict[str, Callable[[Counts], Floats]] = {
    "equal_error_rate": lambda counts: detection.crossing(counts.p_miss, counts.p_fa),
    "area_under_roc": lambda counts: detection.area_of_rates(counts.p_miss, counts.p_fa),
    "min_dcf": lambda counts: ASVSPOOF5.cost(counts.p_miss, counts.p_fa).min(axis=1),
    "act_dcf": lambda counts: ASVSPOOF5.cost(
        counts.share("act_misses", "bonafide"), counts.share("act_false_alarms", "spoof")
    ),
    "cllr": lambda counts: (counts.share("bonafide_bits", "bonafide") + counts.share("spoof_bits", "spoof")) / 2.0,
    "min_cllr": lambda counts: np.array(
        [likelihood.min_cllr_of_counts(*each) for each in zip(counts.bonafide, counts.spoof, strict=True)]
    ),
    "expected_calibration_error": lambda counts: np.abs(counts.gaps).sum(axis=1) / counts.sums["scored"],
    "brier_score": lambda counts: counts.share("squares", "scored"),
    "coverage": lambda counts: counts.share("kept", "all"),
    "risk": lambda counts: counts.share("kept_wrong", "kept"),
    "risk_at_full_coverage": lambda counts: counts.share("wrong", "scored"),
    "risk_at_95_coverage": lambda counts: counts.risk_at(0.95),
    "risk_at_90_coverage": lambda counts: counts.risk_at(0.90),
    "risk_at_80_coverage": lambda counts: counts.risk_at(0.80),
    "area_under_risk_coverage": lambda counts: selective.area_of_curve(counts.coverage, counts.risk),
    "excess_area_under_risk_coverage": lambda counts: (
        selective.area_of_curve(counts.coverage, counts.risk)
        - selective.least_area(counts.sums["scored"], counts.sums["wrong"])
    ),
}
"""Every metric that has an interval, as a function of the counts."""


def measure_draws(trials: Trials, n_draws: int, seed: int) -> dict[str, Floats]:
    """Compute every metric of :data:`MEASURES` on every draw.

    Parameters
    ----------
    trials : Trials
    n_draws : int
    seed : int
        The same seed and clusters give the same draws, so that two heads can be compared draw by draw.

    Returns
    -------
    dict of str to float64 array of shape (n_draws,)
        NaN where a metric is not defined on a draw.
    """
    chunks: list[dict[str, Floats]] = []
    for counts in draws(trials, n_draws, seed):
        chunks.append({name: np.asarray(measure(counts)) for name, measure in MEASURES.items()})
    return {name: np.concatenate([each[name] for each in chunks]) for name in MEASURES}


def draws(trials: Trials, n_draws: int, seed: int) -> Iterator[Counts]:
    """Draw clusters and count their trials, in chunks of draws that bound the memory.

    Clusters of bona fide trials only, of spoof trials only and of both are drawn separately, so that every draw has
    both classes.
    """
    _, cluster = np.unique(trials.cluster, return_inverse=True)
    n_clusters = int(cluster.max()) + 1
    tally, widths, names = _tally(trials, cluster, n_clusters)
    strata = np.zeros(n_clusters, dtype=np.int64)
    for bit, of_class in ((1, ~trials.is_spoof & trials.scored), (2, trials.is_spoof & trials.scored)):
        strata[np.unique(cluster[of_class])] |= bit
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK_NUMBERS // max(n_clusters, sum(widths)))
    for start in range(0, n_draws, step):
        times = _times_drawn(strata, min(step, n_draws - start), rng)
        counted = (tally.T @ times.T).T
        bonafide, spoof, rows, wrong, gaps, sums = np.split(counted, np.cumsum(widths)[:-1], axis=1)
        yield Counts(bonafide, spoof, rows, wrong, gaps, dict(zip(names, sums.T, strict=True)))


def _times_drawn(strata: npt.NDArray[np.int64], n_draws: int, rng: np.random.Generator) -> Floats:
    """Draw clusters, and return how often each is drawn: float64 array of shape (n_draws, n_clusters).

    From each stratum as many clusters are drawn as it has.
    """
    times = np.zeros((n_draws, len(strata)))
    for stratum in np.unique(strata):
        (members,) = np.nonzero(strata == stratum)
        for row in times:
            row[members] = np.bincount(rng.integers(len(members), size=len(members)), minlength=len(members))
    return times


def _tally(
    trials: Trials, cluster: npt.NDArray[np.intp], n_clusters: int
) -> tuple[sparse.csr_array, list[int], list[str]]:
    """The counts of each cluster that :class:`Counts` is made of.

    Returns
    -------
    sparse array of shape (n_clusters, n_counts)
        The arrays of :class:`Counts` side by side.
    list of int
        Width of each of them.
    list of str
        Names of :attr:`Counts.sums`.
    """
    from scipy import sparse  # only now: judging needs none of it

    scored = trials.scored
    of_scored, truth, wrong = cluster[scored], trials.is_spoof[scored], trials.wrong[scored]
    score, p_spoof, kept = trials.score[scored], trials.p_spoof[scored], trials.kept[scored]

    def by(bins: npt.NDArray[np.intp], n_bins: int, amounts: npt.NDArray[Any]) -> sparse.csr_array:
        amounts = amounts.astype(np.float64)
        return sparse.csr_array(sparse.coo_array((amounts, (of_scored, bins)), shape=(n_clusters, n_bins)))

    thresholds = np.union1d(_grid(score[~truth]), _grid(score[truth]))
    score_bin, n_score_bins = np.searchsorted(thresholds, score, "right"), len(thresholds) + 1
    uncertainty = trials.uncertainty[scored]
    limits = _grid(uncertainty)
    rank = np.searchsorted(limits, uncertainty, "left")  # the first limit that keeps the row
    p_bin = calibration.equal_width(p_spoof, calibration.N_BINS)
    parts = [
        by(score_bin, n_score_bins, ~truth),
        by(score_bin, n_score_bins, truth),
        by(rank, len(limits), np.ones(len(of_scored))),
        by(rank, len(limits), wrong),
        by(p_bin, calibration.N_BINS, truth - p_spoof),
    ]
    sums = {
        "bonafide": ~truth,
        "spoof": truth,
        "scored": np.ones(len(of_scored)),
        "act_misses": ~truth & (score < ASVSPOOF5.threshold),
        "act_false_alarms": truth & (score >= ASVSPOOF5.threshold),
        "bonafide_bits": np.where(truth, 0.0, likelihood.bits_lost(score)),
        "spoof_bits": np.where(truth, likelihood.bits_lost(-score), 0.0),
        "squares": np.square(p_spoof - truth),
        "kept": kept,
        "kept_wrong": kept & wrong,
        "wrong": wrong,
    }
    totals = [np.bincount(of_scored, weights=each, minlength=n_clusters) for each in sums.values()]
    totals.append(np.bincount(cluster, minlength=n_clusters).astype(np.float64))
    parts.append(sparse.csr_array(np.stack(totals, axis=1)))
    return sparse.hstack(parts, format="csr"), [part.shape[1] for part in parts], [*sums, "all"]


def _grid(values: Floats) -> Floats:
    """Distinct values; where there are more than :data:`GRID`, evenly spaced order statistics with both ends."""
    distinct = np.unique(values)
    if len(distinct) <= GRID:
        return distinct
    return np.unique(np.quantile(values, np.linspace(0.0, 1.0, GRID), method="nearest"))
