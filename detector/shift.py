"""Shift: how far an archive's rows differ from those that a head was calibrated on, from counts in bins.

The bins are twentieths of the calibration rows and are stored in the head, so that a night is counted row by row and
never held in memory. Rows are compared with the mixture of bona fide and spoof that fits their scores best, so that
another share of spoof does not count as a shift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.groups import Names
from detector.logistic import Bools, Indices
from detector.metrics import Floats
from detector.schema import BONAFIDE, LABELS, SPOOF

QUANTITIES = ("score", "entropy_bits", "ood", "seconds")
N_BINS = 20
N_GROUPS = 10  # the population stability index is usually taken over tenths
MAX_SOURCES = 20
MOVED, MOVED_FAR = 0.10, 0.25  # the limits in common use; Siddiqi, Credit Risk Scorecards, 2006
EM_STEPS = 1_000

Counts = dict[str, Indices]
"""Number of rows in each bin, by quantity."""


@dataclass(frozen=True)
class Shift:
    """Population stability index with its 95 % interval, less its expected value by chance; 0 is no shift."""

    value: float
    low: float
    high: float

    @property
    def word(self) -> str:
        """Verdict in words: the interval relative to the usual limits 0.10 and 0.25.

        Examples
        --------
        >>> Shift(0.01, 0.0, 0.02).word, Shift(0.2, 0.0, 0.9).word, Shift(0.4, 0.3, 0.5).word
        ('alike', 'too few to tell', 'moved far')
        """
        if self.high < MOVED:
            return "alike"
        if self.low > MOVED:
            return "moved far" if self.low > MOVED_FAR else "moved"
        return "too few to tell" if self.high - self.low > MOVED else "on the border"


def stability(found: Floats | Indices, expected: Floats | Indices) -> Shift | None:
    """Compare counts with expected counts.

    ```
    PSI = sum (p - q) ln(p / q)        p, q: shares of found and expected, half a row added to each bin
    ```

    For n found and m expected rows in k bins, the index is (k - 1) (1/n + 1/m) on average even without a shift; this is
    subtracted. The interval uses the delta method plus the variance of the chi-square, because the delta method alone
    gives no width where p equals q.

    Parameters
    ----------
    found, expected : arrays of shape (n_bins,)
        Counts. Expected ones need not be integers: a mixture is worth fewer rows than it is made of.

    Returns
    -------
    Shift or None
        None if there are no rows or fewer than two bins.

    References
    ----------
    Yurdakul and Naranjo, Statistical properties of the population stability index, Journal of Risk Model Validation
    14, 2020.

    Examples
    --------
    >>> shift = stability(np.array([2, 1, 1]) * 1e9, np.array([1, 1, 2]) * 1e9)
    >>> round(shift.value, 6), round(float(0.5 * np.log(2)), 6)  # (1/4) ln 2 twice
    (0.346574, 0.346574)
    """
    n, m, k = float(np.sum(found)), float(np.sum(expected)), len(found)
    if n <= 0.0 or m <= 0.0 or k < 2:
        return None
    p: Floats = (np.asarray(found, dtype=np.float64) + 0.5) / (n + k / 2)
    q: Floats = (np.asarray(expected, dtype=np.float64) + 0.5) / (m + k / 2)
    ratio = np.log(p / q)
    chance = (k - 1) * (1 / n + 1 / m)
    slopes = (_variance(ratio + 1 - q / p, p) / n, _variance(-ratio + 1 - p / q, q) / m)
    spread = 1.96 * float(np.sqrt(sum(slopes) + 2 * (k - 1) * (1 / n + 1 / m) ** 2))
    value = float(((p - q) * ratio).sum()) - chance
    return Shift(max(value, 0.0), max(value - spread, 0.0), max(value, 0.0) + spread)


@dataclass(frozen=True)
class Reference:
    """Counts of a head's calibration rows by class, quantity and bin, in total and by source.

    Parameters
    ----------
    edges : dict
        Inner edges of the bins of each quantity, rising: distinct twentieths of all calibration rows.
    rows : dict
        :data:`Counts` by class.
    sources : dict
        The same by source, for the :data:`MAX_SOURCES` largest.
    """

    edges: dict[str, Floats]
    rows: dict[str, Counts]
    sources: dict[str, dict[str, Counts]]

    @classmethod
    def of(cls, values: Mapping[str, Floats], is_bonafide: Bools, sources: Names | None = None) -> Reference:
        """Count rows.

        Parameters
        ----------
        values : mapping
            Float arrays of shape (n_rows,), for some of :data:`QUANTITIES`.
        is_bonafide : bool array of shape (n_rows,)
        sources : Names, optional
            Source of each row.

        Examples
        --------
        >>> reference = Reference.of({"ood": np.linspace(0, 1, 101)}, np.arange(101) % 2 == 0)
        >>> len(reference.edges["ood"]), int(reference.rows["bonafide"]["ood"].sum())
        (19, 51)
        """
        quantiles = np.arange(1, N_BINS) / N_BINS
        edges = {name: np.unique(np.quantile(column, quantiles)) for name, column in values.items()}

        def counted(chosen: Bools) -> dict[str, Counts]:
            return {
                label: {name: binned(column[chosen & of_class], edges[name]) for name, column in values.items()}
                for label, of_class in ((BONAFIDE, is_bonafide), (SPOOF, ~is_bonafide))
            }

        largest: dict[str, int] = {}
        if sources is not None:
            n_rows = np.bincount(sources.code[sources.code >= 0], minlength=len(sources.words))
            largest = {sources.words[place]: place for place in np.argsort(-n_rows, kind="stable")[:MAX_SOURCES]}
        by_source = {word: counted(sources.code == place) for word, place in largest.items()} if sources else {}
        return cls(edges, counted(np.ones(len(is_bonafide), dtype=bool)), by_source)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, as a head stores them."""
        return {
            "edges": {name: edges.tolist() for name, edges in self.edges.items()},
            "rows": _plain(self.rows),
            "sources": {name: _plain(rows) for name, rows in self.sources.items()},
        }

    @classmethod
    def from_dict(cls, content: Any) -> Reference | None:
        """Read what :meth:`to_dict` returned; None if a head has no such entry, or an inconsistent one."""
        try:
            edges = {str(name): np.array(each, dtype=np.float64) for name, each in content["edges"].items()}
            rows = _counts(content["rows"], edges)
            sources = {str(name): _counts(each, edges) for name, each in content["sources"].items()}
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
            return None
        rising = all(np.isfinite(each).all() and (np.diff(each) > 0).all() for each in edges.values())
        return cls(edges, rows, sources) if rising and "score" in edges else None

    def counted(self, values: Mapping[str, Floats]) -> Counts:
        """Count other rows in these bins; values that are not finite are ignored."""
        return {name: binned(values[name][np.isfinite(values[name])], edges) for name, edges in self.edges.items()}

    def of_source(self, source: str | None) -> dict[str, Counts]:
        """Counts by class of a known source, or of all calibration rows."""
        return self.rows if source is None else self.sources.get(source, self.rows)

    def n_rows(self, source: str | None = None) -> int:
        """Number of calibration rows, in total or of a source."""
        return sum(int(counts.sum()) for of_class in self.of_source(source).values() for counts in _first(of_class))

    def expected(self, found: Counts, source: str | None = None) -> dict[str, Floats]:
        """Compute the counts of each quantity that calibration rows with the same share of spoof would have.

        Parameters
        ----------
        found : Counts
            Counts of the rows to compare; their scores determine the mixture of the classes.
        source : str, optional
            Compare with this source only, if it is known.
        """
        of_class = self.of_source(source)
        share = spoof_share(found.get("score"), of_class)
        return {name: _mixture(of_class[BONAFIDE][name], of_class[SPOOF][name], share) for name in self.edges}

    def shifts(self, found: Counts, source: str | None = None) -> dict[str, Shift | None]:
        """Compute the shift of each quantity, over about tenths of the expected counts."""
        expected = self.expected(found, source)
        shifts = {}
        for name, counts in expected.items():
            group = _groups(counts)
            shifts[name] = stability(np.bincount(group, found[name]), np.bincount(group, counts))
        return shifts

    def mix_shift(self, n_rows: Mapping[str, int]) -> Shift | None:
        """Compute the shift of the mix of sources; None if no source is known from the calibration rows."""
        if not set(n_rows) & set(self.sources):
            return None
        known = [self.n_rows(name) for name in self.sources]
        found = [n_rows.get(name, 0) for name in self.sources]
        others = (sum(n_rows.values()) - sum(found), self.n_rows() - sum(known))
        return stability(np.array([*found, others[0]]), np.array([*known, others[1]]))


def binned(values: Floats, edges: Floats) -> Indices:
    """Count values by bin: int64 array of shape (n_edges + 1,); a value at an edge belongs to the bin above.

    Examples
    --------
    >>> binned(np.array([0.0, 1.0, 5.0]), np.array([1.0, 2.0])).tolist()
    [1, 1, 1]
    """
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).astype(np.int64)


def quantile(counts: Floats | Indices, edges: Floats, share: float = 0.5) -> float | None:
    """Estimate a quantile from counts, interpolated within bins and limited to the outermost edges.

    Examples
    --------
    >>> quantile(np.array([0, 4, 4, 0]), np.array([0.0, 1.0, 2.0]))
    1.0
    """
    if not np.sum(counts) or not len(edges):
        return None
    below = np.asarray(np.cumsum(counts)[:-1] / np.sum(counts), dtype=np.float64)
    return float(np.interp(share, below, edges))


def spoof_share(found: Indices | None, of_class: Mapping[str, Counts]) -> float:
    """Estimate the share of spoof whose mixture fits the scores best; 0 or 1 if only one class is known.

    References
    ----------
    As for :func:`detector.prior.estimated_prior`, on bins.
    """
    sizes = [sum(int(counts.sum()) for counts in _first(of_class[label])) for label in LABELS]
    if not all(sizes) or found is None or not found.sum():
        return sizes[1] / max(sum(sizes), 1)
    bonafide, spoof = (
        (of_class[label]["score"] + 0.5) / (size + len(found) / 2) for label, size in zip(LABELS, sizes, strict=True)
    )
    share = 0.5
    for _ in range(EM_STEPS):
        before = share
        share = float(np.average(share * spoof / (share * spoof + (1 - share) * bonafide), weights=found))
        if abs(share - before) < 1e-9:
            break
    return share


def _mixture(bonafide: Indices, spoof: Indices, share: float) -> Floats:
    """Expected counts, scaled to the size of a single sample with the same variance."""
    n_bonafide, n_spoof = bonafide.sum(), spoof.sum()
    if not n_bonafide or not n_spoof:
        return np.asarray(bonafide + spoof, dtype=np.float64)
    shares = (1 - share) * bonafide / n_bonafide + share * spoof / n_spoof
    return np.asarray(shares / ((1 - share) ** 2 / n_bonafide + share**2 / n_spoof))


def _groups(expected: Floats) -> Indices:
    """Group of every bin: adjacent bins are joined until each group is expected to hold a tenth of the rows."""
    shares = expected / max(float(expected.sum()), 1e-300)
    least = 1 / N_GROUPS - 1e-9
    group = np.zeros(len(shares), dtype=np.int64)
    held, left = 0.0, 1.0
    for place, share in enumerate(shares):
        is_full = held >= least and left >= least
        group[place] = (group[place - 1] if place else 0) + is_full
        held = float(share) + (0.0 if is_full else held)
        left -= float(share)
    # if one bin holds nearly all rows (recordings of equal length), all bins stay separate
    return group if group.any() else np.arange(len(shares))


def _variance(values: Floats, shares: Floats) -> float:
    return float((shares * values**2).sum() - (shares * values).sum() ** 2)


def _first(counts: Counts) -> list[Indices]:
    return [next(iter(counts.values()))] if counts else []


def _plain(rows: dict[str, Counts]) -> dict[str, dict[str, list[int]]]:
    return {label: {name: each.tolist() for name, each in counts.items()} for label, counts in rows.items()}


def _counts(content: Any, edges: dict[str, Floats]) -> dict[str, Counts]:
    found = {label: {name: np.array(content[label][name], dtype=np.int64) for name in edges} for label in LABELS}
    for counts in found.values():
        if any(each.shape != (len(edges[name]) + 1,) or (each < 0).any() for name, each in counts.items()):
            raise ValueError("counts do not match their bins")
    return found
