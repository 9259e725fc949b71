"""Systems: the space in which systems are told apart, and the similarity from which one is named.

The space is that of a linear discriminant analysis. Directions in which sources and speakers of bona fide speech differ
are taken out; the covariance within systems is shrunk, and made round; the axes are those in which the means of the
systems spread.

References
----------
Shrinkage: Ledoit and Wolf, Journal of Multivariate Analysis 88(2), 2004. Nuisance: :mod:`detector.training.nuisance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from detector.attribution import (
    MAX_AXES,
    MAX_NAME,
    MAX_SYSTEMS,
    UNKNOWN_SYSTEM,
    Attribution,
)
from detector.errors import ConfigError
from detector.groups import Names
from detector.logistic import Bools, Indices, Matrix
from detector.metrics import Floats
from detector.training.nuisance import clean

MIN_ROWS = 5  # of a system that can be named
MIN_SYSTEMS = 3  # two are left to tell apart when one is left out
MAX_DIRECTIONS = 15  # taken out for sources, and as many for speakers
SMALLEST = 1e-6  # variance along any direction, in that of an average one


@dataclass(frozen=True)
class Spoken:
    """Rows to learn from, as a fit knows them.

    Parameters
    ----------
    standardised : float64 array of shape (n, dim)
    is_bonafide : bool array of shape (n,)
    system : int array of shape (n,)
        Index into ``systems`` of a spoof row that has a system which can be named; -1 for others.
    systems : tuple of str
    place : int array of shape (n,)
        Source of a row, or its speaker where its system has one source; -1 where that is one as well.
    places : tuple of str
    names : mapping
        Names of the rows under the keys `source` and `speaker`.
    """

    standardised: Floats
    is_bonafide: Bools
    system: Indices
    systems: tuple[str, ...]
    place: Indices
    places: tuple[str, ...]
    names: Mapping[str, Names]

    @classmethod
    def of(cls, standardised: Floats, is_bonafide: Bools, names: Mapping[str, Names]) -> Spoken:
        """Choose the systems that can be named: the largest, with :data:`MIN_ROWS` rows each.

        Raises
        ------
        ConfigError
            If there are fewer than :data:`MIN_SYSTEMS`.
        """
        given = names["system"]
        code = np.where(is_bonafide, -1, given.code)
        n_rows = np.bincount(code[code >= 0], minlength=len(given.words))
        largest = [place for place in np.argsort(-n_rows, kind="stable") if n_rows[place] >= MIN_ROWS][:MAX_SYSTEMS]
        chosen = sorted(largest, key=lambda place: given.words[place])
        if len(chosen) < MIN_SYSTEMS:
            raise ConfigError(
                f"attribution: {len(chosen)} system(s) with {MIN_ROWS} or more spoof rows, of "
                f"{np.count_nonzero(n_rows)} named; expected {MIN_SYSTEMS} or more: each is left out in turn, and two "
                f"must be left to tell apart. Name the synthesiser of each spoof recording in the labels' column "
                f"system, or omit --attribution."
            )
        systems = tuple(given.words[place] for place in chosen)
        if UNKNOWN_SYSTEM in systems or max(map(len, systems)) > MAX_NAME:
            raise ConfigError(
                f"attribution: a system is called {UNKNOWN_SYSTEM!r}, which means none of them, or by more than "
                f"{MAX_NAME} characters. Give it another name in the labels."
            )
        of_word = np.full(len(given.words) + 1, -1, dtype=np.int64)  # the last is for -1
        of_word[chosen] = np.arange(len(chosen))
        place, places = _places(of_word[code], is_bonafide, names)
        return cls(standardised, is_bonafide, of_word[code], systems, place, places, names)

    @property
    def named(self) -> Bools:
        """Rows of systems that can be named."""
        return np.asarray(self.system >= 0)


def _places(system: Indices, is_bonafide: Bools, names: Mapping[str, Names]) -> tuple[Indices, tuple[str, ...]]:
    """Number what a row shares with others beside its system: source, or speaker where the system has one source."""
    texts = np.full(len(system), None, dtype=object)
    for kind in ("speaker", "source"):
        code = names[kind].code
        pairs = np.unique(np.column_stack([system, code])[(system >= 0) & (code >= 0)], axis=0)
        has_several = np.bincount(pairs[:, 0], minlength=int(system.max()) + 2) > 1
        has_several[-1] = False  # of system -1
        known = (code >= 0) & (has_several[system] | (is_bonafide & (kind == "source")))
        texts[known] = [f"{kind} {names[kind].words[each]}" for each in code[known]]
    found = Names.of(texts.tolist())
    return found.code.astype(np.int64), found.words


@dataclass(frozen=True)
class Space:
    """Where systems are told apart; ``systems`` says which of them stand in ``references``."""

    axes: Floats
    centre: Floats
    references: Floats
    systems: Indices

    def attribution(self, similarity: str) -> Attribution:
        """The space with a similarity, and without a threshold."""
        names = tuple(map(str, self.systems))
        return Attribution(names, similarity, self.axes, self.centre, self.references, -np.inf, None, 0.5)

    def nearest(self, standardised: Floats, similarity: str) -> tuple[Indices, Floats]:
        """Find the most similar system of each row, as :meth:`detector.attribution.Attribution.nearest`."""
        found = self.attribution(similarity)
        place, highest = found.nearest(found.coordinates(standardised))
        return self.systems[place], highest


class Learner:
    """Learns spaces on some of the rows; what they share is computed once."""

    def __init__(self, rows: Spoken, n_directions: int) -> None:
        self._rows, self._n_directions = rows, n_directions
        self._taken_out = self._nuisance(np.ones(len(rows.system), dtype=bool))
        residuals = self._residuals(rows.named)
        residuals -= self._along(residuals, self._taken_out)
        self._shrinkage = _shrinkage(residuals)
        self._total = residuals.T @ residuals
        system = rows.system[rows.named]
        self._of_system = [residuals[system == number] for number in range(len(rows.systems))]

    def without_systems(self, left_out: Indices) -> Space:
        """Learn on the rows of the other systems."""
        kept = np.setdiff1d(np.arange(len(self._of_system)), left_out)
        scatter, n_rows = self._total.copy(), int(self._rows.named.sum())
        for number in left_out:
            residuals = self._of_system[number]
            scatter -= residuals.T @ residuals
            n_rows -= len(residuals)
        return self._space(kept, self._rows.named, scatter / n_rows, self._taken_out)

    def without_rows(self, left_out: Bools) -> Space:
        """Learn on the other rows; a system that has none of them is not in the space."""
        seen = self._rows.named & ~left_out
        taken_out = self._nuisance(~left_out)
        residuals = self._residuals(seen)
        residuals -= self._along(residuals, taken_out)
        return self._space(
            np.unique(self._rows.system[seen]), seen, residuals.T @ residuals / len(residuals), taken_out
        )

    def _nuisance(self, seen: Bools) -> Floats:
        """Directions in which sources, and speakers, of bona fide rows differ: array of shape (n_directions, dim)."""
        rows, found = self._rows, []
        for kind in ("source", "speaker"):
            names = Names(np.where(seen, rows.names[kind].code, -1), rows.names[kind].words)
            n_names = len(np.unique(names.code[rows.is_bonafide & (names.code >= 0)]))
            cleaned = clean(
                Matrix(rows.standardised), rows.is_bonafide, names, min(self._n_directions, max(n_names - 1, 0))
            )
            if cleaned is not None:
                found.append(cleaned.directions / cleaned.scale)  # a functional of standardised rows
        dim = rows.standardised.shape[1]
        if not found:
            return np.zeros((0, dim))
        stacked = np.concatenate(found)
        length, directions = np.linalg.svd(stacked, full_matrices=False)[1:]
        return np.asarray(directions[length > 1e-9 * length[0]])[: dim - 1]

    def _residuals(self, which: Bools) -> Floats:
        system, rows = self._rows.system[which], self._rows.standardised[which]
        residuals = np.empty_like(rows)
        for number in np.unique(system):
            own = system == number
            residuals[own] = rows[own] - rows[own].mean(axis=0)
        return residuals

    @staticmethod
    def _along(rows: Floats, directions: Floats) -> Floats:
        return np.asarray(rows @ directions.T @ directions)

    def _space(self, systems: Indices, seen: Bools, covariance: Floats, taken_out: Floats) -> Space:
        from scipy.linalg import cholesky, solve_triangular  # only now: judging needs none of it

        dim = len(covariance)
        average = np.trace(covariance) / dim or 1.0
        shrunk = (1.0 - self._shrinkage) * covariance + (self._shrinkage + SMALLEST) * average * np.eye(dim)
        lower = cholesky(shrunk, lower=True)
        code, rows = self._rows.system, self._rows.standardised
        means = np.stack([rows[seen & (code == number)].mean(axis=0) for number in systems])
        cleaned = means - self._along(means, taken_out)
        round_means = solve_triangular(lower, (cleaned - cleaned.mean(axis=0)).T, lower=True).T
        _, length, spread = np.linalg.svd(round_means, full_matrices=False)
        n_axes = max(1, min(MAX_AXES, len(systems) - 1, int(np.count_nonzero(length > 1e-9 * length[0]))))
        axes = solve_triangular(lower.T, spread[:n_axes].T, lower=False).T
        axes -= self._along(axes, taken_out)
        centre = axes @ means.mean(axis=0)
        return Space(axes, centre, means @ axes.T - centre, systems)


def _shrinkage(residuals: Floats) -> float:
    from sklearn.covariance import ledoit_wolf_shrinkage  # only now: judging needs none of it

    return float(ledoit_wolf_shrinkage(residuals, assume_centered=True))
