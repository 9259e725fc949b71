"""Intervals: how far a metric would move, had other speakers and other systems been recorded.

Trials of one speaker or one system are alike, so clusters are drawn again, with replacement, not trials. Every
metric here is a function of counts that add up over clusters; so all draws together are one product of matrices.

```
draws (n_draws, n_clusters) × counts (n_clusters, n_counts) = counts of every draw ─► metric of every draw
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import ndtri

from detector.metrics import calibration, detection, likelihood, selective
from detector.metrics.detection import ASVSPOOF5, Floats

N_DRAWS = 1_000
SEED = 42
GRID = 2_048  # thresholds a class; with no more distinct scores than that, the draws are exact
CHUNK_NUMBERS = 8_000_000  # 64 MB in one product of matrices

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Trials:
    """Judged trials of one head, and whom they are of.

    Parameters
    ----------
    score : array of shape (n,)
        Log-likelihood ratios in nats, higher for bona fide; NaN where there is none.
    is_spoof : bool array of shape (n,)
        The truth.
    p_spoof, uncertainty : arrays of shape (n,)
        Probability of spoof at the run's prior, and its entropy in bits; NaN where there is no score.
    wrong : bool array of shape (n,)
        Whether the decision is not the truth; False where there is no score.
    kept : bool array of shape (n,)
        Whether the row is not rejected.
    cluster : array of shape (n,)
        Name of the speaker, source or system.

    Examples
    --------
    >>> truth = np.array([False, True, False, True])
    >>> score = np.array([2.0, -1.0, -1.5, -3.0])
    >>> chance = 1 / (1 + np.exp(score))
    >>> trials = Trials(score, truth, chance, np.abs(chance - 0.5), (chance > 0.5) != truth, truth, truth)
    >>> trials.measure()["equal_error_rate"], trials.measure()["coverage"]
    (0.5, 0.5)
    """

    score: Floats
    is_spoof: Bools
    p_spoof: Floats
    uncertainty: Floats
    wrong: Bools
    kept: Bools
    cluster: npt.NDArray[np.generic]

    def __post_init__(self) -> None:
        lengths = {name: len(each) for name, each in vars(self).items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"arrays of different lengths: {lengths}.")

    @cached_property
    def scored(self) -> Bools:
        """Which rows have a score."""
        return ~np.isnan(self.score)

    def measure(self) -> dict[str, float]:
        """Every metric of :data:`MEASURES`, exactly, by the functions of this package."""
        truth, wrong, uncertainty = self.is_spoof[self.scored], self.wrong[self.scored], self.uncertainty[self.scored]
        score, p_spoof = self.score[self.scored], self.p_spoof[self.scored]
        bonafide, spoof = score[~truth], score[truth]
        kept = self.kept[self.scored]
        return {
            "equal_error_rate": detection.equal_error_rate(bonafide, spoof),
            "area_under_roc": detection.area_under_roc(bonafide, spoof),
            "min_dcf": detection.min_dcf(bonafide, spoof),
            "act_dcf": detection.act_dcf(bonafide, spoof),
            "cllr": likelihood.cllr(bonafide, spoof),
            "min_cllr": likelihood.min_cllr(bonafide, spoof),
            "expected_calibration_error": calibration.expected_calibration_error(p_spoof, truth),
            "brier_score": calibration.brier_score(p_spoof, truth),
            "coverage": float(kept.sum() / len(self.score)),
            "risk": float(wrong[kept].mean()) if kept.any() else float("nan"),
            "risk_at_full_coverage": float(wrong.mean()),
            "risk_at_95_coverage": selective.risk_at_coverage(uncertainty, wrong, 0.95),
            "risk_at_90_coverage": selective.risk_at_coverage(uncertainty, wrong, 0.90),
            "risk_at_80_coverage": selective.risk_at_coverage(uncertainty, wrong, 0.80),
            "area_under_risk_coverage": selective.area_under_risk_coverage(uncertainty, wrong),
            "excess_area_under_risk_coverage": selective.excess_area_under_risk_coverage(uncertainty, wrong),
        }


@dataclass(frozen=True)
class Interval:
    """A metric, and between what it lies; NaN where it is not defined.

    Parameters
    ----------
    value : float
        Of the trials as they are.
    low, high : float
        Quantiles of the draws.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """A metric of one head less that of another, on the same trials and the same draws.

    Parameters
    ----------
    value, low, high : float
        As :class:`Interval`; an interval that leaves out 0 tells the heads apart.
    share_below : float
        Share of the draws in which the first head's metric is the lower, ties half.
    """

    value: float
    low: float
    high: float
    share_below: float


def intervals(trials: Trials, n_draws: int = N_DRAWS, level: float = 0.95, seed: int = SEED) -> dict[str, Interval]:
    """Every metric with its percentile interval, clusters drawn again.

    Clusters of bona fide trials, of spoof trials and of both are drawn apart, so that each draw has both classes.
    With few clusters an interval is too narrow: below some 20 of a class, read it as a lower bound of the doubt.

    Parameters
    ----------
    trials : Trials
    n_draws : int
    level : float
        Share of the draws inside the interval.
    seed : int

    Returns
    -------
    dict of str to Interval

    References
    ----------
    Field and Welsh, Bootstrapping clustered data, Journal of the Royal Statistical Society B 69(3), 2007;
    Bengio and Mariethoz, A statistical significance test for person authentication, Odyssey 2004.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = np.arange(400) % 2 == 0
    >>> score = rng.normal(np.where(truth, -1.0, 1.0))
    >>> p_spoof, none = 1 / (1 + np.exp(2 * score)), np.full(400, True)
    >>> found = intervals(Trials(score, truth, p_spoof, p_spoof, p_spoof > 0.5, none, np.arange(400)))
    >>> eer = found["equal_error_rate"]
    >>> eer.low < 0.1587 < eer.high, round(eer.high - eer.low, 2)  # Phi(-1)
    (True, 0.07)
    """
    values, drawn = trials.measure(), _measure_draws(trials, n_draws, seed)
    return {name: Interval(value, *_quantiles(drawn[name], level)) for name, value in values.items()}


def share_interval(n_found: int, n_rows: int, level: float = 0.95) -> Interval:
    """A share of rows and its interval by Wilson's score; for a group too small to draw its clusters again.

    It takes the rows for independent: where many are of one speaker, read it as the least doubt.

    Parameters
    ----------
    n_found, n_rows : int
    level : float

    Returns
    -------
    Interval
        In [0, 1]; NaN without rows.

    References
    ----------
    Wilson, Journal of the American Statistical Association 22, 1927. The example: Newcombe, Statistics in Medicine 17,
    1998, table I.

    Examples
    --------
    >>> found = share_interval(81, 263)
    >>> round(found.low, 4), round(found.high, 4)
    (0.2553, 0.3662)
    """
    if not n_rows:
        return Interval(float("nan"), float("nan"), float("nan"))
    share, z = n_found / n_rows, float(ndtri((1.0 + level) / 2.0))
    middle = share + z**2 / (2.0 * n_rows)
    half = z * float(np.sqrt(share * (1.0 - share) / n_rows + z**2 / (4.0 * n_rows**2)))
    low, high = ((middle + sign * half) / (1.0 + z**2 / n_rows) for sign in (-1.0, 1.0))
    return Interval(share, max(0.0, low), min(1.0, high))


def compare(
    first: Trials, second: Trials, n_draws: int = N_DRAWS, level: float = 0.95, seed: int = SEED
) -> dict[str, Comparison]:
    """Every metric of ``first`` less that of ``second``, on the same draws.

    Parameters
    ----------
    first, second : Trials
        Of the same utterances in the same order.
    n_draws, level, seed
        As :func:`intervals`.

    Returns
    -------
    dict of str to Comparison

    Raises
    ------
    ValueError
        Where the trials are not the same.
    """
    if not np.array_equal(first.is_spoof, second.is_spoof) or not np.array_equal(first.cluster, second.cluster):
        raise ValueError("the trials of two heads differ; a paired comparison needs the same, in the same order.")
    a, b = first.measure(), second.measure()
    drawn_a, drawn_b = _measure_draws(first, n_draws, seed), _measure_draws(second, n_draws, seed)
    comparisons = {}
    for name in a:
        differences = drawn_a[name] - drawn_b[name]
        there = differences[~np.isnan(differences)]
        below = float(np.mean((there < 0) + 0.5 * (there == 0))) if len(there) else float("nan")
        comparisons[name] = Comparison(a[name] - b[name], *_quantiles(differences, level), below)
    return comparisons


def _quantiles(drawn: Floats, level: float) -> tuple[float, float]:
    there = drawn[~np.isnan(drawn)]
    if not len(there):
        return float("nan"), float("nan")
    low, high = np.quantile(there, [0.5 - level / 2.0, 0.5 + level / 2.0])
    return float(low), float(high)


@dataclass(frozen=True)
class Counts:
    """What was counted in each draw; arrays of shape (n_draws, …).

    Parameters
    ----------
    bonafide, spoof : arrays of shape (n_draws, n_score_bins)
        By rising score.
    rows, wrong : arrays of shape (n_draws, n_uncertainty_bins)
        By rising uncertainty.
    gaps : array of shape (n_draws, 15)
        Sum of truth less probability, in the bins of the calibration error.
    sums : dict of str to array of shape (n_draws,)
    """

    bonafide: Floats
    spoof: Floats
    rows: Floats
    wrong: Floats
    gaps: Floats
    sums: dict[str, Floats]

    @cached_property
    def p_miss(self) -> Floats:
        """As :func:`detection.error_rates`."""
        return np.asarray(np.cumsum(self.bonafide, axis=1) / self.bonafide.sum(axis=1, keepdims=True))

    @cached_property
    def p_fa(self) -> Floats:
        """As :func:`detection.error_rates`."""
        n_spoof = self.spoof.sum(axis=1, keepdims=True)
        return np.asarray((n_spoof - np.cumsum(self.spoof, axis=1)) / n_spoof)

    @cached_property
    def coverage(self) -> Floats:
        """As :func:`selective.risk_coverage`."""
        return np.asarray(np.cumsum(self.rows, axis=1) / self.rows.sum(axis=1, keepdims=True))

    @cached_property
    def risk(self) -> Floats:
        """As :func:`selective.risk_coverage`; 0 before the first row."""
        n_kept = np.cumsum(self.rows, axis=1)
        return np.asarray(np.cumsum(self.wrong, axis=1) / np.maximum(n_kept, 1.0))

    def risk_at(self, coverage: float) -> Floats:
        """As :func:`selective.risk_at_coverage`."""
        at = selective.first_at(self.coverage, coverage)
        return np.asarray(np.take_along_axis(self.risk, at[:, None], axis=1)[:, 0])

    def share(self, name: str, among: str) -> Floats:
        """One sum over another; NaN over nothing."""
        of, all_of = self.sums[name], self.sums[among]
        return np.asarray(np.divide(of, all_of, out=np.full(len(of), np.nan), where=all_of > 0))


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
"""Metrics that have intervals, as functions of counts."""


def _measure_draws(trials: Trials, n_draws: int, seed: int) -> dict[str, Floats]:
    """Every metric of every draw: arrays of shape (n_draws,)."""
    found: list[dict[str, Floats]] = []
    for counts in _draws(trials, n_draws, seed):
        found.append({name: np.asarray(measure(counts)) for name, measure in MEASURES.items()})
    return {name: np.concatenate([each[name] for each in found]) for name in MEASURES}


def _draws(trials: Trials, n_draws: int, seed: int) -> Iterator[Counts]:
    """Count clusters drawn again, some draws at a time."""
    _, cluster = np.unique(trials.cluster, return_inverse=True)
    n_clusters = int(cluster.max()) + 1
    tally, widths, names = _tally(trials, cluster, n_clusters)
    strata = np.zeros(n_clusters, dtype=np.int64)
    for bit, there in ((1, ~trials.is_spoof & trials.scored), (2, trials.is_spoof & trials.scored)):
        strata[np.unique(cluster[there])] |= bit
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK_NUMBERS // max(n_clusters, sum(widths)))
    for start in range(0, n_draws, step):
        times = _times_drawn(strata, min(step, n_draws - start), rng)
        counted = (tally.T @ times.T).T
        bonafide, spoof, rows, wrong, gaps, sums = np.split(counted, np.cumsum(widths)[:-1], axis=1)
        yield Counts(bonafide, spoof, rows, wrong, gaps, dict(zip(names, sums.T, strict=True)))


def _times_drawn(strata: npt.NDArray[np.int64], n_draws: int, rng: np.random.Generator) -> Floats:
    """How often each cluster is drawn, each stratum as often as it has clusters: (n_draws, n_clusters)."""
    times = np.zeros((n_draws, len(strata)))
    for stratum in np.unique(strata):
        (members,) = np.nonzero(strata == stratum)
        for row in times:
            row[members] = np.bincount(rng.integers(len(members), size=len(members)), minlength=len(members))
    return times


def _tally(
    trials: Trials, cluster: npt.NDArray[np.intp], n_clusters: int
) -> tuple[sparse.csr_array, list[int], list[str]]:
    """What :class:`Counts` needs, by cluster: a sparse (n_clusters, n_counts), its parts' widths, names of sums."""
    scored = trials.scored
    of, truth, wrong = cluster[scored], trials.is_spoof[scored], trials.wrong[scored]
    score, p_spoof, kept = trials.score[scored], trials.p_spoof[scored], trials.kept[scored]

    def by(bins: npt.NDArray[np.intp], n_bins: int, amounts: npt.NDArray[Any]) -> sparse.csr_array:
        amounts = amounts.astype(np.float64)
        return sparse.csr_array(sparse.coo_array((amounts, (of, bins)), shape=(n_clusters, n_bins)))

    thresholds = np.union1d(_grid(score[~truth]), _grid(score[truth]))
    score_bin, n_score_bins = np.searchsorted(thresholds, score, "right"), len(thresholds) + 1
    uncertainty = trials.uncertainty[scored]
    limits = _grid(uncertainty)
    rank = np.searchsorted(limits, uncertainty, "left")  # the first limit that keeps the row
    p_bin = calibration.equal_width(p_spoof, calibration.N_BINS)
    parts = [
        by(score_bin, n_score_bins, ~truth),
        by(score_bin, n_score_bins, truth),
        by(rank, len(limits), np.ones(len(of))),
        by(rank, len(limits), wrong),
        by(p_bin, calibration.N_BINS, truth - p_spoof),
    ]
    sums = {
        "bonafide": ~truth,
        "spoof": truth,
        "scored": np.ones(len(of)),
        "act_misses": ~truth & (score < ASVSPOOF5.threshold),
        "act_false_alarms": truth & (score >= ASVSPOOF5.threshold),
        "bonafide_bits": np.where(truth, 0.0, likelihood.bits_lost(score)),
        "spoof_bits": np.where(truth, likelihood.bits_lost(-score), 0.0),
        "squares": np.square(p_spoof - truth),
        "kept": kept,
        "kept_wrong": kept & wrong,
        "wrong": wrong,
    }
    totals = [np.bincount(of, weights=each, minlength=n_clusters) for each in sums.values()]
    totals.append(np.bincount(cluster, minlength=n_clusters).astype(np.float64))
    parts.append(sparse.csr_array(np.stack(totals, axis=1)))
    return sparse.hstack(parts, format="csr"), [part.shape[1] for part in parts], [*sums, "all"]


def _grid(values: Floats) -> Floats:
    """Distinct values, or evenly spaced order statistics of them where they are many; the ends are among them."""
    distinct = np.unique(values)
    if len(distinct) <= GRID:
        return distinct
    return np.unique(np.quantile(values, np.linspace(0.0, 1.0, GRID), method="nearest"))
