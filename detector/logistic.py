"""Logistic regression over blocks of rows: several models of the same rows at once, to the exact optimum.

```
for each pass:  rows ─► block ─► standardise ─► losses, gradients (and XᵀWX if due) of all models ─► sums
between passes: the Newton step of each model, halved if its loss did not fall
```

Only sums are kept, so memory hardly grows with the number of rows: it takes one block, one matrix of dim x dim per
model, and a few bytes per row for its class and kind. The sums, and with them the optimum, are the same whether the
blocks come from an array or from a store.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from detector.errors import ConfigError
from detector.metrics import Floats

Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]
Kinds = npt.NDArray[np.integer[Any]]  # small integers of any width

BLOCK_ROWS = 4_096
MAX_PASSES = 300
TOLERANCE = 1e-8  # largest last step, relative to the largest coefficient
NEGLIGIBLE = 1e-26  # or its gain, relative to the loss: if the optimum is zero, no step is relatively small
CURVATURE_ROWS = 64  # per dimension: enough to estimate the curvature to about 30 %; further steps correct the rest
SLOW = 0.25  # the curvature is computed again if a step leaves more than this share of the expected gain


class Rows(Protocol):
    """A fixed number of embeddings that can be read block by block any number of times."""

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        ...

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        ...

    def blocks(self) -> Iterator[tuple[Kinds, npt.NDArray[np.floating[Any]]]]:
        """Yield positions of rows, and their embeddings of shape (n, dim); every position is in exactly one block."""
        ...


@dataclass(frozen=True)
class Matrix:
    """Rows held in memory.

    Examples
    --------
    >>> [len(block) for _, block in Matrix(np.zeros((10, 2)), block_rows=4).blocks()]
    [4, 4, 2]
    """

    embeddings: npt.NDArray[np.floating[Any]]
    block_rows: int = BLOCK_ROWS

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.embeddings.shape[0])

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return int(self.embeddings.shape[1])

    def blocks(self) -> Iterator[tuple[Kinds, npt.NDArray[np.floating[Any]]]]:
        """Yield slices from front to back."""
        for start in range(0, self.n_rows, self.block_rows):
            block = self.embeddings[start : start + self.block_rows]
            yield np.arange(start, start + len(block)), block


@dataclass(frozen=True)
class Subset:
    """A selection of other rows, in their order.

    Parameters
    ----------
    rows : Rows
    chosen : bool array of shape (rows.n_rows,)

    Examples
    --------
    >>> some = Subset(Matrix(np.arange(4.0)[:, None]), np.array([True, False, False, True]))
    >>> [(index.tolist(), block.ravel().tolist()) for index, block in some.blocks()]
    [([0, 1], [0.0, 3.0])]
    """

    rows: Rows
    chosen: Bools

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(np.count_nonzero(self.chosen))

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return self.rows.dim

    def blocks(self) -> Iterator[tuple[Kinds, npt.NDArray[np.floating[Any]]]]:
        """Yield the chosen rows of each block, with their positions in the selection."""
        for index, block in self.rows.blocks():
            here = self.chosen[index]
            yield self._place[index[here]], block[here]

    @cached_property
    def _place(self) -> npt.NDArray[np.int32]:
        return np.cumsum(self.chosen, dtype=np.int32) - 1


def subset(rows: Rows, chosen: Bools) -> Rows:
    """Select rows; if all are chosen, return the rows themselves."""
    return rows if chosen.all() else Subset(rows, chosen)


def gather(rows: Rows, chosen: Bools) -> Matrix:
    """Read chosen rows into memory, as float32 and in order of their positions.

    Examples
    --------
    >>> gather(Matrix(np.arange(4.0)[:, None]), np.array([False, True, False, True])).embeddings.ravel().tolist()
    [1.0, 3.0]
    """
    some = Subset(rows, chosen)
    found = np.empty((some.n_rows, rows.dim), dtype=np.float32)
    for index, block in some.blocks():
        found[index] = block
    return Matrix(found)


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of every dimension over each of several selections of rows.

    `mean` and `scale` are float64 arrays of shape (n_selections, dim); a dimension that is constant has scale 1.
    """

    mean: Floats
    scale: Floats


@dataclass(frozen=True)
class Models:
    """Several logistic models of the same standardised rows.

    Parameters
    ----------
    centre, scale : float64 arrays of shape (dim,)
        A row is standardised as ``(row - centre) / scale``.
    weights : float64 array of shape (n_models, dim)
    bias : float64 array of shape (n_models,)
    passes : int
        Number of times that the rows were read.
    last_step : float
        Largest relative change of a coefficient in the last step, by which convergence was judged.
    """

    centre: Floats
    scale: Floats
    weights: Floats
    bias: Floats
    passes: int
    last_step: float

    def logits(self, rows: Rows, model: Kinds) -> Floats:
        """Compute the logit of every row by the model that is chosen for it.

        Parameters
        ----------
        rows : Rows
        model : int array of shape (n_rows,)
            Index of the model for each row, from 0.

        Returns
        -------
        float64 array of shape (n_rows,)
            Higher for bona fide.
        """
        found = np.empty(rows.n_rows)
        for index, block in rows.blocks():
            of_all = (block - self.centre) / self.scale @ self.weights.T + self.bias
            found[index] = of_all[np.arange(len(block)), model[index]]
        return found


def moments(rows: Rows, kind: Kinds, selected: Bools, shift: Floats | None = None) -> Moments:
    """Compute mean and standard deviation over selections of rows in one pass, or two if the first row is far out.

    Parameters
    ----------
    rows : Rows
    kind : int array of shape (n_rows,)
        Kind of each row, from 0.
    selected : bool array of shape (n_kinds, n_selections)
        True where a selection includes a kind.

    Raises
    ------
    ConfigError
        If a number or its square is not finite.

    Examples
    --------
    >>> rows, kind = Matrix(np.array([[1.0], [3.0], [8.0]])), np.array([0, 0, 1])
    >>> found = moments(rows, kind, np.array([[True, True], [False, True]]))
    >>> found.mean.tolist(), found.scale[0].tolist()
    ([[2.0], [4.0]], [1.0])
    """
    n_rows = np.zeros((selected.shape[1], 1))
    is_first = shift is None
    sums = np.zeros((selected.shape[1], rows.dim))
    squares = np.zeros_like(sums)
    for index, block in rows.blocks():
        if shift is None and len(block):
            shift = block[0].astype(np.float64)  # the first row, so that a constant dimension becomes exactly 0
        moved = block - shift if shift is not None else np.zeros(block.shape)
        weights = selected[kind[index]].astype(np.float64).T
        n_rows[:, 0] += weights.sum(axis=1)
        with np.errstate(over="ignore", invalid="ignore"):  # checked below
            sums += weights @ moved
            squares += weights @ np.square(moved, out=moved)
    if not (np.isfinite(sums).all() and np.isfinite(squares).all()):
        odd = int(np.flatnonzero(~np.isfinite(sums + squares).all(axis=0))[0])
        raise ConfigError(
            f"embeddings: NaN, infinity or numbers beyond 1e150 in dimension {odd}; embed the recordings again."
        )
    mean = sums / n_rows
    scale = np.sqrt(np.maximum(squares / n_rows - mean**2, 0.0))
    if is_first and shift is not None and (np.abs(mean) > 1e4 * scale).any():
        return moments(rows, kind, selected, shift + mean[0])  # else the squares would lose half of their digits
    return Moments(mean + (0.0 if shift is None else shift), np.where(scale > 0, scale, 1.0))


def fit(
    rows: Rows,
    is_bonafide: Bools,
    kind: Kinds,
    weights: Floats,
    centre: Floats,
    scale: Floats,
    penalty: Floats,
    *,
    start: Models | None = None,
) -> Models:
    """Minimise the penalised logistic loss of several models over the same rows.

    Each model's objective is ``sum_i weights_i log(1 + exp(-y_i logit_i)) + sum_j penalty_j w_j² / 2``, y = 1 for bona
    fide and -1 for spoof, over standardised rows; the bias is not penalised. It is convex, so there is one optimum,
    and it is scikit-learn's `LogisticRegression` with ``C = 1 / penalty``.

    Parameters
    ----------
    rows : Rows
    is_bonafide : bool array of shape (n_rows,)
    kind : int array of shape (n_rows,)
        Rows of a kind share their weight; a kind is, for example, a fold and a class. Weights per row would take a
        number per row and model.
    weights : float64 array of shape (n_kinds, n_models)
        Weight of each row of a kind; 0 leaves the kind out.
    centre, scale : float64 arrays of shape (dim,)
    penalty : float64 array of shape (n_models, dim)
        At least 0, on the standardised weights: ``1 / (C s²)`` for a penalty on the weights of raw embeddings.
    start : Models, optional
        Starting point: models of the same rows at a neighbouring penalty.

    Returns
    -------
    Models

    Raises
    ------
    ConfigError
        If the fit has not converged after :data:`MAX_PASSES` passes.

    References
    ----------
    Newton's method with a line search: Boyd and Vandenberghe, Convex Optimization, 2004, 9.5. Curvature from some of
    the rows and gradients from all: Roosta-Khorasani and Mahoney, Sub-sampled Newton methods, 2019.
    """
    search = _Newton(rows, is_bonafide, kind, weights, centre, scale, penalty)
    if start is not None:
        search.at[:] = np.column_stack([start.weights, start.bias])
    search.run()
    return Models(centre, scale, search.at[:, :-1], search.at[:, -1], search.passes, float(search.last_step.max()))


class _Newton:
    """State of the search of :func:`fit`: the coefficients of every model, and its next step."""

    def __init__(
        self,
        rows: Rows,
        is_bonafide: Bools,
        kind: Kinds,
        weights: Floats,
        centre: Floats,
        scale: Floats,
        penalty: Floats,
    ) -> None:
        n_models = weights.shape[1]
        self._rows, self._is_bonafide, self._kind, self._weights = rows, is_bonafide, kind, weights
        self._centre, self._scale = centre, scale
        self._penalty = np.column_stack([penalty, np.zeros(n_models)])
        self._stride = max(1, rows.n_rows // max(CURVATURE_ROWS * rows.dim, BLOCK_ROWS))
        self.at = np.zeros((n_models, rows.dim + 1))
        self.passes = 0
        self.last_step = np.full(n_models, np.inf)

    def run(self) -> None:
        """Step until the coefficients of all models have converged."""
        n_models = len(self.at)
        value, gradient, curvature = self._pass(self.at, np.ones(n_models, dtype=bool))
        factors = [_factor(each) for each in curvature.values()]
        direction, gain = self._directions(gradient, factors)
        length, active = np.ones(n_models), np.ones(n_models, dtype=bool)
        stale = np.ones(n_models, dtype=bool)
        while active.any():
            if self.passes >= MAX_PASSES:
                raise ConfigError(
                    f"the fit has not converged in {MAX_PASSES} passes (last step {self.last_step[active].max():.1g} "
                    f"of the largest coefficient, {TOLERANCE:g} wanted). Standardise, or lower --c."
                )
            tried = self.at + np.where(active, length, 0.0)[:, None] * direction
            new_value, new_gradient, curvature = self._pass(tried, active & stale)
            # sums of a million terms have a relative error of about 1e-13: a smaller fall cannot be seen
            falls = active & (new_value <= value - 1e-4 * length * gain + 1e-12 * np.abs(value))
            # the size of the full step even if it was shortened: a shortened step is no sign of convergence
            size = np.abs(direction).max(axis=1) / np.maximum(np.abs(tried).max(axis=1), 1e-12)
            self.last_step = np.where(active, size, self.last_step)
            arrived = falls & ((size <= TOLERANCE) | (gain <= NEGLIGIBLE * np.abs(value)))
            rounding = active & ~falls & (length < 1e-3) & (gain <= 1e-10 * np.abs(value))
            length[active & ~falls] /= 2.0
            self.at[falls], value[falls], gradient[falls] = tried[falls], new_value[falls], new_gradient[falls]
            for model, total in curvature.items():
                if falls[model]:
                    factors[model] = _factor(total)
            before = gain.copy()
            new_direction, new_gain = self._directions(gradient, factors)
            direction[falls], gain[falls], length[falls] = new_direction[falls], new_gain[falls], 1.0
            stale = (length < 1.0) | (gain > SLOW * before)
            active &= ~(arrived | rounding)

    def _directions(self, gradient: Floats, factors: list[Any]) -> tuple[Floats, Floats]:
        """Newton step of every model, and twice the fall of the loss that it predicts."""
        from scipy.linalg import cho_solve  # only now: judging needs none of it

        direction = np.array([-cho_solve(factor, each) for factor, each in zip(factors, gradient, strict=True)])
        return direction, -np.einsum("md,md->m", direction, gradient)

    def _pass(self, at: Floats, curved: Bools) -> tuple[Floats, Floats, dict[int, Floats]]:
        """Objective and gradient of every model over all rows, and the curvature of the models in ``curved``."""
        self.passes += 1
        size = at.shape[1]
        value = (self._penalty * at**2).sum(axis=1) / 2.0
        gradient = self._penalty * at
        curvature = {model: np.diag(self._penalty[model]) for model, due in enumerate(curved) if due}
        for index, block in self._rows.blocks():
            rows = np.empty((len(block), size))
            np.subtract(block, self._centre, out=rows[:, :-1])
            rows[:, :-1] /= self._scale
            rows[:, -1] = 1.0
            logits = rows @ at.T
            weights = self._weights[self._kind[index]]
            target = self._is_bonafide[index][:, None]
            value += (weights * np.logaddexp(0.0, np.where(target, -logits, logits))).sum(axis=0)
            likely = np.exp(-np.logaddexp(0.0, -logits))
            gradient += (weights * (likely - target)).T @ rows
            for model, total in curvature.items():
                some = slice(None, None, self._stride)
                bend = weights[some, model] * likely[some, model] * (1.0 - likely[some, model])
                total += (rows[some] * (bend * self._stride)[:, None]).T @ rows[some]
        return value, gradient, curvature


def _factor(curvature: Floats) -> Any:
    """Cholesky factor; a matrix that rounding made singular gets the smallest ridge that makes it regular."""
    from scipy.linalg import cho_factor  # only now: judging needs none of it

    ridge, size = 0.0, np.trace(curvature) / len(curvature)
    while True:
        try:
            return cho_factor(curvature + ridge * np.eye(len(curvature)), lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            ridge = max(100.0 * ridge, 1e-13 * size, 1e-300)
