"""Local outputs are for their user alone, unless others are meant to read them."""

from __future__ import annotations

import dataclasses
import importlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from jobs import cli, storage
from jobs.cli import VERBS
from jobs.execution.stages import ItemStage
from jobs.storage import local
from jobs.storage.permissions import is_private, private_unless
from jobs.telemetry import logs
from tests.support.audio import encoded, tone

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """Most machines have 022: without care, others may read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def manifest(bonafide: Run, folder: Path, output: Path, *flags: str) -> None:
    (folder / "a.flac").write_bytes(encoded(tone(1.0)))
    code, _, err = bonafide("manifest", "--input", folder / "a.flac", "--output", output, *flags)
    assert code == 0, err


def test_what_a_verb_writes_is_for_its_user_alone(tmp_path: Path, bonafide: Run) -> None:
    manifest(bonafide, tmp_path, tmp_path / "new" / "deep" / "m.parquet")

    assert mode(tmp_path / "new" / "deep" / "m.parquet") == 0o600
    assert mode(tmp_path / "new") == mode(tmp_path / "new" / "deep") == 0o700
    assert os.umask(0o022) == 0o022  # what this process does afterwards is its own affair


def test_with_shared_others_may_read_as_the_umask_says(tmp_path: Path, bonafide: Run) -> None:
    manifest(bonafide, tmp_path, tmp_path / "new" / "m.parquet", "--shared")

    assert (mode(tmp_path / "new"), mode(tmp_path / "new" / "m.parquet")) == (0o755, 0o644)


@pytest.mark.parametrize("before", [0o640, 0o644, 0o600])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, bonafide: Run, before: int) -> None:
    output = tmp_path / "m.parquet"
    output.write_bytes(b"older")
    output.chmod(before)

    manifest(bonafide, tmp_path, output)

    assert mode(output) == before
    assert output.read_bytes() != b"older"


@pytest.mark.parametrize(("entry", "file_mode"), [("_plans", 0o644), ("something else", 0o600)])
def test_an_output_that_others_may_read_stays_so_and_a_folder_of_other_things_does_not_count(
    tmp_path: Path, entry: str, file_mode: int
) -> None:
    (tmp_path / entry).mkdir(mode=0o755)
    tmp_path.chmod(0o755)

    with private_unless(str(tmp_path), shared=False):
        storage.write_bytes(f"{tmp_path}/scores/x.parquet", b"x")

    assert mode(tmp_path / "scores" / "x.parquet") == file_mode
    assert mode(tmp_path) == 0o755


@pytest.mark.parametrize("folder", [0o700, 0o755], ids=["made by us", "made by hand before"])
def test_an_output_that_is_private_stays_so(tmp_path: Path, folder: int) -> None:
    (tmp_path / "_plans").mkdir(mode=0o700)
    tmp_path.chmod(folder)

    with private_unless(str(tmp_path), shared=False):
        storage.put(f"{tmp_path}/_plans/1", b"x", storage.ABSENT)

    assert mode(tmp_path / "_plans" / "1") == 0o600


def test_an_output_of_which_a_part_is_private_is_so_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o755)
    (tmp_path / "_plans").mkdir(mode=0o700)
    tmp_path.chmod(0o755)

    with private_unless(str(tmp_path), shared=False):
        storage.write_bytes(f"{tmp_path}/scores/x.parquet", b"x")

    assert mode(tmp_path / "scores" / "x.parquet") == 0o600


@pytest.mark.parametrize(("shared", "expected"), [(False, 0o600), (True, 0o644)])
def test_the_end_of_a_run_that_failed_may_be_read_by_those_who_may_read_the_rest(
    shared: bool, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_bound", {"run_id": "2026-12-01-0a1b2c3d"})

    cli._record_end({"output": str(tmp_path), "shared": shared}, "embed", 75)

    (end,) = (tmp_path / "runs" / "ended").iterdir()
    assert mode(end) == expected
    assert mode(end.parent) == mode(end.parent.parent) == (0o755 if shared else 0o700)


def test_a_draft_is_never_more_open_than_what_it_becomes(tmp_path: Path) -> None:
    with private_unless(str(tmp_path / "out"), shared=False), local._draft(str(tmp_path / "out" / "x"), b"x") as draft:
        assert mode(Path(draft.path)) == 0o600
        assert mode(tmp_path / "out") == 0o700


def test_workers_on_other_machines_write_so_too(tmp_path: Path) -> None:
    class Reporter:
        def may_begin(self, _what: str) -> bool:
            return True

        def idle(self) -> None:
            """Nothing to report to."""

    def write(item: str) -> dict[str, object]:
        storage.write_bytes(item, b"x")
        return {}

    with private_unless(None, shared=False):
        stage = ItemStage(write, Reporter(), 1.0, private=is_private())  # type: ignore[arg-type]
    list(stage(pa.table({"item": [f"{tmp_path}/deep/x"]})).to_pylist())

    assert (mode(tmp_path / "deep"), mode(tmp_path / "deep" / "x")) == (0o700, 0o600)


def test_every_verb_that_makes_an_output_can_share_it() -> None:
    without = set()
    for verb in VERBS:
        module = importlib.import_module(f"jobs.verbs.{verb}")
        for settings in getattr(module, "ACTIONS", {verb: getattr(module, "Settings", None)}).values():
            names = {each.name for each in dataclasses.fields(settings)}
            if {"output", "to"} & names and "shared" not in names:
                without.add(verb)

    # they make no output; what they replace keeps its mode
    assert without == {"verify", "gc", "erase", "doctor", "explain", "sql", "heads"}
