"""Redrawing: pages of earlier runs, drawn again from what is stored after an erasure took recordings out of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from detector.errors import ConfigError
from jobs import storage
from jobs.reports.nightly.page import write_page
from jobs.reports.runs import find_run
from jobs.scoring.heads import embeddings_of, read_head
from jobs.scoring.result import ScoringRun
from jobs.tables.names import Names

log = logging.getLogger(__name__)


def redraw_pages(output: str, run_ids: Iterable[str]) -> int:
    """Draw the pages of runs again, from the rows and records that are left.

    A page that cannot be drawn, such as one whose head is gone, is left out with a warning: an erasure must not fail
    by it.

    Recordings that a page held are links on it from now on.

    Returns
    -------
    int
        How many pages were drawn.
    """
    n_pages = 0
    for run_id in run_ids:
        try:
            _redraw(output, run_id)
            n_pages += 1
        except Exception as error:
            uri = storage.join(output, "runs", f"{run_id}.html")
            log.warning("%s: removed, and not drawn again, %s: %s", uri, type(error).__name__, error)
            log.debug("no page", exc_info=True)
    return n_pages


def _redraw(output: str, run_id: str) -> None:
    table, history, record = find_run(output, run_id)
    settings = record["settings"]
    head = read_head(settings["head"], settings.get("require_signature"), settings.get("backbone"))
    if head.head_id != record["head_id"]:
        raise ConfigError(f"{settings['head']}: is head {head.head_id} now; expected {record['head_id']}.")
    # an eraser reads no recordings, and needs no right to
    players = "link" if settings["players"] == "embed" else None
    scored = ScoringRun(head, record["prior"], table, history, Names())
    write_page(scored, embeddings_of(output, head, settings.get("channels")), run_id, players)
