"""Figures of several heads on the same trials, with intervals, as Markdown; and their risk-coverage curve as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.metrics import Floats, equal_error_rate, intervals, selective
from detector.metrics.intervals import quantile_range
from detector.metrics.resampling import N_DRAWS, SEED, measure_draws
from detector.metrics.trials import Trials

COLOURS = ("#0b6e4f", "#d1495b", "#8d6a9f", "#e09f3e", "#5c6b73", "#2f6690")
COVERAGES = (1.0, 0.8, 0.6, 0.4, 0.2, 0.1)
WITH_INTERVAL = {
    "equal_error_rate": ("EER, %", 100.0, ".1f"),
    "expected_calibration_error": ("ECE, %", 100.0, ".1f"),
    "cllr": ("Cllr, bits", 1.0, ".3f"),
    "area_under_risk_coverage": ("AURC, %", 100.0, ".1f"),
}


@dataclass(frozen=True)
class Judged:
    """The trials of one split, by head, all in the same order, and what is known of each trial.

    Parameters
    ----------
    split : str
    trials : mapping of str to Trials
        The starter's first.
    facts : mapping of str to array of shape (n,)
        `system`, `source` and `page` of each trial.
    """

    split: str
    trials: Mapping[str, Trials]
    facts: Mapping[str, npt.NDArray[np.str_]]


def figures(judged: Judged) -> str:
    """Table of the metrics of every head: a column each."""
    found = {name: intervals(trials) for name, trials in judged.trials.items()}
    lines = [_row(f"`{judged.split}`", list(judged.trials)), _rule(len(judged.trials))]
    for metric, (title, unit, form) in WITH_INTERVAL.items():
        cells = [
            _interval(each[metric].value, each[metric].low, each[metric].high, unit, form) for each in found.values()
        ]
        lines.append(_row(title, cells))
    if judged.split == "pages":
        lines.append(_row("EER, mean of the pages, %", [_interval(*by_page(judged, name)) for name in judged.trials]))
        for page in np.unique(judged.facts["page"]):
            here = judged.facts["page"] == page
            cells = [f"{100 * _eer(trials[here]):.1f}" for trials in judged.trials.values()]
            lines.append(_row(f"EER, page {page}, %", cells))
    for coverage in COVERAGES:
        cells = [f"{100 * _risk(trials, coverage):.1f}" for trials in judged.trials.values()]
        lines.append(_row(f"wrong among the most certain {coverage:.0%}, %", cells))
    lines.append(_row("kept, %", [f"{100 * trials.kept.mean():.1f}" for trials in judged.trials.values()]))
    lines.append(_row("spoof rows flagged, %; wrong among the flagged, %", map(_flagged, judged.trials.values())))
    return "\n".join(lines)


def differences(judged: Judged, reference: str) -> str:
    """Table of the EER of every other head less that of the reference, on the same draws."""
    lines = [f"| EER less that of {reference}, points | `{judged.split}` |", "| --- | --- |"]
    for name, trials in judged.trials.items():
        if name != reference:
            value = 100 * (_eer(trials) - _eer(judged.trials[reference]))
            of_head, of_reference = _draws(trials, judged.trials[reference])
            low, high = quantile_range(100 * (of_head - of_reference), 0.95, trials.n_clusters)
            lines.append(f"| {name} | {value:+.1f} ({low:+.1f} to {high:+.1f}) |")
            if judged.split == "pages":
                lines.append(f"| {name}, mean of the pages | {_page_difference(judged, name, reference)} |")
    return "\n".join(lines)


def groups(judged: Judged, head: str) -> str:
    """Table of systems and sources: how the head judges each."""
    trials = judged.trials[head]
    lines = [
        f"| `{judged.split}`: system or source | recordings | EER against the other class | called wrong | rejected |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind, of_class in (("system", trials.is_spoof), ("source", ~trials.is_spoof)):
        for name in np.unique(judged.facts[kind][of_class]):
            here = of_class & (judged.facts[kind] == name)
            against = _eer(trials[here | (trials.is_spoof != trials.is_spoof[here][0])])
            wrong, rejected = int(trials.wrong[here].sum()), int((~trials.kept[here]).sum())
            lines.append(f"| {name} | {here.sum()} | {100 * against:.0f} | {wrong} | {rejected} |")
    return "\n".join(lines)


def by_page(judged: Judged, name: str) -> tuple[float, float, float]:
    """Mean over the pages of the EER on each, and its interval, as shares."""
    (drawn,) = _page_draws(judged, name)
    low, high = quantile_range(drawn, 0.95, judged.trials[name].n_clusters)
    return _page_mean(judged, judged.trials[name]), low, high


def chart(splits: list[Judged]) -> str:
    """Risk against coverage as SVG: a panel for each split, a line for each head."""
    panels = "".join(_panel(judged, 40 + 380 * number) for number, judged in enumerate(splits)) + _legend(splits[0])
    width = 60 + 380 * len(splits)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 300" font-family="sans-serif" font-size="12">'
        f'<rect width="{width}" height="300" fill="white"/>{panels}</svg>\n'
    )


def _panel(judged: Judged, left: float) -> str:
    """One split: coverage from 0.1 to 1 to the right, risk from 0 to 60 % upwards."""

    def at(coverage: float, risk: float) -> str:
        return f"{left + 10 + 320 * (coverage - 0.1) / 0.9:.1f},{250 - 220 * min(risk, 0.6) / 0.6:.1f}"

    parts = [f'<text x="{left + 10}" y="18" font-weight="bold">{judged.split}: wrong among the kept</text>']
    for risk in (0.0, 0.2, 0.4, 0.6):
        y = 250 - 220 * risk / 0.6
        parts.append(
            f'<path d="M{left + 10} {y:.0f}h320" stroke="#ddd"/><text x="{left - 25}" y="{y + 4:.0f}">{risk:.0%}</text>'
        )
    for coverage in (0.1, 0.4, 0.7, 1.0):
        parts.append(f'<text x="{at(coverage, 0.0).split(",")[0]}" y="268" text-anchor="middle">{coverage:.0%}</text>')
    parts.append(f'<text x="{left + 90}" y="288">kept, the most certain first</text>')
    for number, trials in enumerate(judged.trials.values()):
        points = " ".join(at(coverage, _risk(trials, coverage)) for coverage in np.linspace(0.1, 1.0, 46))
        colour = COLOURS[number]
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{3 if number == 0 else 1.5}"/>'
        )
    return "".join(parts)


def _legend(judged: Judged) -> str:
    """Names of the heads in their colours, where the first panel has room."""
    return "".join(
        f'<text x="265" y="{180 + 13 * number}" fill="{COLOURS[number]}">{name}</text>'
        for number, name in enumerate(judged.trials)
    )


def flagged(trials: Trials) -> tuple[float, float]:
    """Share of spoof rows that are kept and called spoof; and of all rows so flagged the share that is bona fide."""
    flags = trials.kept & (trials.wrong != trials.is_spoof)
    return float(flags[trials.is_spoof].mean()), float((~trials.is_spoof[flags]).mean()) if flags.any() else 0.0


def _flagged(trials: Trials) -> str:
    share, wrong = flagged(trials)
    return f"{100 * share:.1f}; {100 * wrong:.1f}"


def _eer(trials: Trials) -> float:
    return equal_error_rate(trials.score[~trials.is_spoof], trials.score[trials.is_spoof])


def _risk(trials: Trials, coverage: float) -> float:
    return selective.risk_at_coverage(trials.uncertainty, trials.wrong, coverage)


def _draws(*heads: Trials) -> Floats:
    return np.stack([each["equal_error_rate"] for each in measure_draws(heads, N_DRAWS, SEED)])


def _pages(judged: Judged, trials: Trials) -> list[Trials]:
    pages = judged.facts["page"]
    return [trials[pages == page] for page in np.unique(pages)]


def _page_mean(judged: Judged, trials: Trials) -> float:
    return float(np.mean([_eer(each) for each in _pages(judged, trials)]))


def _page_draws(judged: Judged, *names: str) -> Floats:
    pages = zip(*(_pages(judged, judged.trials[name]) for name in names), strict=True)
    return np.asarray(np.mean([_draws(*heads) for heads in pages], axis=0))


def _page_difference(judged: Judged, name: str, reference: str) -> str:
    value = _page_mean(judged, judged.trials[name]) - _page_mean(judged, judged.trials[reference])
    of_head, of_reference = _page_draws(judged, name, reference)
    low, high = quantile_range(of_head - of_reference, 0.95, judged.trials[name].n_clusters)
    return f"{100 * value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _interval(value: float, low: float, high: float, unit: float = 100.0, form: str = ".1f") -> str:
    return f"{unit * value:{form}} ({unit * low:{form}} to {unit * high:{form}})"


def _row(title: str, cells: Any) -> str:
    return f"| {title} | {' | '.join(cells)} |"


def _rule(n_columns: int) -> str:
    return "| --- " * (1 + n_columns) + "|"
