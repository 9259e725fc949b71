"""The choice of a fit: the table and the settings that do best on grouped folds."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from typing import Any

from detector.config import LAST_LAYER
from detector.errors import ConfigError
from detector.groups import Groups, groups_of, sample
from detector.logistic import Bools, Rows, gather
from detector.training.config import TrainingConfig
from detector.training.fitting import certification_rows
from detector.training.nuisance import clean
from detector.training.search import choose, edge_of_search, search, settings_to_try
from jobs import storage
from jobs.fitting.config import FitConfig
from jobs.fitting.parts import KnownParts
from jobs.tables.labelled import Labelled, Labels, refuse_shared_audio, renamed_for
from jobs.tables.ledger import Ledger
from jobs.tables.recipes import essences_in
from jobs.telemetry.progress import Steps, steps

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """The table to fit on, the settings that did best on it, and all settings that were tried.

    Attributes
    ----------
    certifying : bool array of shape (n_rows,)
        Rows that are kept for certification; nothing may be learnt from them.
    sampled : bool array of shape (n_rows,)
        Rows that chose the settings; `sample` has their embeddings.
    edge : str or None
        A warning, if the choice is at an end of the range that was tried.
    parts : KnownParts or None
        What is known of parts of the rows.
    """

    rows: Labelled
    groups: Groups
    config: TrainingConfig
    certifying: Bools
    sampled: Bools
    sample: Rows
    tried: list[dict[str, Any]]
    edge: str | None
    parts: KnownParts | None = None


def choose_tables(settings: FitConfig) -> list[Choice]:
    """Try every open setting on every table, and return the ``settings.fuse`` choices that do best on grouped folds.

    The best is the first; its `tried` has what was tried on all tables.
    """
    outputs = _tables(settings)
    uri = storage.normal(settings.labels)
    renamed = renamed_for(uri, outputs[0], settings.match)
    refuse_shared_audio(outputs[0], uri, settings.split, renamed)
    labels = Labels.read(uri, settings.split, renamed)  # not earlier: the check holds as much memory
    if settings.fuse > 1:
        for tables in outputs:  # rows that all tables have
            labels = Labelled(tables, labels, settings).labels
    best: list[Choice] = []  # one table at a time, so that only those that may be taken are in memory
    tried: list[dict[str, Any]] = []
    n_settings = len(settings_to_try(settings))
    with steps("fit", len(outputs) * n_settings, f"settings tried, of {len(outputs)} tables") as shown:
        for tables in outputs:
            table = Labelled(tables, labels, settings)
            if settings.recipe is None or (table.recipe["layer"], table.recipe["pooling"]) == (LAST_LAYER, "mean"):
                choice = _tried(table, settings, shown)
                tried += choice.tried
                best = sorted([*best, choice], key=lambda each: float(each.tried[0]["cllr"]))[: settings.fuse]
            else:
                shown.skip(n_settings)
    if not best:
        raise ConfigError(
            f"{', '.join(settings.embeddings)}: recipe {settings.recipe} is for the mean over the last layer, and none "
            f"of the {len(outputs)} tables is. Embed with --layer {LAST_LAYER} --pooling mean."
        )
    if len(best) < settings.fuse:
        raise ConfigError(
            f"{', '.join(settings.embeddings)}: {len(best)} table(s) to fuse, not {settings.fuse}. Embed several "
            f"layers (--layers), or with another encoder into the same output (--new-table)."
        )
    return [replace(best[0], tried=sorted(tried, key=lambda each: float(each["cllr"]))), *best[1:]]


def _tables(settings: FitConfig) -> list[list[Ledger]]:
    """Return the tables of each recipe that every output has."""
    uris = [storage.normal(each) for each in settings.embeddings]
    found = [essences_in(uri) for uri in uris]
    wanted = {essences.get(settings.fingerprint or "") for essences in found} - {None}
    for uri, essences in zip(uris, found, strict=True):
        if not essences or (settings.fingerprint and not wanted & set(essences.values())):
            raise ConfigError(f"{uri}: no table of embeddings here. Give the --output of an `embed` run.")
    shared = []
    for key, essence in found[0].items():
        keys = [_key_of(key, essence, essences) for essences in found]
        if settings.fingerprint in (None, *keys) and None not in keys:
            shared.append([Ledger(uri, "embeddings", str(name)) for uri, name in zip(uris, keys, strict=True)])
    if not shared:
        each = "; ".join(f"{uri} has {', '.join(essences)}" for uri, essences in zip(uris, found, strict=True))
        raise ConfigError(f"no fingerprint of embeddings in all outputs: {each}. Embed with the same settings.")
    return shared


def _key_of(key: str, essence: str, essences: dict[str, str]) -> str | None:
    """Return the fingerprint under which an output has the table that another has under ``key``."""
    return key if key in essences else max((each for each, own in essences.items() if own == essence), default=None)


def _tried(table: Labelled, settings: FitConfig, shown: Steps) -> Choice:
    """Return the best settings for one table."""
    groups = groups_of(table.is_bonafide, table.names)
    certifying = certification_rows(table.is_bonafide, groups, settings)
    sampled = sample(table.is_bonafide, groups, settings.search_rows) & ~certifying
    parts = None if settings.parts is None else KnownParts.of(table, settings.parts)
    sampled &= True if parts is None else ~parts.in_part
    rows: Rows = gather(table, sampled)
    sources = table.names["source"][sampled]
    rows = clean(rows, table.is_bonafide[sampled], sources, settings.nuisance_directions) or rows
    candidates = search(rows, table.is_bonafide[sampled], groups[sampled], settings, shown.done)
    best = choose(candidates)
    config = replace(settings, c=best.c, standardise=best.standardise)
    which = {"model": table.model, **{name: table.recipe[name] for name in ("layer", "pooling")}}
    layer = "last layer" if which["layer"] == LAST_LAYER else f"layer {which['layer']}"
    name = f"{which['model']}, {layer}, pooling {which['pooling']}"
    scaled = "standardised" if best.standardise else "not standardised"
    log.info(
        "%s: best C is %g, %s: Cllr %.3f bits on %d folds", name, best.c, scaled, best.cllr, len(best.cllr_of_folds)
    )
    edge = edge_of_search(best, candidates)
    if edge is not None:
        log.warning("%s: %s", name, edge)
    tried = [which | asdict(each) for each in candidates]
    return Choice(table, groups, config, certifying, sampled, rows, tried, edge, parts)
