"""Attribution, fitted: chosen and measured on rows whose source or system was left out.

Three kinds of rows are left out in turn, because a system is easily told by what is not its own:

```
a source, or a speaker     its rows are named by systems that were learnt on others   accuracy, and the way to choose
a system                   its rows should be named by none                           threshold
some systems together      their rows should be alike within a system only            when recordings are alike
```
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from detector.attribution import COSINE, SIMILARITIES, UNKNOWN_SYSTEM, Attribution, unit
from detector.groups import Codes, Names
from detector.logistic import Bools, Indices
from detector.metrics import Floats, Interval, balanced_share, open_set_auroc, threshold_of_rate
from detector.training.systems import MAX_DIRECTIONS, Learner, Spoken

N_FOLDS = 10
DIRECTIONS = (MAX_DIRECTIONS, 0)  # nuisance directions that are tried
N_PARTS = 5  # of systems, for when recordings are alike
ROWS_OF_PAIRS = 50  # of a system
NOT_ALIKE = 0.01  # share of the pairs of two systems that are called alike


@dataclass(frozen=True)
class Tried:
    """A way to tell systems apart, and what it gives on rows that were left out.

    `said` and `nearness` are of rows whose source was left out, `unheard` of rows whose system was; -1 and NaN for
    rows that have no such.
    """

    similarity: str
    n_directions: int
    threshold: float
    said: Indices
    nearness: Floats
    unheard: Floats

    def is_right(self, rows: Spoken) -> Bools:
        """Rows whose nearest system is their own."""
        return np.asarray((self.said >= 0) & (self.said == rows.system))

    def rightly_named(self, rows: Spoken) -> Bools:
        """Rows whose nearest system is their own, and near enough for its name."""
        return np.asarray(self.is_right(rows) & (self.nearness > self.threshold))


def folds_of_places(rows: Spoken) -> Codes:
    """Fold of each row by its place: -1 where it has none. Places of one system are in several folds."""
    first = np.full(len(rows.places), len(rows.systems), dtype=np.int64)
    for system, place in zip(rows.system.tolist(), rows.place.tolist(), strict=True):
        if place >= 0 and system >= 0:
            first[place] = min(first[place], system)
    order = sorted(range(len(rows.places)), key=lambda number: (first[number], rows.places[number]))
    fold = np.full(len(rows.places) + 1, -1, dtype=np.int64)  # the last is for -1
    fold[order] = np.arange(len(order)) % N_FOLDS
    return fold[rows.place]


def n_spaces(rows: Spoken) -> int:
    """Return the number of spaces that :func:`fit_attribution` learns with something left out, which takes its time."""
    n_folds = len(_measured_folds(rows, folds_of_places(rows)))
    return len(DIRECTIONS) * (n_folds + len(rows.systems)) + _n_parts(rows)


def tried_ways(rows: Spoken, rate: float, on_learnt: Callable[[], object]) -> Iterator[Tried]:
    """Try with and without nuisance directions, by both similarities; call back after each space that is learnt."""
    fold = folds_of_places(rows)
    for n_directions in DIRECTIONS:
        learner, n_rows = Learner(rows, n_directions), len(rows.system)
        said = {each: np.full(n_rows, -1) for each in SIMILARITIES}
        nearness, unheard = ({each: np.full(n_rows, np.nan) for each in SIMILARITIES} for _ in range(2))
        for number in _measured_folds(rows, fold):
            space, held = learner.without_rows(fold == number), rows.named & (fold == number)
            for each in SIMILARITIES:
                said[each][held], nearness[each][held] = space.nearest(rows.standardised[held], each)
            on_learnt()
        for number in range(len(rows.systems)):
            space, held = learner.without_systems(np.array([number])), rows.system == number
            for each in SIMILARITIES:
                unheard[each][held] = space.nearest(rows.standardised[held], each)[1]
            on_learnt()
        for each in SIMILARITIES:
            threshold = threshold_of_rate(unheard[each][rows.named], rows.system[rows.named], rate)
            yield Tried(each, n_directions, threshold, said[each], nearness[each], unheard[each])


def _measured_folds(rows: Spoken, fold: Codes) -> Codes:
    """Folds that have a row which can be named."""
    return np.unique(fold[(fold >= 0) & rows.named])


def _n_parts(rows: Spoken) -> int:
    """Parts of the systems that are left out in turn; 0 if these are too few."""
    n_parts = min(N_PARTS, len(rows.systems) // 2)
    return n_parts if n_parts > 1 else 0


def nearest_row(rows: Spoken, fold: Codes) -> Indices:
    """System of the nearest row of the other folds, by the cosine of standardised embeddings: the baseline."""
    vectors, said = unit(rows.standardised).astype(np.float32), np.full(len(rows.system), -1)
    for number in _measured_folds(rows, fold):
        held, others = np.flatnonzero(rows.named & (fold == number)), np.flatnonzero(rows.named & (fold != number))
        for some in np.array_split(held, max(1, len(held) // 1_024)):
            said[some] = rows.system[others[(vectors[some] @ vectors[others].T).argmax(axis=1)]]
    return said


def alike_from(
    rows: Spoken, n_directions: int, on_learnt: Callable[[], object]
) -> tuple[float | None, dict[str, float] | None]:
    """Choose the cosine above which two recordings of unknown systems are alike; None with fewer than 4 systems.

    Returns
    -------
    float or None
    dict or None
        `pairs_of_two_systems` and `pairs_of_one_system`: shares of pairs that are above it, the mean over systems.
    """
    n_parts = _n_parts(rows)
    if not n_parts:
        return None, None
    learner = Learner(rows, n_directions)
    within, between = [], []
    for part in range(n_parts):
        left_out = np.arange(part, len(rows.systems), n_parts)
        space = learner.without_systems(left_out).attribution(COSINE)
        some = np.concatenate([np.flatnonzero(rows.system == each)[:ROWS_OF_PAIRS] for each in left_out])
        vectors, system = unit(space.coordinates(rows.standardised[some])), rows.system[some]
        first, second = np.triu_indices(len(some), 1)
        cosine, same = (vectors @ vectors.T)[first, second], system[first] == system[second]
        within.append(np.column_stack([cosine[same], system[first][same]]))
        between.append(np.column_stack([cosine[~same], system[first][~same]]))
        on_learnt()
    of_one, of_two = np.concatenate(within), np.concatenate(between)
    threshold = threshold_of_rate(of_two[:, 0], of_two[:, 1].astype(np.int64), NOT_ALIKE)
    shares = {
        name: balanced_share(
            pairs[:, 0] > threshold, pairs[:, 1].astype(np.int64), np.zeros(len(pairs), dtype=int)
        ).value
        for name, pairs in (("pairs_of_two_systems", of_two), ("pairs_of_one_system", of_one))
    }
    return threshold, shares


def fit_attribution(
    standardised: Floats,
    is_bonafide: Bools,
    names: Mapping[str, Names],
    rate: float,
    on_learnt: Callable[[], object] = lambda: None,
) -> tuple[Attribution, dict[str, Any]]:
    """Choose how to tell systems apart, learn it on all rows, and measure it on rows that were left out.

    Parameters
    ----------
    standardised : float64 array of shape (n, dim)
        Embeddings as a head standardises them.
    is_bonafide : bool array of shape (n,)
    names : mapping
        Names of the rows under the keys `system`, `source` and `speaker`.
    rate : float
        Share of the rows of a system that was not heard which may get a name, in (0, 1).
    on_learnt : callable
        Called after each of :func:`n_spaces` spaces.

    Returns
    -------
    Attribution
    dict
        What was tried and measured, for the report.

    Raises
    ------
    ConfigError
        If too few systems can be told apart.
    """
    rows = Spoken.of(standardised, is_bonafide, names)
    ways = list(tried_ways(rows, rate, on_learnt))
    best = choose(ways, rows)
    alike, pairs = alike_from(rows, best.n_directions, on_learnt)
    whole = Learner(rows, best.n_directions).without_systems(np.empty(0, dtype=np.int64)).attribution(best.similarity)
    found = replace(whole, systems=rows.systems, threshold=best.threshold, alike=alike, false_attribution=rate)
    tried = [
        {"similarity": way.similarity, "directions": way.n_directions}
        | {"nearest": _plain(over_places(way.is_right(rows), way, rows))}
        | {"rightly_named": _plain(over_places(way.rightly_named(rows), way, rows))}
        for way in ways
    ]
    return found, measured(rows, best, rate) | {"alike": alike, "pairs": pairs, "tried": tried}


def choose(ways: Sequence[Tried], rows: Spoken) -> Tried:
    """Choose the way that names most rows rightly, among those that find the nearest system as well as any does.

    As well is within one standard error, over sources, of the best.
    """
    nearest = [over_places(way.is_right(rows), way, rows) for way in ways]
    if np.isnan(nearest[0].value):
        return ways[0]  # no row was left out
    best = max(nearest, key=lambda each: each.value)
    least = best.value - (best.high - best.low) / (2.0 * 1.96)
    as_good = [way for way, each in zip(ways, nearest, strict=True) if each.value >= least]
    return max(as_good, key=lambda way: over_places(way.rightly_named(rows), way, rows).value)


def over_places(chosen: Bools, way: Tried, rows: Spoken) -> Interval:
    """The mean over systems of the share of left-out rows that are chosen; NaN if no row was left out."""
    held = way.said >= 0
    return balanced_share(chosen[held], rows.system[held], rows.place[held])


def measured(rows: Spoken, way: Tried, rate: float) -> dict[str, Any]:
    """Measure a way on the rows that were left out.

    Returns
    -------
    dict
        `nearest`, the share of rows whose nearest system is their own although their source was left out, beside
        `nearest_row`, the same by the nearest row, and `chance`; `rightly_named` and `wrongly_named` of the same rows,
        above the threshold; `false_attribution` of rows whose system was left out, by the threshold of the other
        systems; `auroc` of the two kinds of rows. Each is a mean over systems, with its interval over sources or
        systems, or None if no row was left out. `confusion` counts rows by system and name.
    """
    held = way.said >= 0
    baseline = nearest_row(rows, folds_of_places(rows))

    def share(chosen: Bools) -> dict[str, float] | None:
        return _plain(over_places(chosen, way, rows))

    right = way.rightly_named(rows)
    of_system = _crossed(way, rows, rate)
    auroc = open_set_auroc(way.nearness[held], rows.system[held], way.unheard[rows.named], rows.system[rows.named])
    return {
        "similarity": way.similarity,
        "directions": way.n_directions,
        "threshold": way.threshold,
        "asked_false_attribution": rate,
        "systems": len(rows.systems),
        "rows": int(rows.named.sum()),
        "systems_measured": len(np.unique(rows.system[held])),
        "rows_measured": int(held.sum()),
        "places": len(np.unique(rows.place[held])),
        "left_out_by": "source, or speaker of a system with one source",
        "chance": 1.0 / len(rows.systems),
        "nearest": share(way.is_right(rows)),
        "nearest_row": share(baseline == rows.system),
        "rightly_named": share(right),
        "wrongly_named": share((way.nearness > way.threshold) & ~right),
        "false_attribution": _plain(balanced_share(of_system, rows.system[rows.named])),
        "false_attribution_of": _by_system(of_system, rows),
        "auroc": _plain(auroc),
        "confusion": _confusion(rows, way),
    }


def _plain(interval: Interval) -> dict[str, float] | None:
    return None if np.isnan(interval.value) else asdict(interval)


def _crossed(way: Tried, rows: Spoken, rate: float) -> Bools:
    """Named rows of each system that was left out, by the threshold that the other systems choose."""
    similarity, system = way.unheard[rows.named], rows.system[rows.named]
    named = np.zeros(len(system), dtype=bool)
    for number in range(len(rows.systems)):
        own = system == number
        named[own] = similarity[own] > threshold_of_rate(similarity[~own], system[~own], rate)
    return named


def _by_system(named: Bools, rows: Spoken) -> dict[str, float]:
    system = rows.system[rows.named]
    return {name: float(named[system == number].mean()) for number, name in enumerate(rows.systems)}


def _confusion(rows: Spoken, way: Tried) -> dict[str, dict[str, int]]:
    """Count the rows whose source was left out, by system and by the name that they get."""
    names = (*rows.systems, UNKNOWN_SYSTEM)
    said = np.where(way.nearness > way.threshold, way.said, -1)
    found: dict[str, Counter[str]] = {}
    for system, name in zip(rows.system[way.said >= 0].tolist(), said[way.said >= 0].tolist(), strict=True):
        found.setdefault(names[system], Counter())[names[name]] += 1
    return {name: dict(counts.most_common()) for name, counts in sorted(found.items())}
