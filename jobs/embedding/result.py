"""The result of an embedding run: its plans, what it committed of them, and the shards that are still missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from detector.config import Recipe
from jobs.embedding.take_over import TakeOver
from jobs.errors import SourceChangedError
from jobs.inputs.passed_over import PassedOver
from jobs.inputs.requests import answers
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


@dataclass(frozen=True)
class Lacking:
    """A shard that a layer lacks, as the layer planned it."""

    run: EmbeddingRun
    planned: PlannedShard

    def take_over(self) -> TakeOver:
        """Return what it takes over of what stands now; SchemaError if that is damaged."""
        return TakeOver.of(self.run.ledger, self.run.history, self.folders, self.planned)

    @property
    def folders(self) -> dict[str, str]:
        """Folders of its rows below the output, by table, in the order in which they are written."""
        return {
            "failures": f"failures/run_date={self.planned.run_date}",
            "embeddings": f"embeddings/backbone={self.run.recipe.slug}",
        }


class MissingShards:
    """Shards that at least one layer lacks; each is read and encoded once for all layers that lack it.

    Of a shard that is planned again, only what changed is read.

    Attributes
    ----------
    shards : dict of str to Shard
        What has to be read, by shard id.
    lacking : dict of str to list of Lacking
        By shard id: the shards of layers that need it.
    unread : list of Lacking
        Shards of which nothing has to be read.
    n_unchanged : int
        Sources whose rows are taken over.
    runs : list of EmbeddingRun
        Layers for which something has to be read; no other layer is computed.
    """

    def __init__(self, runs: list[EmbeddingRun]) -> None:
        self.shards: dict[str, Shard] = {}
        self.lacking: dict[str, list[Lacking]] = {}
        self.unread: list[Lacking] = []
        self.runs: list[EmbeddingRun] = []
        self.n_unchanged = 0
        for run in runs:
            done = run.ledger.done()
            missing = [Lacking(run, planned) for planned in run.shards if planned.name not in done]
            for each, (shard, n_unchanged) in zip(missing, answers(_to_read, missing), strict=True):
                self.n_unchanged += n_unchanged
                if shard is None:
                    self.unread.append(each)
                    continue
                self.shards[shard.shard_id] = shard
                self.lacking.setdefault(shard.shard_id, []).append(each)
                self.runs += [run] if run not in self.runs else []

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """Recipes of the layers that lack at least one shard."""
        return tuple(run.recipe for run in self.runs)

    @property
    def layers(self) -> tuple[int, ...]:
        """Their layers, in the order in which an encoder's vectors hold them."""
        return tuple(recipe.config.layer for recipe in self.recipes)


def _to_read(lacking: Lacking) -> tuple[Shard | None, int]:
    """Return what has to be read of a shard, and the number of sources whose rows are taken over."""
    taken_over = lacking.take_over()
    return taken_over.to_read, taken_over.n_unchanged
