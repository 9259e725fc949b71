"""embed: audio in, the embedding table out."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, Recipe
from detector.errors import ConfigError
from jobs import archive, ledger, runs, storage
from jobs.archive import InputConfig, Portion, Shard
from jobs.attempts import embed_all
from jobs.checkpoint import local_folder
from jobs.config import ModelConfig, OutputConfig, RunConfig, part
from jobs.errors import SourceChangedError
from jobs.gathering import ShardRows
from jobs.ledger import Ledger
from jobs.pipeline import Cluster, Pool
from jobs.plan import Proposal, plan_id_of, propose
from jobs.progress import progress
from jobs.protocol import Book, Marker, Plan, Planned
from jobs.watchdog import Stop, Watchdog

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings(InputConfig, EmbedConfig, ModelConfig, OutputConfig, RunConfig):
    """Embed an archive: read, decode, encode, and write one row an utterance."""

    def __post_init__(self) -> None:
        for kind in (InputConfig, EmbedConfig, RunConfig):  # each checks its own fields
            kind.__post_init__(self)


@dataclass
class Embedded:
    """An embedding run: the plans that it worked on, and what it committed of them."""

    recipe: Recipe
    ledger: Ledger
    book: Book
    slots: frozenset[str]
    device: str = ""
    markers: list[Marker] = field(default_factory=list)
    set_aside: SourceChangedError | None = None

    @property
    def shards(self) -> list[Planned]:
        """The archive's shards as they are planned."""
        return [self.book.current[slot] for slot in sorted(self.slots)]

    def committed(self) -> list[Planned]:
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
        }


def run(settings: Settings) -> int:
    """Embed, write the record, and say what came of it; return the exit code."""
    started = runs.now()
    with Cluster(settings) as cluster:
        model = part(settings, ModelConfig)
        recipe = recipe_of(part(settings, EmbedConfig), local_folder(model), model.model)
        embedded = embed_archive(cluster, settings, recipe, model, settings, settings)
    records = write_records(embedded, "embed", started, settings)
    embedded.raise_set_aside()
    if not records:
        print(f"nothing new: all {len(embedded.slots)} shards are embedded")
        return 0
    output = embedded.ledger.output
    rows, failed, seconds = (total(records, name) for name in ("embeddings", "failures", "audio_seconds"))
    print(
        f"embedded {rows} utterances, {seconds / 60:.1f} min of audio, in {len(embedded.markers)} shards; "
        f"{failed} failed\n"
        f"tables: {storage.join(output, 'embeddings', f'backbone={recipe.slug}')}\n"
        f"record: {records[-1]['uri']}"
    )
    return exit_code(output, failed, rows, settings.max_failures)


def write_records(embedded: Embedded, verb: str, started: datetime.datetime, settings: Any) -> list[dict[str, Any]]:
    """Write the records of the plans that this run completed."""

    def counts(markers: list[Marker]) -> dict[str, Any]:
        return {
            "embeddings": sum(marker.rows["embeddings"] for marker in markers),
            "failures": sum(marker.rows["failures"] for marker in markers),
            "audio_seconds": round(sum(marker.detail["audio_seconds"] for marker in markers), 3),
        }

    content = {"settings": runs.settings_of(settings), **embedded.record()}
    return runs.write_records(embedded.ledger, embedded.book, embedded.slots, verb, started, content, counts)


def total(records: list[dict[str, Any]], name: str) -> Any:
    """Sum of a count over the records of a run."""
    return sum(record[name] for record in records)


def embed_archive(
    cluster: Cluster, what: InputConfig, recipe: Recipe, model: ModelConfig, where: OutputConfig, how: RunConfig
) -> Embedded:
    """Embed what is missing of an archive, or has changed since.

    Raises
    ------
    ConfigError, SchemaError, StorageError, RunAgain
        All but a :class:`SourceChangedError`, which is the result's :attr:`Embedded.set_aside`.
    """
    output = storage.normal(where.output)
    table = Ledger(output, "embeddings", recipe.fingerprint)
    if not where.new_table:
        _refuse_other_encoder(output, recipe)
    proposal = Proposal((), frozenset())

    def propose_plan(book: Book) -> Plan | None:
        nonlocal proposal
        proposal = propose(archive.find(what), book, table.done(), storage.stat)
        if not proposal.new:
            return None
        run_id = runs.run_id_of(how, plan_id_of(proposal.new, len(book.plans)), recipe.fingerprint)
        return Plan(run_id, how.run_date, proposal.new, {"recipe": recipe.describe(), "model": recipe.model})

    book = table.freeze(propose_plan)
    result = Embedded(recipe, table, book, proposal.slots)
    done = table.done()
    todo = [shard for shard in result.shards if shard.name not in done]
    if todo:
        pool = cluster.pool()
        result.device = pool.device
        log.info(
            "embed: %d of %d shards, %.1f MB, with %s on %d × %s; fingerprint %s",
            len(todo),
            len(result.slots),
            sum(shard_of(shard).size for shard in todo) / 1e6,
            recipe.slug,
            pool.encoders,
            "GPU" if pool.device == "cuda" else "CPU",
            recipe.fingerprint,
        )
        try:
            _work(_Work(cluster, recipe, model, pool, how, what), result, todo)
        except SourceChangedError as error:
            result.set_aside = error
    return result


def shard_of(planned: Planned) -> Shard:
    """What there is to read of a planned shard."""
    return Shard.from_content(planned.entry.work)


@dataclass(frozen=True)
class _Work:
    """With what the work is done."""

    cluster: Cluster
    recipe: Recipe
    model: ModelConfig
    pool: Pool
    how: RunConfig
    what: InputConfig


def _work(work: _Work, result: Embedded, todo: list[Planned]) -> None:
    """Embed and commit shards, each as soon as it is whole."""
    shards = {shard.shard_id: (planned, shard) for planned in todo for shard in [shard_of(planned)]}
    watchdog = Watchdog(work.how.stall_seconds)
    begun: dict[str, float] = {}
    empty: list[ShardRows] = []
    with progress("embed", len(todo)) as shown, Stop() as stop:

        def stream(portions: list[Portion], singly: bool) -> Iterator[pa.Table]:
            encoding = (work.recipe, work.model, work.pool)
            for pieces in work.cluster.embed_portions(portions, *encoding, watchdog, stop, singly=singly):
                shown.segments(len(pieces) - pieces["n_frames"].null_count)
                for shard_id in pieces["shard_id"].unique().drop_null().to_pylist():
                    begun.setdefault(shard_id, time.monotonic())
                yield pieces

        for rows in embed_all(stream, [shard for _, shard in shards.values()]):
            if rows.outcomes:
                _commit(result, rows, *shards[rows.shard_id])
            else:
                empty.append(rows)
            watchdog.committed(time.monotonic() - begun[rows.shard_id])
            shown.shard(len(rows.outcomes), rows.seconds)
    if len(empty) == len(result.slots):
        # before any of them is committed: the next run must say so too
        where = work.what.manifest or ", ".join(work.what.input)
        raise ConfigError(f"{where}: no audio found in {len(empty)} shard(s); expected audio members.")
    for rows in empty:
        _commit(result, rows, *shards[rows.shard_id])


def _refuse_other_encoder(output: str, recipe: Recipe) -> None:
    """A table is of one encoder; a second one beside it doubles what a query over all of them finds."""
    others = ledger.keys(output, "embeddings")
    if others and recipe.fingerprint not in others:
        (plan, *_) = Ledger(output, "embeddings", others[0]).book().plans
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


def _commit(run: Embedded, rows: ShardRows, planned: Planned, shard: Shard) -> None:
    recipe = run.recipe
    embeddings, failures = rows.tables(recipe.config.layer, recipe.fingerprint, planned.run_id)
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
        log.warning("%s: a later run planned it in another state while it was embedded", shard.uri)
        run.set_aside = SourceChangedError(f"{shard.uri}: planned in another state meanwhile. Run again.")
        return
    for table in marker.alarms:
        log.error("%s: computed twice, and the %s differ; the first stand. Is a machine broken?", shard.uri, table)
    run.markers.append(marker)
