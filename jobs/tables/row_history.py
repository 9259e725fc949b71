"""Row history: since when a recording has a row, when it last changed, and when it was found to be gone.

A row belongs to a recording, and outlives the shard that it is written with. When a shard is written again, each of its
rows keeps what concerns its own recording, whatever happened to its neighbours.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from detector.schema import HISTORY

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)
_TYPES = {column.name: column.type for column in HISTORY}


@dataclass(frozen=True)
class Night:
    """The run that rows are written by, as its plan says.

    Parameters
    ----------
    run_id : str
    date : str
    partition : str
        Date on which the slot was first planned: rows of earlier versions without a history were first seen then, or
        by the run that they name.
    """

    run_id: str
    date: str
    partition: str


def with_history(rows: pa.Table, former: pa.Table, night: Night, redone: Collection[str] = ()) -> pa.Table:
    """Return new rows of `embeddings` with their history.

    Parameters
    ----------
    rows : pyarrow.Table
        As a shard is read now; their run is that of the night.
    former : pyarrow.Table
        Rows that stood in the slot, complete (:func:`completed`).
    redone : collection of str
        URIs that are read again because other libraries have read them: the row names the run that did.

    Returns
    -------
    pyarrow.Table
        A recording with the same bytes as before keeps its whole history and its run; one with others keeps when it was
        first seen.
    """
    names = ("utterance_id", "audio_sha256", "first_seen", "first_run_id", "changed_at", "run_id")
    known = {row["utterance_id"]: row for row in former.select(list(names)).to_pylist()}
    date = datetime.date.fromisoformat(night.date)
    new = {"first_seen": date, "first_run_id": night.run_id, "changed_at": date, "run_id": night.run_id}
    histories = []
    for row in rows.select(["utterance_id", "audio_sha256", "uri"]).to_pylist():
        history: dict[str, Any] = dict(new)
        if (before := known.get(row["utterance_id"])) is not None:
            is_same = before["audio_sha256"] == row["audio_sha256"]
            kept = ["first_seen", "first_run_id", *(["changed_at"] if is_same else [])]
            kept += ["run_id"] if is_same and row["uri"] not in redone else []
            history |= {name: before[name] for name in kept}
        histories.append(history)
    for name in new:
        values = pa.array([history[name] for history in histories], _TYPES.get(name, pa.string()))
        rows = _with_column(rows, name, values)
    return _with_column(rows, "removed_at", pa.nulls(len(rows), _TYPES["removed_at"]))


def completed(rows: pa.Table, partition: str) -> pa.Table:
    """Return rows with a history also where a version of bonafide wrote them that knew none."""
    for name, kind in _TYPES.items():
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(len(rows), kind))
    if not any(rows[name].null_count for name in ("first_seen", "changed_at", "first_run_id")):
        return rows
    dates = pa.array([_date_of(run_id) or partition for run_id in rows["run_id"].to_pylist()]).cast(pa.date32())
    for name, values in (("first_seen", dates), ("changed_at", dates), ("first_run_id", rows["run_id"])):
        rows = _with_column(rows, name, pc.coalesce(rows[name], values))
    return rows


FOUND = ("score", "p_spoof", "ood", "reject_reason")
"""What a head finds of a recording, in `scores`."""


def with_runs(scores: pa.Table, former: pa.Table) -> pa.Table:
    """Return new rows of `scores`, each with the run that it names already where nothing new was found since.

    A recording that was gone and comes back is found anew, so that the run which finds it counts it, and shows it.

    Parameters
    ----------
    scores, former : pyarrow.Table
        Of one head, and of one slot: rows as they are judged now, and as they stood.
    """
    names = ["utterance_id", "run_id", *FOUND]
    changed_at = former["changed_at"] if "changed_at" in former.column_names else pa.nulls(len(former), pa.date32())
    rows = zip(changed_at.to_pylist(), former.select(names).to_pylist(), is_here(former).to_pylist(), strict=True)
    known = {row["utterance_id"]: (since, row, was_here) for since, row, was_here in rows}
    runs = []
    for row, is_there in zip(
        scores.select([*names, "changed_at"]).to_pylist(), is_here(scores).to_pylist(), strict=True
    ):
        since, before, was_here = known.get(row["utterance_id"], (None, None, False))
        is_same = before is not None and (was_here or not is_there) and all(before[name] == row[name] for name in FOUND)
        # a row of an earlier version does not say when it changed
        runs.append(before["run_id"] if is_same and since in (None, row["changed_at"]) else row["run_id"])
    return _with_column(scores, "run_id", pa.array(runs, pa.string()))


def removed_on(rows: pa.Table, date: str) -> pa.Table:
    """Return rows of recordings that are gone: since this date, where they were not gone before."""
    since = pa.scalar(datetime.date.fromisoformat(date), pa.date32())
    return _with_column(rows, "removed_at", pc.coalesce(rows["removed_at"], since))


def is_here(rows: pa.Table | pa.RecordBatch) -> pa.Array:
    """Return a mask of the rows whose recordings are in the archive; rows of earlier versions count as such."""
    if "removed_at" not in rows.schema.names:
        return pa.repeat(True, len(rows))
    return pc.is_null(rows["removed_at"])


def of_runs(rows: Rows, run_ids: Collection[str]) -> Rows:
    """Return the rows that one of these runs wrote."""
    return rows.filter(pc.is_in(rows["run_id"], pa.array(sorted(run_ids), pa.string())))


def _with_column(rows: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)


def _date_of(run_id: str) -> str | None:
    """Return the date that a run's id begins with; ids of tests and of strangers may have none."""
    try:
        return datetime.date.fromisoformat(run_id[:10]).isoformat()
    except ValueError:
        return None
