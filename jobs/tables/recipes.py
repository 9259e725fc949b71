"""Recipes of the embeddings under an output: which of its tables has what a recipe computes.

A table keeps the fingerprint that it was begun with. Earlier versions counted the versions of libraries into it, so two
fingerprints may be of one recipe; the recipe itself stands in the table's first plan.
"""

from __future__ import annotations

from typing import Any

from detector.config import Recipe, digest_of, without_former
from jobs.tables import ledger
from jobs.tables.ledger import Ledger


def recipes_in(output: str) -> dict[str, dict[str, Any]]:
    """Return the description of each table's recipe, by fingerprint; it is empty where a plan does not have it."""
    keys = ledger.keys(output, "embeddings")
    return {key: Ledger(output, "embeddings", key).first_plan().detail.get("recipe", {}) for key in keys}


def essences_in(output: str) -> dict[str, str]:
    """Return for each fingerprint that of the same recipe without versions of libraries."""
    return {key: digest_of(without_former(each)) if each else key for key, each in recipes_in(output).items()}


def as_stored(output: str, recipe: Recipe, preferred: str | None = None) -> Recipe:
    """Return a recipe with the fingerprint that it has in an output; its own where the output has none of it.

    Parameters
    ----------
    preferred : str, optional
        The fingerprint to take if an output has several of one recipe [default: that of the last run].
    """
    if recipe.fingerprint in ledger.keys(output, "embeddings"):
        return recipe
    known = {key: named for key, each in recipes_in(output).items() if (named := recipe.known_as(each)) is not None}
    if not known:
        return recipe
    if preferred in known:
        return known[preferred]
    return known[max(known, key=lambda key: (Ledger(output, "embeddings", key).history().plans[-1].run_id, key))]
