"""Id rule: whether the ids of an output are relative to an `--input` or absolute, as its first plan says."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from detector.errors import ConfigError
from jobs.inputs.config import ABSOLUTE, DEFAULT_IDS, RELATIVE
from jobs.tables.ledger import Ledger, keys, ledgers
from jobs.tables.protocol import Plan, PlanHistory

ID_ROOTS = "id_roots"
"""In the detail of a plan of relative ids: folders that they are relative to, but for those of earlier plans."""


def is_relative(output: str, history: PlanHistory, asked: str | None) -> bool:
    """Return True if new ids of an output are relative: as its ids are, and in a new output as it was asked.

    Parameters
    ----------
    output : str
    history : PlanHistory
        Of a table of embeddings under it; if that is new, another one answers.
    asked : str or None
        The setting `--ids`.

    Raises
    ------
    ConfigError
        If the output has ids of the other rule: each recording would be there twice.
    """
    others = () if history.plans else keys(output, "embeddings")
    plans = (*history.plans, *(Ledger(output, "embeddings", key).first_plan() for key in others[:1]))
    first = next(iter(plans), None)
    if first is None:
        return (asked or DEFAULT_IDS) == RELATIVE
    rule = RELATIVE if ID_ROOTS in first.detail else ABSOLUTE
    if asked not in (None, rule):
        raise ConfigError(
            f"{output}: its utterance ids are {rule}, so --ids {asked} would name its recordings anew. Leave --ids "
            f"out, or use another --output."
        )
    return rule == RELATIVE


def id_roots(plans: Iterable[Plan]) -> set[str]:
    """Return the folders that ids of plans are relative to."""
    return {root for plan in plans for root in plan.detail.get(ID_ROOTS, ())}


def id_roots_of(output: str) -> set[str]:
    """Return the folders that ids of an output are relative to."""
    return {root for table in ledgers(output) for root in id_roots(table.history().plans)}


def describe_rule(roots: Collection[str] | None, history: PlanHistory) -> dict[str, list[str]]:
    """Return what the detail of a new plan says of the rule: nothing without roots, as ids are absolute then."""
    return {} if roots is None else {ID_ROOTS: sorted({*roots} - id_roots(history.plans) - {""})}
