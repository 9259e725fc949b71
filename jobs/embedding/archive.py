"""Embed what is missing of an archive: plan it, run it through the encoders, and commit each shard once it is whole."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from detector import canaries
from detector.config import Recipe, without_former
from detector.errors import ConfigError
from jobs import storage
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.attempts import EmbeddingAttempts
from jobs.embedding.canaries import Judge, RunCanaries
from jobs.embedding.cost import FOUND, READ_BYTES, changes_of
from jobs.embedding.permission import NO_PERMISSION, readable_again
from jobs.embedding.redo import REDO, VERSIONS, Redo
from jobs.embedding.result import EmbeddingRun, Lacking, MissingShards
from jobs.embedding.speed import GroupSize
from jobs.errors import SourceChangedError
from jobs.execution.assembly import ShardRows
from jobs.execution.pool import Pool
from jobs.execution.retries import retry
from jobs.execution.runner import Runner
from jobs.execution.stop_request import StopRequest
from jobs.execution.watchdog import Watchdog
from jobs.inputs import archive
from jobs.inputs.archive import Archive
from jobs.inputs.config import InputConfig
from jobs.inputs.contents import Contents
from jobs.inputs.existence import look
from jobs.inputs.limits import Limits
from jobs.inputs.passed_over import PassedOver, merged
from jobs.inputs.shards import Portion, Shard
from jobs.inputs.sources import archive_roots
from jobs.tables import ledger, run_records
from jobs.tables.copies import refuse_lost_plans
from jobs.tables.dropping import finish_drops
from jobs.tables.empty import write_empty_failures
from jobs.tables.id_rule import describe_rule, is_relative
from jobs.tables.ledger import Ledger
from jobs.tables.parquet import note_of
from jobs.tables.plan import OTHERS, Proposal, others_in, plan_id_of, propose, recordings_in, sources_in
from jobs.tables.protocol import Plan, PlanHistory
from jobs.tables.recipes import as_stored, recipes_in
from jobs.tables.removal import PRUNED_ROWS, REMOVED_ROWS, RemovalPolicy, slots_to_prune
from jobs.telemetry import logs, metrics
from jobs.telemetry.progress import progress

log = logging.getLogger(__name__)


def embed_archive(
    runner: Runner,
    inputs: InputConfig,
    recipe: Recipe,
    model: ModelConfig,
    output: OutputConfig,
    config: RunConfig,
    judge: Judge | None = None,
) -> EmbeddingRun:
    """Embed what is missing of an archive, or has changed since, for one layer: see :func:`embed_layers`."""
    (run,) = embed_layers(runner, inputs, (recipe,), model, output, config, judge)
    return run


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
    ConfigError, SchemaError, StorageError, RunAgain
        A :class:`SourceChangedError` is not raised but kept in :attr:`EmbeddingRun.set_aside`.
    """
    uri = storage.normal(output.output)
    storage.check_folder(uri)
    recipes = tuple(as_stored(uri, recipe) for recipe in recipes)
    if not output.new_table:
        refuse_other_encoder(uri, recipes)
    redo = Redo(config.redo or "")
    contents, heard = Contents(), RunCanaries(accept_drift=config.accept_drift, redo=redo, judge=judge)
    group_size = GroupSize(config)
    runs = [
        _plan(Ledger(uri, "embeddings", recipe.fingerprint), inputs, recipe, config, contents, heard, group_size)
        for recipe in recipes
    ]
    runs[0].passed_over.report("objects")
    missing = MissingShards(runs)
    for each in missing.unread:
        _commit_layer(each, None, None, ())
    if missing.n_unchanged:
        log.info("%d files beside changed ones are unchanged: their rows are taken over", missing.n_unchanged)
    if missing.shards:
        for run in missing.runs:
            heard.compare_samples(run.ledger, run.recipe)
        pool = runner.pool(missing.shards.values())
        for run in runs:
            run.device = pool.device
        _log_begin(runs, missing, pool)
        try:
            _embed_missing(runner, missing, model, pool, config, inputs, heard)
        except SourceChangedError as error:
            for run in missing.runs:
                run.set_aside = error
        for run in runs:
            run.encoders = runner.encoder_stats.record()
            run.confinement = runner.confinement.level
            run.canaries = heard.record(run.ledger)
    return runs


def _plan(
    table: Ledger,
    inputs: InputConfig,
    recipe: Recipe,
    config: RunConfig,
    contents: Contents,
    heard: RunCanaries,
    group_size: GroupSize,
) -> EmbeddingRun:
    """Freeze a plan of what is new for one layer, or join the plan that another run froze first."""
    proposal, redo, versions = Proposal((), frozenset()), Redo(config.redo or ""), canaries.versions()
    passed_over = PassedOver()

    def propose_plan(history: PlanHistory) -> Plan | None:
        nonlocal proposal, passed_over
        before = others_in(history)
        found, proposal, redone = look_for_new(table, history, inputs, config, contents, group_size)
        passed_over = found.passed_over
        if not proposal.new:
            return None
        heard.compare_samples(table, recipe)
        write_empty_failures(table.output, history.plans[0].run_date if history.plans else config.run_date)
        run_id = run_records.run_id_of(config, plan_id_of(proposal.new, len(history.plans)), recipe.fingerprint)
        detail = {"recipe": recipe.describe(), "model": recipe.model, OTHERS: sorted(contents.others - before)}
        detail |= {VERSIONS: versions, **describe_rule(found, history)}
        if redone and redo.named:
            detail[REDO] = redo.named
        return Plan(run_id, config.run_date, proposal.new, detail)

    history = table.freeze(propose_plan)
    if history.plans:
        logs.bind(run_id=history.plans[-1].run_id)
    if n_dropped := finish_drops(table, history):
        log.warning(
            "%d shards were planned and never read, and are dropped: their sources are gone; rows that were committed "
            "of them before stay",
            n_dropped,
        )
    return EmbeddingRun(recipe, table, history, proposal.slots, passed_over)


def look_for_new(
    table: Ledger,
    history: PlanHistory,
    inputs: InputConfig,
    config: RunConfig,
    contents: Contents,
    group_size: GroupSize,
) -> tuple[Archive, Proposal, frozenset[str]]:
    """List an archive and propose what is new beside earlier plans; nothing is written.

    Returns
    -------
    (Archive, Proposal, frozenset of str)
        The third is the URIs of sources that `--redo` reads again.
    """
    others, done = others_in(history), table.done()
    refuse_lost_plans(table, history, done)
    contents.learn(recordings_in(history), others)
    relative = is_relative(table.output, history, inputs.ids)
    found = archive.find(inputs, contents, sources_in(history), relative=relative)
    redone = Redo(config.redo or "").sources(table, history, done, canaries.versions(), config.run_date)
    again = readable_again(table, history, done, found) | redone
    slots = slots_to_prune(table, history, done) if config.prune else frozenset()
    policy = RemovalPolicy(config.max_removed, config.prune, slots)
    group_seconds = partial(group_size.seconds, table, history)
    return found, propose(found, history, done, look, again, policy, group_seconds), redone


def _log_begin(runs: list[EmbeddingRun], missing: MissingShards, pool: Pool) -> None:
    log.info(
        "embed: %d of %d shards, %.1f MB, with %s on %d × %s, %s, %s; fingerprint %s",
        len(missing.shards),
        len(frozenset().union(*(run.slots for run in runs))),
        sum(shard.size for shard in missing.shards.values()) / 1e6,
        ", ".join(recipe.slug for recipe in missing.recipes),
        pool.encoders,
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
    """Embed the missing shards, and commit each as soon as it is whole."""
    watchdog = Watchdog(config.stall_seconds)
    limits = Limits(config.max_seconds, config.max_source_seconds, archive_roots(inputs.input))
    open_shards = _OpenShards()
    n_bytes = sum(shard.size for shard in missing.shards.values())
    empty: list[ShardRows] = []
    denied: list[str] = []
    with progress("embed", len(missing.shards), n_bytes) as shown, StopRequest() as stop:

        def stream(portions: list[Portion], singly: bool) -> Iterator[pa.Table]:
            tables = [run.ledger for run in missing.runs]
            how = (missing.recipes, model, pool, watchdog, stop, limits)
            for embedded in runner.embed_portions(portions, *how, singly=singly, heard=heard.heard):
                pieces = heard.taken_from(embedded, tables)
                n_bytes = pc.sum(pc.struct_field(pieces["outcome"], "bytes")).as_py() or 0
                shown.read(n_bytes, len(pieces) - pieces["outcome"].null_count)
                shown.segments(len(pieces) - pieces["n_frames"].null_count)
                open_shards.see(pieces["shard_id"].unique().drop_null().to_pylist())
                yield pieces

        for rows in retry(EmbeddingAttempts(list(missing.shards.values()), stream)):
            if rows.outcomes:
                _commit(rows, missing)
            else:
                empty.append(rows)
            watchdog.note_commit(open_shards.close(rows.shard_id))
            shown.shard(len(rows.outcomes), rows.seconds)
            denied += _denied(rows)
            _count(rows)
    if denied:
        log.warning(
            "%d files or folders may not be read, and are rows of failures; first: %s", len(denied), min(denied)
        )
    if empty and len(empty) == max(len(run.slots) for run in missing.runs):
        # raised before any of them is committed, so that the next run says the same
        where = inputs.manifest or ", ".join(inputs.input)
        others = merged(rows.passed_over for rows in empty)
        raise ConfigError(
            f"{where}: no audio found in {len(empty)} shard(s); expected audio members, found {others or 'none'}."
        )
    for rows in empty:
        _commit(rows, missing)


def _denied(rows: ShardRows) -> list[str]:
    """Return the URIs of what may not be read."""
    return [found["uri"] for found in rows.outcomes.values() if found["error"] == NO_PERMISSION]


class _OpenShards:
    """Shards that the encoders have begun to return but not finished, with the time since their first piece."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}
        self._closed: set[str] = set()

    def see(self, shard_ids: list[str]) -> None:
        """Note that pieces of these shards arrived."""
        for shard_id in shard_ids:
            self._begun.setdefault(shard_id, time.monotonic())
        self._report()

    def close(self, shard_id: str) -> float:
        """Note that a shard is whole; return the seconds since its first piece."""
        self._closed.add(shard_id)
        self._report()
        return time.monotonic() - self._begun[shard_id]

    def _report(self) -> None:
        metrics.set_gauge("bonafide_shards_open", len(self._begun) - len(self._closed))


def _count(rows: ShardRows) -> None:
    metrics.count("bonafide_audio_seconds_total", rows.seconds)
    for outcome, n_rows in Counter(found["error"] or "embedded" for found in rows.outcomes.values()).items():
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


def _commit(rows: ShardRows, missing: MissingShards) -> None:
    """Commit a shard that was read for every layer that lacks it."""
    for each in missing.lacking[rows.shard_id]:
        _commit_layer(each, rows, missing.shards[rows.shard_id], missing.layers)


def _commit_layer(lacking: Lacking, rows: ShardRows | None, read: Shard | None, layers: tuple[int, ...]) -> None:
    """Commit a shard for one layer: rows of what was read of it, if anything was, beside those that are taken over."""
    run, planned = lacking.run, lacking.planned
    recipe, taken_over = run.recipe, lacking.take_over()
    uri = taken_over.shard.uri
    new = (rows or ShardRows("")).tables(recipe, planned.run_id, layers or None)
    try:
        embeddings, failures = taken_over.tables(*new, read)
    except SourceChangedError as error:
        run.set_aside = error
        return
    tables = {"failures": failures, "embeddings": embeddings}
    counts = {
        NO_PERMISSION: failures["error"].to_pylist().count(NO_PERMISSION),
        REMOVED_ROWS: len(embeddings) - embeddings["removed_at"].null_count,
        PRUNED_ROWS: (note_of(embeddings) or {}).get(PRUNED_ROWS, 0),
    }
    marker = run.ledger.commit(
        planned,
        uri,
        {name: (folder, tables[name]) for name, folder in lacking.folders.items()},
        {
            "run_id": planned.run_id,
            "audio_seconds": sum(_seconds_of(each, planned.run_id) for each in tables.values()),
            READ_BYTES: read.size if read else 0,
            FOUND: changes_of(embeddings, planned.run_id, planned.planned_on or planned.run_date),
            "recipe": recipe.describe(),
            "model": recipe.model,
            **{name: n for name, n in counts.items() if n},
            "passed_over": rows.passed_over if rows else {},
        },
        taken_over.follows,
    )
    if marker is None:
        log.warning("%s: a later run planned another state of it while it was embedded", uri, extra={"shard": uri})
        run.set_aside = SourceChangedError(f"{uri}: planned in another state meanwhile. Run again.")
        return
    metrics.count("bonafide_alarms_total", len(marker.alarms))
    for table in marker.alarms:
        log.error(
            "%s: computed twice, and the %s differ; the first rows stay. Check the machines for a fault.",
            uri,
            table,
            extra={"shard": uri},
        )
    run.markers.append(marker)


def _seconds_of(rows: pa.Table, run_id: str) -> float:
    """Return the audio of the recordings in which a run found something new."""
    return pc.sum(rows.filter(pc.equal(rows["run_id"], run_id))["seconds"]).as_py() or 0.0
