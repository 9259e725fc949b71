"""A run that is between its last marker and its record names no recording that is erased meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from jobs import storage
from jobs.erasure import erasing
from jobs.erasure.erasing import erase
from jobs.erasure.request import ErasureRequest
from jobs.errors import RunAgain, StorageError
from jobs.tables import erasures, run_records
from jobs.tables.ledger import ledgers
from jobs.tables.totals import Totals
from tests.unit.jobs.erasure.outputs import TAR_KEY, VICTIM, everything

ID = f"{TAR_KEY}#0003.flac"
NAMING = {
    "settings": {"input": [f"s3://archive/{ID}"], "redo": f"shard={ID}", "players": "link"},
    "passed_over": {".flac": {"count": 1, "examples": [ID]}},
    "alarms": [f"s3://archive/{ID} and 3 more"],
}


class Done(Totals):
    def record(self) -> dict[str, Any]:
        return {"exit_code": 0}


def erased(output: str, _: Any = None) -> int:
    erase(output, ErasureRequest([VICTIM], ["s3://archive/"]), lambda *_: 0)
    return 0


def at_its_record(output: str) -> Callable[[], list[dict[str, Any]]]:
    """Begin a run; what is returned writes its record, as if all of its shards were committed before."""
    note = erasures.note_of(output)
    (table,) = (each for each in ledgers(output) if each.is_scores)
    history = table.history()
    for path in [each for each in everything(output) if each.endswith((".json", ".html")) and "/runs/" in each]:
        storage.remove(path)

    def write() -> list[dict[str, Any]]:
        slots, started = list(history.current), run_records.now()
        return run_records.write_records(table, history, slots, "nightly", started, NAMING, Done, note)

    return write


def naming(output: str) -> list[str]:
    return [uri for uri, content in everything(output).items() if b"0003.flac" in content]


def test_a_record_that_is_written_after_the_proof_names_nothing(tables: str) -> None:
    write = at_its_record(tables)
    erased(tables)

    (record,) = write()

    assert naming(tables) == []
    assert record["settings"] == {"input": ["(erased)"], "redo": "(erased)", "players": "link"}
    assert record["passed_over"] == {".flac": {"count": 1, "examples": ["(erased)"]}}
    assert json.loads(storage.read_bytes(record["uri"]))["exit_code"] == 0


def test_a_record_that_is_written_during_the_erasure_is_redacted_by_it(tables: str) -> None:
    write = at_its_record(tables)

    def redraw(*_: Any) -> int:
        write()
        return 0

    erase(tables, ErasureRequest([VICTIM], ["s3://archive/"]), redraw)

    assert naming(tables) == []


def between_look_and_put(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Erase after the run has looked for a note, and before it writes."""
    dump, calls = run_records.dump_checksummed, []

    def erase_and_dump(*arguments: Any, **options: Any) -> bytes:
        calls.append(arguments)
        if len(calls) == 1:
            erased(output)
        return dump(*arguments, **options)

    monkeypatch.setattr(run_records, "dump_checksummed", erase_and_dump)


def test_a_record_whose_look_came_before_the_whole_erasure_is_taken_back(
    tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = at_its_record(tables)
    between_look_and_put(tables, monkeypatch)

    (record,) = write()

    assert naming(tables) == []
    assert record["settings"]["input"] == ["(erased)"]


def test_a_run_that_may_replace_no_record_says_that_it_may_name_one(
    tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = at_its_record(tables)
    between_look_and_put(tables, monkeypatch)
    put, withdraw = storage.put, erasures.take_names_out
    calls: list[str] = []

    def withdrawing(uri: str) -> Any:
        calls.append(uri)
        return withdraw(uri)

    def only_where_none_stands(uri: str, content: bytes, expected: str) -> Any:
        if calls and expected != storage.ABSENT and "/runs/" in uri:
            raise StorageError(f"{uri}: 403")
        return put(uri, content, expected)

    monkeypatch.setattr(erasures, "take_names_out", withdrawing)
    monkeypatch.setattr(storage, "put", only_where_none_stands)
    with pytest.raises(erasures.LateNamesError, match=r"may name them\. Run the same `erase` again"):
        write()
    (uri,) = calls
    assert naming(tables) == [uri]

    monkeypatch.setattr(storage, "put", put)
    erased(tables)
    assert naming(tables) == []


def test_an_erasure_is_not_certified_over_a_record_that_comes_during_the_proof(
    tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = at_its_record(tables)
    prove = erasing.prove_erased

    def prove_and_write(*arguments: Any) -> int:
        n_objects = prove(*arguments)
        monkeypatch.setattr(erasures, "note_of", lambda _: "")  # a run that looked before
        write()
        return n_objects

    monkeypatch.setattr(erasing, "prove_erased", prove_and_write)

    with pytest.raises(RunAgain, match="a run wrote it meanwhile"):
        erased(tables)
    monkeypatch.undo()
    erased(tables)
    assert naming(tables) == []


def test_a_run_that_begins_after_an_erasure_names_what_it_likes(tables: str) -> None:
    erased(tables)

    (record,) = at_its_record(tables)()

    assert record["settings"]["input"] == NAMING["settings"]["input"]  # type: ignore[index]
