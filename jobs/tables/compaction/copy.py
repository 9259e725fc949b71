"""The compacted copy: a place with compacted objects and their manifests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from detector.errors import SchemaError
from jobs import storage
from jobs.errors import RunAgain
from jobs.storage import ABSENT, NotFoundError, Stored
from jobs.tables.compaction.markers import is_memory
from jobs.tables.compaction.objects import (
    FOLDER,
    REMEDY,
    CompactedObject,
    CopiedObject,
    Manifest,
    difference,
    manifest_name,
    read_footer,
    repeated_rows,
)
from jobs.tables.heads import FOLDER as HEADS
from jobs.tables.ledger import EMPTY, ledgers, table_objects
from jobs.tables.steps import READERS
from jobs.telemetry.progress import progress

OF_HEADS = re.compile(rf"{HEADS}/(?:[0-9a-f]{{16}}|active)\.json")
NO_ROWS = re.compile(rf"failures/[^/]+/{re.escape(EMPTY)}")
AGAIN = "run `compact` again"


class CompactedCopy:
    """The objects and manifests of one copy.

    Parameters
    ----------
    place : str
        Normal URI of the copy.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._tags: dict[str, str] = {}  # ETags of manifests, by the name of their object

    def look(self) -> dict[str, CopiedObject]:
        """Return the objects of the copy, by name. The footer is read only of those that have no matching manifest.

        Raises
        ------
        SchemaError
            If an object among the tables is no compacted object, or a manifest is damaged.
        """
        objects = table_objects(self.place)
        listed = manifests_in(self.place)
        with ThreadPoolExecutor(READERS) as pool:
            manifests = {each.compacted.name: each for each in pool.map(Manifest.read, listed)}
            self._tags = {name: each.tag for name, each in manifests.items()}
            found = list(pool.map(lambda stored: self._identify(stored, manifests), objects))
        return {each.compacted.name: each for each in found}

    def unchanged(self, standing: dict[str, CopiedObject]) -> bool:
        """Return True if the copy still has exactly these objects. It costs a listing for each table."""
        return sorted(each.stored for each in standing.values()) == sorted(table_objects(self.place))

    def others(self, standing: Collection[str]) -> list[str]:
        """List what is neither a table of the copy, nor its manifest, nor noted of heads; links, too."""
        known = {*standing, *map(manifest_name, standing)}
        listed = [stored.uri.removeprefix(f"{self.place}/") for stored in storage.listing(self.place) or []]
        others = [each for each in listed if not (each in known or is_ours(each))]
        found = storage.survey(self.place)
        links = [] if found is None else [each.first for each in found.links.values()]
        return [*(storage.join(self.place, each) for each in others), *links]

    def remove_stale_manifests(self, standing: dict[str, CopiedObject]) -> None:
        """Remove manifests without an object. Call it only after all rows are proven to be elsewhere."""
        stale = {
            storage.join(self.place, manifest_name(name)): tag
            for name, tag in self._tags.items()
            if name not in standing
        }
        for stored in storage.listing(storage.join(self.place, FOLDER)) or [] if stale else []:
            if stale.get(stored.uri) == stored.etag:  # else another command has put new rows there
                storage.remove(stored.uri)

    def prove(self, expected: CompactedObject, sha256: str | None = None, seen: Stored | None = None) -> CopiedObject:
        """Read an object back, compare all of its rows with the digests of its shards, and write its manifest.

        Parameters
        ----------
        expected : CompactedObject
        sha256 : str, optional
            Of the bytes that this process has just written.
        seen : Stored, optional
            The object whose footer said ``expected``, if it was found in the copy.

        Raises
        ------
        SchemaError
            If other rows stand there.
        RunAgain
            If another command writes there at the same time.
        """
        uri = storage.join(self.place, expected.name)
        before = storage.stat(uri)
        if seen is not None and before != seen:
            raise RunAgain(f"{uri}: another command wrote it; run the same command again.")
        content = b"" if before is None else storage.read_bytes(uri)
        found = hashlib.sha256(content).hexdigest()
        if before is None or before != storage.stat(uri) or sha256 not in (None, found):
            raise RunAgain(f"{uri}: another command writes it; run the same command again.")
        if wrong := difference(expected, content):
            raise SchemaError(f"{uri}: {wrong}. {REMEDY}")
        manifest = Manifest(expected, before.etag, before.size, found)
        uri = storage.join(self.place, manifest_name(expected.name))
        if storage.put(uri, manifest.to_json(), self._tags.get(expected.name, ABSENT)) is not None:
            raise RunAgain(f"{uri}: another command writes it; run the same command again.")
        return CopiedObject(expected, before, found)

    def _identify(self, stored: Stored, manifests: dict[str, Manifest]) -> CopiedObject:
        name = stored.uri.removeprefix(f"{self.place}/")
        if name in manifests and manifests[name].etag == stored.etag:
            return CopiedObject(manifests[name].compacted, stored, manifests[name].sha256)
        with storage.opened(stored) as file:
            compacted = read_footer(file, stored.uri)
            file.raise_trouble()
        if compacted is None or compacted.name != name:
            raise SchemaError(f"{stored.uri}: is damaged, or was not put there by `compact`. {REMEDY}")
        return CopiedObject(compacted, stored)


def manifests_in(place: str) -> list[Stored]:
    """List the manifests of a copy."""
    listed = storage.listing(storage.join(place, FOLDER)) or []
    return [stored for stored in listed if not is_memory(stored.uri.removeprefix(f"{place}/"))]


def is_ours(name: str) -> bool:
    """Return True for the name of what `compact` and heads keep in a copy beside its tables and their manifests."""
    return bool(OF_HEADS.fullmatch(name) or NO_ROWS.fullmatch(name) or is_memory(name))


def is_copy(place: str) -> bool:
    """Return True if ``place`` holds a compacted copy; a place with plans is an output, whatever lies in it."""
    return bool(storage.listing(storage.join(place, FOLDER))) and not ledgers(place)


def output_of(place: str) -> str:
    """Return the URI of the output that ``place`` is a copy of, from its manifests: its objects may be gone."""
    manifests = map(Manifest.read, manifests_in(place))
    return next((each.compacted.output for each in manifests), "an output")


def verify_copy(place: str) -> tuple[list[Manifest], list[str]]:
    """Compare every object of a copy with its manifest; return the manifests, and a message for each difference."""
    manifests = [Manifest.read(stored) for stored in manifests_in(place)]
    wrong = []
    with progress("verify the copy", len(manifests)) as shown:
        for manifest in manifests:
            wrong += _differences(storage.join(place, manifest.compacted.name), manifest)
            shown.shard(manifest.compacted.rows)
    known = {storage.join(place, manifest.compacted.name) for manifest in manifests}
    unknown = [each.uri for each in table_objects(place) if each.uri not in known]
    wrong += [f"{uri}: exists, but no manifest lists it; {AGAIN}" for uri in unknown]
    return manifests, wrong + repeated_rows([manifest.compacted for manifest in manifests])


def _differences(uri: str, manifest: Manifest) -> list[str]:
    try:
        content = storage.read_bytes(uri)
    except NotFoundError:
        return [f"{uri}: is gone; it held {manifest.compacted.rows} rows; {AGAIN}"]
    sha256 = hashlib.sha256(content).hexdigest()
    wrong = difference(manifest.compacted, content)
    if sha256 != manifest.sha256:
        return [f"{uri}: SHA-256 {sha256}, in its manifest {manifest.sha256}; it {wrong or 'has the same rows'}"]
    return [f"{uri}: {wrong}"] if wrong else []
