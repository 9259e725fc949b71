"""Coverage: how often the intervals of a report hold the truth, on speakers and systems drawn from a known model.

Every speaker or system has a level from a normal distribution, and every recording a deviation from it, so that the
scores of a class are normal and the truth of every metric is that of two normal distributions. The scores are exact
log-likelihood ratios at slope 1, and overconfident at slope 2. Two heads are the same scores and noisier ones.

```
python -m bench.coverage --simulations 400 --draws 300
```
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
from scipy.stats import binom, norm

from detector.metrics import Floats, Trials, compare, intervals, share_interval
from detector.rejection import entropy_bits, p_spoof

CLUSTERS = (10, 20, 50)  # of each class
RECORDINGS = 10  # of a speaker or system
NOISE = 1.0  # standard deviation of what the second head adds
QUANTILES = 50_000  # of a class, by which the truth is summed


def main() -> None:
    """Print the tables of docs/metrics.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--slope", type=float, default=1.0)
    options = parser.parse_args()
    print(metrics_table(options.simulations, options.draws, options.slope))
    print(shares_table())


def metrics_table(n_simulations: int, n_draws: int, slope: float) -> str:
    """Table of the share of intervals that hold the truth: of one head, and of the difference of two."""
    found = {n_clusters: _covered(n_clusters, n_simulations, n_draws, slope) for n_clusters in CLUSTERS}
    columns = [f"{kind}, {n_clusters}" for kind in ("one head", "difference") for n_clusters in CLUSTERS]
    lines = [f"| metric | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
    for name in next(iter(found.values()))[0]:
        cells = [_percent(found[n_clusters][kind][name]) for kind in (0, 1) for n_clusters in CLUSTERS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shares_table() -> str:
    """Table of the coverage of Wilson's interval for independent recordings, by summation over all counts."""
    lines = ["| recordings | 1 % wrong | 5 % wrong | 20 % wrong |", "| --- | --- | --- | --- |"]
    for n_rows in (20, 100, 1_000):
        ranges = [share_interval(n_wrong, n_rows) for n_wrong in range(n_rows + 1)]
        cells = [
            sum(binom.pmf(n, n_rows, share) for n, each in enumerate(ranges) if each.low <= share <= each.high)
            for share in (0.01, 0.05, 0.2)
        ]
        lines.append(f"| {n_rows:,} | {' | '.join(map(_percent, cells))} |")
    return "\n".join(lines)


def _covered(n_clusters: int, n_simulations: int, n_draws: int, slope: float) -> tuple[dict[str, float], ...]:
    truth, noisier = (_population(slope, noise) for noise in (0.0, NOISE))
    rng = np.random.default_rng(n_clusters)
    held: tuple[dict[str, list[float]], ...] = (defaultdict(list), defaultdict(list))
    for number in range(n_simulations):
        first, second = _heads(rng, n_clusters, slope)
        for name, each in intervals(first, n_draws, seed=number).items():
            held[0][name].append(_holds(each.low, truth[name], each.high))
        for name, pair in compare(first, second, n_draws, seed=number).items():
            held[1][name].append(_holds(pair.low, truth[name] - noisier[name], pair.high))
    return tuple({name: float(np.mean(each)) for name, each in of_kind.items()} for of_kind in held)


def _holds(low: float, truth: float, high: float) -> float:
    return float("nan") if np.isnan(low) else float(low <= truth <= high)


def _heads(rng: np.random.Generator, n_clusters: int, slope: float) -> tuple[Trials, Trials]:
    """Draw speakers of bona fide speech and systems, their recordings, and the scores of both heads."""
    level = rng.normal(np.repeat([1.0, -1.0], n_clusters), 1.0)
    score = rng.normal(np.repeat(level, RECORDINGS), 1.0)
    cluster = np.repeat(np.arange(2 * n_clusters), RECORDINGS)
    is_spoof = cluster >= n_clusters
    noisier = score + rng.normal(0.0, NOISE, len(score))
    return tuple(_trials(slope * each, is_spoof, cluster) for each in (score, noisier))  # type: ignore[return-value]


def _population(slope: float, noise: float) -> dict[str, float]:
    """Every metric of all speakers and systems that there could be, from quantiles of the two distributions."""
    quantiles = np.sqrt(2.0 + noise**2) * norm.ppf((np.arange(QUANTILES) + 0.5) / QUANTILES)
    is_spoof = np.arange(2 * QUANTILES) >= QUANTILES
    return _trials(slope * np.concatenate([quantiles + 1.0, quantiles - 1.0]), is_spoof, is_spoof).measure()


def _trials(score: Floats, is_spoof: np.ndarray, cluster: np.ndarray) -> Trials:
    said, entropy = p_spoof(score, 0.5), entropy_bits(score, 0.5)
    return Trials(score, is_spoof, said, entropy, (said > 0.5) != is_spoof, entropy <= 0.8, cluster)


def _percent(share: float) -> str:
    return "no interval" if np.isnan(share) else f"{share:.0%}".replace("%", " %")


if __name__ == "__main__":
    main()
