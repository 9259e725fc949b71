"""Novelty: the distance of an embedding from the training embeddings, as a quantile of their own distances."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from detector.logistic import Kinds, Rows
from detector.metrics import Floats

MAX_DIRECTIONS = 32
ROWS_A_DIRECTION = 20  # with fewer rows per direction, the estimate of its variance is mostly noise
MAX_COVARIANCE_ROWS = 64  # per dimension
N_QUANTILES = 1_001  # steps of 0.001, the resolution of --max-ood


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
        Variance along every other direction: the mean of the remaining variances. This is the shrinkage.
    quantiles : float64 array of shape (n_quantiles,)
        Distances of the held-out training rows at evenly spaced quantiles; rising.

    References
    ----------
    Mahalanobis distance for out-of-distribution detection: Lee et al., NeurIPS 2018. Covariance of a few directions and
    one variance: Tipping and Bishop, Journal of the Royal Statistical Society B 61, 1999.
    """

    directions: Floats
    variances: Floats
    rest: float
    quantiles: Floats

    def distance(self, standardised: Floats) -> Floats:
        """Compute the root mean square distance of rows of shape (n, dim); it is about 1 for the training rows.

        The bits of a row do not depend on other rows.
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
        """Compute distances as quantiles of the training rows: 0 is their centre, 1 is at or beyond all of them."""
        return self.rank(self.distance(standardised))

    def rank(self, distance: Floats) -> Floats:
        """Convert distances to quantiles of the training rows, in [0, 1]."""
        return np.asarray(np.interp(distance, self.quantiles, np.linspace(0.0, 1.0, len(self.quantiles))))


def learn(rows: Rows, fold: Kinds, mean: Floats, scale: Floats) -> tuple[Novelty, Floats]:
    """Learn the covariance from a share of the rows, and the quantiles from all of them.

    The quantiles use held-out distances: each row is measured with the covariance of the other folds. A covariance that
    the row contributed to would make it look closer than any new row, and much of an archive would look unusual.

    Parameters
    ----------
    rows : Rows
    fold : int array of shape (n_rows,)
        Fold of each row, from 0; a fold is held out as a whole.
    mean, scale : float64 arrays of shape (dim,)
        Mean and scale that standardise the rows.

    Returns
    -------
    Novelty
    float64 array of shape (n_rows,)
        `ood` of the same rows, each held out.
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
    """Directions and variances from a sum of outer products; the quantiles are placeholders."""
    dim = len(total)
    variances, directions = np.linalg.eigh(total / n_rows)  # rising
    n_rest = dim - min(MAX_DIRECTIONS, n_rows // ROWS_A_DIRECTION, dim - 1)
    # a lower limit: if all rows lie in a plane, a row outside it must not be infinitely far away
    rest = max(float(variances[:n_rest].mean()), 1e-6 * float(variances.mean()), 1e-12)
    strongest = directions[:, n_rest:].T[::-1].copy()
    return Novelty(strongest, np.maximum(variances[n_rest:][::-1], rest), rest, np.zeros(2))
