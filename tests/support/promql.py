"""PromQL, as much of it as the shipped alerts use, evaluated as Prometheus documents it.

Samples are looked back for five minutes, a series that vanishes from a scrape is stale from then on, ranges are open at
their beginning, and `increase` and `rate` extrapolate (Prometheus 3, `promql/functions.go`, `extrapolatedRate`).
"""

from __future__ import annotations

import math
import operator
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import promql_parser as parser

LOOKBACK = 300.0  # seconds

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Value = float | Vector

ARITHMETIC: dict[str, Callable[[float, float], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a / b if b else math.nan if not a else math.copysign(math.inf, a),
}
COMPARISONS: dict[str, Callable[[float, float], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
MATCHES: dict[str, Callable[[str, str], bool]] = {
    "Equal": operator.eq,
    "NotEqual": operator.ne,
    "Re": lambda value, pattern: bool(re.fullmatch(pattern, value)),
    "NotRe": lambda value, pattern: not re.fullmatch(pattern, value),
}


@dataclass
class Series:
    """Times and values of a series, and the times at which it was found to be gone."""

    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    stale: list[float] = field(default_factory=list)

    def since(self, start: float, end: float) -> tuple[list[float], list[float]]:
        """Return times and values after the start, until the end."""
        first, last = bisect_right(self.times, start), bisect_right(self.times, end)
        return self.times[first:last], self.values[first:last]


class Samples:
    """Series of samples, by their labels; the metric's name is the label `__name__`."""

    def __init__(self) -> None:
        self._series: dict[Labels, Series] = defaultdict(Series)
        self._last: dict[str, set[Labels]] = defaultdict(set)

    def scrape(self, target: str, time: float, found: Mapping[Labels, float]) -> None:
        """Add the answer of a target; its series that are not in there become stale."""
        for labels in self._last[target] - found.keys():
            self._series[labels].stale.append(time)
        for labels, value in found.items():
            series = self._series[labels]
            series.times.append(time)
            series.values.append(value)
        self._last[target] = set(found)

    def at(self, selector: Any, time: float) -> Vector:
        """Return the last value of each series that a selector chooses."""
        time -= seconds(selector.offset)
        found = {}
        for labels, series in self._chosen(selector):
            times, values = series.since(time - LOOKBACK, time)
            if values and bisect_right(series.stale, times[-1]) == bisect_right(series.stale, time):
                found[labels] = values[-1]
        return found

    def within(self, selector: Any, time: float) -> dict[Labels, tuple[list[float], list[float]]]:
        """Return times and values of each series in a range, without staleness."""
        end = time - seconds(selector.vector_selector.offset)
        start = end - seconds(selector.range)
        found = {labels: series.since(start, end) for labels, series in self._chosen(selector.vector_selector)}
        return {labels: part for labels, part in found.items() if part[0]}

    def _chosen(self, selector: Any) -> list[tuple[Labels, Series]]:
        wanted = [
            (each.name, MATCHES[str(each.op).rpartition(".")[2]], each.value) for each in selector.matchers.matchers
        ]
        wanted.append(("__name__", operator.eq, selector.name))
        return [
            (labels, series)
            for labels, series in self._series.items()
            if all(matches(dict(labels).get(name, ""), value) for name, matches, value in wanted)
        ]


def evaluate(expression: str | Any, samples: Samples, time: float) -> Value:
    """Return the value of an expression at a time: a number, or one for each set of labels."""
    tree = parser.parse(expression) if isinstance(expression, str) else expression
    kind = type(tree).__name__
    if kind == "NumberLiteral":
        return float(tree.val)
    if kind == "ParenExpr":
        return evaluate(tree.expr, samples, time)
    if kind == "VectorSelector":
        return samples.at(tree, time)
    if kind == "Call":
        return _called(tree, samples, time)
    if kind == "AggregateExpr":
        return _aggregated(tree, _vector(evaluate(tree.expr, samples, time)))
    if kind == "BinaryExpr":
        return _combined(tree, evaluate(tree.lhs, samples, time), evaluate(tree.rhs, samples, time))
    raise NotImplementedError(kind)


def firing(rule: Mapping[str, Any], samples: Samples, moments: Iterable[float]) -> dict[float, Vector]:
    """Return what a rule fires at each of the moments at which it is evaluated, where it does.

    As Prometheus does, an element has to be there at each moment for as long as the rule's `for` says.
    """
    tree = parser.parse(rule["expr"])
    patience = seconds(parser.parse_duration(rule["for"])) if "for" in rule else 0.0
    since: dict[Labels, float] = {}
    fired: dict[float, Vector] = {}
    for moment in moments:
        found = {without_name(labels): value for labels, value in _vector(evaluate(tree, samples, moment)).items()}
        since = {labels: since.get(labels, moment) for labels in found}
        if due := {labels: value for labels, value in found.items() if moment - since[labels] >= patience}:
            fired[moment] = due
    return fired


def seconds(duration: timedelta | None) -> float:
    """Return a duration in seconds; none is 0."""
    return 0.0 if duration is None else duration.total_seconds()


def without_name(labels: Labels) -> Labels:
    """Return labels without the metric's name, as every function and operator leaves them."""
    return frozenset(each for each in labels if each[0] != "__name__")


def _vector(value: Value) -> Vector:
    assert isinstance(value, dict), value
    return value


def _called(call: Any, samples: Samples, time: float) -> Value:
    name, (*arguments,) = call.func.name, call.args
    if name == "time":
        return float(time)
    (argument,) = arguments
    if name == "absent_over_time":
        wanted = argument.vector_selector.matchers.matchers
        labels = frozenset((each.name, each.value) for each in wanted if str(each.op) == "MatchOp.Equal")
        return {} if samples.within(argument, time) else {labels: 1.0}
    results = {}
    for labels, (times, values) in samples.within(argument, time).items():
        end = time - seconds(argument.vector_selector.offset)
        result = RANGES[name](times, values, end - seconds(argument.range), end)
        if result is not None:
            results[without_name(labels)] = result
    return results


def _increase(times: list[float], values: list[float], start: float, end: float) -> float | None:
    if len(values) < 2:
        return None
    result = values[-1] - values[0] + sum(before for before, after in pairwise(values) if after < before)
    span = times[-1] - times[0]
    apart = span / (len(values) - 1)
    to_start, to_end = times[0] - start, end - times[-1]
    if to_start >= 1.1 * apart:
        to_start = apart / 2
    if result > 0 and values[0] >= 0:
        to_start = min(to_start, span * values[0] / result)  # a counter is extrapolated to no less than 0
    if to_end >= 1.1 * apart:
        to_end = apart / 2
    return result * (span + to_start + to_end) / span


def _rate(times: list[float], values: list[float], start: float, end: float) -> float | None:
    grown = _increase(times, values, start, end)
    return None if grown is None else grown / (end - start)


RANGES: dict[str, Callable[[list[float], list[float], float, float], float | None]] = {
    "increase": _increase,
    "rate": _rate,
    "max_over_time": lambda _times, values, _start, _end: max(values),
    "changes": lambda _times, values, _start, _end: float(sum(before != after for before, after in pairwise(values))),
}


def _aggregated(tree: Any, vector: Vector) -> Vector:
    groups: dict[Labels, list[float]] = defaultdict(list)
    for labels, value in vector.items():
        groups[_only(labels, tree.modifier)].append(value)
    function = {"sum": math.fsum, "max": max}[str(tree.op)]
    return {labels: float(function(values)) for labels, values in groups.items()}


def _only(labels: Labels, modifier: Any) -> Labels:
    """Return the labels that a group has (`by`, or none), or that two sides have to have in common (`on`, or all)."""
    assert modifier is None or str(modifier.type).endswith((".By", ".Include")), "without and ignoring are not done"
    return frozenset(each for each in labels if modifier is not None and each[0] in modifier.labels)


def _combined(tree: Any, left: Value, right: Value) -> Value:
    sign = str(tree.op)
    if sign in ("and", "or", "unless"):
        return _chosen_of(sign, tree, _vector(left), _vector(right))
    if isinstance(left, float) and isinstance(right, float):
        return float(ARITHMETIC[sign](left, right))
    pairs = _pairs(tree, left, right)
    if sign in COMPARISONS:  # a comparison keeps the vector's side, its name included
        kept = 0 if isinstance(left, dict) else 1
        return {labels: pair[kept] for labels, pair in pairs.items() if COMPARISONS[sign](*pair)}
    return {without_name(labels): ARITHMETIC[sign](*pair) for labels, pair in pairs.items()}


def _pairs(tree: Any, left: Value, right: Value) -> dict[Labels, tuple[float, float]]:
    if isinstance(left, float):
        return {labels: (left, value) for labels, value in _vector(right).items()}
    if isinstance(right, float):
        return {labels: (value, right) for labels, value in left.items()}
    others = {_key(tree, labels): value for labels, value in right.items()}
    assert len(others) == len(right), "many to many"
    keys = {labels: _key(tree, labels) for labels in left}
    assert len(set(keys.values())) == len(keys), "many to one"
    return {labels: (left[labels], others[key]) for labels, key in keys.items() if key in others}


def _chosen_of(sign: str, tree: Any, left: Vector, right: Vector) -> Vector:
    here, there = ({_key(tree, labels) for labels in each} for each in (left, right))
    if sign == "or":
        return left | {labels: value for labels, value in right.items() if _key(tree, labels) not in here}
    return {labels: value for labels, value in left.items() if (_key(tree, labels) in there) == (sign == "and")}


def _key(tree: Any, labels: Labels) -> Labels:
    matching = tree.modifier and tree.modifier.matching
    return _only(labels, matching) if matching else without_name(labels)
