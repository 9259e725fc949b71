"""Embed what is missing of an archive: plan it, run it through the encoders, and commit each shard once it is whole."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa

from detector import canaries
from detector.config import Recipe, without_former
from detector.errors import ConfigError
from detector.windows import Windows
from jobs import storage
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.attempts import EmbeddingAttempts
from jobs.embedding.canaries import Judge, RunCanaries
from jobs.embedding.commits import Committed, ShardCommit
from jobs.embedding.empty_shards import EmptyShards
from jobs.embedding.permission import readable_again
from jobs.embedding.redo import REDO, VERSIONS, Redo
from jobs.embedding.result import EmbeddingRun, MissingShards
from jobs.embedding.segments import warn_of_missing
from jobs.embedding.set_aside import set_aside_before
from jobs.embedding.speed import GroupSize
from jobs.errors import CorruptError, RunAgain, SourceChangedError, StoppedError
from jobs.execution.assembly import ShardRows
from jobs.execution.pool import Pool
from jobs.execution.retries import retry
from jobs.execution.runner import Runner
from jobs.execution.stop_request import StopRequest
from jobs.execution.watchdog import Watchdog
from jobs.execution.work import Work
from jobs.inputs import archive
from jobs.inputs.archive import Archive
from jobs.inputs.config import InputConfig
from jobs.inputs.contents import Contents
from jobs.inputs.existence import look
from jobs.inputs.limits import Limits
from jobs.inputs.requests import answers
from jobs.inputs.shards import Portion
from jobs.inputs.sources import archive_roots
from jobs.tables import ledger, run_records
from jobs.tables.copies import refuse_lost_plans
from jobs.tables.dropping import finish_drops
from jobs.tables.empty import write_empty_failures
from jobs.tables.entries import Entry
from jobs.tables.id_rule import describe_rule, is_relative
from jobs.tables.instalments import Instalments
from jobs.tables.ledger import Ledger
from jobs.tables.names import Names
from jobs.tables.others import Others
from jobs.tables.plan import SEGMENTS, Proposal, plan_id_of, propose
from jobs.tables.protocol import Plan, PlanHistory
from jobs.tables.recipes import as_stored, recipes_in
from jobs.tables.removal import RemovalPolicy, slots_to_prune
from jobs.tables.source_index import SourceIndex
from jobs.telemetry import logs, metrics
from jobs.telemetry.progress import progress

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
        _embed_missing(runner, missing, model, pool, config, inputs, heard)
    except StoppedError:
        raise
    except (RunAgain, CorruptError) as error:
        for run in missing.runs:
            run.set_aside = error
    for run in runs:
        run.encoders = runner.encoder_stats.record()
        run.confinement = runner.confinement.level
        run.canaries = heard.record(run.ledger)


@dataclass(frozen=True)
class Found:
    """What an archive has, beside earlier plans.

    Parameters
    ----------
    archive : Archive
        Without what is as it was planned, and without what is planned in instalments.
    proposal : Proposal
    redone : frozenset of str
        URIs of sources that `--redo` reads again.
    id_roots : frozenset of str or None
        Folders that ids are relative to; None if they are absolute.
    """

    archive: Archive
    proposal: Proposal
    redone: frozenset[str] = frozenset()
    id_roots: frozenset[str] | None = None


NOTHING = Found(Archive((), (), {}), Proposal((), Names()))


@dataclass
class Planner:
    """Freezes what is new for one layer in as many plans as it takes, or joins plans that other runs froze first.

    Attributes
    ----------
    found : Found
        What the last listing has.
    """

    table: Ledger
    inputs: InputConfig
    recipe: Recipe
    config: RunConfig
    contents: Contents
    heard: RunCanaries
    group_size: GroupSize
    found: Found = NOTHING
    _waiting: deque[Sequence[Entry]] = field(default_factory=deque)  # parts of the proposal that are to be frozen
    _n_expected: int = 0  # plans, if no other run freezes one between our parts

    def run(self) -> EmbeddingRun:
        """Freeze all parts of the proposal, and return the run of the layer."""
        history = self.table.freeze(self._next_plan)
        while self._waiting:
            history = self.table.freeze(self._next_plan, history)
        if history.plans:
            logs.bind(run_id=history.plans[-1].run_id)
        if n_dropped := finish_drops(self.table, history):
            log.warning(
                "%d shards were planned and never read, and are dropped: their sources are gone; rows that were "
                "committed of them before stay",
                n_dropped,
            )
        archive, proposal = self.found.archive, self.found.proposal
        if proposal.refused:
            log.error("%s", proposal.refused)
        return EmbeddingRun(
            self.recipe, self.table, history, proposal.slots, archive.passed_over, refused=proposal.refused
        )

    def _next_plan(self, history: PlanHistory) -> Plan | None:
        if not self._waiting or len(history.plans) != self._n_expected:
            windows = self.recipe.windows
            self.found = look_for_new(
                self.table, history, self.inputs, self.config, self.contents, self.group_size, windows
            )
            self._waiting = deque(self.found.proposal.parts)
            if not self._waiting:
                return None
            self.heard.compare_samples(self.table, self.recipe)
            first_date = history.plans[0].run_date if history.plans else self.config.run_date
            write_empty_failures(self.table.output, first_date)
        new = self._waiting.popleft()
        self._n_expected = len(history.plans) + 1
        run_id = run_records.run_id_of(self.config, plan_id_of(new, len(history.plans)), self.recipe.fingerprint)
        return Plan(run_id, self.config.run_date, new, self._detail(history))

    def _detail(self, history: PlanHistory) -> dict[str, Any]:
        """Return what the plan says beside its shards; what the contents of objects are is told with the last part."""
        redo, recipe = Redo(self.config.redo or ""), self.recipe
        detail = {"recipe": recipe.describe(), "model": recipe.model, VERSIONS: canaries.versions()}
        detail |= describe_rule(self.found.id_roots, history)
        if not self._waiting:
            detail |= Others(history).detail(self.contents.others)
        if self.found.redone and redo.named:
            detail[REDO] = redo.named
        if recipe.windows is not None:
            detail[SEGMENTS] = str(recipe.windows)
        return detail


def look_for_new(
    table: Ledger,
    history: PlanHistory,
    inputs: InputConfig,
    config: RunConfig,
    contents: Contents,
    group_size: GroupSize,
    windows: Windows | None = None,
) -> Found:
    """List an archive and propose what is new beside earlier plans; nothing is written."""
    done = table.done(history)
    refuse_lost_plans(table, history, done)
    relative = is_relative(table.output, history, inputs.ids)
    index = SourceIndex(history, done, relative=relative)
    contents.learn(index.is_recording, Others(history))
    has_lists, group_seconds = archive.names_lists(inputs), partial(group_size.seconds, table, history)
    leave_out = None if has_lists else index.sees
    taken = Instalments(index, contents, group_seconds, relative=relative)
    found = archive.find(inputs, contents, index, relative=relative, leave_out=leave_out, taken=taken)
    found = taken.finish(found)
    redo = Redo(config.redo or "")
    redone = redo.sources(table, history, done, canaries.versions(), config.run_date, windows)
    again = readable_again(table, history, done, found, index) | set_aside_before(table, history, done) | redone
    slots = slots_to_prune(table, history, done) if config.prune else frozenset()
    policy = RemovalPolicy(config.max_removed, config.prune, slots)
    proposal = propose(found, history, done, look, again, policy, None if has_lists else index, group_seconds)
    proposal = replace(proposal, slots=proposal.slots | taken.slots, instalments=taken.parts)
    id_roots = None if found.id_roots is None else frozenset({*found.id_roots.values(), *taken.roots})
    return Found(found, proposal, redone, id_roots)


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


def _embed_missing(
    runner: Runner,
    missing: MissingShards,
    model: ModelConfig,
    pool: Pool,
    config: RunConfig,
    inputs: InputConfig,
    heard: RunCanaries,
) -> None:
    """Embed the missing shards; each is committed as soon as it is whole."""
    watchdog = Watchdog(config.stall_seconds)
    roots = archive_roots(inputs.input)
    limits = Limits(config.max_seconds, config.max_source_seconds, roots, config.min_bitrate)
    commit = ShardCommit([(run.ledger, run.recipe) for run in missing.runs])
    assemblers = runner.assemblers(commit, pool)
    amount, empty = missing.amount, EmptyShards()
    denied: list[tuple[str, int]] = []
    # a run that finds nothing commits nothing, so that the next one says the same
    has_found = amount.n_shards < max(len(run.slots) for run in missing.runs)
    if has_found:
        assemblers.commit_empty()
    with progress("embed", amount.n_shards, amount.n_bytes) as shown, StopRequest() as stop:

        def stream(portions: Iterator[Portion], singly: bool) -> Iterator[pa.Table]:
            tables = [run.ledger for run in missing.runs]
            work = Work(missing.recipes, model, pool, limits, watchdog, stop, assemblers, heard.heard)
            for embedded in runner.embed_portions(portions, work, singly=singly):
                if heard.compare(embedded, tables):
                    assemblers.approve(heard.compared)
                for receipt in embedded["receipt"].drop_null().to_pylist():
                    shown.read(receipt["bytes"], receipt["recordings"])
                    shown.segments(receipt["segments"])
                metrics.set_gauge("bonafide_shards_open", assemblers.n_open)
                yield embedded

        shards, is_again = missing.shards(), missing.runs[0].is_again
        attempts = EmbeddingAttempts(shards, amount.n_shards, stream, assemblers, missing.planned, is_again=is_again)
        for result in retry(attempts):
            if isinstance(result, ShardRows):
                empty.add(result)
                watchdog.note_progress()
                shown.shard(0)
                continue
            missing.note(result)
            watchdog.note_commit(result.open_seconds)
            shown.shard(result.n_recordings, result.audio_seconds)
            _count(result)
            if result.n_denied:
                denied.append((result.first_denied, result.n_denied))
            if result.markers and not has_found:
                has_found = True
                assemblers.commit_empty()
    if denied:
        n_denied = sum(n for _, n in denied)
        log.warning(
            "%d files or folders may not be read, and are rows of failures; first: %s", n_denied, min(denied)[0]
        )
    if empty and len(empty) == max(len(run.slots) for run in missing.runs):
        where = inputs.manifest or ", ".join(inputs.input)
        others = empty.passed_over or "none"
        raise ConfigError(f"{where}: no audio found in {len(empty)} shard(s); expected audio members, found {others}.")
    for committed in answers(commit, empty):
        missing.note(committed)


def _count(committed: Committed) -> None:
    metrics.count("bonafide_audio_seconds_total", committed.audio_seconds)
    for outcome, n_rows in committed.outcomes.items():
        metrics.count("bonafide_rows_total", n_rows, verb="embed", outcome=outcome)


def refuse_other_encoder(output: str, recipes: tuple[Recipe, ...]) -> None:
    """Refuse a second encoder in one output: a query over all embeddings would find every recording twice."""
    others = ledger.keys(output, "embeddings")
    if others and not {recipe.fingerprint for recipe in recipes} & set(others):
        recipe = recipes[0]
        before, now = without_former(recipes_in(output)[others[0]]), recipe.describe()
        differ = {name: (old, now.get(name)) for name, old in before.items() if old != now.get(name)}
        differences = "; ".join(f"{name} was {old!r}, now {new!r}" for name, (old, new) in sorted(differ.items()))
        raise ConfigError(
            f"{output}: its embeddings have fingerprint {', '.join(others)}, this run's have {recipe.fingerprint}: "
            f"{differences or 'the recipe has other fields'}. Run as before, use another --output, or write a second "
            f"table with --new-table."
        )
