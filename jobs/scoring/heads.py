"""Heads: read from where they are stored, and refused for embeddings that they were not fitted on."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from detector import starter
from detector.checkpoint import recipes_of
from detector.config import STARTER, Recipe, by_channels, difference, digest_of, joined, parts_of, without_former
from detector.errors import ConfigError
from detector.head import Head
from detector.head_checks import refuse_large
from jobs import storage
from jobs.tables.joined import JoinedTables
from jobs.tables.ledger import Ledger
from jobs.tables.recipes import recipes_in

log = logging.getLogger(__name__)


def read_head(uri: str, public_key: str | None = None, backbone: str | None = None) -> Head:
    """Read a head.

    Parameters
    ----------
    uri : str
        A file's, or `starter`.
    public_key : str or None
        URI of a public key; a head that this key did not sign is refused.
    backbone : str or None
        The encoder that the user names. A head that names a loader is refused unless it is this one, and so is a head
        of any other encoder.

    Raises
    ------
    ConfigError
        If the head is refused.
    """
    head = load_head(uri, public_key, () if backbone is None else (backbone,))
    own = dict.fromkeys(each.backbone for each in head.embed_configs)
    if backbone not in (None, *own):
        raise ConfigError(
            f"{uri}: fitted on embeddings of backbone {', '.join(own)}, not of {backbone}. Omit "
            f"--backbone, or give the head that was fitted on that encoder's embeddings."
        )
    return head


def load_head(uri: str, public_key: str | None = None, loaders: Collection[str] = ()) -> Head:
    """Read a head that may name one of ``loaders``, as :meth:`detector.head.Head.from_json` does."""
    if uri == STARTER and public_key is None:
        log.warning("%s", starter.NOTICE)
        return Head.starter()
    uri = storage.normal(str(starter.HEAD) if uri == STARTER else uri)
    key = None if public_key is None else storage.read_bytes(storage.normal(public_key))
    stored = storage.stat(uri)
    if stored is not None:  # else reading it says best what is there
        refuse_large(stored.size, uri)
    return Head.from_json(storage.read_bytes(uri), uri, key, loaders)


def recipes_for(
    head: Head, folder: str | None, model: str | None, where: str, channels: str | None = None
) -> tuple[Recipe, ...]:
    """Return the recipes that the head judges, one for each layer, as the encoder in a folder computes them.

    Raises
    ------
    ConfigError
        If the head is for another encoder, or for several.
    """
    config = head.embed_config
    config = replace(config, channels=channels or config.channels)
    recipes = recipes_of(config, head.layers, folder, model)
    check_recipe(head, recipes, where)
    return recipes


def check_recipe(head: Head, recipes: Sequence[Recipe], where: str) -> None:
    """Refuse a head of another encoder before any row is written.

    Raises
    ------
    ConfigError
        If the head is not for embeddings of ``recipes`` side by side.
    """
    described = joined([recipe.describe() for recipe in recipes])
    if not head.judges(described):
        raise _other_encoder(head, {digest_of(described): described}, where)


def _other_encoder(head: Head, present: Mapping[str, dict[str, Any]], where: str) -> ConfigError:
    found = ", ".join(f"{key} ({difference(head.recipe, described)})" for key, described in present.items())
    return ConfigError(
        f"{where}: the head is for embeddings of fingerprint {head.fingerprint} ({head.model}), but these have "
        f"{found}. Use the head that was fitted on this encoder's embeddings, the same --model, or fit again."
    )


def embeddings_of(output: str, head: Head, channels: str | None = None) -> Ledger:
    """Return the table of an output that has the embeddings that the head is for: of ``channels``, if given.

    For a fused head, that is its tables joined.

    Raises
    ------
    ConfigError
        If there is no such table, or only tables of another recipe.
    """
    uri = storage.normal(output)
    present = recipes_in(uri)
    if not present:
        raise ConfigError(f"{uri}: no embeddings here. Give the --output of an `embed` run.")
    recipes = {name: parts_of(recipe) for name, recipe in by_channels(head.recipe).items()}
    found = {name: [_key_of(part, present) for part in parts] for name, parts in recipes.items()}
    complete = {name: [key for key in keys if key] for name, keys in found.items() if None not in keys}
    wanted = channels or head.embed_config.channels
    if wanted not in complete and complete:
        raise ConfigError(f"{uri}: its embeddings are of other channels; ask for them by --channels {min(complete)}.")
    if not complete:
        raise _other_encoder(head, present, output)
    return joined_tables([Ledger(uri, "embeddings", key) for key in complete[wanted]], head.fingerprints[wanted])


def joined_tables(tables: Sequence[Ledger], fingerprint: str) -> Ledger:
    """Return several tables as one of this fingerprint; a single one as it is."""
    return tables[0] if len(tables) == 1 else JoinedTables(tables, fingerprint)


def _key_of(recipe: dict[str, Any], present: dict[str, dict[str, Any]]) -> str | None:
    """Return the fingerprint under which an output has a recipe: the very same if it has it, else the last."""
    same = [key for key, each in present.items() if without_former(each) == without_former(recipe)]
    return digest_of(recipe) if digest_of(recipe) in present else max(same, default=None)
