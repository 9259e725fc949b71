"""A nightly run: embed and score what is new in an archive, and write the page of what it found."""

from __future__ import annotations

import os

from jobs.config import extract_config
from jobs.inputs.config import InputConfig
from jobs.reports.nightly.config import NightlyConfig
from jobs.reports.nightly.copying import with_copy
from jobs.reports.nightly.page import write_pages
from jobs.scoring.heads import read_head
from jobs.scoring.result import ScoringRun
from jobs.scoring.run import embed_and_score
from jobs.tables.heads import activate
from jobs.tables.ledger import Ledger
from jobs.tables.repeated_ids import RepeatedIdError


def nightly(settings: NightlyConfig) -> int:
    """Embed and score what is new, write the page, update the copy, and return the exit code."""
    head = read_head(settings.head, settings.require_signature, settings.backbone)

    def conclude(run: ScoringRun, embeddings: Ledger) -> None:
        activate(run.ledger.output, head.head_id)
        write_pages(run, embeddings)

    try:
        code = embed_and_score(extract_config(settings, InputConfig), head, settings, "nightly", conclude)
    except RepeatedIdError:
        with_copy(settings, os.EX_DATAERR)  # all but what is refused is done
        raise
    return code if settings.dry_run else with_copy(settings, code)
