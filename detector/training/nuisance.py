"""Nuisance directions: what tells one source of bona fide speech from another, and should not decide.

Sources of human speech differ by microphone, room, codec and language. A head that may use these differences learns
which source a recording resembles; on a new source they are noise. So the directions in which the means of the sources
spread most are taken out of the embeddings before the fit. The head that results is linear as any other: its weights
have no part along these directions.

References
----------
Nuisance attribute projection: Solomonoff, Campbell and Boardman, Advances in channel compensation for SVM speaker
recognition, ICASSP 2005.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.errors import ConfigError
from detector.groups import Names
from detector.logistic import Bools, Kinds, Rows, moments
from detector.metrics import Floats


@dataclass(frozen=True)
class Cleaned:
    """Rows without their parts along nuisance directions, read through to the rows behind them.

    Parameters
    ----------
    rows : Rows
    mean, scale : float64 arrays of shape (dim,)
        Of the rows. Directions are those of ``(row - mean) / scale``.
    directions : float64 array of shape (n_directions, dim)
        Orthonormal.

    Examples
    --------
    >>> from detector.logistic import Matrix
    >>> flat = Cleaned(Matrix(np.array([[1.0, 2.0], [3.0, 5.0]])), np.zeros(2), np.ones(2), np.array([[1.0, 0.0]]))
    >>> [block.tolist() for _, block in flat.blocks()]
    [[[0.0, 2.0], [0.0, 5.0]]]
    """

    rows: Rows
    mean: Floats
    scale: Floats
    directions: Floats

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.rows.n_rows

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return self.rows.dim

    def blocks(self) -> Iterator[tuple[Kinds, npt.NDArray[np.floating[Any]]]]:
        """Yield positions and rows, as :meth:`detector.logistic.Rows.blocks`."""
        for index, block in self.rows.blocks():
            along = (block - self.mean) / self.scale @ self.directions.T
            yield index, block - along @ self.directions * self.scale

    def weights(self, weights: Floats, scale: Floats) -> Floats:
        """Weights on ``(row - mean) / self.scale`` that give the logits of ``weights`` on cleaned rows over ``scale``.

        Parameters
        ----------
        weights : float64 array of shape (dim,)
            For cleaned rows, standardised by ``scale``.
        scale : float64 array of shape (dim,)

        Returns
        -------
        float64 array of shape (dim,)
            Without a part along any of the directions.
        """
        own = weights * self.scale / scale
        return np.asarray(own - own @ self.directions.T @ self.directions)


def clean(rows: Rows, is_bonafide: Bools, sources: Names | None, n_directions: int) -> Cleaned | None:
    """Find the directions in which the sources of bona fide rows differ most, and take them out of all rows.

    Parameters
    ----------
    rows : Rows
    is_bonafide : bool array of shape (n_rows,)
    sources : Names or None
        Source of every row; bona fide rows without one are not used.
    n_directions : int
        How many directions; 0 for none.

    Returns
    -------
    Cleaned or None
        None if no direction is to be taken out.

    Raises
    ------
    ConfigError
        If there are not more sources of bona fide rows than directions.
    """
    if n_directions == 0:
        return None
    code = np.full(rows.n_rows, -1) if sources is None else np.where(is_bonafide, sources.code, -1)
    present = np.unique(code[code >= 0])
    if len(present) <= n_directions:
        raise ConfigError(
            f"nuisance_directions {n_directions}: the bona fide rows are of {len(present)} sources; expected more "
            f"sources than directions. Name a source for each recording in the labels, or omit --nuisance-directions."
        )
    kind = np.where(code >= 0, np.searchsorted(present, code), len(present))
    facts = moments(rows, kind, _of_each_and_all(len(present)))
    means = (facts.mean[:-1] - facts.mean[:-1].mean(axis=0)) / facts.scale[-1]
    _, _, directions = np.linalg.svd(means, full_matrices=False)
    return Cleaned(rows, facts.mean[-1], facts.scale[-1], directions[:n_directions])


def _of_each_and_all(n_sources: int) -> Bools:
    """Selections for :func:`moments`: every source by itself, and all rows, those of no source included."""
    return np.column_stack([np.eye(n_sources + 1, n_sources, dtype=bool), np.ones(n_sources + 1, dtype=bool)])
