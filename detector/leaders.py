"""Leaders: clusters of rows that come one after another, each led by its earliest row.

A row joins the leader that it resembles most, if it resembles one enough; else it leads a cluster of its own. So a row
is decided by the rows before it alone: rows that come later change no cluster, and none changes its leader.

References
----------
Hartigan, Clustering Algorithms, Wiley, 1975, chapter 3.
"""

from __future__ import annotations

import numpy as np

from detector.attribution import unit
from detector.logistic import Indices
from detector.metrics import Floats


def leaders(vectors: Floats, alike: float) -> Indices:
    """Find the leader of each row.

    Parameters
    ----------
    vectors : float64 array of shape (n, n_axes)
        In the order in which they came.
    alike : float
        A row joins a leader if the cosine of the two is above it.

    Returns
    -------
    int64 array of shape (n,)
        Place of the leader; a leader's own is its place. Of two leaders that are equally alike, the earlier one.

    Examples
    --------
    >>> leaders(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1], [0.1, 1.0]]), 0.9).tolist()
    [0, 1, 0, 1]
    """
    rows = unit(vectors)
    leading, places = np.empty_like(rows), np.empty(len(rows), dtype=np.int64)
    found = np.empty(len(rows), dtype=np.int64)
    n_leaders = 0
    for place, row in enumerate(rows):
        # einsum, not BLAS: the order of its sums does not depend on how many leaders there are
        cosine = np.einsum("na,a->n", leading[:n_leaders], row)
        nearest = int(cosine.argmax()) if n_leaders else -1
        if nearest >= 0 and cosine[nearest] > alike:
            found[place] = places[nearest]
            continue
        leading[n_leaders], places[n_leaders], found[place] = row, place, place
        n_leaders += 1
    return found
