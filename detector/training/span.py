"""Rows in the space that they span: fewer numbers a row, the same distances, and so the same logistic models.

A penalised model has no part outside the space of its rows. Where rows are fewer than their dimensions, a basis of that
space is found once, and every Newton step solves for as many numbers as there are rows.

```
rows (n, dim) ─► QR ─► coordinates (n, n) ─► models at every C, of every fold ─► logits of the same rows
```

References
----------
The representer theorem: Schölkopf, Herbrich and Smola, A generalized representer theorem, COLT 2001.
"""

from __future__ import annotations

import numpy as np

from detector.logistic import Matrix, Rows
from detector.metrics import Floats


def is_shorter(rows: Rows) -> bool:
    """True if coordinates in the rows' span are at most as many numbers as the rows have.

    Examples
    --------
    >>> is_shorter(Matrix(np.zeros((3, 8)))), is_shorter(Matrix(np.zeros((8, 3))))
    (True, False)
    """
    return rows.n_rows <= rows.dim


def coordinates(rows: Rows, centre: Floats, scale: Floats) -> Matrix:
    """Express ``(rows - centre) / scale`` in an orthonormal basis of the space that they span.

    Parameters
    ----------
    rows : Rows
        At most as many as their dimensions (:func:`is_shorter`), so that they fit in memory wherever a fit does.
    centre, scale : float64 arrays of shape (dim,)

    Returns
    -------
    Matrix
        Of shape (n_rows, n_rows). Products of any two rows are unchanged.

    Examples
    --------
    >>> short = coordinates(Matrix(np.array([[3.0, 0.0, 4.0], [1.0, 2.0, 2.0]])), np.zeros(3), np.ones(3)).embeddings
    >>> (short @ short.T).round(9).tolist()
    [[25.0, 11.0], [11.0, 9.0]]
    """
    whole = np.empty((rows.n_rows, rows.dim))
    for index, block in rows.blocks():
        whole[index] = (block - centre) / scale
    triangle = np.asarray(np.linalg.qr(whole.T, mode="r"))
    return Matrix(np.ascontiguousarray(triangle.T))
