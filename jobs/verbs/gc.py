"""gc: collect what dead attempts left under an output. What a run may still need is never touched.

Garbage is what no plan knows, what a later plan replaced and what a marker leaves out, never what is merely old. It
is marked first, and removed by a later collection that finds it unchanged after the grace time, by the store's clock.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from typing import Annotated

from detector.config import digest_of
from detector.errors import ConfigError
from jobs import storage
from jobs.tables import ledger
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.ledger import KINDS, Ledger

TABLES = ("embeddings", "scores", "failures")
OBJECT = re.compile(r"(?P<key>[0-9a-f]{16})-[0-9a-f]{16}\.parquet")
HOUR = 3600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Remove what dead attempts left: objects that no plan knows, markers of replaced shards, unfinished uploads."""

    output: Annotated[str, "folder or prefix that holds the tables"] = field(metadata={"positional": True})
    grace_hours: Annotated[float, "garbage is removed only so long after it was first seen, unchanged; hours"] = 24.0
    dry_run: Annotated[bool, "only list what is garbage now"] = False

    def __post_init__(self) -> None:
        if not self.grace_hours >= 0:
            raise ConfigError(f"grace_hours {self.grace_hours}; expected 0 or more.")


def run(settings: Settings) -> int:
    """Mark garbage, and remove what was marked long enough ago; return the exit code."""
    output = storage.normal(settings.output)
    found = garbage(output)
    if settings.dry_run:
        print("\n".join([*sorted(found), f"{len(found)} objects are garbage"]))
        return 0
    now, due = _mark(output, found, settings.grace_hours * HOUR)
    for uri in due:
        log.info("removing %s", uri)
        storage.remove(uri)
    uploads = storage.abandon_uploads(output, now - settings.grace_hours * HOUR)
    print(
        f"removed {len(due)} objects and {len(uploads)} unfinished uploads; {len(found) - len(due)} more are garbage, "
        f"and go when they were so for {settings.grace_hours:g} h"
    )
    return 0


def garbage(output: str) -> dict[str, str]:
    """URIs of garbage now, each with its tag."""
    # what is there is listed before what is planned: a plan is older than all that is made for it
    tables = [stored for name in TABLES for stored in storage.listing(storage.join(output, name)) or []]
    markers = storage.listing(storage.join(output, "_commits")) or []
    known: dict[str, Ledger] = {}
    for kind in KINDS:
        known |= {key: Ledger(output, kind, key) for key in ledger.keys(output, kind)}
    tags = {stored.uri: stored.etag for stored in (*tables, *markers)}
    lost: set[str] = set()
    for key, table in known.items():
        mine = [uri for uri in tags if (match := _object(uri)) and match["key"] == key]
        here = [stored.uri for stored in markers if f"/_commits/{table.name}/" in stored.uri]
        lost.update(table.garbage(mine, here, slot_of))
    lost.update(uri for uri in tags if (match := _object(uri)) and match["key"] not in known)
    return {uri: tags[uri] for uri in lost}


def slot_of(uri: str) -> str:
    """Slot of the shard that an object is of, by its name."""
    return storage.name_of(uri).removesuffix(".parquet").rpartition("-")[2]


def _object(uri: str) -> re.Match[str] | None:
    return OBJECT.fullmatch(storage.name_of(uri))


def _mark(output: str, found: dict[str, str], grace: float) -> tuple[float, list[str]]:
    """Note what is garbage now; return the store's time, and what was garbage before, unchanged, for long enough."""
    folder = storage.join(output, "_garbage")
    if found:
        mark = storage.join(folder, f"{digest_of(found)}.json")
        storage.put(mark, dump_checksummed(found, indent=1), storage.ABSENT)
    clock = storage.join(folder, "clock")
    storage.write_bytes(clock, b"")
    written = storage.modified(folder)
    now = written.pop(clock)
    due: set[str] = set()
    for mark, since in written.items():
        if now - since >= grace:
            marked = load_checksummed(storage.read_bytes(mark), mark)
            due.update(uri for uri, etag in marked.items() if found.get(uri) == etag)
            storage.remove(mark)  # what it lists and is garbage still is removed now
    return now, sorted(due)
