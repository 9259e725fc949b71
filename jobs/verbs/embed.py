"""embed: audio in, the embedding table out."""

from __future__ import annotations

import datetime
import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc

from detector import starter
from detector.checkpoint import n_layers_of, recipe_of
from detector.config import LAST_LAYER, STARTER, EmbedConfig, Recipe, layers_of
from detector.errors import ConfigError
from jobs import storage
from jobs.config import ModelConfig, OutputConfig, RunConfig, part
from jobs.errors import SourceChangedError
from jobs.execution.assembly import ShardRows
from jobs.execution.cluster import Cluster, Pool
from jobs.execution.retries import embed_all
from jobs.execution.watchdog import StopRequest, Watchdog
from jobs.inputs import archive
from jobs.inputs.archive import InputConfig
from jobs.inputs.checkpoint import local_folder
from jobs.inputs.shards import Portion, Shard
from jobs.tables import ledger, run_records
from jobs.tables.ledger import Ledger
from jobs.tables.plan import Proposal, plan_id_of, propose
from jobs.tables.protocol import Marker, Plan, PlanHistory, PlannedShard
from jobs.telemetry import logs, metrics
from jobs.telemetry.progress import progress

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LayersConfig:
    """Which layers, where it is more than one."""

    layers: Annotated[
        str | None, "several layers in one pass, each in a table of its own: numbers and commas, as 6,9,12, or all"
    ] = None


@dataclass(frozen=True, kw_only=True)
class Settings(InputConfig, EmbedConfig, LayersConfig, ModelConfig, OutputConfig, RunConfig):
    """Embed an archive: read, decode, encode, and write one row an utterance, for each layer that is asked for."""

    def __post_init__(self) -> None:
        for kind in (InputConfig, EmbedConfig, RunConfig):  # each checks its own fields
            kind.__post_init__(self)
        if self.layers is not None and self.layer != LAST_LAYER:
            raise ConfigError(f"--layer {self.layer} and --layers {self.layers}: give one of them.")


@dataclass
class Embedded:
    """An embedding run: the plans that it worked on, and what it committed of them."""

    recipe: Recipe
    ledger: Ledger
    history: PlanHistory
    slots: frozenset[str]
    device: str = ""
    encoders: dict[str, Any] = field(default_factory=dict)
    markers: list[Marker] = field(default_factory=list)
    set_aside: SourceChangedError | None = None

    @property
    def shards(self) -> list[PlannedShard]:
        """The archive's shards as they are planned."""
        return [self.history.current[slot] for slot in sorted(self.slots)]

    def committed(self) -> list[PlannedShard]:
        """Those of them that are done."""
        done = self.ledger.done()
        return [shard for shard in self.shards if shard.name in done]

    def raise_set_aside(self) -> None:
        """End a run whose sources changed under it, once all else is done."""
        if self.set_aside is not None:
            raise self.set_aside

    def record(self) -> dict[str, Any]:
        """For the run's record."""
        return {
            "fingerprint": self.recipe.fingerprint,
            "recipe": self.recipe.describe(),
            "model": self.recipe.model,
            "device": self.device,
            "encoders": self.encoders,
        }


def run(settings: Settings) -> int:
    """Embed, write the records, and say what came of it; return the exit code."""
    started = run_records.now()
    with Cluster(settings) as cluster:
        model = part(settings, ModelConfig)
        recipes = recipes_of(settings, local_folder(model), model.model)
        embedded = embed_layers(cluster, settings, recipes, model, settings, settings)
    records = [record for each in embedded for record in write_records(each, "embed", started, settings)]
    for each in embedded:
        each.raise_set_aside()
    if not records:
        print(f"nothing new: all {len(embedded[0].slots)} shards are embedded")
        return 0
    output = embedded[0].ledger.output
    rows, failed, seconds = (total(records, name) for name in ("embeddings", "failures", "audio_seconds"))
    n_shards = sum(len(each.markers) for each in embedded)
    of_layers = f", counted for each of {len(embedded)} layers" if len(embedded) > 1 else ""
    tables = (storage.join(output, "embeddings", f"backbone={each.recipe.slug}") for each in embedded)
    print(
        f"embedded {rows} utterances, {seconds / 60:.1f} min of audio, in {n_shards} shards{of_layers}; "
        f"{failed} failed",
        *(f"tables: {uri}" for uri in tables),
        f"record: {records[-1]['uri']}",
        sep="\n",
    )
    return exit_code(output, failed, rows, settings.max_failures)


def recipes_of(settings: Settings, folder: str | None, model: str | None) -> tuple[Recipe, ...]:
    """A recipe for each layer: with the fingerprint that a run of this layer alone has.

    Raises
    ------
    ConfigError
        Where the encoder does not have such layers.
    """
    recipe = recipe_of(part(settings, EmbedConfig), folder, model)
    if settings.layers is None:
        return (recipe,)
    checkpoint = starter.ENCODER if settings.backbone == STARTER else folder
    if checkpoint is None:
        raise ConfigError(f"--layers {settings.layers}: layers are those of a checkpoint; --model is missing.")
    layers = layers_of(settings.layers, n_layers_of(checkpoint))
    return tuple(replace(recipe, config=replace(recipe.config, layer=layer)) for layer in layers)


def write_records(embedded: Embedded, verb: str, started: datetime.datetime, settings: Any) -> list[dict[str, Any]]:
    """Write the records of the plans that this run completed."""

    def counts(markers: list[Marker]) -> dict[str, Any]:
        return {
            "embeddings": sum(marker.rows["embeddings"] for marker in markers),
            "failures": sum(marker.rows["failures"] for marker in markers),
            "audio_seconds": round(sum(marker.detail["audio_seconds"] for marker in markers), 3),
        }

    content = {"settings": run_records.settings_of(settings), **embedded.record()}
    return run_records.write_records(embedded.ledger, embedded.history, embedded.slots, verb, started, content, counts)


def total(records: list[dict[str, Any]], name: str) -> Any:
    """Sum of a count over the records of a run."""
    return sum(record[name] for record in records)


def embed_archive(
    cluster: Cluster, what: InputConfig, recipe: Recipe, model: ModelConfig, where: OutputConfig, how: RunConfig
) -> Embedded:
    """Embed what is missing of an archive, or has changed since, for one layer: see :func:`embed_layers`."""
    (embedded,) = embed_layers(cluster, what, (recipe,), model, where, how)
    return embedded


def embed_layers(
    cluster: Cluster,
    what: InputConfig,
    recipes: tuple[Recipe, ...],
    model: ModelConfig,
    where: OutputConfig,
    how: RunConfig,
) -> list[Embedded]:
    """Embed what is missing of an archive, or has changed since, in one pass for all layers.

    Each layer has a ledger of its own, as if it were embedded alone: plans, markers, table, record. What is missing of
    several is computed once.

    Raises
    ------
    ConfigError, SchemaError, StorageError, RunAgain
        All but a :class:`SourceChangedError`, which is :attr:`Embedded.set_aside` of a result.
    """
    output = storage.normal(where.output)
    if not where.new_table:
        _refuse_other_encoder(output, recipes)
    results = [_planned(Ledger(output, "embeddings", recipe.fingerprint), what, recipe, how) for recipe in recipes]
    todo = _Todo(results)
    if todo.shards:
        pool = cluster.pool()
        for result in results:
            result.device = pool.device
        log.info(
            "embed: %d of %d shards, %.1f MB, with %s on %d × %s, %s, %s; fingerprint %s",
            len(todo.shards),
            len(frozenset().union(*(result.slots for result in results))),
            sum(shard.size for shard in todo.shards.values()) / 1e6,
            ", ".join(recipe.slug for recipe in todo.recipes),
            pool.encoders,
            "GPU" if pool.device == "cuda" else "CPU",
            recipes[0].config.dtype,
            f"{pool.batch_seconds:g} s of audio a pass" if pool.device == "cuda" else "a segment a pass",
            ", ".join(recipe.fingerprint for recipe in todo.recipes),
        )
        try:
            _work(_Work(cluster, todo.recipes, model, pool, how, what), results, todo)
        except SourceChangedError as error:
            for result in todo.results:
                result.set_aside = error
        for result in results:
            result.encoders = cluster.pace.record()
    return results


def _planned(table: Ledger, what: InputConfig, recipe: Recipe, how: RunConfig) -> Embedded:
    """Freeze what is new for one layer."""
    proposal = Proposal((), frozenset())

    def propose_plan(history: PlanHistory) -> Plan | None:
        nonlocal proposal
        proposal = propose(archive.find(what), history, table.done(), storage.stat)
        if not proposal.new:
            return None
        run_id = run_records.run_id_of(how, plan_id_of(proposal.new, len(history.plans)), recipe.fingerprint)
        return Plan(run_id, how.run_date, proposal.new, {"recipe": recipe.describe(), "model": recipe.model})

    history = table.freeze(propose_plan)
    if history.plans:
        logs.bind(run_id=history.plans[-1].run_id)
    return Embedded(recipe, table, history, proposal.slots)


class _Todo:
    """What is missing of which layers: a shard in one state once, with everybody who lacks it."""

    def __init__(self, results: list[Embedded]) -> None:
        self.shards: dict[str, Shard] = {}
        self.lacking: dict[str, list[tuple[Embedded, PlannedShard]]] = {}
        self.results: list[Embedded] = []
        for result in results:
            done = result.ledger.done()
            missing = [planned for planned in result.shards if planned.name not in done]
            for planned in missing:
                shard = shard_of(planned)
                self.shards[shard.shard_id] = shard
                self.lacking.setdefault(shard.shard_id, []).append((result, planned))
            self.results += [result] if missing else []

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """Of the layers that lack something; no other is computed."""
        return tuple(result.recipe for result in self.results)


def shard_of(planned: PlannedShard) -> Shard:
    """What there is to read of a planned shard."""
    return Shard.from_content(planned.entry.work)


@dataclass(frozen=True)
class _Work:
    """With what the work is done."""

    cluster: Cluster
    recipes: tuple[Recipe, ...]
    model: ModelConfig
    pool: Pool
    how: RunConfig
    what: InputConfig

    @property
    def layers(self) -> tuple[int, ...]:
        """What lies side by side in the vectors that come back."""
        return tuple(recipe.config.layer for recipe in self.recipes)


def _work(work: _Work, results: list[Embedded], todo: _Todo) -> None:
    """Embed and commit shards, each as soon as it is whole."""
    watchdog = Watchdog(work.how.stall_seconds)
    begun: dict[str, float] = {}
    ended: set[str] = set()
    empty: list[ShardRows] = []

    def commit(rows: ShardRows) -> None:
        for result, planned in todo.lacking[rows.shard_id]:
            _commit(result, rows, planned, todo.shards[rows.shard_id], work.layers)

    n_bytes = sum(shard.size for shard in todo.shards.values())
    with progress("embed", len(todo.shards), n_bytes) as shown, StopRequest() as stop:

        def stream(portions: list[Portion], singly: bool) -> Iterator[pa.Table]:
            encoding = (work.recipes, work.model, work.pool)
            for pieces in work.cluster.embed_portions(portions, *encoding, watchdog, stop, singly=singly):
                shown.segments(len(pieces) - pieces["n_frames"].null_count)
                shown.read(pc.sum(pc.struct_field(pieces["outcome"], "bytes")).as_py() or 0)
                for shard_id in pieces["shard_id"].unique().drop_null().to_pylist():
                    begun.setdefault(shard_id, time.monotonic())
                metrics.set_gauge("bonafide_shards_open", len(begun) - len(ended))
                yield pieces

        for rows in embed_all(stream, list(todo.shards.values())):
            if rows.outcomes:
                commit(rows)
            else:
                empty.append(rows)
            ended.add(rows.shard_id)
            metrics.set_gauge("bonafide_shards_open", len(begun) - len(ended))
            watchdog.committed(time.monotonic() - begun[rows.shard_id])
            shown.shard(len(rows.outcomes), rows.seconds)
            metrics.count("bonafide_audio_seconds_total", rows.seconds)
            for outcome, n_rows in Counter(found["error"] or "embedded" for found in rows.outcomes.values()).items():
                metrics.count("bonafide_rows_total", n_rows, verb="embed", outcome=outcome)
    if empty and len(empty) == max(len(result.slots) for result in results):
        # before any of them is committed: the next run must say so too
        where = work.what.manifest or ", ".join(work.what.input)
        raise ConfigError(f"{where}: no audio found in {len(empty)} shard(s); expected audio members.")
    for rows in empty:
        commit(rows)


def _refuse_other_encoder(output: str, recipes: tuple[Recipe, ...]) -> None:
    """A table is of one encoder; a second one beside it doubles what a query over all of them finds."""
    others = ledger.keys(output, "embeddings")
    if others and not {recipe.fingerprint for recipe in recipes} & set(others):
        recipe = recipes[0]
        (plan, *_) = Ledger(output, "embeddings", others[0]).history().plans
        now = recipe.describe()
        differ = {name: (old, now.get(name)) for name, old in plan.detail["recipe"].items() if old != now.get(name)}
        told = "; ".join(f"{name} was {old!r}, now {new!r}" for name, (old, new) in sorted(differ.items()))
        raise ConfigError(
            f"{output}: its embeddings have fingerprint {', '.join(others)}, this run's have {recipe.fingerprint}: "
            f"{told or 'the recipe has other fields'}. Run as before, use another --output, or ask for a table "
            f"beside it by --new-table."
        )


def exit_code(output: str, failed: int, rows: int, max_failures: float) -> int:
    """0, or 3 where more inputs of a run failed than allowed."""
    if failed <= max_failures * (failed + rows):
        return 0
    log.error(
        "%d of %d inputs failed, more than --max-failures %g allows; %s says why",
        failed,
        failed + rows,
        max_failures,
        storage.join(output, "failures"),
    )
    return 3


def _commit(run: Embedded, rows: ShardRows, planned: PlannedShard, shard: Shard, layers: tuple[int, ...]) -> None:
    recipe = run.recipe
    embeddings, failures = rows.tables(recipe, planned.run_id, layers)
    marker = run.ledger.commit(
        planned,
        shard.uri,
        {
            "failures": (f"failures/run_date={planned.run_date}", failures),
            "embeddings": (f"embeddings/backbone={recipe.slug}", embeddings),
        },
        {"run_id": planned.run_id, "audio_seconds": rows.seconds, "recipe": recipe.describe(), "model": recipe.model},
    )
    if marker is None:
        log.warning(
            "%s: a later run planned it in another state while it was embedded", shard.uri, extra={"shard": shard.uri}
        )
        run.set_aside = SourceChangedError(f"{shard.uri}: planned in another state meanwhile. Run again.")
        return
    metrics.count("bonafide_alarms_total", len(marker.alarms))
    for table in marker.alarms:
        log.error(
            "%s: computed twice, and the %s differ; the first stand. Is a machine broken?",
            shard.uri,
            table,
            extra={"shard": shard.uri},
        )
    run.markers.append(marker)
