"""Own objects: the small objects that bonafide writes, which are read field by field.

An object is taken for one if it has its name, loads with its checksum, and is what that name says to the last byte.
Anything else is told by its content, like the objects of other programs. Of ours, only the fields that may hold an id
are looked at, for anyone may call a recording like a codec, a version, a date or a column.
"""

from __future__ import annotations

import datetime
import io
import re
from typing import Any

import pyarrow.parquet as pq

from detector.config import digest_of
from detector.errors import SchemaError
from jobs.erasure.foreign import text_of
from jobs.erasure.gaps import parquet_gaps
from jobs.tables.canaries import FOLDER as CANARIES
from jobs.tables.canaries import Reference
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.empty import is_empty_failures
from jobs.tables.erasures import MARK, NOTE, UNFINISHED
from jobs.tables.folding import NAME as CHECKPOINT
from jobs.tables.folding import Checkpoint
from jobs.tables.garbage import CLOCK, MARKER_NAME
from jobs.tables.garbage import FOLDER as GARBAGE
from jobs.tables.heads import ACTIVE, KnownHead, head_from_json
from jobs.tables.heads import FOLDER as HEADS
from jobs.tables.ledger import EMPTY, KINDS, PARTITIONED_BY
from jobs.tables.protocol import PLAN_NAME, Marker, Plan

PAGE = re.compile(r"<!doctype html>\n<html lang=\"en\">.{0,800}?<title>bonafide: ", re.DOTALL)
NAMED_BY_RUN = re.compile(r"(?:ended/)?(?P<run_id>.+?)(?:-\d{8}T\d{12}Z)?\.json")

HEAD_ID = re.compile("[0-9a-f]{16}")
DATE = re.compile(r"\d{4}-\d\d-\d\d")

LEDGER = rf"(?:{'|'.join(KINDS)})-[0-9a-f]{{16}}"
VALUES = {"run_date": DATE.pattern, "backbone": r"[\w.-]+"}  # of what the folders of a table are named by
PARTITIONS = {table: f"{column}={VALUES[column]}" for table, column in PARTITIONED_BY.items()}
TABLE_FOLDERS = "|".join(f"{table}(?:/{partition})?" for table, partition in PARTITIONS.items())
OWN_FOLDER = re.compile(
    rf"(?:(?:_plans|_commits|{CANARIES})(?:/(?:checkpoints-)?{LEDGER})?|{GARBAGE}|{HEADS}|runs(?:/ended)?"
    rf"|{TABLE_FOLDERS})(?:/|\Z)"
)
"""The folders that bonafide makes below an output."""

EMPTY_FAILURES = re.compile(rf"failures/{PARTITIONS['failures']}/{re.escape(EMPTY)}")
OWN_NAMES = re.compile(
    rf"{CANARIES}/[^/]+/\d{{6,}}\.json|{HEADS}/(?:{HEAD_ID.pattern}|active)\.json|{GARBAGE}/{HEAD_ID.pattern}\.json"
    rf"|_commits/.+\.json|{EMPTY_FAILURES.pattern}"
)
"""Objects that `erase` does not rewrite, by their names below an output."""

OBJECT = re.compile(rf"/(?:{'|'.join(map('/'.join, PARTITIONS.items()))})/[0-9a-f]{{16}}-[0-9a-f]{{16}}\.parquet\Z")
NUMBER = re.compile("[0-9a-f]{32}")


class Nameless:
    """An object of ours that cannot name a recording: it holds names of our own objects, numbers and dates."""


Own = Plan | Marker | Reference | KnownHead | Nameless | dict[str, Any] | str


def below_own_folders(name: str) -> str:
    """Return the part of a name below an output that bonafide did not choose; the folders before it are ours.

    Examples
    --------
    >>> below_own_folders("scores/run_date=2026-11-30/a/b.txt"), below_own_folders("mine/scores/b.txt")
    ('a/b.txt', 'mine/scores/b.txt')
    """
    return OWN_FOLDER.sub("", name, count=1) if OWN_FOLDER.match(name) else name


def read_own(name: str, content: bytes) -> Own | None:
    """Return what an object is, given its name below the output; a page as its text. None if it is none of ours."""
    try:
        return _read(name, content)
    except (SchemaError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _read(name: str, content: bytes) -> Own | None:
    folder, _, rest = name.partition("/")
    if _is_nameless(name, content):
        return Nameless()
    if folder == "runs" and name.endswith(".html"):
        page = text_of(content)
        return page if PAGE.match(page) else None
    if folder == "_plans" and PLAN_NAME.search(name):
        plan = Plan.from_json(content, name)
        return plan if plan.to_json() == content else None
    if folder == "_commits" and name.endswith(".json"):
        marker = Marker.from_json(content, name)
        return marker if marker.to_json() == content else None
    if folder == CANARIES and PLAN_NAME.search(name):
        reference = Reference.from_json(content, name)
        return reference if reference.to_json() == content else None
    if folder == HEADS:
        return _read_head(rest, content)
    return _read_record(rest, content) if folder == "runs" and name.endswith(".json") else None


def _read_head(name: str, content: bytes) -> KnownHead | None:
    """Read what is noted of a head; of the active one that is its id alone."""
    if name == ACTIVE:
        (head_id,) = load_checksummed(content, name).values()
        return KnownHead(head_id, "", "", None, {}) if HEAD_ID.fullmatch(head_id) else None
    head = head_from_json(content, name)
    is_ours = HEAD_ID.fullmatch(head.head_id) and name == f"{head.head_id}.json" and DATE.fullmatch(head.since)
    return head if is_ours else None


def _read_record(name: str, content: bytes) -> dict[str, Any] | None:
    """Read the record of a run, or of how an attempt ended."""
    record, named = load_checksummed(content, name), NAMED_BY_RUN.fullmatch(name)
    is_ours = named is not None and record["run_id"] == named["run_id"] and isinstance(record["verb"], str)
    return record if is_ours and dump_checksummed(record, indent=1) == content else None


def _is_nameless(name: str, content: bytes) -> bool:
    """Return True for a checkpoint, the note of an erasure, a list of garbage, its clock, and an empty table."""
    folder, _, rest = name.partition("/")
    if EMPTY_FAILURES.fullmatch(name):
        return is_empty_failures(content) and not parquet_gaps(content, pq.read_metadata(io.BytesIO(content)))
    if name == f"{GARBAGE}/{CLOCK}":
        return not content
    if folder == "_commits" and CHECKPOINT.search(f"/{rest}"):
        return Checkpoint.from_json(content, name).to_json() == content
    if name == NOTE:
        note = load_checksummed(content, name)
        is_ours = {*note} - {UNFINISHED} == {"erased", "number"} and NUMBER.fullmatch(note["number"])
        has_own_marks = all(map(MARK.fullmatch, note.get(UNFINISHED, ())))
        return bool(is_ours and has_own_marks and datetime.datetime.fromisoformat(note["erased"]))
    if folder == GARBAGE:
        listed = load_checksummed(content, name)
        return rest == f"{digest_of(listed)}.json" and all(map(_is_own_place, listed))
    return False


def _is_own_place(uri: str) -> bool:
    """Return True for the place of a table's object, of a marker or of a checkpoint, such as garbage is."""
    return any(pattern.search(uri) for pattern in (OBJECT, MARKER_NAME, CHECKPOINT))
