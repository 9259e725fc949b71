"""Own objects: the small objects that bonafide writes, which are read field by field.

An object is taken for one if it has its name, loads with its checksum, and is what that name says to the last byte.
Anything else is told by its content, like the objects of other programs.
"""

from __future__ import annotations

import re
from typing import Any

from detector.errors import SchemaError
from jobs.erasure.foreign import text_of
from jobs.tables.canaries import FOLDER as CANARIES
from jobs.tables.canaries import Reference
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.heads import ACTIVE, KnownHead, head_from_json
from jobs.tables.heads import FOLDER as HEADS
from jobs.tables.protocol import PLAN_NAME, Marker, Plan

PAGE = re.compile(r"<!doctype html>\n<html lang=\"en\">.{0,800}?<title>bonafide: ", re.DOTALL)
NAMED_BY_RUN = re.compile(r"(?:ended/)?(?P<run_id>.+?)(?:-\d{8}T\d{12}Z)?\.json")

HEAD_ID = re.compile("[0-9a-f]{16}")
DATE = re.compile(r"\d{4}-\d\d-\d\d")

Own = Plan | Marker | Reference | KnownHead | dict[str, Any] | str


def read_own(name: str, content: bytes) -> Own | None:
    """Return what an object is, given its name below the output; a page as its text. None if it is none of ours."""
    try:
        return _read(name, content)
    except (SchemaError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _read(name: str, content: bytes) -> Own | None:
    folder, _, rest = name.partition("/")
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
