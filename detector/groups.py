"""Groups: rows that must not be on both sides of a fold, because they share a synthesiser, a speaker or a source.

Names are stored once, and each row has a number of a few bytes. Rows are counted block by block, so that a million
rows take a few megabytes, temporary arrays included.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.errors import ConfigError
from detector.logistic import Bools, Indices
from detector.schema import UNKNOWN
from detector.training.config import FOLDS

Codes = npt.NDArray[np.signedinteger[Any]]

SEED = 42
BLOCK_ROWS = 1 << 16
RULES = (("system", "speaker", "source"), ("system", "speaker"), ("system", "source"))
MIN_GROUPS = 3  # per class: two are left to learn from when one is held out
BY_CLASS = "spoof by system, bona fide by speaker or source"


@dataclass(frozen=True)
class Names:
    """A column of names, each stored once; a row has the number of its name.

    Names are sorted, so that results do not depend on the order of the rows.

    Parameters
    ----------
    code : int array of shape (n_rows,)
        Index into ``words``, in the narrowest type that holds it; -1 if not known.
    words : tuple of str

    Examples
    --------
    >>> found = Names.of(["s1", "-", "s2", "s1"])
    >>> found.code.tolist(), found.words
    ([0, -1, 1, 0], ('s1', 's2'))
    """

    code: Codes
    words: tuple[str, ...]

    @classmethod
    def of(cls, values: Iterable[str | None]) -> Names:
        """Number the names of a column; null, empty and `-` count as not known."""
        numbers: dict[str, int] = {}
        code = [-1 if value in UNKNOWN else numbers.setdefault(str(value), len(numbers)) for value in values]
        return cls.in_order(np.array(code, dtype=np.int32), tuple(numbers))

    @classmethod
    def in_order(cls, code: Codes, words: tuple[str, ...]) -> Names:
        """Sort the names, and renumber the rows."""
        order = sorted(range(len(words)), key=words.__getitem__)
        rank = np.full(len(words) + 1, -1, dtype=code.dtype)  # the last is for -1
        rank[order] = np.arange(len(words))
        return cls(looked_up(rank, code), tuple(words[number] for number in order))

    def __getitem__(self, rows: Bools | Indices) -> Names:
        """Names of the given rows, in the given order."""
        return Names(self.code[rows], self.words)


@dataclass(frozen=True)
class Groups:
    """The group of each row, and the rule that made the groups.

    Parameters
    ----------
    of_row : int array of shape (n_rows,)
        From 0; a number may have no row.
    rule : str
        What rows of two groups never share, in words.
    """

    of_row: Codes
    rule: str

    def __getitem__(self, rows: Bools) -> Groups:
        """Groups of the selected rows; if all are selected, this object itself."""
        return self if rows.all() else Groups(self.of_row[rows], self.rule)

    def counts(self, is_bonafide: Bools) -> Indices:
        """Count the rows of every group and class: int64 array of shape (n_groups, 2), spoof first."""
        return tally(self.of_row, int(self.of_row.max(initial=-1)) + 1, ~is_bonafide, is_bonafide)

    def n_groups(self, is_bonafide: Bools) -> dict[str, int]:
        """Number of groups that have rows of each class."""
        spoof, bonafide = np.count_nonzero(self.counts(is_bonafide), axis=0).tolist()
        return {"bonafide": bonafide, "spoof": spoof}

    def folds(self, is_bonafide: Bools, n_folds: int | None = None) -> Codes:
        """Assign every row to a fold, with both classes spread as evenly as whole groups allow.

        Groups are assigned one by one, the most unbalanced and largest first, each to the fold where it makes the
        folds most alike. This is the algorithm of scikit-learn's `StratifiedGroupKFold`, on counts instead of rows; of
        folds that are equal up to rounding the first is taken, so that folds are the same on every processor.

        Parameters
        ----------
        is_bonafide : bool array of shape (n_rows,)
        n_folds : int, optional
            By default :data:`~detector.training.config.FOLDS`, or as many as the class with fewer groups has groups.

        Returns
        -------
        int16 array of shape (n_rows,)
            From 0; no fold is empty.

        Raises
        ------
        ConfigError
            If a class has too few groups or rows.

        Examples
        --------
        >>> Groups(np.array([0, 0, 1, 2, 3, 3]), "speaker").folds(np.arange(6) < 3).tolist()
        [1, 1, 0, 1, 0, 0]
        """
        counts, of_class = self.counts(is_bonafide), self.n_groups(is_bonafide)
        for name, n_groups in of_class.items():
            n_rows = int(counts[:, int(name == "bonafide")].sum())
            if n_groups < 2:
                raise ConfigError(
                    f"{n_rows} labelled {name} rows in {n_groups} group(s); calibration on held-out groups needs "
                    f"2 or more of each class. Add recordings, or the columns system, speaker or source."
                )
            if n_folds is not None and n_rows < n_folds:
                raise ConfigError(f"{n_rows} {name} rows for {n_folds} folds; use --folds {n_rows} or fewer.")
        present = np.flatnonzero(counts.any(axis=1))
        n_folds = min(FOLDS, *of_class.values()) if n_folds is None else n_folds
        if len(present) < n_folds:
            raise ConfigError(f"{len(present)} groups for {n_folds} folds; use --folds {len(present)} or fewer.")
        dealt, in_folds = _dealt(counts[present].astype(np.float64), n_folds)
        if not (in_folds.sum(axis=0) - in_folds).all():
            raise ConfigError("a fold's training rows are of one class; use fewer --folds or more groups.")
        of_group = np.full(len(counts), -1, dtype=np.int16)
        of_group[present] = dealt
        return looked_up(of_group, self.of_row)


def groups_of(is_bonafide: Bools, facts: Mapping[str, Names]) -> Groups:
    """Group rows by the strictest rule that leaves :data:`MIN_GROUPS` groups of each class.

    The strictest rule joins rows that share a system, speaker or source, directly or through other rows. If that leaves
    too few groups in a class (because a corpus is a single source, or its speakers were cloned by every synthesiser),
    source or speaker is dropped from the rule. As a last resort, a spoof row is grouped by its system alone, and a bona
    fide row by its speaker or else its source. A row without any known name is a group of its own.

    Parameters
    ----------
    is_bonafide : bool array of shape (n_rows,)
    facts : mapping
        Names under the keys `system`, `speaker` and `source`.

    Examples
    --------
    >>> facts = {"system": Names.of("aabc---"), "speaker": Names.of("xyzwyuv"), "source": Names.of([None] * 7)}
    >>> groups_of(np.arange(7) > 3, facts).of_row.tolist()  # speaker y was cloned by system a
    [0, 0, 1, 2, 0, 3, 4]
    """
    for names in RULES:
        found = Groups(_joined([facts[name] for name in names]), f"no {' or '.join(names)} in common")
        if min(found.n_groups(is_bonafide).values()) >= MIN_GROUPS:
            return found
    return by_class(is_bonafide, facts, {"bonafide": ("speaker", "source"), "spoof": ("system", "speaker", "source")})


def by_class(is_bonafide: Bools, facts: Mapping[str, Names], wanted: Mapping[str, tuple[str, ...]]) -> Groups:
    """Group the rows of each class by the first of the wanted names that a row has.

    Parameters
    ----------
    is_bonafide : bool array of shape (n_rows,)
    facts : mapping
        As for :func:`groups_of`.
    wanted : mapping
        Keys of ``facts`` by class, `bonafide` and `spoof`. A row without any of the names is a group of its own.

    Examples
    --------
    >>> facts = {"system": Names.of("aab--"), "source": Names.of("xyzxx")}
    >>> by_class(np.arange(5) > 2, facts, {"bonafide": ("source",), "spoof": ("system",)}).of_row.tolist()
    [1, 1, 2, 0, 0]
    """
    code, start = np.full(len(is_bonafide), -1, dtype=np.int32), 0
    for rows, label in ((is_bonafide, "bonafide"), (~is_bonafide, "spoof")):
        for name in wanted[label]:
            known = rows & (code < 0) & (facts[name].code >= 0)
            code[known] = facts[name].code[known].astype(np.int32) + start
            start += len(facts[name].words)
    return Groups(_numbered(code, start), BY_CLASS)


def sample(is_bonafide: Bools, groups: Groups, n_rows: int) -> Bools:
    """Choose about ``n_rows`` rows: the first ones of every group and class, the same share of each.

    If rows are ordered by a hash of their ids, the result is a random sample that is the same in every run, whatever
    the order of files and shards. At least one row of every group and class is chosen.

    Returns
    -------
    bool array of shape (n_rows,)

    Examples
    --------
    >>> chosen = sample(np.arange(100) < 50, Groups(np.zeros(100, dtype=np.int32), "none"), 10)
    >>> np.flatnonzero(chosen).tolist()
    [0, 1, 2, 3, 4, 50, 51, 52, 53, 54]
    """
    total = len(is_bonafide)
    if total <= n_rows:
        return np.ones(total, dtype=bool)
    counts = groups.counts(is_bonafide).ravel()
    take = np.maximum(1, np.round(counts * n_rows / total)).astype(np.int64)
    taken, chosen = np.zeros_like(take), np.zeros(total, dtype=bool)
    for rows in blocks(total):
        stratum = 2 * groups.of_row[rows].astype(np.int64) + is_bonafide[rows]
        order = np.argsort(stratum, kind="stable")
        ordered = stratum[order]
        rank = np.arange(len(order)) - np.searchsorted(ordered, ordered) + taken[ordered]
        chosen[rows][order] = rank < take[ordered]
        np.add.at(taken, stratum, 1)
    return chosen


def tally(code: Codes, n_codes: int, *chosen: Bools) -> Indices:
    """Count how often each number occurs in each selection of rows, block by block.

    Parameters
    ----------
    code : int array of shape (n_rows,)
        Below ``n_codes``; -1 is not counted.
    chosen : bool arrays of shape (n_rows,)

    Returns
    -------
    int64 array of shape (n_codes, n_choices)

    Examples
    --------
    >>> tally(np.array([0, 2, 2, -1]), 3, np.ones(4, dtype=bool), np.array([True, True, False, True])).tolist()
    [[1, 1], [0, 0], [2, 1]]
    """
    found = np.zeros((n_codes + 1, len(chosen)), dtype=np.int64)  # the last is for -1
    for rows in blocks(len(code)):
        for column, which in enumerate(chosen):
            np.add.at(found[:, column], code[rows][which[rows]], 1)
    return found[:-1]


def looked_up(table: Codes, code: Codes) -> Codes:
    """Return ``table[code]``, computed block by block: NumPy would first convert all codes to eight bytes each."""
    found = np.empty(len(code), dtype=table.dtype)
    for rows in blocks(len(code)):
        found[rows] = table[code[rows]]
    return found


def blocks(n_rows: int) -> Iterator[slice]:
    """Yield slices of at most :data:`BLOCK_ROWS` rows, from front to back."""
    for start in range(0, n_rows, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, n_rows))


def _joined(columns: list[Names]) -> Codes:
    """Group number of every row, where rows that share a known name are in one group."""
    from scipy.sparse import coo_array  # only now: judging needs none of it
    from scipy.sparse.csgraph import connected_components

    starts = np.cumsum([0, *(len(column.words) for column in columns)])
    n_rows, n_names = len(columns[0].code), int(starts[-1])
    links = [np.empty(0, dtype=np.int64)]  # pairs of names that occur in one row, each as one number
    for rows in blocks(n_rows):
        for (one, first), (two, second) in itertools.combinations(zip(columns, starts[:-1], strict=True), 2):
            both = (one.code[rows] >= 0) & (two.code[rows] >= 0)
            links.append(np.unique((one.code[rows][both] + first) * n_names + two.code[rows][both] + second))
    ends = np.divmod(np.unique(np.concatenate(links)), max(n_names, 1))
    graph = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(n_names, n_names))
    of_name = connected_components(graph, directed=False)[1].astype(np.int32) if n_names else np.empty(0, np.int32)
    code = np.full(n_rows, -1, dtype=np.int32)
    for column, start in zip(columns, starts[:-1], strict=True):
        known = (code < 0) & (column.code >= 0)
        code[known] = looked_up(of_name[start:], column.code[known])
    return _numbered(code, n_names)


def _numbered(code: Codes, n_codes: int) -> Codes:
    """Renumber codes from 0 without gaps, in their order; each -1 gets a number of its own."""
    alone = code < 0
    n_alone = np.count_nonzero(alone)
    code[alone] = np.arange(n_codes, n_codes + n_alone)
    there = np.zeros(n_codes + n_alone, dtype=bool)
    for rows in blocks(len(code)):
        there[code[rows]] = True
    return looked_up((np.cumsum(there) - 1).astype(np.min_scalar_type(-1 - len(there))), code)


def _dealt(counts: npt.NDArray[np.float64], n_folds: int) -> tuple[Codes, npt.NDArray[np.float64]]:
    """Fold of every group, from counts of shape (n_groups, 2); and the counts of every fold, of shape (n_folds, 2)."""
    order = np.random.RandomState(SEED).permutation(len(counts))
    order = order[np.argsort(-np.abs(counts[order, 0] - counts[order, 1]), kind="stable")]
    in_folds, total = np.zeros((n_folds, 2)), counts.sum(axis=0)
    dealt = np.empty(len(counts), dtype=np.int16)
    for group in order:
        # counts of the folds, if the group were assigned to each of them in turn
        tried = in_folds[None] + np.eye(n_folds)[:, :, None] * counts[group]
        uneven = (tried / total).std(axis=1).mean(axis=1)
        n_rows, best = in_folds.sum(axis=1), 0
        for fold in range(1, n_folds):
            # ignore differences in the last digits, because processors round sums differently
            alike = math.isclose(uneven[fold], uneven[best], rel_tol=1e-5, abs_tol=1e-8)
            if n_rows[fold] < n_rows[best] if alike else uneven[fold] < uneven[best]:
                best = fold
        dealt[group] = best
        in_folds[best] += counts[group]
    return dealt, in_folds
