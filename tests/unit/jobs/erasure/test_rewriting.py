"""Objects are rewritten so that interruptions and concurrent writes lose nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pytest
from markupsafe import escape

from detector.schema import FAILURES, embeddings_schema
from jobs import storage
from jobs.inputs.archive import find
from jobs.inputs.config import InputConfig
from jobs.tables.ledger import Ledger
from jobs.tables.plan import propose
from jobs.tables.protocol import Plan
from tests.support.audio import encoded, tone
from tests.support.nightly_runs import Recording, drawn, night
from tests.support.tables import KEY, SLOTS, commit, place, plan, table
from tests.unit.jobs.erasure.outputs import TAR, TAR_KEY, VICTIM, everything, first_object, row, rows

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("stop", range(9))
def test_the_same_command_finishes_an_interrupted_erasure(
    tables: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    folder, _, name = first_object(tables, "embeddings").rpartition("/")
    draft = Path(folder.removeprefix("file://"), f".{name}.4711-0123abcd.part")  # of a night that was killed
    draft.write_bytes(storage.read_bytes(f"{folder}/{name}"))
    put, n_done = storage.put, 0

    def dying(uri: str, content: bytes, expected: str) -> Any:
        nonlocal n_done
        n_done += 1
        if n_done > stop:
            raise KeyboardInterrupt
        return put(uri, content, expected)

    with monkeypatch.context() as patched:
        patched.setattr(storage, "put", dying)
        assert bonafide("erase", VICTIM, "--output", tables)[0] == 75

    assert bonafide("erase", VICTIM, "--output", tables)[0] == 0
    assert not draft.exists()
    assert VICTIM not in rows(tables, "embeddings") | rows(tables, "scores")
    assert bonafide("verify", tables)[0] == 0


def test_a_concurrent_write_is_kept_and_erase_asks_to_run_again(
    root: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(root, plan(root, a="1").current[SLOTS["a"]], 2)
    read, n_reads = storage.read_bytes, 0

    def slow(uri: str) -> bytes:
        nonlocal n_reads
        content = read(uri)
        n_reads += uri == place(root, "a")
        if uri == place(root, "a") and n_reads == 2:  # the first is to look
            storage.write_bytes(uri, content + b" ")
        return content

    with monkeypatch.context() as patched:
        patched.setattr(storage, "read_bytes", slow)
        patched.setattr("jobs.erasure.inventory._find_same_audio", lambda *_: None)
        assert bonafide("erase", "a1#0", "--output", root)[0] == 75


@pytest.mark.parametrize("still_there", [True, False])
def test_a_plan_of_loose_files_forgets_the_file_and_no_other_file_is_planned_again(
    tmp_path: Path, bonafide: Run, still_there: bool
) -> None:
    archive, output = tmp_path / "archive", str(tmp_path / "tables")
    archive.mkdir()
    for name in "abc":
        (archive / f"{name}.flac").write_bytes(encoded(tone(1.0)))
    victim = str(archive / "a.flac")

    def proposed() -> list[list[str]]:
        history, done = table(output).history(), table(output).done()
        found = propose(find(InputConfig(input=(str(archive),))), history, done, storage.stat)
        return [[source[0] for source in entry.work["sources"]] for entry in found.new]

    def first(history: Any) -> Plan | None:
        found = propose(find(InputConfig(input=(str(archive),))), history, set(), storage.stat)
        return None if history.plans else Plan("run-1", "2026-01-01", found.new)

    ledger = Ledger(output, "embeddings", KEY)
    (shard,) = ledger.freeze(first).current.values()
    content = [row(str(archive / f"{name}.flac")) for name in "abc"]
    embedded = pa.Table.from_pylist(content, embeddings_schema(1))
    empty = pa.Table.from_pylist([], FAILURES)
    kinds = {"failures": ("failures/run_date=2026-01-01", empty), "embeddings": ("embeddings/backbone=b", embedded)}
    ledger.commit(shard, f"{victim} and 2 more", kinds)
    if not still_there:
        (archive / "a.flac").unlink()

    assert bonafide("erase", victim, "--output", output)[0] == 0

    assert proposed() == ([[victim]] if still_there else [])
    assert bonafide("verify", output)[0] == 0


def test_a_superseded_marker_forgets_the_recording_too(root: str, bonafide: Run) -> None:
    for state in ("1", "2"):
        again = plan(root, a=state).current[SLOTS["a"]]
        rows_of = pa.Table.from_pylist([row(f"a{state}#0"), row("a#1")], embeddings_schema(1))
        table(root).commit(again, "s3://archive/a2 and 1 more", {"embeddings": ("embeddings/backbone=b", rows_of)})
    rows_of = pa.Table.from_pylist([row("a2"), row("a#1")], embeddings_schema(1))
    again = plan(root, a="3").current[SLOTS["a"]]
    table(root).commit(again, "s3://archive/a2 and 1 more", {"embeddings": ("embeddings/backbone=b", rows_of)})

    code, _, err = bonafide("erase", "a2", "--output", root)

    assert code == 0, err
    assert not [uri for uri, content in everything(root).items() if b"archive/a2" in content]


def test_a_page_that_shows_a_name_in_html_entities_is_removed(tmp_path: Path, bonafide: Run) -> None:
    output = str(tmp_path / "tables")
    vectors, _ = drawn(8, seed=5)
    names = [f'"{number}" & <so>.flac' for number in range(8)]
    night(output, {TAR: [Recording(TAR, name, vector) for name, vector in zip(names, vectors, strict=True)]})
    page = next(uri for uri in everything(output) if uri.endswith(".html"))
    shown = storage.read_bytes(page).decode()
    victim = next(name for name in names if str(escape(name)) in shown)
    assert "&#34;" in escape(victim)

    assert bonafide("erase", f"{TAR_KEY}#{victim}", "--output", output)[0] == 0

    assert storage.stat(page) is None
