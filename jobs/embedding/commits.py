"""Commits: a whole shard becomes rows of each layer that lacks it, wherever its pieces are put together.

What the plans say of a shard travels with its pieces, as JSON, so that an assembler holds no plan.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from detector.config import Recipe
from jobs.embedding.cost import FOUND, READ_BYTES, changes_of
from jobs.embedding.permission import NO_PERMISSION
from jobs.embedding.segments import WITHOUT_SEGMENTS, n_without
from jobs.embedding.take_over import TakeOver
from jobs.errors import SourceChangedError, to_text
from jobs.execution.assembly import ShardRows
from jobs.inputs.pieces import is_changed
from jobs.inputs.shards import CHANGED, Portion, Shard
from jobs.tables.ledger import Ledger
from jobs.tables.parquet import note_of
from jobs.tables.protocol import Entry, Marker, PlannedShard
from jobs.tables.removal import PRUNED_ROWS, REMOVED_ROWS
from jobs.tables.repeated_ids import in_shard


@dataclass(frozen=True)
class Lacking:
    """A shard that a layer lacks, as the layer planned it.

    Parameters
    ----------
    ledger, recipe
        Of the layer.
    planned : PlannedShard
    formers : tuple of PlannedShard
        What earlier plans made of its slot.
    """

    ledger: Ledger
    recipe: Recipe
    planned: PlannedShard
    formers: tuple[PlannedShard, ...] = ()

    def take_over(self) -> TakeOver:
        """Return what it takes over of what stands now; SchemaError if that is damaged."""
        by_name = {each.name: each for each in (*self.formers, self.planned)}
        return TakeOver.of(self.ledger, by_name, self.folders, self.planned)

    @property
    def folders(self) -> dict[str, str]:
        """Folders of its rows below the output, by table, in the order in which they are written."""
        return {
            "failures": f"failures/run_date={self.planned.run_date}",
            "embeddings": f"embeddings/backbone={self.recipe.slug}",
        }

    def commit(self, rows: ShardRows | None, read: Shard | None, layers: tuple[int, ...]) -> Marker:
        """Commit rows of what was read of it, if anything was, beside those that are taken over.

        Raises
        ------
        SourceChangedError
            If another plan, or another run, has replaced what it follows.
        """
        planned, taken_over = self.planned, self.take_over()
        uri = taken_over.shard.uri
        new = (rows or ShardRows("")).tables(self.recipe, planned.run_id, layers or None)
        embeddings, failures = taken_over.tables(*new, read)
        tables = {"failures": failures, "embeddings": embeddings}
        counts = {
            CHANGED: len(failures.filter(pc.equal(failures["error"], CHANGED))["uri"].unique()),
            NO_PERMISSION: failures["error"].to_pylist().count(NO_PERMISSION),
            REMOVED_ROWS: len(embeddings) - embeddings["removed_at"].null_count,
            PRUNED_ROWS: (note_of(embeddings) or {}).get(PRUNED_ROWS, 0),
            WITHOUT_SEGMENTS: n_without(embeddings, self.recipe.windows) if self.recipe.windows else 0,
        }
        marker = self.ledger.commit(
            planned,
            uri,
            {name: (folder, tables[name]) for name, folder in self.folders.items()},
            {
                "run_id": planned.run_id,
                "audio_seconds": sum(_seconds_of(each, planned.run_id) for each in tables.values()),
                READ_BYTES: read.size if read else 0,
                FOUND: changes_of(embeddings, planned.run_id, planned.planned_on or planned.run_date),
                "recipe": self.recipe.describe(),
                "model": self.recipe.model,
                **{name: n for name, n in counts.items() if n},
                "passed_over": rows.passed_over if rows else {},
                **in_shard([rows.outcomes[each] for each in sorted(rows.repeated)] if rows else ()),
            },
            taken_over.follows,
        )
        if marker is None:
            raise SourceChangedError(f"{uri}: planned in another state meanwhile. Run again.")
        return marker

    def to_content(self, read: Shard) -> dict[str, Any]:
        """Return what the plans say of it as JSON values; :meth:`ShardCommit.lacking` reads them.

        Parameters
        ----------
        read : Shard
            What is read of it. It goes the same way, so what the plan says a second time is left out.
        """
        planned = _content(self.planned)
        if planned["entry"]["work"] == read.to_content():
            planned["entry"] = planned["entry"] | {"work": None}
        return {"ledger": self.ledger.name, "planned": planned, "formers": [_content(each) for each in self.formers]}


@dataclass(frozen=True)
class Committed:
    """What the driver is to know of a shard.

    Attributes
    ----------
    n_recordings : int
    outcomes : dict of str to int
        How many recordings were embedded, or failed and why.
    audio_seconds : float
        Decoded audio.
    open_seconds : float
        From its first piece to its commit.
    n_denied, first_denied
        Files or folders that may not be read, and the least of them.
    markers : dict of str to Marker
        By the name of a layer's ledger.
    changed : tuple of str
        How sources changed while they were read.
    set_aside : dict of str to str
        By the name of a layer's ledger: why the shard is not committed there.
    trouble : str
        The error that ends the run, as :func:`jobs.errors.to_text` writes it.
    """

    shard_id: str
    n_recordings: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    audio_seconds: float = 0.0
    open_seconds: float = 0.0
    n_denied: int = 0
    first_denied: str = ""
    markers: dict[str, Marker] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    set_aside: dict[str, str] = field(default_factory=dict)
    trouble: str = ""


class ShardCommit:
    """Commits whole shards for all layers that lack them; it can be sent to an assembler.

    Parameters
    ----------
    layers : sequence of tuple
        Ledger and recipe of each layer, in the order in which an encoder's vectors hold them.
    """

    def __init__(self, layers: Sequence[tuple[Ledger, Recipe]]) -> None:
        self._layers = {ledger.name: (ledger, recipe) for ledger, recipe in layers}

    def __call__(self, rows: ShardRows) -> Committed:
        """Commit a shard."""
        markers: dict[str, Marker] = {}
        set_aside: dict[str, str] = {}
        trouble = ""
        try:
            portion = Portion.from_json(rows.portion)
            numbers = tuple(recipe.config.layer for _, recipe in self._layers.values())
            for each in self.lacking(portion):
                try:
                    markers[each.ledger.name] = each.commit(rows, portion.shard, numbers)
                except SourceChangedError as error:
                    set_aside[each.ledger.name] = str(error)
        except Exception as error:
            trouble = to_text(error)
        denied = [found["uri"] for found in rows.outcomes.values() if found["error"] == NO_PERMISSION]
        return Committed(
            rows.shard_id,
            len(rows.outcomes),
            dict(Counter(found["error"] or "embedded" for found in rows.outcomes.values())),
            rows.seconds,
            _since(rows),
            len(denied),
            min(denied, default=""),
            markers,
            tuple(sorted({found["message"] for found in rows.outcomes.values() if is_changed(found)})),
            set_aside,
            trouble=trouble,
        )

    def lacking(self, portion: Portion) -> list[Lacking]:
        """Return the layers that lack a shard, from the content that each of them gave along."""
        found = []
        for content in portion.planned:
            ledger, recipe = self._layers[content["ledger"]]
            planned = _planned(content["planned"], portion.shard)
            formers = tuple(_planned(each, portion.shard) for each in content["formers"])
            found.append(Lacking(ledger, recipe, planned, formers))
        return found


def _content(planned: PlannedShard) -> dict[str, Any]:
    entry = {each.name: getattr(planned.entry, each.name) for each in fields(planned.entry)}
    return {**vars(planned), "entry": entry}


def _planned(content: dict[str, Any], read: Shard) -> PlannedShard:
    entry = Entry(**content["entry"])
    if entry.work is None:
        entry = replace(entry, work=read.to_content())
    return PlannedShard(**{**content, "entry": entry})


def _since(rows: ShardRows) -> float:
    return time.monotonic() - rows.begun


def _seconds_of(rows: pa.Table, run_id: str) -> float:
    """Return the audio of the recordings in which a run found something new."""
    return pc.sum(rows.filter(pc.equal(rows["run_id"], run_id))["seconds"]).as_py() or 0.0
