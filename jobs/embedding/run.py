"""An embedding run: settings in; tables, run records and a summary out."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from detector import checkpoint, starter
from detector.config import STARTER, EmbedConfig, Recipe, layers_of
from detector.errors import ConfigError
from jobs import storage
from jobs.config import CostConfig, ModelConfig, SegmentsConfig, extract_config
from jobs.embedding.archive import embed_layers
from jobs.embedding.config import EmbeddingConfig
from jobs.embedding.cost import measured
from jobs.embedding.estimate import estimate
from jobs.embedding.result import EmbeddingRun
from jobs.embedding.totals import EmbeddingTotals, code_of
from jobs.execution.choice import ChosenRunner
from jobs.inputs.checkpoint import local_folder
from jobs.tables import erasures, run_records
from jobs.tables.removal import PRUNED_ROWS, REMOVED_ROWS
from jobs.tables.repeated_ids import raise_repeated
from jobs.telemetry.names import say

log = logging.getLogger(__name__)


def embed(settings: EmbeddingConfig) -> int:
    """Embed an archive, write the records, print a summary, and return the exit code."""
    started = run_records.now()
    with ChosenRunner(settings) as runner:
        model = extract_config(settings, ModelConfig)
        recipes = recipes_of(settings, local_folder(model), model.model)
        if settings.dry_run:
            say(*estimate(settings, recipes, settings, settings).lines(settings))
            return 0
        note = erasures.note_of(settings.output)
        runs = embed_layers(runner, settings, recipes, model, settings, settings)
    used = (runner.chosen, runner.requests)
    records = [record for each in runs for record in write_records(each, "embed", started, settings, *used, note)]
    for each in runs:
        each.raise_set_aside()
    if not records:
        say(f"nothing new: all {len(runs[0].slots)} shards are embedded")
        of_date = (run_records.records_of_date(each.ledger.output, each.history, settings.run_date) for each in runs)
        again = [record for records in of_date for record in records]
        raise_repeated(again)
        for each in runs:
            each.unheard.raise_any()
        return run_records.exit_code_of(again)
    output = runs[0].ledger.output
    seconds = _total(records, "audio_seconds")
    replaced = [marker for each in runs for marker in each.ledger.markers(each.replaced)]
    rows, failed = (
        _total(records, name) - sum(marker.rows[name] for marker in replaced) for name in ("embeddings", "failures")
    )
    removed, pruned = (_total(records, name) for name in (REMOVED_ROWS, PRUNED_ROWS))
    n_shards = sum(len(each.names) for each in runs)
    of_layers = f", counted for each of {len(runs)} layers" if len(runs) > 1 else ""
    tables = (storage.join(output, "embeddings", f"backbone={each.recipe.slug}") for each in runs)
    say(
        f"embedded {rows} utterances, {seconds / 60:.1f} min of audio, in {n_shards} shards{of_layers}; "
        f"{failed} failed{f'; {removed} of them are gone from the archive' if removed else ''}",
        *([pruned_line(pruned)] if pruned else ()),
        *(f"tables: {uri}" for uri in tables),
        f"record: {records[-1]['uri']}",
    )
    code = exit_code(output, failed, rows, settings.max_failures)
    raise_repeated(records)
    for each in runs:
        each.unheard.raise_any()
    return code


def recipes_of(settings: EmbeddingConfig, folder: str | None, model: str | None) -> tuple[Recipe, ...]:
    """Return a recipe for each layer, with the fingerprint that a run of this layer alone has.

    Raises
    ------
    ConfigError
        If the encoder does not have such layers.
    """
    config = extract_config(settings, EmbedConfig)
    if settings.layers is None:
        return with_windows(checkpoint.recipes_of(config, (config.layer,), folder, model), settings)
    weights = starter.ENCODER if settings.backbone == STARTER else folder
    if weights is None:
        raise ConfigError(f"--layers {settings.layers}: layers are those of a checkpoint; --model is missing.")
    layers = layers_of(settings.layers, checkpoint.n_layers_of(weights))
    return with_windows(checkpoint.recipes_of(config, layers, folder, model), settings)


def with_windows(recipes: tuple[Recipe, ...], settings: SegmentsConfig) -> tuple[Recipe, ...]:
    """Return recipes that also embed the windows that are asked for."""
    return tuple(replace(recipe, windows=settings.windows) for recipe in recipes)


def write_records(
    run: EmbeddingRun,
    verb: str,
    started: datetime.datetime,
    settings: Any,
    runners: Mapping[str, str] | None = None,
    requests: Mapping[str, int] | None = None,
    note: str | None = None,
) -> list[dict[str, Any]]:
    """Write the records of the plans that this run completed, and return them.

    Parameters
    ----------
    runners, requests : mapping, optional
        The runner of each kind of work, and requests to the store; see :class:`jobs.execution.choice.ChosenRunner`.
    note : str, optional
        See :func:`jobs.tables.run_records.write_records`.
    """
    content = {"settings": run_records.settings_of(settings), **work_of(run, settings, runners, requests)}
    begin = partial(EmbeddingTotals, settings.max_failures)
    return run_records.write_records(run.ledger, run.history, run.slots, verb, started, content, begin, note)


def work_of(
    run: EmbeddingRun, settings: Any, runners: Mapping[str, str] | None, requests: Mapping[str, int] | None
) -> dict[str, Any]:
    """Return the fields of a record on how the embedding was done, and what it took."""
    cost = measured(run.done, run.device, run.encoders, settings.encoder_gpus, requests)
    return {"runners": dict(runners or {}), **run.record(), "cost": cost.record(extract_config(settings, CostConfig))}


def pruned_line(n_rows: int) -> str:
    """Return the line of the summary that says how many rows `--prune` took out."""
    return f"{n_rows} pruned: rows of recordings that are gone from the archive were taken out"


def exit_code(output: str, failed: int, rows: int, max_failures: float) -> int:
    """Return :func:`jobs.embedding.totals.code_of`, and log an error unless that is 0."""
    code = code_of(failed, rows, max_failures)
    if code == 0:
        return code
    log.error(
        "%d of %d inputs failed, more than --max-failures %g allows; %s says why",
        failed,
        failed + rows,
        max_failures,
        storage.join(output, "failures"),
    )
    return code


def _total(records: list[dict[str, Any]], name: str) -> Any:
    return sum(record[name] for record in records)
