"""The result of an embedding run: its plans, what it committed of them, and the shards that are still missing."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from detector.config import Recipe
from detector.errors import ConfigError
from jobs.embedding.commits import Committed, Lacking
from jobs.embedding.cost import Done
from jobs.embedding.segments import WITHOUT_SEGMENTS, n_shards_without
from jobs.errors import CorruptError, RunAgain, SourceChangedError, from_text
from jobs.inputs.passed_over import PassedOver
from jobs.inputs.requests import answers
from jobs.inputs.shards import CHANGED, Amount, Shard
from jobs.tables.ledger import Ledger
from jobs.tables.plan import SEGMENTS
from jobs.tables.plan_history import Shards
from jobs.tables.protocol import Marker, PlanHistory, slot_of_shard
from jobs.tables.shared_ids import NONE_UNHEARD, Unheard
from jobs.telemetry import alarms

log = logging.getLogger(__name__)


@dataclass
class EmbeddingRun:
    """One layer of an embedding run: the plans it works on, and the shards it has committed.

    Attributes
    ----------
    slots : set of str
        Slots of the shards that the archive has now.
    passed_over : PassedOver
        Objects of the archive that are neither recordings nor containers.
    confinement : str or None
        Weakest level of the decoders of this process; None if it has decoded nothing.
    canaries : dict or None
        Largest distances of the canaries, and what was accepted; None if the run had nothing to do.
    names : list of str
        Names of the shards that it has committed; a night may have a million.
    replaced : list of str
        Names of those that it has committed, and then replaced: sources had changed while they were read.
    done : Done
        What they took.
    n_without_segments : int
        Recordings in them that have an embedding, and none of the windows that are asked for.
    is_again : bool
        True once sources that changed while they were read are read again.
    refused : str
        Why nothing is taken for gone, although much is; raised like what was set aside, and before it, as a person
        has to look.
    unheard : Unheard
        Sources of the archive that are not heard for their id; raised last, as all else is done.
    set_aside : Exception or None
        Why shards or sources were left undone, such as a source that changed while it was read; raised once all that
        can be done is done, and scored.
    """

    recipe: Recipe
    ledger: Ledger
    history: PlanHistory
    slots: Set[str]
    passed_over: PassedOver = field(default_factory=PassedOver)
    device: str = ""
    encoders: dict[str, Any] = field(default_factory=dict)
    confinement: str | None = None
    canaries: dict[str, Any] | None = None
    names: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    done: Done = field(default_factory=Done)
    n_without_segments: int = 0
    refused: str = ""
    unheard: Unheard = NONE_UNHEARD
    is_again: bool = False
    set_aside: RunAgain | CorruptError | None = None
    _n_changed: int = 0

    @property
    def planned(self) -> Shards:
        """Shards of the archive, as the newest plan has them, each made when it is asked for."""
        return self.history.current.having(self.slots)

    def lacking(self, slot: str) -> Lacking:
        """Return a shard of the newest plan as one that this layer lacks."""
        planned = self.history.current[slot]
        states = self.history.of_slot(slot) if planned.replaces else ()
        return Lacking(self.ledger, self.recipe, planned, tuple(each for each in states if each != planned))

    def note(self, marker: Marker) -> None:
        """Take note of a shard that this run has committed."""
        alarms.sound(marker.uri, marker.alarms)
        if n_changed := marker.detail.get(CHANGED):
            self._n_changed += n_changed
        if n_changed and self.is_again:
            log.warning(
                "%s: %d source(s) changed each time they were read, and are rows `%s` of failures, which the next run "
                "reads again",
                *(marker.uri, n_changed, CHANGED),
            )
        elif n_changed:
            self.set_aside = SourceChangedError(
                f"{self._n_changed} source(s) set aside, all others are committed: they were replaced or removed while "
                f"they were read, and are rows `{CHANGED}` of failures, in {marker.uri}. Run again."
            )
        self.names.append(marker.name)
        self.done.add(marker)
        self.n_without_segments += marker.detail.get(WITHOUT_SEGMENTS, 0)

    def read_again(self, planned: EmbeddingRun) -> None:
        """Go on with a newer plan: sources that changed while they were read are in there as they are now."""
        self.history, self.slots, self.refused = planned.history, planned.slots, planned.refused
        self.passed_over, self.unheard = planned.passed_over, planned.unheard
        self.set_aside, self.is_again = None, True

    def end_reading_again(self) -> None:
        """Take note of the shards that it has committed, and then replaced."""
        now = {name: self.history.current.get(slot_of_shard(name)) for name in self.names}
        self.replaced = [name for name, planned in now.items() if planned is None or planned.name != name]
        self.names = [name for name in self.names if name not in set(self.replaced)]

    @property
    def markers(self) -> list[Marker]:
        """The markers of the shards that it has committed, as they are stored."""
        return list(self.ledger.markers(self.names))

    def committed(self) -> Shards:
        """Return the shards whose rows are committed."""
        return self.planned.committed(self.ledger.done(self.history)).ordered()

    def raise_set_aside(self) -> None:
        """Raise what kept this run from doing all of its work, if anything did."""
        if self.refused:
            raise ConfigError(self.refused)
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
            **self.unheard.record(),
            **self._segments(),
        }

    def _segments(self) -> dict[str, Any]:
        """Return what the record says of windows, if any are asked for."""
        if (windows := self.recipe.windows) is None:
            return {}
        n_shards = n_shards_without(self.history, windows)
        counts = {"shards_without": n_shards, WITHOUT_SEGMENTS: self.n_without_segments}
        return {SEGMENTS: {"windows": str(windows), **counts}}


Slot = tuple[EmbeddingRun, str]
"""A layer, and a slot of its plans: what they say is asked for when it is needed, as a first night lacks a million."""


class MissingShards:
    """Shards that at least one layer lacks; each is read and encoded once for all layers that lack it.

    Of a shard that is planned again, only what changed is read. One that is planned for the first time is made anew
    each time it is asked for: a first night lacks a million.

    Attributes
    ----------
    amount : Amount
        What has to be read.
    unread : list of tuple
        Shards of which nothing has to be read: the layer that lacks it, and its slot.
    n_unchanged : int
        Sources whose rows are taken over.
    runs : list of EmbeddingRun
        Layers for which something has to be read; no other layer is computed.
    """

    def __init__(self, runs: list[EmbeddingRun]) -> None:
        self.amount = Amount()
        self.unread: list[Slot] = []
        self.runs: list[EmbeddingRun] = []
        self.n_unchanged = 0
        self._changed: dict[str, tuple[Shard, list[Slot]]] = {}  # of shards that are planned again, by id
        self._new: list[tuple[EmbeddingRun, Shards]] = []
        for run in runs:
            lacking = run.planned.lacking(run.ledger.done(run.history)).ordered()
            self._add_changed(run, lacking.where(lacking.replaces))
            self._new.append((run, lacking.where(~lacking.replaces)))
            if len(self._new[-1][1]) and run not in self.runs:
                self.runs.append(run)
        for shard in self.shards():
            self.amount = self.amount.and_of(shard)

    def _add_changed(self, run: EmbeddingRun, lacking: Shards) -> None:
        missing = [(run, slot) for slot in lacking]
        for each, (shard, n_unchanged) in zip(missing, answers(_to_read, missing), strict=True):
            self.n_unchanged += n_unchanged
            if shard is None:
                self.unread.append(each)
                continue
            self._changed.setdefault(shard.shard_id, (shard, []))[1].append(each)
            self.runs += [run] if run not in self.runs else []

    def note(self, committed: Committed) -> None:
        """Take note of a shard that was committed, or set aside.

        Raises
        ------
        Exception
            The error that ended its commit.
        """
        if committed.trouble:
            raise from_text(committed.trouble)
        runs = {run.ledger.name: run for run in self.runs}
        for name, marker in committed.markers.items():
            runs[name].note(marker)
        for why in committed.changed:
            log.warning("set aside: %s", why)
        for name, why in committed.set_aside.items():
            log.warning("%s", why)
            runs[name].set_aside = SourceChangedError(why)

    def every(self) -> Iterator[Lacking]:
        """Yield all that layers lack, also what is not read."""
        changed = chain.from_iterable(slots for _, slots in self._changed.values())
        new = ((run, slot) for run, shards in self._new for slot in shards)
        return (run.lacking(slot) for run, slot in chain(self.unread, changed, new))

    def commit_unread(self) -> None:
        """Commit the shards of which nothing has to be read."""
        for run, slot in self.unread:
            try:
                run.note(run.lacking(slot).commit(None, None, ()))
            except SourceChangedError as error:
                run.set_aside = error

    def shards(self) -> Iterator[Shard]:
        """Yield what has to be read."""
        yield from (shard for shard, _ in self._changed.values())
        seen = set(self._changed)
        for _, new in self._new:
            for shard in (Shard.from_content(entry.work) for entry in new.entries()):
                if not seen and len(self._new) == 1:
                    yield shard
                elif shard.shard_id not in seen:
                    seen.add(shard.shard_id)
                    yield shard

    def slots_of(self, shard: Shard) -> list[Slot]:
        """Return each layer that lacks a shard, and its slot there."""
        slots = list(self._changed[shard.shard_id][1]) if shard.shard_id in self._changed else []
        for run, new in self._new:
            planned = new.get(shard.slot)
            if planned is not None and Shard.from_content(planned.entry.work) == shard:
                slots.append((run, shard.slot))
        return slots

    def planned(self, shard: Shard) -> list[dict[str, Any]]:
        """Return what the commit of a shard needs of the plans: see :class:`jobs.inputs.shards.Portion`.

        Raises
        ------
        LookupError
            If no layer lacks it: its commit would write nothing, and count it as done.
        """
        slots = self.slots_of(shard)
        if not slots:
            raise LookupError(f"{shard.uri}: no layer lacks this shard")
        return [run.lacking(slot).to_content(shard) for run, slot in slots]

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """Recipes of the layers that lack at least one shard."""
        return tuple(run.recipe for run in self.runs)

    @property
    def layers(self) -> tuple[int, ...]:
        """Their layers, in the order in which an encoder's vectors hold them."""
        return tuple(recipe.config.layer for recipe in self.recipes)


def _to_read(of: Slot) -> tuple[Shard | None, int]:
    """Return what has to be read of a shard, and the number of sources whose rows are taken over."""
    run, slot = of
    taken_over = run.lacking(slot).take_over()
    return taken_over.to_read, taken_over.n_unchanged
