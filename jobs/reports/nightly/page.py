"""The nightly page: the report of a run as one HTML file that needs no network, `runs/<run_id>.html`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from jobs import storage
from jobs.errors import RunAgain
from jobs.reports.charts import BOTTOM, LEFT, RIGHT, TOP, WIDTH
from jobs.reports.nightly.charts import QUANTITIES, SHARES, drift_chart, recordings_chart, share_chart
from jobs.reports.nightly.history import MAX_PREVIOUS_RUNS, previous_records, shares
from jobs.reports.nightly.report import nightly_report
from jobs.reports.pages import NO_BREAK, number_text, render_page
from jobs.reports.review.context import side_text
from jobs.reports.review.players import players
from jobs.reports.review.queue import BORDERLINE, SIMILAR_COSINE
from jobs.reports.runs import Record, read_record
from jobs.scoring.result import ScoringRun
from jobs.tables import erasures
from jobs.tables.ledger import Ledger
from jobs.telemetry.names import clock, say

log = logging.getLogger(__name__)

DRAWINGS = 3
"""Times that a page is drawn at most."""


def write_pages(scored: ScoringRun, source: Ledger) -> None:
    """Write the page of each complete run over this archive that has none; log errors instead of raising them.

    If a run was killed before it wrote its page, the next run writes the same page, because everything on it is stored
    elsewhere. Records of versions without pages have no setting `players`, and get no page.
    """
    folder = storage.join(scored.ledger.output, "runs")
    try:
        existing = {storage.name_of(stored.uri) for stored in storage.listing(folder) or []}
        for number in sorted(scored.history.current.having(scored.slots).plans):
            run_id = scored.history.plans[number - 1].run_id
            if f"{run_id}.html" not in existing and (uri := write_page(scored, source, run_id)) is not None:
                say(f"page: {uri}")
    except erasures.LateNamesError:
        raise
    except Exception as error:
        # the run's tables are complete, and its exit code is about them: no page may change it
        log.warning("%s: no page, %s: %s. The next run tries again.", folder, type(error).__name__, error)
        log.debug("no page", exc_info=True)


def write_page(scored: ScoringRun, source: Ledger, run_id: str, players: str | None = None) -> str | None:
    """Write the page of a run that has none; return its URI, or None if the run's record says nothing of pages.

    Parameters
    ----------
    players : str, optional
        In place of the record's setting.

    Raises
    ------
    RunAgain
        If recordings were erased each time while it was drawn. It is not left behind, as it may show them.
    LateNamesError
        If it stays behind: the role of a night removes nothing.
    """
    output = scored.ledger.output
    uri = storage.join(output, "runs", f"{run_id}.html")
    for _ in range(DRAWINGS):
        before = [erasures.note_of(each) for each in (output, source.output)]
        record = read_record(output, run_id)
        if record is None or "players" not in record.get("settings", {}):
            return None
        if players is not None:
            record = record | {"settings": record["settings"] | {"players": players}}
        html = render(page_content(scored, source, record)).encode()
        if before != [erasures.note_of(each) for each in (output, source.output)]:
            continue
        storage.put(uri, html, storage.ABSENT)  # one that another run wrote meanwhile shows the same
        if before == [erasures.note_of(each) for each in (output, source.output)]:
            return uri
        _withdraw(uri)
    raise RunAgain(f"{uri}: recordings were erased while it was drawn; run the same command again.")


def _withdraw(uri: str) -> None:
    try:
        storage.remove(uri)
    except OSError as error:
        raise erasures.LateNamesError(
            f"{uri}: recordings were erased while it was drawn, and it may show them. Run the same `erase` again."
        ) from error


def page_content(scored: ScoringRun, source: Ledger, record: Record) -> dict[str, Any]:
    """Return a run's :func:`~jobs.reports.nightly.report.nightly_report`, with `players` by id."""
    previous = previous_records(scored.ledger.output, scored.history, record["plan"])
    content = nightly_report(scored.ledger, source, scored.history, scored.head, record, previous)
    rows = (*content["queue"]["rows"], *content["flagged"])
    return content | {"players": players(rows, record["settings"]["players"], content["audio_sha256"])}


def render(content: dict[str, Any]) -> str:
    """Return the page as self-contained HTML with everything in it escaped.

    Parameters
    ----------
    content : dict
        From :func:`page_content`.
    """
    runs, drift = content["runs"], content["drift"] or {"pictures": {}}
    return render_page(
        "nightly.html.j2",
        FILTERS,
        content=content,
        this_run=runs[-1],
        shares=shares(runs[-1]),
        run_charts=[recordings_chart(runs), *(share_chart(name, runs, _percent) for name in SHARES)],
        drift_charts=[drift_chart(name, each, _percent) for name, each in drift["pictures"].items()],
        quantities=QUANTITIES,
        has_audio=any("data" in each for each in content["players"].values()),
        similar_cosine=SIMILAR_COSINE,
        borderline=BORDERLINE,
        max_previous_runs=MAX_PREVIOUS_RUNS,
        size={"width": WIDTH, "left": LEFT, "bottom": BOTTOM, "top": TOP, "right": RIGHT},
    )


def _percent(value: float | None) -> str:
    if value is None:
        return "–"
    # a share below one in a thousand is not shown as 0.0 %
    return f"{100 * value:.{1 if value == 0 or value >= 0.001 else 3}f}{NO_BREAK}%"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _cost(cost: Record) -> str:
    """Return what a run took, in words: of its hours and dollars, those that are known."""
    parts = [f"{cost['bytes'] / 1e6:,.1f} MB read", f"{_hours(cost['audio_seconds'])} of audio"]
    parts += [f"{cost[f'{name}_hours']:,.3f} {name}-hours" for name in ("gpu", "core") if cost[f"{name}_hours"]]
    parts += [f"{n:,} {kind.upper()}" for kind, n in cost["requests"].items() if n]
    parts += [f"${cost['dollars']:,.2f}"] if cost["dollars"] is not None else []
    return ", ".join(parts)


def _count(value: float) -> str:
    return f"{value:,.0f}"


FILTERS: dict[str, Callable[..., str]] = {
    "share": _percent,
    "number": number_text,
    "hours": _hours,
    "count": _count,
    "cost": _cost,
    "clock": clock,
    "side": side_text,
}
"""How the template writes numbers, times and sides of calls."""
