"""What a copy remembers of markers spares reading them, and changes nothing that it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import storage
from jobs.tables.compaction import markers, source
from jobs.tables.compaction.markers import Markers, remembered
from jobs.tables.ledger import ledgers
from tests.support.compaction import Run, assert_same, in_a_folder, nights
from tests.support.nightly_runs import night

pytestmark = in_a_folder


@pytest.fixture(autouse=True)
def any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "WORTH", 1)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the objects that are read."""
    names: list[str] = []
    read_bytes = storage.read_bytes

    def noted(uri: str) -> bytes:
        names.append(uri)
        return read_bytes(uri)

    monkeypatch.setattr(storage, "read_bytes", noted)
    return names


def n_markers(read: list[str]) -> int:
    n = sum("/_commits/" in uri for uri in read)
    read.clear()
    return n


def test_a_marker_is_read_once_until_it_changes(output: str, copy: str, bonafide: Run, read: list[str]) -> None:
    assert bonafide("compact", output, "--to", copy)[0] == 0
    n_first = n_markers(read)
    assert n_first > 0
    said = bonafide("compact", output, "--to", copy)
    assert said[0] == 0
    assert n_markers(read) == 0
    assert bonafide("verify", copy)[0] == 0
    assert "is not of the copy" not in said[1]

    nights(output, "2026-11-22", "2026-11-23")
    n_markers(read)
    assert bonafide("compact", output, "--to", copy)[0] == 0
    assert 0 < n_markers(read) <= n_first
    assert_same(output, copy)


def test_a_damaged_memory_is_not_believed(output: str, copy: str, bonafide: Run, read: list[str]) -> None:
    assert bonafide("compact", output, "--to", copy)[0] == 0
    n_first = n_markers(read)
    for stored in storage.listing(f"{copy}/_compacted") or []:
        if markers.is_memory(stored.uri.removeprefix(f"{copy}/")):
            content = Path(stored.uri).read_bytes()
            Path(stored.uri).write_bytes(content[:-9] + bytes(9))
    n_markers(read)
    assert bonafide("compact", output, "--to", copy)[0] == 0
    assert n_markers(read) == n_first


def test_a_memory_says_of_objects_what_the_markers_say(output: str, copy: str, bonafide: Run) -> None:
    assert bonafide("compact", output, "--to", copy)[0] == 0
    for table in ledgers(output):
        known = remembered(copy, table.name)
        found = {marker.name: marker for marker in table.committed()}
        assert sorted(known.names) == sorted(found)
        for slot, marker in known.items():
            expected = found[marker.name]
            assert marker.name.startswith(slot)
            for name in ("objects", "sha256", "rows", "digests"):
                assert getattr(marker, name) == getattr(expected, name)
        assert "s3://" not in str(known.table.to_pylist())


def test_markers_are_found_by_slot(output: str) -> None:
    night(output, {})
    (table, *_) = ledgers(output)
    found = list(table.committed())
    some = Markers.of(found, table.tags())
    assert len(some) == len(found)
    assert {some[slot].name for slot in some} == {marker.name for marker in found}
    assert "0" * 16 not in some
