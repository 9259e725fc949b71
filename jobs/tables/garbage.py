"""Garbage: objects under an output that no run needs any more, and their removal.

An object is garbage if no plan knows it, if a later plan replaced it, or if its shard's marker leaves it out; age alone
never makes it so. A collection first writes a list of the garbage. A later collection removes what it finds unchanged
after the grace time, by the store's clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from detector.config import digest_of
from jobs import storage
from jobs.storage import Stored
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.ledger import KINDS, Ledger, ledgers, table_objects

OBJECT_NAME = re.compile(r"(?P<key>[0-9a-f]{16})-[0-9a-f]{16}\.parquet")
MARKER_NAME = re.compile(rf"/(?P<ledger>({'|'.join(KINDS)})-[0-9a-f]{{16}})/[0-9a-f]{{16}}-\d{{6,}}\.json$")
FOLDER = "_garbage"
CLOCK = "clock"
OWN = re.compile(rf"[0-9a-f]{{16}}\.json|{CLOCK}")
"""The names of our objects in the folder: lists of garbage, and the clock."""


def find_garbage(output: str) -> dict[str, str]:
    """Return the ETags of all garbage, by URI."""
    # objects are listed before plans are read: a plan is older than all that is made for it
    tables = table_objects(output)
    markers = storage.listing(storage.join(output, "_commits")) or []
    by_key: dict[str, Ledger] = {ledger.key: ledger for ledger in ledgers(output)}
    tags = {stored.uri: stored.etag for stored in (*tables, *markers)}
    garbage: set[str] = set()
    for key, ledger in by_key.items():
        objects = [uri for uri in tags if _key_of(uri) == key]
        its_markers = [stored.uri for stored in markers if f"/_commits/{ledger.name}/" in stored.uri]
        garbage.update(ledger.garbage(objects, its_markers, slot_of))
    garbage.update(uri for uri in tags if (key_of := _key_of(uri)) and key_of not in by_key)
    planned = {None, *(ledger.name for ledger in by_key.values())}
    garbage.update(stored.uri for stored in markers if ledger_of(stored.uri) not in planned)
    return {uri: tags[uri] for uri in garbage if uri in tags}  # a checkpoint may have been written meanwhile


def slot_of(uri: str) -> str:
    """Return the slot of the shard that an object belongs to, from its name."""
    return storage.name_of(uri).removesuffix(".parquet").rpartition("-")[2]


def ledger_of(uri: str) -> str | None:
    """Return the name of the ledger that a marker belongs to; None if it is no marker of ours."""
    match = MARKER_NAME.search(uri)
    return match["ledger"] if match else None


def _key_of(uri: str) -> str | None:
    match = OBJECT_NAME.fullmatch(storage.name_of(uri))
    return match["key"] if match else None


def mark(output: str, garbage: dict[str, str], grace: float) -> tuple[float, list[str]]:
    """Write a list of the garbage; return the store's time, and what an old enough list has with the same ETag.

    Parameters
    ----------
    output : str
    garbage : dict
        ETags by URI.
    grace : float
        Age, in seconds, from which on a list is old enough. Such lists are removed.
    """
    folder = storage.join(output, FOLDER)
    if garbage:
        uri = storage.join(folder, f"{digest_of(garbage)}.json")
        storage.put(uri, dump_checksummed(garbage, indent=1), storage.ABSENT)
    clock = storage.join(folder, CLOCK)  # its time of change is the time of the store, which may differ from ours
    storage.write_bytes(clock, b"")
    written = {uri: since for uri, since in storage.modified(folder).items() if OWN.fullmatch(storage.name_of(uri))}
    now = written.pop(clock)
    due: set[str] = set()
    for uri, since in written.items():
        if now - since >= grace:
            marked = load_checksummed(storage.read_bytes(uri), uri)
            due.update(each for each, etag in marked.items() if garbage.get(each) == etag)
            storage.remove(uri)  # whatever it lists and is still garbage is removed now
    return now, sorted(due)


def remove_drafts(folder: str, before: Iterable[Stored]) -> None:
    """Remove drafts that are as they were at an earlier look: no clock tells whether their writers were killed."""
    for stored in set(before).intersection(storage.drafts(folder)):
        storage.remove(stored.uri)
