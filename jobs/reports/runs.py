"""Completed runs: their records, and the shards that they scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc

from detector.errors import ConfigError, SchemaError
from detector.schema import SCORES
from jobs import storage
from jobs.inputs.requests import answers
from jobs.scoring.changes import FAILED_RUNS
from jobs.tables import ledger
from jobs.tables.heads import active_head
from jobs.tables.ledger import Ledger
from jobs.tables.names import Packed, texts
from jobs.tables.protocol import Marker, PlanHistory
from jobs.tables.row_history import is_here, of_runs
from jobs.tables.run_records import stored_record

Record = dict[str, Any]


def read_record(output: str, run_id: str) -> Record | None:
    """Return the record of a run, or None if the run is not complete, or only gave up what another one planned.

    Raises
    ------
    SchemaError
        If it is damaged, or that of another run.
    """
    record = stored_record(output, run_id)
    if record is None or "abandoned" in record:
        return None
    if record["run_id"] != run_id:
        uri = storage.join(output, "runs", f"{run_id}.json")
        raise SchemaError(f"{uri}: is the record of {record['run_id']!r}. Remove it, or restore the right one.")
    return record


def read_records(output: str, run_ids: Sequence[str]) -> list[Record]:
    """Return the records of those of these runs that have one, in their order, several at a time."""
    found = answers(partial(read_record, output), run_ids)
    return [record for record in found if record is not None]


def find_run(output: str, run_id: str | None, head_id: str | None = None) -> tuple[Ledger, PlanHistory, Record]:
    """Return a run's table of scores, the plans of that table, and the run's record.

    Parameters
    ----------
    output : str
    run_id : str or None
        If None, the latest complete run is returned.
    head_id : str, optional
        Of the head that scored it [default: any for a run that is named, else the active one].

    Raises
    ------
    ConfigError
        If there is no such run.
    """
    if run_id is None and head_id is None:
        head_id = active_head(output)
    for each in [head_id] if head_id else ledger.keys(output, "scores"):
        table = Ledger(output, "scores", each)
        history = table.history()
        for plan in reversed(history.plans):
            record = read_record(output, plan.run_id) if run_id in (None, plan.run_id) else None
            if record is not None:
                return table, history, record
    name = f" {run_id}" if run_id else ""
    raise ConfigError(f"{output}: no complete run{name}; each complete run has a record in the folder `runs`.")


class StoredMarkers(Sequence[Marker]):
    """Markers of a table, each read when it is asked for: a run may have scored a million shards.

    Parameters
    ----------
    table : Ledger
    names : array of bytes
        Of the shards.
    """

    def __init__(self, table: Ledger, names: Packed) -> None:
        self._table, self._names = table, names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Marker: ...
    @overload
    def __getitem__(self, index: slice) -> StoredMarkers: ...
    def __getitem__(self, index: int | slice) -> Marker | StoredMarkers:
        if isinstance(index, slice):
            return StoredMarkers(self._table, self._names[index])
        return self._table.marker(bytes(self._names[index]).decode())

    def __iter__(self) -> Iterator[Marker]:
        return answers(self._table.marker, texts(self._names))


def scored_shards(
    table: Ledger, source: Ledger, history: PlanHistory, number: int
) -> tuple[StoredMarkers, StoredMarkers]:
    """Return the markers of the current shards of a plan, and beside each that of the embeddings that were scored."""
    planned = history.of_plan(number)
    shards = planned.where(~planned.is_dropped).ordered()
    return StoredMarkers(table, shards.packed_names), StoredMarkers(source, history.states[shards.rows])


def batches_of_run(table: Ledger, marker: Marker, columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """Yield some columns of what a run found of a shard: not of its neighbours that are as they were, or gone."""
    names = list(columns)
    for batch in table.batches(marker, "scores", [*names, "removed_at", "run_id"]):
        is_of_run = pc.equal(batch["run_id"], marker.detail["run_id"])
        rows = batch.filter(pc.and_(is_here(batch), is_of_run))
        for name in set(names) - set(rows.schema.names):  # rows of earlier versions lack columns that were added since
            rows = rows.append_column(name, pa.nulls(len(rows), SCORES.field(name).type))
        yield rows.select(names)


def failure_batches_of_run(
    source: Ledger, scored: Marker, embedded: Marker, columns: Iterable[str]
) -> Iterator[pa.RecordBatch]:
    """Yield some columns of the failures that a run counts for a shard: all that are new to its head."""
    names = list(columns)
    runs = scored.detail.get(FAILED_RUNS)
    for batch in source.batches(embedded, "failures", [*names, "run_id"]):
        yield (batch if runs is None else of_runs(batch, runs)).select(names)
