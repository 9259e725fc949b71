"""A scoring run: embeddings or recordings in; the score table, run records and a summary out."""

from __future__ import annotations

import datetime
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from detector.config import by_channels, digest_of, parts_of
from detector.head import Head
from jobs import storage
from jobs.config import ModelConfig, extract_config
from jobs.embedding.archive import embed_layers
from jobs.embedding.estimate import estimate, request_lines
from jobs.embedding.run import exit_code, pruned_line, with_windows, work_of
from jobs.embedding.run import write_records as write_embedding_records
from jobs.embedding.segments import refuse_other_windows, warn_of_missing
from jobs.execution.choice import ChosenRunner
from jobs.inputs.checkpoint import local_folder
from jobs.inputs.config import InputConfig
from jobs.scoring.changes import CHANGES
from jobs.scoring.config import ScoreConfig, ScoringConfig
from jobs.scoring.estimate import estimate_scores, with_scores
from jobs.scoring.heads import embeddings_of, joined_tables, read_head, recipes_for
from jobs.scoring.result import ScoringRun
from jobs.scoring.shards import score_shards
from jobs.scoring.totals import ScoringTotals
from jobs.scoring.unjudged_windows import unjudged_windows
from jobs.tables import erasures, run_records
from jobs.tables.ledger import Ledger
from jobs.tables.recipes import as_stored
from jobs.tables.removal import PRUNED_ROWS
from jobs.tables.repeated_ids import raise_repeated
from jobs.telemetry.names import say

log = logging.getLogger(__name__)

AfterScoring = Callable[[ScoringRun, Ledger], None]


def score(settings: ScoreConfig) -> int:
    """Score, write the records, print a summary, and return the exit code."""
    head = read_head(settings.head, settings.require_signature, settings.backbone)
    if settings.embeddings is None:
        inputs = extract_config(settings, InputConfig)
        return embed_and_score(inputs, head, settings, "score")
    started = run_records.now()
    source = embeddings_of(settings.embeddings, head, settings.channels)
    history = source.history()
    shards = history.current.committed(source.done(history))
    if settings.windows is not None:
        refuse_other_windows(history, settings.windows)
        warn_of_missing(history, settings.windows)
    if settings.dry_run:
        line, cost = estimate_scores(shards, head, settings.output, segments=settings.segments is not None)
        say("dry run: nothing is written", line, *request_lines(cost, settings))
        return 0
    note = erasures.note_of(settings.output)
    with ChosenRunner(settings) as runner:
        how = (settings.prior, settings.output, settings, settings.head)
        run = score_shards(runner, source, shards, head, *how, segments=settings.segments is not None)
    found = {"runners": runner.chosen} | unjudged_windows(shards, run.history)
    code, records = _finish("score", started, run, settings, found, note)
    raise_repeated(records)
    return code


def embed_and_score(
    inputs: InputConfig, head: Head, settings: ScoringConfig, verb: str, then: AfterScoring | None = None
) -> int:
    """Embed and score what is missing of an archive: for `nightly`, and for `score` of recordings.

    Parameters
    ----------
    then : callable, optional
        Called once the records are written, with the scoring run and the table of embeddings.
    """
    started = run_records.now()
    model = extract_config(settings, ModelConfig)
    channels = settings.channels or head.embed_config.channels
    recipes = with_windows(recipes_for(head, local_folder(model), model.model, settings.head, channels), settings)
    uri, fingerprint = storage.normal(settings.output), head.fingerprints[channels]
    stored = [digest_of(part) for part in parts_of(by_channels(head.recipe)[channels])]
    recipes = tuple(as_stored(uri, *each) for each in zip(recipes, stored, strict=True))
    if settings.dry_run:
        found = estimate(inputs, recipes, settings, settings)
        say(*with_scores(found, head, settings.output, segments=bool(settings.segments)).lines(settings))
        return 0
    note = erasures.note_of(settings.output)
    with ChosenRunner(settings) as runner:
        judge = head.scores if len(recipes) == 1 else None
        runs = embed_layers(runner, inputs, recipes, model, settings, settings, judge)
        for embedded in runs:
            write_embedding_records(embedded, verb, started, settings, runner.chosen, runner.requests, note)
        embedded, source = runs[0], joined_tables([each.ledger for each in runs], fingerprint)
        shards = embedded.committed()
        how = (settings.prior, settings.output, settings, settings.head)
        run = score_shards(runner, source, shards, head, *how, segments=settings.segments is not None)
        work = work_of(embedded, settings, runner.chosen, runner.requests) | unjudged_windows(shards, run.history)
        code, records = _finish(verb, started, run, settings, work, note)
        if then is not None:
            then(run, source)
        for each in runs:
            each.raise_set_aside()  # in here: workers that are stuck end with an error
    raise_repeated(records)
    for each in runs:
        each.unheard.raise_any()
    return code


def _finish(
    verb: str,
    started: datetime.datetime,
    run: ScoringRun,
    settings: ScoringConfig,
    embedded: dict[str, Any],
    note: str | None = None,
) -> tuple[int, list[dict[str, Any]]]:
    """Write the records, print a summary, and return the exit code, and the records that it stands in."""
    content = {"settings": run_records.settings_of(settings), **embedded, **run.record()}
    begin = partial(ScoringTotals, run.head, settings.max_failures)
    records = run_records.write_records(run.ledger, run.history, run.slots, verb, started, content, begin, note)
    if not records:
        say(f"nothing new: all {len(run.slots)} shards are scored with head {run.head.head_id}")
        again = run_records.records_of_date(run.ledger.output, run.history, settings.run_date)
        return run_records.exit_code_of(again), again
    output = run.ledger.output
    total, whole, changes = (_total(record[name] for record in records) for name in ("scores", "whole", "changes"))
    say(", ".join(f"{changes[name]} {name}" for name in CHANGES))
    if pruned := sum(record[PRUNED_ROWS] for record in records):
        say(pruned_line(pruned))
    if any("segment_rows" in record for record in records):
        _say_segments(_total(record.get("segment_rows", {}) for record in records))
    say(*run.summary(total), f"tables: {storage.join(output, 'scores')}", f"record: {records[-1]['uri']}")
    for warning in run.warnings(records):
        say(f"warning: {warning}")
    return exit_code(output, whole["failed"], whole["rows"], settings.max_failures), records


def _say_segments(counts: Counter[str]) -> None:
    say(f"segments: {counts['rows']} windows of {counts['recordings']} recordings, {counts['flagged']} of them flagged")
    if n_without := counts["recordings_without"]:
        log.warning(
            "%d scored recordings have no windows, because they were embedded without; embed them again with "
            "--segments --redo segments",
            n_without,
        )


def _total(counts: Iterable[dict[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total
