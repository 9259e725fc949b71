"""The morning page: what a night found, as one HTML file that needs no network, `runs/<run_id>.html`."""

from __future__ import annotations

import logging
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from jobs import storage
from jobs.reports.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, NamedAxis, across, round_top, up
from jobs.reports.nightly.report import N_BEFORE, nightly_report, read_record, records_before, shares
from jobs.reports.review.players import players
from jobs.reports.review.queue import ALIKE, BORDERLINE
from jobs.scoring.result import ScoringRun
from jobs.tables.ledger import Ledger

log = logging.getLogger(__name__)

QUANTITIES = {
    "score": ("Score", "score in nats, higher is more bona fide"),
    "entropy_bits": ("Entropy", "entropy in bits, 1 is a coin"),
    "ood": ("ood", "ood: quantile of the training distances"),
    "seconds": ("Duration", "length in seconds"),
}
N_NAMED_EDGES = 5
HISTORY = {
    "spoof": ("Flagged as spoof", "share accepted as spoof, of all recordings of the run"),
    "rejected": ("Rejected", "share that the head abstains on"),
    "failed": ("Failed", "share that could not be read, decoded or embedded"),
}


def write_pages(scored: ScoringRun, source: Ledger) -> None:
    """Write the page of each night of this archive that is complete and has none; trouble is only logged.

    A page that a killed run left out is made by the next one, and is the same: all on it is stored elsewhere. Records
    of versions without pages say nothing of players, and get none.
    """
    folder = storage.join(scored.ledger.output, "runs")
    try:
        have = {storage.name_of(stored.uri) for stored in storage.listing(folder) or []}
        for number in sorted({scored.history.current[slot].number for slot in scored.slots}):
            run_id = scored.history.plans[number - 1].run_id
            record = read_record(scored.ledger.output, run_id) if f"{run_id}.html" not in have else None
            if record is not None and "players" in record["settings"]:
                uri = storage.join(folder, f"{run_id}.html")
                storage.write_bytes(uri, render(content_of(scored, source, record)).encode())
                print(f"page: {uri}")
    except Exception as error:
        # whatever it is, the night's tables are whole, and its exit code is about them
        log.warning("%s: no page, %s: %s. The next run tries again.", folder, type(error).__name__, error)
        log.debug("no page", exc_info=True)


def content_of(scored: ScoringRun, source: Ledger, record: dict[str, Any]) -> dict[str, Any]:
    """What the page of a run says: :func:`jobs.reports.nightly.report.night`, and `players` by id."""
    before = records_before(scored.ledger.output, scored.history, record["plan"])
    content = nightly_report(scored.ledger, source, scored.history, scored.head, record, before)
    rows = (*content["queue"]["rows"], *content["flagged"])
    return content | {"players": players(rows, record["settings"]["players"])}


def render(content: dict[str, Any]) -> str:
    """The page as HTML: self-contained, everything in it escaped.

    Parameters
    ----------
    content : dict
        What :func:`content_of` returns.
    """
    # autoescape is on: names come from archives, and an archive may call a file <script>
    environment = Environment(
        loader=PackageLoader("jobs.reports", "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"share": _share, "number": _number, "hours": _hours, "count": _count}
    tonight = content["runs"][-1]
    return environment.get_template("nightly.html.j2").render(
        content=content,
        tonight=tonight,
        shares=shares(tonight),
        histories=[_recordings(content["runs"]), *(_history(name, content["runs"]) for name in HISTORY)],
        pictures=[_picture(name, each) for name, each in (content["drift"] or {"pictures": {}})["pictures"].items()],
        quantities=QUANTITIES,
        embedded=any("data" in each for each in content["players"].values()),
        alike=ALIKE,
        borderline=BORDERLINE,
        n_before=N_BEFORE,
        size={"width": WIDTH, "left": LEFT, "bottom": BOTTOM, "top": TOP, "right": RIGHT},
    )


def _share(value: float | None) -> str:
    if value is None:
        return "–"
    # one in a thousand is no nought
    return f"{100 * value:.{1 if value == 0 or value >= 0.001 else 3}f}\N{NO-BREAK SPACE}%"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _runs_axis(n_runs: int) -> Any:
    return across(-max(n_runs - 1, 4) - 0.5, 0.5, whole=True)


def _recordings(runs: list[dict[str, Any]]) -> Chart:
    chart = Chart(
        "New recordings",
        "Recordings that a run found new, scored or failed.",
        _runs_axis(len(runs)),
        up(0.0, round_top([run["recordings"] for run in runs], 1.0), whole=True),
        "runs before this one",
        "recordings",
    )
    _bars(chart, runs, [run["recordings"] for run in runs], [_count(run["recordings"]) for run in runs])
    return chart


def _history(name: str, runs: list[dict[str, Any]]) -> Chart:
    title, about = HISTORY[name]
    values = [shares(run).get(name, 0.0) for run in runs]
    chart = Chart(
        title,
        f"{about[0].upper()}{about[1:]}.",
        _runs_axis(len(runs)),
        up(0.0, round_top(values, 0.01), percent=True),
        "runs before this one",
        "share",
    )
    _bars(chart, runs, values, [f"{_share(value)}, {run[name]}" for run, value in zip(runs, values, strict=True)])
    return chart


def _bars(chart: Chart, runs: list[dict[str, Any]], values: list[float], says: list[str]) -> None:
    for place, (run, value, text) in enumerate(zip(runs, values, says, strict=True), start=1 - len(runs)):
        chart.bar(place - 0.5, place + 0.5, value, "before" if place else "tonight", f"{run['run_id']}: {text}")


def _picture(name: str, picture: dict[str, Any]) -> Chart:
    """Tonight's shares by bin beside what was expected."""
    edges, found, expected = picture["edges"], picture["found"], picture["expected"]
    title, unit = QUANTITIES[name]
    places = sorted({round(share * (len(edges) - 1)) for share in _evenly(N_NAMED_EDGES)}) if edges else []
    chart = Chart(
        title,
        "Bars: tonight's recordings. Dashed: what is expected of rows like the calibration ones.",
        NamedAxis(0.0, len(found), LEFT, WIDTH - RIGHT, names=tuple((p + 1.0, f"{edges[p]:.3g}") for p in places)),
        up(0.0, round_top([*found, *expected], 0.1), HEIGHT, percent=True),
        unit,
        "share",
    )
    for place, (share, usual) in enumerate(zip(found, expected, strict=True)):
        low = edges[place - 1] if place else float("-inf")
        high = edges[place] if place < len(edges) else float("inf")
        chart.bar(
            place, place + 1, share, "tonight", f"{low:.3g} to {high:.3g}: {_share(share)}, expected {_share(usual)}"
        )
    steps = [(place + end, share) for place, share in enumerate(expected) for end in (0, 1)]
    chart.line(steps, "ink", faint=True)
    return chart


def _evenly(n: int) -> list[float]:
    return [number / (n - 1) for number in range(n)]
