"""Erasures: the note by which a run that writes names late learns that recordings were erased since it began.

```
run       begins: note_of ──── … ──── note_of, same? ── PUT record ── note_of, same? ── done
erasure             rewrites rows, plans, records ── leave_note ── reads every object: the proof
```

A record that is written before the proof is read by it; one that is written later finds another note, before or after
its PUT, and names nothing.
"""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from jobs import storage
from jobs.errors import RunAgain
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.repeated_ids import REPEATED

NOTE = "_commits/erasures.json"
ERASED = "(erased)"
"""Replaces what names an erased recording."""

NAMES = ("alarms", "passed_over", "passed_over_members", REPEATED)
NAMES_IN_SETTINGS = ("input", "redo")
"""The fields of a record that may name recordings."""


class LateNamesError(RunAgain):
    """A run has written what may name an erased recording, and may not take it back."""


def note_of(output: str) -> str:
    """Return what changes with each erasure in an output."""
    stored = storage.stat(_note(output))
    return "" if stored is None else stored.etag


def leave_note(output: str) -> None:
    """Tell all runs that are at work that recordings are erased; it names none."""
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    content = dump_checksummed({"erased": when, "number": uuid.uuid4().hex})
    while storage.put(_note(output), content, note_of(output) or storage.ABSENT) is not None:
        pass  # another erasure has left one meanwhile


def without_names(record: dict[str, Any]) -> dict[str, Any]:
    """Return a run's record that names no recording: which ones were erased, the run doesn't know.

    Examples
    --------
    >>> without_names({"run_id": "r", "alarms": [], "settings": {"input": ["s3://archive/a.wav"], "players": "link"}})
    {'run_id': 'r', 'alarms': [], 'settings': {'input': ['(erased)'], 'players': 'link'}}
    """
    unnamed = record | {name: _unnamed(record[name]) for name in NAMES if name in record}
    if "settings" in record:
        settings = record["settings"]
        unnamed["settings"] = settings | {
            name: _unnamed(settings[name]) for name in NAMES_IN_SETTINGS if name in settings
        }
    return unnamed


def take_names_out(uri: str) -> dict[str, Any]:
    """Replace a record that was written while recordings were erased; return what it is then.

    Raises
    ------
    LateNamesError
        If that is not allowed: the role of a night replaces no record.
    """
    while (stored := storage.stat(uri)) is not None:
        record = dict(load_checksummed(storage.read_bytes(uri), uri))
        unnamed = without_names(record)
        try:
            if unnamed == record or storage.put(uri, dump_checksummed(unnamed, indent=1), stored.etag) is None:
                return unnamed
        except OSError as error:
            raise LateNamesError(
                f"{uri}: recordings were erased while it was written, and it may name them. Run the same `erase` again."
            ) from error
    return {}


def _unnamed(value: Any) -> Any:
    if isinstance(value, str):
        return ERASED
    if isinstance(value, dict):
        return {key: _unnamed(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_unnamed(each) for each in value]
    return value


def _note(output: str) -> str:
    return storage.join(storage.normal(output), NOTE)
