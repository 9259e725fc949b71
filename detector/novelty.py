"""Novelty: how far an embedding lies from those of the training rows, as a quantile of theirs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from detector.logistic import Kinds, Rows
from detector.metrics import Floats

MAX_DIRECTIONS = 32
ROWS_A_DIRECTION = 20  # with fewer, a direction's variance is more chance than fact
MAX_COVARIANCE_ROWS = 64  # a dimension
N_QUANTILES = 1_001  # a thousandth apart: so fine a limit can be set


@dataclass(frozen=True)
class Novelty:
    """Mahalanobis distance with a shrunk covariance: the strongest directions, and one variance for all others.

    ```
    distance² = sum_k (u_k · z)² / variance_k + |z - its part along u|² / rest,   z standardised, over dim
    ```

    Parameters
    ----------
    directions : float64 array of shape (n_directions, dim)
        Orthonormal.
    variances : float64 array of shape (n_directions,)
    rest : float
        Variance along every other direction: the mean of what is left. This is the shrinkage.
    quantiles : float64 array of shape (n_quantiles,)
        Distances of the training rows, each held out, at evenly spaced quantiles; rising.

    References
    ----------
    Mahalanobis distance as a sign of the unfamiliar: Lee et al., NeurIPS 2018. Covariance of a few directions and one
    variance: Tipping and Bishop, Journal of the Royal Statistical Society B 61, 1999.
    """

    directions: Floats
    variances: Floats
    rest: float
    quantiles: Floats

    def distance(self, standardised: Floats) -> Floats:
        """Root mean square distance of rows of shape (n, dim): about 1 for the training rows.

        A row's bits do not depend on other rows.
        """
        # einsum, not BLAS: the order of its sums depends on neither rows nor threads
        across = np.einsum("nd,nd->n", standardised, standardised)
        squared = np.zeros(len(standardised))
        for direction, variance in zip(self.directions, self.variances, strict=True):
            along = np.einsum("nd,d->n", standardised, direction) ** 2
            squared += along / variance
            across -= along
        return np.asarray(np.sqrt((squared + np.maximum(across, 0.0) / self.rest) / standardised.shape[1]))

    def ood(self, standardised: Floats) -> Floats:
        """Distance as a quantile of the training rows': 0 is their middle, 1 at or beyond all; in [0, 1]."""
        return self.rank(self.distance(standardised))

    def rank(self, distance: Floats) -> Floats:
        """Distances as quantiles of the training rows'; in [0, 1]."""
        return np.asarray(np.interp(distance, self.quantiles, np.linspace(0.0, 1.0, len(self.quantiles))))


def learn(rows: Rows, fold: Kinds, mean: Floats, scale: Floats) -> tuple[Novelty, Floats]:
    """Learn the covariance from a share of the rows, and the quantiles from all.

    A row's distance counts in the quantiles as that of a row never seen: by the covariance of the other folds. By the
    one that it helped to make it would be nearer than any new row, and much of an archive would look strange.

    Parameters
    ----------
    rows : Rows
    fold : int array of shape (n_rows,)
        What is held out together, from 0 on.
    mean, scale : float64 arrays of shape (dim,)
        What standardises the rows.

    Returns
    -------
    Novelty
    float64 array of shape (n_rows,)
        `ood` of these very rows, each held out.
    """
    n_folds = int(fold.max()) + 1
    stride = max(1, rows.n_rows // (MAX_COVARIANCE_ROWS * rows.dim))
    sums, counts = np.zeros((n_folds, rows.dim, rows.dim)), np.zeros(n_folds, dtype=np.int64)
    for index, block in rows.blocks():
        some, of_fold = (block[::stride] - mean) / scale, fold[index][::stride]
        for number in np.unique(of_fold):
            chosen = some[of_fold == number]
            sums[number] += chosen.T @ chosen
            counts[number] += len(chosen)
    total, n_rows = sums.sum(axis=0), int(counts.sum())
    found = _shrunk(total, n_rows)
    others = [
        _shrunk(total - each, n_rows - int(count)) if 0 < count < n_rows else found
        for each, count in zip(sums, counts, strict=True)
    ]
    distances = np.empty(rows.n_rows)
    for index, block in rows.blocks():
        standardised = (block - mean) / scale
        for number in np.unique(fold[index]):
            chosen = fold[index] == number
            distances[index[chosen]] = others[number].distance(standardised[chosen])
    found = replace(found, quantiles=np.quantile(distances, np.linspace(0, 1, N_QUANTILES)))
    return found, found.rank(distances)


def _shrunk(total: Floats, n_rows: int) -> Novelty:
    """Strongest directions and the rest, of a sum of outer products; without quantiles yet."""
    dim = len(total)
    variances, directions = np.linalg.eigh(total / n_rows)  # rising
    n_rest = dim - min(MAX_DIRECTIONS, n_rows // ROWS_A_DIRECTION, dim - 1)
    # never nothing: rows that all lie in a plane are no reason to call every other infinitely far
    rest = max(float(variances[:n_rest].mean()), 1e-6 * float(variances.mean()), 1e-12)
    strongest = directions[:, n_rest:].T[::-1].copy()
    return Novelty(strongest, np.maximum(variances[n_rest:][::-1], rest), rest, np.zeros(2))
