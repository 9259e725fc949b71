"""An output of another format version is refused by name, with the way out, and its tables stay as they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from detector.errors import SchemaError
from jobs import storage
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.compaction.objects import Manifest
from jobs.tables.format import FORMAT, NEW_OUTPUT, check_format
from jobs.tables.ledger import Ledger, ledgers
from jobs.tables.marker import Marker
from tests.support import nightly_runs

Run = Callable[..., tuple[int, str, str]]
SHARD = "s3://archive/2026/0001.tar"


def with_format(folder: Path, version: int | None) -> list[Path]:
    """Write plans, markers and manifests below a folder anew, as a release of another format would."""
    paths = sorted(folder.rglob("*.json"))
    for path in paths:
        content = load_checksummed(path.read_bytes(), path.name)
        content.pop("format", None)
        path.write_bytes(dump_checksummed(content if version is None else {"format": version, **content}))
    return paths


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The tables of a night."""
    nightly_runs.night(str(tmp_path / "tables"), {SHARD: nightly_runs.recordings(nightly_runs.drawn(20)[0])})
    return tmp_path / "tables"


def test_the_format_that_is_written_is_accepted() -> None:
    check_format({"format": FORMAT}, "a.json", NEW_OUTPUT)


@pytest.mark.parametrize(("version", "found"), [(None, 1), (1, 1), (3, 3)])
@pytest.mark.parametrize("folder", ["_plans", "_commits"])
def test_plans_and_markers_of_another_format_are_refused_by_name(
    output: Path, folder: str, version: int | None, found: int
) -> None:
    paths = with_format(output / folder, version)

    with pytest.raises(SchemaError, match=f"has format {found}; this release reads and writes format 2") as refused:
        [(table.history(), list(table.committed())) for table in ledgers(str(output))]

    assert any(str(path) in str(refused.value) for path in paths)
    assert "Write into a new --output, or use the release that wrote it." in str(refused.value)


def test_a_copy_of_another_format_is_refused_by_name(output: Path, bonafide: Run) -> None:
    copy = output.parent / "copy"
    assert bonafide("compact", output, "--to", copy)[0] == 0
    (first, *_) = with_format(copy / "_compacted", None)
    stored = storage.stat(str(first))
    assert stored is not None

    with pytest.raises(SchemaError, match=r"has format 1.* Make a new copy by `compact`"):
        Manifest.read(stored)
    code, _, err = bonafide("verify", copy)
    assert (code, str(copy / "_compacted") in err) == (65, True)


@pytest.mark.parametrize("verb", ["verify", "compact", "erase", "score"])
def test_verbs_end_with_65_and_leave_the_tables_as_they_were(output: Path, bonafide: Run, verb: str) -> None:
    head = output.parent / "head.json"
    head.write_text(nightly_runs.head().to_json())
    arguments = {
        "verify": (output,),
        "compact": (output, "--to", output.parent / "copy"),
        "erase": ("nobody", "--output", output),
        "score": ("--embeddings", output, "--head", head, "--output", output),
    }
    with_format(output / "_plans", None)
    with_format(output / "_commits", None)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}

    code, _, err = bonafide(verb, *arguments[verb])

    assert (code, "has format 1" in err) == (65, True)
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


def test_the_keys_of_a_marker_come_back_without_its_format(output: Path) -> None:
    (scores,) = [table for table in ledgers(str(output)) if table.name.startswith("scores-")]
    (marker,) = scores.committed()

    assert isinstance(scores, Ledger)
    assert not hasattr(marker, "format")
    assert load_checksummed(marker.to_json(), "a.json")["format"] == FORMAT


def test_a_field_that_a_later_release_adds_to_a_marker_is_passed_over() -> None:
    marker = Marker("s1-000001", "s3://a/0.tar", {}, {}, {"embeddings": 2}, {}, {"run_id": "run"}, ("embeddings",))
    later = dump_checksummed({"format": FORMAT, **vars(marker), "of_later": 1})

    assert Marker.from_json(later, "a.json") == marker
