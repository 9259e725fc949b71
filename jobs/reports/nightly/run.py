"""A nightly run: embed and score what is new in an archive, and write the page of what it found."""

from __future__ import annotations

import os

from jobs.config import extract_config
from jobs.errors import RunAgain, StoppedError
from jobs.inputs.config import InputConfig
from jobs.reports.nightly.config import NightlyConfig
from jobs.reports.nightly.copying import with_copy
from jobs.reports.nightly.page import write_pages
from jobs.scoring.heads import read_head
from jobs.scoring.result import ScoringRun
from jobs.scoring.run import embed_and_score
from jobs.tables.heads import activate
from jobs.tables.ledger import Ledger


def nightly(settings: NightlyConfig) -> int:
    """Embed and score what is new, write the page, update the copy, and return the exit code."""
    head = read_head(settings.head, settings.require_signature, settings.backbone)

    is_concluded = False

    def conclude(run: ScoringRun, embeddings: Ledger) -> None:
        nonlocal is_concluded
        activate(run.ledger.output, head.head_id)
        write_pages(run, embeddings)
        is_concluded = True

    try:
        code = embed_and_score(extract_config(settings, InputConfig), head, settings, "nightly", conclude)
    except StoppedError:
        raise
    except Exception as error:
        if is_concluded:  # all is done but what is refused or set aside
            with_copy(settings, os.EX_TEMPFAIL if isinstance(error, RunAgain) else os.EX_DATAERR)
        raise
    return code if settings.dry_run else with_copy(settings, code)
