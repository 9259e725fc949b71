"""Runs: one JSON file that says what ran, on what, and what came of it."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import platform
import re
from collections.abc import Callable, Iterable
from typing import Any

from detector import canaries
from detector.config import digest_of
from jobs import storage
from jobs.config import RunConfig
from jobs.tables import erasures
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import PlanHistory
from jobs.tables.totals import Totals
from jobs.telemetry import alarms

PACKAGES = (
    "bonafide",
    "ray",
    "torch",
    "transformers",
    "pyarrow",
    "numpy",
    "scikit-learn",
    "soundfile",
    "av",
    "soxr",
)

END_SECONDS = 3.0  # for writing how a run ended


RUN_ID = re.compile(r"\d{4}-\d\d-\d\d-[0-9a-f]{8}")
RECORD_NAME = re.compile(rf"(?:ended/)?{RUN_ID.pattern}(?:-\d{{8}}T\d{{12}}Z)?\.json")
"""The name of a record below `runs/`, also of one of a run's end; others there are not ours."""


def run_id_of(config: RunConfig, plan_id: str, key: str) -> str:
    """Id of a run: the same for the same plan, settings of what, and date, so that a run resumed keeps its id.

    Examples
    --------
    >>> run_id_of(RunConfig(run_date="2026-11-23"), "a1b2c3d4", "feed")[:11]
    '2026-11-23-'
    """
    return f"{config.run_date}-{digest_of([plan_id, key])[:8]}"


def write_records(
    table: Ledger,
    history: PlanHistory,
    slots: Iterable[str],
    verb: str,
    started: datetime.datetime,
    content: dict[str, Any],
    begin: Callable[[], Totals],
    note: str | None = None,
) -> list[dict[str, Any]]:
    """Write `runs/<run_id>.json` for each plan that has shards among ``slots``, is done, and has no record yet.

    A record is of a plan, not of a process: a run that was killed and started again leaves the same counts and the
    same digest as one that was not.

    Parameters
    ----------
    begin : callable
        Returns the totals that the markers of a plan are added to.
    note : str, optional
        What :func:`jobs.tables.erasures.note_of` said when the run began: if it says something else by now, the record
        names no recording.

    Returns
    -------
    list of dict
        The records as they are stored, each with its `uri`; none where there was nothing to do.
    """
    folder = storage.join(table.output, "runs")
    have = {storage.name_of(stored.uri) for stored in storage.listing(folder) or []}
    done = table.done(history)
    table.fold(history, done)
    numbers = sorted(history.current.having(slots).plans)
    written = []
    for number in numbers:
        run_id = history.plans[number - 1].run_id
        if f"{run_id}.json" in have:
            continue
        planned = history.of_plan(number).names
        if planned - done:
            continue
        totals = begin()
        for marker in table.markers(planned):
            totals.add(marker)
        alarms.note(totals.alarms)  # also those of an attempt that was killed
        record = {
            "run_id": run_id,
            "verb": verb,
            "table": table.name,
            "plan": number,
            "started": started.isoformat(timespec="seconds"),
            "finished": now().isoformat(timespec="seconds"),
            "wall_seconds": round((now() - started).total_seconds(), 3),
            "versions": versions(),
            "shards": {"planned": len(history.plans[number - 1].entries), "committed": totals.n_shards},
            "digest": totals.digest,
            "alarms": sorted(totals.alarms),
            **content,
            **totals.record(),
        }
        uri = storage.join(folder, f"{run_id}.json")
        written.append({"uri": uri, **write_record(uri, record, table.output, note)})
    return written


def write_record(uri: str, record: dict[str, Any], output: str = "", note: str | None = None) -> dict[str, Any]:
    """Write a record where there is none; return the one that is then there.

    Two attempts may complete a plan at the same time. They agree on all that was done, but for times and machines, so
    the first record stays, and no run replaces what another one wrote.
    """
    if note not in (None, erasures.note_of(output)):
        record, note = erasures.without_names(record), None
    content = dump_checksummed(record, indent=1)
    while (found := storage.put(uri, content, storage.ABSENT)) is not None:
        if found.content is not None:  # else it was removed meanwhile
            return dict(load_checksummed(found.content, uri))
    return record if note in (None, erasures.note_of(output)) else erasures.take_names_out(uri)


def stored_record(output: str, run_id: str) -> dict[str, Any] | None:
    """Return the record of a run as it is stored; None if there is none."""
    uri = storage.join(output, "runs", f"{run_id}.json")
    try:
        return dict(load_checksummed(storage.read_bytes(uri), uri))
    except storage.NotFoundError:
        return None


def may_count(output: str, run_id: str, name: str, *, otherwise: bool = False) -> bool:
    """Return True if the record of a run counts some of a kind, or if there is no record.

    Parameters
    ----------
    otherwise : bool
        What to return for a record of an earlier release, which does not have the name.
    """
    record = stored_record(output, run_id)
    return record is None or bool(record.get(name, otherwise))


def records_of_date(output: str, history: PlanHistory, run_date: str) -> list[dict[str, Any]]:
    """Return the records of the plans of a date: a night may have many.

    Those of which a later plan has replaced a shard are left out, as what they say may be mended.
    """
    found = (
        stored_record(output, plan.run_id)
        for number, plan in enumerate(history.plans, start=1)
        if plan.run_date == run_date and len(history.of_plan(number)) >= len(plan.entries)
    )
    return [record for record in found if record is not None]


def exit_code_of(records: Iterable[dict[str, Any]]) -> int:
    """Return the highest exit code that records state.

    A run that ended with too many failures may be started again by a scheduler that knows nothing but "not 0". There is
    nothing left to do then; that it says so with 0 must not hide what the tables hold.
    """
    return max((int(record.get("exit_code", 0)) for record in records), default=0)


def write_end(output: str, run_id: str, verb: str, code: int, meaning: str) -> str:
    """Write `runs/ended/<run_id>-<time>.json`: how an attempt ended that left its plan unfinished; return the URI.

    The run's own record is written by the attempt that completes the plan. This names nothing of the archive.
    """
    storage.set_retry_budget(END_SECONDS)  # a store that gave up must not hold the end for long
    ended = now()
    uri = storage.join(storage.normal(output), "runs", "ended", f"{run_id}-{ended:%Y%m%dT%H%M%S%f}Z.json")
    content = {"run_id": run_id, "verb": verb, "exit_code": code, "meaning": meaning}
    content |= {"ended": ended.isoformat(timespec="seconds"), "versions": versions()}
    storage.put(uri, dump_checksummed(content, indent=1), storage.ABSENT)
    return uri


def settings_of(*configs: Any) -> dict[str, Any]:
    """Settings of a run as plain values."""
    return {name: value for config in configs for name, value in dataclasses.asdict(config).items()}


def versions() -> dict[str, str]:
    """Versions of Python, and of what decides values or speed."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **packages, **canaries.versions()}


def now() -> datetime.datetime:
    """The time, in UTC."""
    return datetime.datetime.now(datetime.UTC)
