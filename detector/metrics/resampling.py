"""Resampling: every metric over many draws of clusters, with replacement.

Trials of one speaker or one system are alike, so whole clusters are drawn, not trials. Every metric here is a function
of counts that add up over clusters; so all draws together are one product of matrices.

```
draws (n_draws, n_clusters) × counts (n_clusters, n_counts) = counts of every draw ─► metric of every draw
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from detector.metrics import calibration, detection, likelihood, selective
from detector.metrics.detection import ASVSPOOF5, Floats
from detector.metrics.trials import Bools, Trials

Strata = npt.NDArray[np.int64]

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

    def __getitem__(self, draws: Bools) -> Counts:
        """The counts of some draws: a mask of shape (n_draws,)."""
        sums = {name: each[draws] for name, each in self.sums.items()}
        rows, wrong, gaps = self.rows[draws], self.wrong[draws], self.gaps[draws]
        return Counts(self.bonafide[draws], self.spoof[draws], rows, wrong, gaps, sums)

    @cached_property
    def has_both_classes(self) -> Bools:
        """True for draws with a score of each class: bool array of shape (n_draws,)."""
        return np.asarray((self.sums["bonafide"] > 0) & (self.sums["spoof"] > 0))

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
    "excess_area_under_risk_coverage": lambda counts: np.maximum(
        selective.area_of_curve(counts.coverage, counts.risk)
        - selective.least_area(counts.sums["scored"], counts.sums["wrong"]),
        0.0,
    ),
}
"""Every metric that has an interval, as a function of the counts."""


def measure_draws(heads: Sequence[Trials], n_draws: int, seed: int) -> list[dict[str, Floats]]:
    """Compute every metric of :data:`MEASURES` on every draw, on the same draws for all heads.

    Parameters
    ----------
    heads : sequence of Trials
        One for each head, of the same utterances and clusters in the same order; not every head need score all of them.
    n_draws : int
    seed : int
        The same seed and strata give the same draws.

    Returns
    -------
    list of dict of str to float64 array of shape (n_draws,)
        For each head; NaN where a metric is not defined on a draw, or a draw has no score of one class by this head.
    """
    strata = strata_of(heads)
    return [_measured(draws(trials, strata, n_draws, seed)) for trials in heads]


def _measured(chunks: Iterator[Counts]) -> dict[str, Floats]:
    found: dict[str, list[Floats]] = {name: [] for name in MEASURES}
    for counts in chunks:
        whole = counts if counts.has_both_classes.all() else counts[counts.has_both_classes]
        for name, measure in MEASURES.items():
            values = np.full(len(counts.bonafide), np.nan)
            values[counts.has_both_classes] = measure(whole)
            found[name].append(values)
    return {name: np.concatenate(values) for name, values in found.items()}


def strata_of(heads: Sequence[Trials]) -> Strata:
    """Return the stratum of each cluster, which depends on the classes of the rows that any of the heads scored.

    Clusters of bona fide trials only, of spoof trials only and of both are drawn separately, so that every draw has
    both classes. Were the strata of two heads different, their draws would be, too.

    Returns
    -------
    int array of shape (n_clusters,)
        In the order of the clusters' names: 1 has bona fide trials, 2 spoof, 3 both, 0 none with a score.
    """
    cluster = heads[0].cluster_numbers
    scored = np.any([trials.scored for trials in heads], axis=0)
    strata = np.zeros(int(cluster.max()) + 1, dtype=np.int64)
    for bit, of_class in ((1, ~heads[0].is_spoof), (2, heads[0].is_spoof)):
        strata[np.unique(cluster[of_class & scored])] |= bit
    return strata


def draws(trials: Trials, strata: Strata, n_draws: int, seed: int) -> Iterator[Counts]:
    """Draw clusters and count their trials, in chunks of draws that bound the memory.

    A chunk is smaller the more distinct scores the head has; the draws are the same however they are cut into chunks.
    """
    tally, widths, names = _tally(trials, trials.cluster_numbers, len(strata))
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK_NUMBERS // max(len(strata), sum(widths)))
    for start in range(0, n_draws, step):
        times = _times_drawn(strata, min(step, n_draws - start), rng)
        counted = (tally.T @ times.T).T
        bonafide, spoof, rows, wrong, gaps, sums = np.split(counted, np.cumsum(widths)[:-1], axis=1)
        yield Counts(bonafide, spoof, rows, wrong, gaps, dict(zip(names, sums.T, strict=True)))


def _times_drawn(strata: Strata, n_draws: int, rng: np.random.Generator) -> Floats:
    """Draw clusters, and return how often each is drawn: float64 array of shape (n_draws, n_clusters).

    From each stratum as many clusters are drawn as it has. One draw follows another in the generator, never one stratum
    another, so that a draw does not depend on the number of draws.
    """
    times = np.zeros((n_draws, len(strata)))
    of_stratum = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    for row in times:
        for members in of_stratum:
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
