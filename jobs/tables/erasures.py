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
import hashlib
import itertools
import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from detector.errors import SchemaError
from jobs import storage
from jobs.errors import RunAgain
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.repeated_ids import REPEATED, UNHEARD

NOTE = "_commits/erasures.json"
ERASED = "(erased)"
"""Replaces what names an erased recording, with a number behind it where a recording is called like this."""

STAND_IN = re.compile(r"\(erased(?: [0-9]+)?\)")
UNFINISHED = "unfinished"
MARK = re.compile("[0-9a-f]{32}-[0-9a-f]{64}")
MAX_MARKS, ROUNDS = 16, 200_000

NAMES = ("alarms", "passed_over", "passed_over_members", REPEATED, UNHEARD)
NAMES_IN_SETTINGS = ("input", "redo", "moved")
"""The fields of a record that may name recordings."""


class LateNamesError(RunAgain):
    """A run has written what may name an erased recording, and may not take it back."""


def stand_ins() -> Iterator[str]:
    """Yield the words that may replace the name of an erased recording, without end.

    Examples
    --------
    >>> words = stand_ins()
    >>> next(words), next(words)
    ('(erased)', '(erased 2)')
    """
    yield ERASED
    yield from (f"{ERASED[:-1]} {number})" for number in itertools.count(2))


def is_stand_in(text: str) -> bool:
    """Return True for one of :func:`stand_ins`.

    Examples
    --------
    >>> [is_stand_in(each) for each in ("(erased)", "(erased 3)", "archive/(erased)")]
    [True, True, False]
    """
    return STAND_IN.fullmatch(text) is not None


def note_of(output: str) -> str:
    """Return what changes with each erasure in an output."""
    stored = storage.stat(_note(output))
    return "" if stored is None else stored.etag


def leave_note(output: str, ids: Sequence[str] = ()) -> None:
    """Tell all runs that are at work that recordings are erased; it names none.

    Until :func:`note_done`, it has a :func:`mark` of the ids: should the erasure be repeated, nothing else may be left
    by which an id that is gone is told from one that is misspelt.
    """
    number = uuid.uuid4().hex
    _change(output, lambda marks: [*marks, *([mark(number, ids)] if ids else [])], number)


def note_done(output: str, ids: Iterable[str]) -> None:
    """Take the marks of these ids out of the note: their erasure is proved."""
    _change(output, lambda marks: [each for each in marks if not is_mark_of(each, ids)])


def is_unfinished(output: str, ids: Iterable[str]) -> bool:
    """Return True if an erasure of exactly these ids has come to its note, and not to its end."""
    return any(is_mark_of(each, ids) for each in _read(output)[0].get(UNFINISHED, ()))


def mark(salt: str, ids: Iterable[str]) -> str:
    """Return what tells ids again, and names none; it takes long, so that nobody tries all numbers of telephones."""
    content = json.dumps(sorted(set(ids))).encode()
    return f"{salt}-{hashlib.pbkdf2_hmac('sha256', content, bytes.fromhex(salt), ROUNDS).hex()}"


def is_mark_of(text: str, ids: Iterable[str]) -> bool:
    """Return True for what :func:`mark` returned for the ids.

    Examples
    --------
    >>> is_mark_of(mark("00", ["b", "a"]), ["a", "b"]), is_mark_of(mark("00", ["b", "a"]), ["a"])
    (True, False)
    """
    return mark(text.partition("-")[0], ids) == text


def _change(output: str, change: Callable[[list[str]], list[str]], number: str | None = None) -> None:
    """Replace the note by one with other marks, with a new number if there is one."""
    taken: object = True
    while taken is not None:  # another erasure has left one meanwhile
        note, etag = _read(output)
        marks = change(note.get(UNFINISHED, []))[-MAX_MARKS:]
        if number is None and marks == note.get(UNFINISHED, []):
            return
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        content = {"erased": when, "number": number or note["number"]} | ({UNFINISHED: marks} if marks else {})
        taken = storage.put(_note(output), dump_checksummed(content), etag or storage.ABSENT)


def _read(output: str) -> tuple[dict[str, Any], str]:
    """Return the note and its ETag; both empty if there is none."""
    etag = note_of(output)
    if not etag:
        return {}, ""
    try:
        return load_checksummed(storage.read_bytes(_note(output)), _note(output)), etag
    except storage.NotFoundError:
        return {}, ""
    except SchemaError:
        return {}, etag  # damaged: another one replaces it


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
