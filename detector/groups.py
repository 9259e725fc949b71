"""Groups: rows that may not stand on both sides of a fold, because they share a synthesiser, a speaker or a source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from detector.errors import ConfigError
from detector.logistic import Bools, Indices
from detector.schema import UNKNOWN

Texts = npt.NDArray[np.object_]

SEED = 42
RULES = (("system", "speaker", "source"), ("system", "speaker"), ("system", "source"))
MIN_GROUPS = 3  # of a class: then two are left to learn from where one is held out
BY_CLASS = "spoof by system, bona fide by speaker or source"


@dataclass(frozen=True)
class Groups:
    """Which group each row is of, and what a group is.

    Parameters
    ----------
    of_row : int64 array of shape (n_rows,)
    rule : str
        What rows of two groups never share, for people.
    """

    of_row: Indices
    rule: str

    def folds(self, is_bonafide: Bools, n_folds: int) -> Indices:
        """Fold of every row, both classes shared out as evenly as whole groups allow; int64 of shape (n_rows,).

        Raises
        ------
        ConfigError
            Where a class has too few groups or rows.
        """
        for name, rows in (("bonafide", is_bonafide), ("spoof", ~is_bonafide)):
            n_groups = len(np.unique(self.of_row[rows]))
            if n_groups < 2:
                raise ConfigError(
                    f"{rows.sum()} labelled {name} rows in {n_groups} group(s); calibration on held-out groups needs "
                    f"2 or more of each class. Add recordings, or the columns system, speaker or source."
                )
            if rows.sum() < n_folds:
                raise ConfigError(f"{rows.sum()} {name} rows for {n_folds} folds; use --folds {rows.sum()} or fewer.")
        n_groups = len(np.unique(self.of_row))
        if n_groups < n_folds:
            raise ConfigError(f"{n_groups} groups for {n_folds} folds; use --folds {n_groups} or fewer.")
        fold = np.empty(len(self.of_row), dtype=np.int64)
        split = StratifiedGroupKFold(n_folds, shuffle=True, random_state=SEED)
        for number, (seen, unseen) in enumerate(split.split(fold, is_bonafide, self.of_row)):
            if len(set(is_bonafide[seen])) < 2:
                raise ConfigError("a fold's training rows are of one class; use fewer --folds or more groups.")
            fold[unseen] = number
        return fold


def groups_of(is_bonafide: Bools, facts: Mapping[str, Texts]) -> Groups:
    """Group rows by what is known of them, as strictly as leaves :data:`MIN_GROUPS` groups of each class.

    The strictest rule joins rows that share any of system, speaker and source, directly or by way of others. Where
    that leaves too few groups in a class (a corpus is one source; its speakers were cloned by every synthesiser),
    source or speaker is let go. At last a spoof row's group is its system alone, and a bona fide row's is its speaker
    or else its source. A row of which nothing is known is a group of its own.

    Parameters
    ----------
    is_bonafide : bool array of shape (n_rows,)
    facts : mapping
        `system`, `speaker`, `source`: object arrays of shape (n_rows,); null, empty and `-` are not known.

    Examples
    --------
    >>> facts = {"system": list("aabc---"), "speaker": list("xyzwyuv"), "source": [None] * 7}
    >>> facts = {name: np.array(values, dtype=object) for name, values in facts.items()}
    >>> groups_of(np.arange(7) > 3, facts).of_row.tolist()  # speaker y was cloned by system a
    [0, 0, 1, 2, 0, 3, 4]
    """
    for names in RULES:
        of_row = _joined([facts[name] for name in names])
        if all(len(np.unique(of_row[rows])) >= MIN_GROUPS for rows in (is_bonafide, ~is_bonafide)):
            return Groups(of_row, f"no {' or '.join(names)} in common")
    wanted = [("speaker", "source"), ("system", "speaker", "source")]
    keys = np.full(len(is_bonafide), "", dtype=object)
    for rows, order in zip((is_bonafide, ~is_bonafide), wanted, strict=True):
        for name in order:
            known = rows & (keys == "") & _known(facts[name])
            keys[known] = [f"{name} {value}" for value in facts[name][known]]
    keys = np.where(is_bonafide, "b", "s").astype(object) + keys
    nothing = (keys == "b") | (keys == "s")
    keys[nothing] += [f"row {number}" for number in np.flatnonzero(nothing)]
    return Groups(np.unique(keys.astype(str), return_inverse=True)[1].astype(np.int64), BY_CLASS)


def sample(ids: Iterable[str], is_bonafide: Bools, group: Indices, n_rows: int) -> Indices:
    """Positions of about ``n_rows`` rows, the same share of every group and class, the same ones in every run.

    A row is taken by the SHA-256 of its id: whether it is in does not depend on the other rows' order, and at least
    one row of every group and class is.

    Examples
    --------
    >>> ids = [f"a{number}" for number in range(100)]
    >>> chosen = sample(ids, np.arange(100) < 50, np.zeros(100, dtype=np.int64), 10)
    >>> len(chosen), (chosen < 50).sum()
    (10, np.int64(5))
    """
    total = len(is_bonafide)
    if total <= n_rows:
        return np.arange(total)
    digests = np.fromiter((int.from_bytes(hashlib.sha256(each.encode()).digest()[:8]) for each in ids), np.uint64)
    strata = group * 2 + is_bonafide
    order = np.lexsort((digests, strata))
    starts = np.flatnonzero(np.append(True, np.diff(strata[order]) > 0))
    sizes = np.diff(np.append(starts, total))
    rank = np.arange(total) - np.repeat(starts, sizes)
    take = np.maximum(1, np.round(sizes * n_rows / total))
    return np.asarray(np.sort(order[rank < np.repeat(take, sizes)]), dtype=np.int64)


def _known(values: Texts) -> Bools:
    return np.array([value not in UNKNOWN for value in values], dtype=bool)


def _joined(columns: list[Texts]) -> Indices:
    """Number of every row's group, where rows with a known value in common are of one group."""
    n_rows = len(columns[0])
    ends, offset = [], n_rows
    for column in columns:
        known = np.flatnonzero(_known(column))
        names: dict[str, int] = {}
        value = [names.setdefault(name, len(names)) for name in column[known]]
        ends.append((known, offset + np.array(value, dtype=np.int64)))
        offset += len(names)
    rows, values = (np.concatenate(each) for each in zip(*ends, strict=True))
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, values)), shape=(offset, offset))
    return np.asarray(connected_components(graph, directed=False)[1][:n_rows], dtype=np.int64)
