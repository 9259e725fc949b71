"""Novelty: how far an embedding lies from those of the training rows, as a quantile of theirs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detector.logistic import Rows
from detector.metrics import Floats

MAX_DIRECTIONS = 32
ROWS_A_DIRECTION = 20  # with fewer, a direction's variance is more chance than fact
MAX_COVARIANCE_ROWS = 64  # a dimension
N_QUANTILES = 101


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
        Distances of the training rows at evenly spaced quantiles, rising.

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
        ranks = np.linspace(0.0, 1.0, len(self.quantiles))
        return np.asarray(np.interp(self.distance(standardised), self.quantiles, ranks))


def learn(rows: Rows, mean: Floats, scale: Floats) -> Novelty:
    """Learn the covariance from a share of the rows, and the quantiles from all.

    Parameters
    ----------
    rows : Rows
    mean, scale : float64 arrays of shape (dim,)
        What standardises them.
    """
    stride = max(1, rows.n_rows // (MAX_COVARIANCE_ROWS * rows.dim))
    total, n_rows = np.zeros((rows.dim, rows.dim)), 0
    for _, block in rows.blocks():
        some = (block[::stride] - mean) / scale
        total += some.T @ some
        n_rows += len(some)
    variances, directions = np.linalg.eigh(total / n_rows)  # rising
    n_directions = min(MAX_DIRECTIONS, n_rows // ROWS_A_DIRECTION, rows.dim - 1)
    n_rest = rows.dim - n_directions
    # never nothing: rows that all lie in a plane are no reason to call every other infinitely far
    rest = max(float(variances[:n_rest].mean()), 1e-6 * float(variances.mean()), 1e-12)
    found = Novelty(
        directions[:, n_rest:].T[::-1].copy(), np.maximum(variances[n_rest:][::-1], rest), rest, np.zeros(2)
    )
    distances = np.empty(rows.n_rows)
    for index, block in rows.blocks():
        distances[index] = found.distance((block - mean) / scale)
    quantiles = np.quantile(distances, np.linspace(0, 1, N_QUANTILES))
    return Novelty(found.directions, found.variances, found.rest, quantiles)
