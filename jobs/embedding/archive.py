"""Embed what is missing of an archive: plan it, run it through the encoders, and commit each shard once it is whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from detector.config import Recipe
from detector.errors import ConfigError
from jobs import storage
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.attempts import EmbeddingAttempts
from jobs.embedding.canaries import Judge, RunCanaries
from jobs.embedding.commits import Committed, ShardCommit
from jobs.embedding.empty_shards import EmptyShards
from jobs.embedding.planning import Planner, refuse_archive_within, refuse_other_encoder
from jobs.embedding.redo import Redo
from jobs.embedding.result import EmbeddingRun, MissingShards
from jobs.embedding.segments import warn_of_missing
from jobs.embedding.speed import GroupSize
from jobs.errors import CorruptError, RunAgain, SourceChangedError, StoppedError
from jobs.execution.assembly import ShardRows
from jobs.execution.pool import Pool
from jobs.execution.retries import retry
from jobs.execution.runner import Runner
from jobs.execution.stop_request import StopRequest
from jobs.execution.watchdog import Watchdog
from jobs.execution.work import Work
from jobs.inputs.config import InputConfig
from jobs.inputs.contents import Contents
from jobs.inputs.limits import Limits
from jobs.inputs.requests import answers
from jobs.inputs.shards import Portion
from jobs.inputs.sources import archive_roots
from jobs.tables.ledger import Ledger
from jobs.tables.recipes import as_stored
from jobs.telemetry import metrics
from jobs.telemetry.progress import Progress, progress

log = logging.getLogger(__name__)


def embed_layers(
    runner: Runner,
    inputs: InputConfig,
    recipes: tuple[Recipe, ...],
    model: ModelConfig,
    output: OutputConfig,
    config: RunConfig,
    judge: Judge | None = None,
) -> list[EmbeddingRun]:
    """Embed what is missing of an archive, or has changed since, in one pass for all layers.

    Each layer has a ledger of its own, as if it were embedded alone: plans, markers, table, record. A shard that
    several layers lack is read and encoded once. A run that has something to do hears the canaries first.

    Parameters
    ----------
    judge : callable, optional
        Scores of embeddings, if a head will judge them.

    Raises
    ------
    ConfigError, SchemaError, StorageError, StoppedError
        What keeps some shards from being done, while others are, is not raised but kept in
        :attr:`EmbeddingRun.set_aside`.
    """
    uri = storage.normal(output.output)
    storage.check_folder(uri)
    recipes = tuple(as_stored(uri, recipe) for recipe in recipes)
    if not output.new_table:
        refuse_other_encoder(uri, recipes)
    refuse_archive_within(uri, inputs)
    redo = Redo(config.redo or "")
    contents, heard = Contents(inputs.input), RunCanaries(accept_drift=config.accept_drift, redo=redo, judge=judge)
    group_size = GroupSize(config)

    def planned(table: Ledger, recipe: Recipe) -> EmbeddingRun:
        return Planner(table, inputs, recipe, config, contents, heard, group_size).run()

    runs = [planned(Ledger(uri, "embeddings", recipe.fingerprint), recipe) for recipe in recipes]
    runs[0].passed_over.report("objects")
    if recipes[0].windows is not None:
        warn_of_missing(runs[0].history, recipes[0].windows)
    embed = partial(_embed, runner, runs, inputs, model, config, heard)
    embed()
    if any(isinstance(run.set_aside, SourceChangedError) for run in runs):
        log.warning("sources changed while they were read; they are read once more, as they are now")
        for run in runs:
            run.read_again(planned(run.ledger, run.recipe))
        embed()
        for run in runs:
            run.end_reading_again()
    return runs


def _embed(
    runner: Runner,
    runs: list[EmbeddingRun],
    inputs: InputConfig,
    model: ModelConfig,
    config: RunConfig,
    heard: RunCanaries,
) -> None:
    """Embed what the plans of all layers have, and is missing."""
    missing = MissingShards(runs)
    missing.commit_unread()
    if missing.n_unchanged:
        log.info("%d files beside changed ones are unchanged: their rows are taken over", missing.n_unchanged)
    if not missing.amount.n_shards:
        return
    for run in missing.runs:
        heard.compare_samples(run.ledger, run.recipe)
    pool = runner.pool(missing.amount)
    for run in runs:
        run.device = pool.device
    _log_begin(runs, missing, pool)
    try:
        _Embedding(runner, missing, model, pool, config, inputs, heard).run()
    except StoppedError:
        raise
    except (RunAgain, CorruptError) as error:
        for run in missing.runs:
            run.set_aside = error
    for run in runs:
        run.encoders = runner.encoder_stats.record()
        run.confinement = runner.confinement.level
        run.canaries = heard.record(run.ledger)


def _log_begin(runs: list[EmbeddingRun], missing: MissingShards, pool: Pool) -> None:
    log.info(
        "embed: %d of %d shards, %.1f MB, with %s on %s × %s, %s, %s; fingerprint %s",
        missing.amount.n_shards,
        max(len(run.slots) for run in runs),
        missing.amount.n_bytes / 1e6,
        ", ".join(recipe.slug for recipe in missing.recipes),
        pool.size,
        "GPU" if pool.device == "cuda" else "CPU",
        runs[0].recipe.config.dtype,
        f"{pool.batch_seconds:g} s of audio per pass" if pool.device == "cuda" else "one segment per pass",
        ", ".join(recipe.fingerprint for recipe in missing.recipes),
    )


@dataclass
class _Embedding:
    """The missing shards of a run on their way through the encoders; each is committed as soon as it is whole."""

    runner: Runner
    missing: MissingShards
    model: ModelConfig
    pool: Pool
    config: RunConfig
    inputs: InputConfig
    heard: RunCanaries

    def __post_init__(self) -> None:
        missing, config = self.missing, self.config
        roots = archive_roots(self.inputs.input)
        self._limits = Limits(config.max_seconds, config.max_source_seconds, roots, config.min_bitrate)
        self._watchdog = Watchdog(config.stall_seconds)
        self._commit = ShardCommit([(run.ledger, run.recipe) for run in missing.runs])
        self._assemblers = self.runner.assemblers(self._commit, self.pool)
        self._n_planned = max(len(run.slots) for run in missing.runs)
        self._empty = EmptyShards()
        self._denied: list[tuple[str, int]] = []
        # a run that finds nothing commits nothing, so that the next one says the same
        self._has_found = missing.amount.n_shards < self._n_planned

    def run(self) -> None:
        """Embed and commit them, as :func:`jobs.execution.retries.retry` raises."""
        if self._has_found:
            self._assemblers.commit_empty()
        missing, amount = self.missing, self.missing.amount
        with progress("embed", amount.n_shards, amount.n_bytes) as shown, StopRequest() as stop:
            stream = partial(self._embedded, shown, stop)
            attempts = EmbeddingAttempts(
                *(missing.shards(), amount.n_shards, stream, self._assemblers, missing.planned),
                is_again=missing.runs[0].is_again,
            )
            for result in retry(attempts):
                if isinstance(result, ShardRows):
                    self._empty.add(result)
                    self._watchdog.note_progress()
                    shown.shard(0)
                else:
                    self._note(result)
                    shown.shard(result.n_recordings, result.audio_seconds)
        self._end()

    def _embedded(
        self, shown: Progress, stop: StopRequest, portions: Iterator[Portion], singly: bool
    ) -> Iterator[pa.Table]:
        """Yield what encoders return, as soon as canaries allow it to be committed."""
        missing, tables = self.missing, [run.ledger for run in self.missing.runs]
        work = Work(
            *(missing.recipes, self.model, self.pool, self._limits, self._watchdog, stop, self._assemblers),
            self.heard.heard,
        )
        for embedded in self.runner.embed_portions(portions, work, singly=singly):
            if self.heard.compare(embedded, tables):
                self._assemblers.approve(self.heard.compared)
            for receipt in embedded["receipt"].drop_null().to_pylist():
                shown.read(receipt["bytes"], receipt["recordings"])
                shown.segments(receipt["segments"])
            metrics.set_gauge("bonafide_shards_open", self._assemblers.n_open)
            yield embedded
        metrics.set_gauge("bonafide_shards_open", self._assemblers.n_open)

    def _note(self, committed: Committed) -> None:
        """Count a shard that an assembler has committed."""
        self.missing.note(committed)
        self._watchdog.note_commit(committed.open_seconds)
        metrics.count("bonafide_audio_seconds_total", committed.audio_seconds)
        for outcome, n_rows in committed.outcomes.items():
            metrics.count("bonafide_rows_total", n_rows, verb="embed", outcome=outcome)
        if committed.n_denied:
            self._denied.append((committed.first_denied, committed.n_denied))
        if committed.markers and not self._has_found:
            self._has_found = True
            self._assemblers.commit_empty()

    def _end(self) -> None:
        """Tell of what may not be read, and commit shards without recordings that no assembler did."""
        if self._denied:
            log.warning(
                "%d files or folders may not be read, and are rows of failures; first: %s",
                *(sum(n for _, n in self._denied), min(self._denied)[0]),
            )
        if self._empty and len(self._empty) == self._n_planned:
            where = self.inputs.manifest or ", ".join(self.inputs.input)
            raise ConfigError(
                f"{where}: no audio found in {len(self._empty)} shard(s); expected audio members, found "
                f"{self._empty.passed_over or 'none'}."
            )
        for committed in answers(self._commit, self._empty):
            self.missing.note(committed)
