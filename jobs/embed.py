"""embed: audio in, the embedding table out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, Recipe
from detector.errors import ConfigError
from jobs import archive, ledger, runs, storage
from jobs.archive import InputConfig
from jobs.checkpoint import local_folder
from jobs.config import ModelConfig, OutputConfig, RunConfig, part
from jobs.digest import add
from jobs.errors import RunAgain
from jobs.gathering import Gatherer, ShardRows
from jobs.ledger import Ledger, Marker
from jobs.pipeline import Cluster
from jobs.plan import Plan, make_plan
from jobs.progress import progress

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings(InputConfig, EmbedConfig, ModelConfig, OutputConfig, RunConfig):
    """Embed an archive: read, decode, encode, and write one row an utterance."""

    def __post_init__(self) -> None:
        for kind in (InputConfig, EmbedConfig, RunConfig):  # each checks its own fields
            kind.__post_init__(self)


@dataclass
class Embedded:
    """What an embedding run did and left: its plan, and the markers of the shards that it committed."""

    plan: Plan
    recipe: Recipe
    output: str
    run_id: str
    device: str = ""
    audio_seconds: float = 0.0
    markers: list[Marker] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        """The ledger of the embedding table."""
        return Ledger(self.output, "embeddings", self.recipe.fingerprint)

    def rows(self, table: str) -> int:
        """Rows that this run wrote to a table."""
        return sum(marker.rows[table] for marker in self.markers)

    def record(self) -> dict[str, Any]:
        """For the run's record."""
        return {
            "fingerprint": self.recipe.fingerprint,
            "recipe": self.recipe.describe(),
            "model": self.recipe.model,
            "plan_id": self.plan.plan_id,
            "shards": {"planned": len(self.plan.shards), "embedded": len(self.markers)},
            "device": self.device,
            "audio_seconds": round(self.audio_seconds, 3),
            "embeddings": self.rows("embeddings"),
            "failures": self.rows("failures"),
            "embeddings_digest": add(marker.digest for marker in self.markers),
        }


def run(settings: Settings) -> int:
    """Embed, write the record, and say what came of it; return the exit code."""
    started = runs.now()
    with Cluster(settings) as cluster:
        model = part(settings, ModelConfig)
        recipe = recipe_of(part(settings, EmbedConfig), local_folder(model), model.model)
        embedded = embed_archive(cluster, settings, recipe, model, settings.output, settings)
    if not embedded.markers:
        print(f"nothing new: all {len(embedded.plan.shards)} shards are embedded")
        return 0
    record = runs.write_record(
        embedded.output,
        embedded.run_id,
        "embed",
        started,
        {"settings": runs.settings_of(settings), **embedded.record()},
    )
    print(
        f"embedded {embedded.rows('embeddings')} utterances, {embedded.audio_seconds / 60:.1f} min of audio, in "
        f"{len(embedded.markers)} shards; {embedded.rows('failures')} failed\n"
        f"tables: {storage.join(embedded.output, 'embeddings', f'backbone={embedded.recipe.slug}')}\n"
        f"record: {record}"
    )
    return exit_code(embedded.output, embedded.rows("failures"), embedded.rows("embeddings"), settings.max_failures)


def embed_archive(
    cluster: Cluster,
    what: InputConfig,
    recipe: Recipe,
    model: ModelConfig,
    output: str,
    how: RunConfig,
    purpose: str = "",
) -> Embedded:
    """Embed what is missing of an archive.

    Parameters
    ----------
    purpose : str
        What the run's id depends on beside plan, recipe and date: the head that is going to judge.

    Raises
    ------
    ConfigError, SchemaError, StorageError, RunAgain
    """
    output = storage.normal(output)
    table = Ledger(output, "embeddings", recipe.fingerprint)
    known, done = ledger.known_shards(output), table.done()
    plan = make_plan(archive.find(what), known, done)
    run_id = runs.run_id_of(how, plan.plan_id, recipe.fingerprint + purpose)
    result = Embedded(plan, recipe, output, run_id)
    if not plan.todo:
        return result
    ledger.remember(output, [shard for shard in plan.todo if shard.shard_id not in known])
    pool = cluster.pool()
    result.device = pool.device
    log.info(
        "embed: %d of %d shards, %.1f MB, with %s on %d × %s; fingerprint %s",
        len(plan.todo),
        len(plan.shards),
        sum(shard.size for shard in plan.todo) / 1e6,
        recipe.slug,
        pool.encoders,
        "GPU" if pool.device == "cuda" else "CPU",
        recipe.fingerprint,
    )
    uris = {shard.shard_id: shard.uri for shard in plan.todo}
    gatherer = Gatherer()
    empty: list[ShardRows] = []
    with progress("embed", len(plan.todo)) as shown:
        for pieces in cluster.embed_shards(plan.todo, recipe, model, pool):
            shown.segments(len(pieces) - pieces["n_frames"].null_count)
            for shard in gatherer.add(pieces):
                if shard.outcomes:
                    result.markers.append(_commit(table, shard, uris[shard.shard_id], result, how))
                    result.audio_seconds += shard.seconds
                else:
                    empty.append(shard)
                shown.shard(len(shard.outcomes), shard.seconds)
    missing = uris.keys() - {marker.shard_id for marker in result.markers} - {shard.shard_id for shard in empty}
    if missing:
        raise RunAgain(f"{len(missing)} shard(s) never came back whole, first {uris[min(missing)]}; run again.")
    if len(empty) == len(plan.shards):
        # before any of them is committed: the next run must say so too
        where = what.manifest or ", ".join(what.input)
        raise ConfigError(f"{where}: no audio found in {len(empty)} shard(s); expected audio members.")
    result.markers += [_commit(table, shard, uris[shard.shard_id], result, how) for shard in empty]
    return result


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


def _commit(table: Ledger, shard: ShardRows, uri: str, run: Embedded, how: RunConfig) -> Marker:
    embeddings, failures = shard.tables(run.recipe.config.layer, run.recipe.fingerprint, run.run_id)
    return table.commit(
        shard.shard_id,
        uri,
        {
            "embeddings": (f"embeddings/backbone={run.recipe.slug}", embeddings),
            "failures": (f"failures/run_date={how.run_date}", failures),
        },
        {
            "run_id": run.run_id,
            "audio_seconds": shard.seconds,
            "recipe": run.recipe.describe(),
            "model": run.recipe.model,
        },
    )
