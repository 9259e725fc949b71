"""Open set: how well systems are named when some recordings are of none of them.

A system weighs the same however many recordings it has, because a corpus's counts are no archive's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from detector.metrics.detection import Floats
from detector.metrics.intervals import Interval
from detector.metrics.resampling import N_DRAWS, SEED

Codes = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]
MAX_NUMBERS = 1 << 20  # in memory, of draws by rows


def balanced_share(
    chosen: Bools,
    system: Codes,
    cluster: Codes | None = None,
    n_draws: int = N_DRAWS,
    level: float = 0.95,
    seed: int = SEED,
) -> Interval:
    """Compute the mean over systems of the share of their rows that are chosen, such as those rightly named.

    Parameters
    ----------
    chosen : bool array of shape (n,)
    system : int array of shape (n,)
        From 0.
    cluster : int array of shape (n,), optional
        Rows of a cluster, such as a source, are drawn together for the interval [default: systems are drawn].

    Returns
    -------
    Interval
        A percentile interval over draws of clusters, or of systems; NaN without a row. With one of them nothing is
        drawn, and the interval is from 0 to 1.

    Examples
    --------
    >>> found = balanced_share(np.array([True, True, False, True]), np.array([0, 0, 1, 1]), np.arange(4))
    >>> found.value
    0.75
    """
    from scipy import sparse  # only now: judging needs none of it

    if not len(chosen):
        return Interval(np.nan, np.nan, np.nan)
    _, system = np.unique(system, return_inverse=True)
    share = np.bincount(system, chosen) / np.bincount(system)
    if cluster is None:
        drawn = [times @ share / len(share) for times in _times_drawn(len(share), n_draws, seed)]
        return _interval(float(share.mean()), drawn, len(share), level)
    _, cluster = np.unique(cluster, return_inverse=True)
    shape = (int(cluster.max()) + 1, len(share))
    rows, right = (sparse.csr_array((each, (cluster, system)), shape) for each in (np.ones(len(system)), 1.0 * chosen))
    drawn = []
    for times in _times_drawn(shape[0], n_draws, seed):
        n_rows, n_right = times @ rows, times @ right
        # a system of which nothing is drawn keeps its share: without it, the mean would be of other systems
        drawn.append(np.where(n_rows > 0.0, n_right / np.maximum(n_rows, 1.0), share).mean(axis=1))
    return _interval(float(share.mean()), drawn, shape[0], level)


def open_set_auroc(
    heard: Floats,
    heard_system: Codes,
    unheard: Floats,
    unheard_system: Codes,
    n_draws: int = N_DRAWS,
    level: float = 0.95,
    seed: int = SEED,
) -> Interval:
    """Compute the probability that a row of a system that was heard is nearer to one than a row of one that was not.

    Parameters
    ----------
    heard, unheard : float64 arrays of shape (n_heard,) and (n_unheard,)
        Similarity of each row to its nearest system; equal ones count half.
    heard_system, unheard_system : int arrays of the same shapes
        From 0, one numbering for both; systems are drawn for the interval, and each weighs the same.

    Returns
    -------
    Interval
        0.5 is chance; NaN if either is empty.

    Examples
    --------
    >>> rows = np.array([0.9, 0.8]), np.array([0, 1]), np.array([0.1, 0.85]), np.array([0, 1])
    >>> open_set_auroc(*rows).value
    0.75
    """
    if not len(heard) or not len(unheard):
        return Interval(np.nan, np.nan, np.nan)
    similarity = np.concatenate([heard, unheard])
    order = np.argsort(similarity, kind="stable")
    is_heard = (np.arange(len(similarity)) < len(heard))[order]
    _, system = np.unique(np.concatenate([heard_system, unheard_system])[order], return_inverse=True)
    _, starts = np.unique(similarity[order], return_index=True)  # rows of one similarity are one step
    n_systems = int(system.max()) + 1
    weight = np.empty(len(similarity))
    for which in (is_heard, ~is_heard):
        weight[which] = 1.0 / np.bincount(system[which], minlength=n_systems)[system[which]]

    def areas(times: Floats) -> Floats:
        drawn = weight * times[:, system]
        of_heard, of_unheard = (np.add.reduceat(drawn * which, starts, axis=1) for which in (is_heard, ~is_heard))
        below = np.cumsum(of_unheard, axis=1) - of_unheard / 2.0
        total = of_heard.sum(axis=1) * of_unheard.sum(axis=1)
        return np.asarray((of_heard * below).sum(axis=1) / np.where(total > 0.0, total, np.nan))

    drawn = [areas(times) for times in _times_drawn(n_systems, n_draws, seed, len(similarity))]
    return _interval(float(areas(np.ones((1, n_systems)))[0]), drawn, n_systems, level)


def threshold_of_rate(similarity: Floats, system: Codes, rate: float) -> float:
    """Choose the lowest threshold that at most a share of the rows of a mean system is above.

    Parameters
    ----------
    similarity : float64 array of shape (n,)
        Of rows of systems that were not heard, to the nearest that was.
    system : int array of shape (n,)
    rate : float
        In (0, 1).

    Examples
    --------
    >>> threshold_of_rate(np.array([0.1, 0.2, 0.3, 0.9]), np.array([0, 0, 1, 1]), 0.25)
    0.3
    """
    order = np.argsort(-similarity, kind="stable")
    _, code = np.unique(system, return_inverse=True)
    share = np.cumsum(1.0 / np.bincount(code)[code][order]) / (int(code.max()) + 1)
    n_above = int(np.searchsorted(share, rate * (1.0 + 1e-9), side="right"))
    return float(similarity[order][min(n_above, len(order) - 1)])


def _interval(value: float, drawn: list[Floats], n_clusters: int, level: float) -> Interval:
    """Percentiles of the draws; from 0 to 1 if there is only one thing to draw."""
    if n_clusters == 1:
        return Interval(value, 0.0, 1.0)
    low, high = np.nanquantile(np.concatenate(drawn), [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(value, float(low), float(high))


def _times_drawn(n: int, n_draws: int, seed: int, width: int = 0) -> Iterator[Floats]:
    """Yield how often each of ``n`` is drawn, for some draws at a time: as many as ``width`` numbers each allow."""
    rng, at_once = np.random.default_rng(seed), max(1, MAX_NUMBERS // max(n, width))
    for start in range(0, n_draws, at_once):
        yield rng.multinomial(n, np.full(n, 1.0 / n), size=min(at_once, n_draws - start)).astype(np.float64)
