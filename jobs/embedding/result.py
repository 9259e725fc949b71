"""The result of an embedding run: its plans, what it committed of them, and the shards that are still missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from detector.config import Recipe
from jobs.errors import SourceChangedError
from jobs.inputs.passed_over import PassedOver
from jobs.inputs.shards import Shard
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Marker, PlanHistory, PlannedShard


@dataclass
class EmbeddingRun:
    """One layer of an embedding run: the plans it works on, and the markers it has committed.

    Attributes
    ----------
    slots : frozenset of str
        Slots of the shards that the archive has now.
    passed_over : PassedOver
        Objects of the archive that are neither recordings nor containers.
    confinement : str or None
        Weakest level of the decoders of this process; None if it has decoded nothing.
    canaries : dict or None
        Largest distances of the canaries, and what was accepted; None if the run had nothing to do.
    set_aside : SourceChangedError or None
        A source that changed while the run read it; raised once all other shards are done.
    """

    recipe: Recipe
    ledger: Ledger
    history: PlanHistory
    slots: frozenset[str]
    passed_over: PassedOver = field(default_factory=PassedOver)
    device: str = ""
    encoders: dict[str, Any] = field(default_factory=dict)
    confinement: str | None = None
    canaries: dict[str, Any] | None = None
    markers: list[Marker] = field(default_factory=list)
    set_aside: SourceChangedError | None = None

    @property
    def shards(self) -> list[PlannedShard]:
        """Shards of the archive, as the newest plan has them."""
        return [self.history.current[slot] for slot in sorted(self.slots)]

    def committed(self) -> list[PlannedShard]:
        """Return the shards whose rows are committed."""
        done = self.ledger.done()
        return [shard for shard in self.shards if shard.name in done]

    def raise_set_aside(self) -> None:
        """Raise the change of a source that this run set aside, if there was one."""
        if self.set_aside is not None:
            raise self.set_aside

    def record(self) -> dict[str, Any]:
        """Return the fields that the run's record takes from here."""
        return {
            "fingerprint": self.recipe.fingerprint,
            "recipe": self.recipe.describe(),
            "model": self.recipe.model,
            "device": self.device,
            "encoders": self.encoders,
            "confinement": self.confinement,
            "canaries": self.canaries,
            "passed_over": self.passed_over.to_content(),
        }


class MissingShards:
    """Shards that at least one layer lacks; each is read and encoded once for all layers that lack it.

    Attributes
    ----------
    shards : dict of str to Shard
        By shard id.
    lacking : dict of str to list of (EmbeddingRun, PlannedShard)
        By shard id: the layers that lack it, each with the shard as it planned it.
    runs : list of EmbeddingRun
        Layers that lack at least one shard; no other layer is computed.
    """

    def __init__(self, runs: list[EmbeddingRun]) -> None:
        self.shards: dict[str, Shard] = {}
        self.lacking: dict[str, list[tuple[EmbeddingRun, PlannedShard]]] = {}
        self.runs: list[EmbeddingRun] = []
        for run in runs:
            done = run.ledger.done()
            missing = [planned for planned in run.shards if planned.name not in done]
            for planned in missing:
                shard = shard_of(planned)
                self.shards[shard.shard_id] = shard
                self.lacking.setdefault(shard.shard_id, []).append((run, planned))
            self.runs += [run] if missing else []

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """Recipes of the layers that lack at least one shard."""
        return tuple(run.recipe for run in self.runs)

    @property
    def layers(self) -> tuple[int, ...]:
        """Their layers, in the order in which an encoder's vectors hold them."""
        return tuple(recipe.config.layer for recipe in self.recipes)


def shard_of(planned: PlannedShard) -> Shard:
    """Return the shard that a plan names, as the readers take it."""
    return Shard.from_content(planned.entry.work)
