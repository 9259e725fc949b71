"""Charts of the nightly page: counts and shares by run, and the distributions that the drift compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobs.reports.charts import HEIGHT, LEFT, RIGHT, WIDTH, Axis, Chart, NamedAxis, across, round_top, up
from jobs.reports.nightly.history import shares

QUANTITIES = {
    "score": ("Score", "score in nats, higher is more bona fide"),
    "entropy_bits": ("Entropy", "entropy in bits, 1 is a coin"),
    "ood": ("ood", "ood: quantile of the training distances"),
    "seconds": ("Duration", "length in seconds"),
}
"""Titles and axis names of the quantities whose drift is measured."""

SHARES = {
    "spoof": ("Flagged as spoof", "Share accepted as spoof, of all recordings of the run."),
    "rejected": ("Rejected", "Share that the head abstains on."),
    "failed": ("Failed", "Share that could not be read, decoded or embedded."),
}
MIN_RUNS = 5  # that the axis leaves room for
MAX_EDGE_NAMES = 5


def recordings_chart(runs: list[dict[str, Any]]) -> Chart:
    """Draw the number of recordings of each run; the last run is at 0."""
    counts = [run["recordings"] for run in runs]
    chart = Chart(
        "New recordings",
        "Recordings that a run found new, scored or failed.",
        _runs_axis(len(runs)),
        up(0.0, round_top(counts, 1.0), whole=True),
        "runs before this one",
        "recordings",
    )
    _add_bars(chart, runs, counts, [f"{n:,.0f}" for n in counts])
    return chart


def share_chart(name: str, runs: list[dict[str, Any]], percent: Callable[[float], str]) -> Chart:
    """Draw one of :data:`SHARES` for each run."""
    title, about = SHARES[name]
    values = [shares(run).get(name, 0.0) for run in runs]
    chart = Chart(
        title,
        about,
        _runs_axis(len(runs)),
        up(0.0, round_top(values, 0.01), percent=True),
        "runs before this one",
        "share",
    )
    texts = [f"{percent(value)}, {run[name]}" for run, value in zip(runs, values, strict=True)]
    _add_bars(chart, runs, values, texts)
    return chart


def _runs_axis(n_runs: int) -> Axis:
    return across(-max(n_runs, MIN_RUNS) + 0.5, 0.5, whole=True)


def _add_bars(chart: Chart, runs: list[dict[str, Any]], values: list[float], texts: list[str]) -> None:
    for place, (run, value, text) in enumerate(zip(runs, values, texts, strict=True), start=1 - len(runs)):
        chart.bar(place - 0.5, place + 0.5, value, "before" if place else "this-run", f"{run['run_id']}: {text}")


def drift_chart(name: str, picture: dict[str, Any], percent: Callable[[float], str]) -> Chart:
    """Draw a run's distribution of a quantity over bins, and the expected one."""
    edges, observed, expected = picture["edges"], picture["observed"], picture["expected"]
    title, unit = QUANTITIES[name]
    named = sorted({round(number / (MAX_EDGE_NAMES - 1) * (len(edges) - 1)) for number in range(MAX_EDGE_NAMES)})
    names = tuple((place + 1.0, f"{edges[place]:.3g}") for place in named) if edges else ()
    chart = Chart(
        title,
        "Bars: recordings of this run. Dashed: expected of recordings like the calibration rows.",
        NamedAxis(0.0, len(observed), LEFT, WIDTH - RIGHT, names=names),
        up(0.0, round_top([*observed, *expected], 0.1), HEIGHT, percent=True),
        unit,
        "share",
    )
    for place, (share, usual) in enumerate(zip(observed, expected, strict=True)):
        low = edges[place - 1] if place else float("-inf")
        high = edges[place] if place < len(edges) else float("inf")
        text = f"{low:.3g} to {high:.3g}: {percent(share)}, expected {percent(usual)}"
        chart.bar(place, place + 1, share, "this-run", text)
    steps = [(place + end, share) for place, share in enumerate(expected) for end in (0, 1)]
    chart.line(steps, "ink", faint=True)
    return chart
