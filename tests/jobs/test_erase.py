"""erase: nothing in the output speaks of the recording any more, everything else is as it was, and it is proved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest

from detector.schema import FAILURES, embeddings_schema
from jobs import storage
from jobs.archive import InputConfig, find
from jobs.erase import Wanted
from jobs.ledger import Ledger
from jobs.plan import propose
from jobs.protocol import Plan
from tests.conftest import encoded, tone
from tests.jobs.nights import Recording, drawn, head, night, recordings
from tests.jobs.tables import KEY, SLOTS, commit, place, plan, table

Run = Callable[..., tuple[int, str, str]]

TAR = "s3://archive/2026/radio/0001.tar"
VICTIM = "2026/radio/0001.tar#0003.flac"


def everything(output: str) -> dict[str, bytes]:
    return {stored.uri: storage.read_bytes(stored.uri) for stored in storage.listing(output) or []}


def rows(output: str, name: str) -> dict[str, dict[str, Any]]:
    uris = [each for each in everything(output) if f"/{name}/" in each and each.endswith(".parquet")]
    found = pa.concat_tables([pa.parquet.read_table(pa.BufferReader(storage.read_bytes(uri))) for uri in uris])
    return {row["utterance_id"]: row for row in found.to_pylist()}


@pytest.fixture
def tables(tmp_path: Path) -> str:
    """A night of 40 recordings of which one could not be read, scored, with its record and page."""
    output = str(tmp_path / "tables")
    vectors, _ = drawn(40, seed=5)
    (tmp_path / "head.json").write_text(head().to_json())
    night(output, {TAR: recordings(vectors)}, {"broken.flac": "truncated"}, head_uri=str(tmp_path / "head.json"))
    return output


def test_rows_go_from_every_table_and_all_others_stay_as_they_were(tables: str, bonafide: Run) -> None:
    before = {name: rows(tables, name) for name in ("embeddings", "scores")}

    code, out, err = bonafide("erase", VICTIM, "--output", tables)

    assert code == 0, err
    assert f"erased 2 rows of {VICTIM}" in out
    for name, whole in before.items():
        assert rows(tables, name) == {key: row for key, row in whole.items() if key != VICTIM}
    assert bonafide("verify", tables)[0] == 0


def test_no_byte_of_the_output_names_it_afterwards(tables: str, bonafide: Run) -> None:
    page = next(uri for uri in everything(tables) if uri.endswith(".html"))
    storage.write_bytes(page, storage.read_bytes(page) + f"<td>{VICTIM}</td>".encode())

    assert "and 1 pages" in bonafide("erase", VICTIM, "--output", tables)[1]

    assert storage.stat(page) is None
    assert not [uri for uri, content in everything(tables).items() if b"0003.flac" in content]
    # compressed columns, by an engine of others
    for name in ("embeddings", "scores", "failures"):
        files = f"read_parquet('{tables}/{name}/**/*.parquet')"
        assert duckdb.sql(f"SELECT count(*) FROM {files} WHERE utterance_id LIKE '%0003.flac'").fetchall() == [(0,)]


def test_a_failure_is_erased_like_a_score(tables: str, bonafide: Run) -> None:
    assert bonafide("erase", f"{TAR}#broken.flac", "--output", tables)[0] == 0

    assert rows(tables, "failures") == {}
    assert bonafide("verify", tables)[0] == 0


def test_the_record_keeps_its_counts_and_says_how_many_are_gone(tables: str, bonafide: Run) -> None:
    bonafide("erase", VICTIM, "--output", tables)

    records = [json.loads(content) for uri, content in everything(tables).items() if "/runs/" in uri]
    scored = next(record for record in records if record["table"].startswith("scores"))
    assert scored["erased"] == 1
    assert scored["scores"]["rows"] == 40


def test_another_head_judges_what_is_left(tables: str, bonafide: Run, tmp_path: Path) -> None:
    bonafide("erase", VICTIM, "--output", tables)
    other = head(target_coverage=0.5)

    (tmp_path / "other.json").write_text(other.to_json())
    code, _, err = bonafide("score", "--embeddings", tables, "--head", tmp_path / "other.json", "--output", tables)

    assert code in (0, 3), err
    assert len([key for key in rows(tables, "scores") if key == VICTIM]) == 0
    assert bonafide("verify", tables)[0] == 0


def test_channels_and_excerpts_go_with_their_recording_and_namesakes_stay(tmp_path: Path, bonafide: Run) -> None:
    output = str(tmp_path / "tables")
    names = ["a.wav", "a.wav/ch0", "a.wav@1-2.5/ch1", "aa.wav", "a.wav2", "b/a.wav", "a.wav.bak"]
    loose = [Recording(f"s3://archive/{name}", None, np.zeros(8, np.float32)) for name in names]
    night(output, {"s3://archive/files": loose}, pages=False)

    assert "erased 6 rows" in bonafide("erase", "a.wav", "--output", output)[1]

    assert sorted(rows(output, "embeddings")) == ["a.wav.bak", "a.wav2", "aa.wav", "b/a.wav"]


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_an_erasure_that_was_broken_off_is_ended_by_the_same_command(
    tables: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
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

    assert bonafide("erase", VICTIM, "--output", tables)[0] in (0, 65)  # 65: every row was gone already
    assert VICTIM not in rows(tables, "embeddings") | rows(tables, "scores")
    assert bonafide("verify", tables)[0] == 0


def test_a_run_that_wrote_meanwhile_wins_and_erase_says_to_come_again(
    root: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(root, plan(root, a="1").current[SLOTS["a"]], 2)
    read = storage.read_bytes

    def slow(uri: str) -> bytes:
        content = read(uri)
        if uri == place(root, "a"):
            storage.write_bytes(uri, content + b" ")
        return content

    with monkeypatch.context() as patched:
        patched.setattr(storage, "read_bytes", slow)
        patched.setattr("jobs.erase._say_copies", lambda *_: None)
        assert bonafide("erase", "a1#0", "--output", root)[0] == 75


def test_it_works_on_a_store(root: str, bonafide: Run) -> None:
    commit(root, plan(root, a="1").current[SLOTS["a"]], 2, 1)

    code, out, err = bonafide("erase", "a1#1", "a!0", "--output", root)

    assert code == 0, err
    assert "erased 2 rows of 2 recordings" in out
    assert list(rows(root, "embeddings")) == ["a1#0"]
    assert bonafide("verify", root)[0] == 0


def test_other_ids_of_the_same_audio_are_named(root: str, bonafide: Run) -> None:
    commit(root, plan(root, a="1").current[SLOTS["a"]], 3)  # their audio is one and the same

    out = bonafide("erase", "a1#1", "--output", root)[1]

    assert "the same audio stands under other ids, which are not erased: a1#0, a1#2" in out


def test_a_dry_run_touches_nothing(tables: str, bonafide: Run) -> None:
    before = everything(tables)

    code, out, _ = bonafide("erase", VICTIM, "--output", tables, "--dry-run")

    assert code == 0
    assert f"objects mention {VICTIM}" in out
    assert everything(tables) == before


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (["nobody.wav"], "nothing of nobody.wav was here"),
        (["a1#0", "nobody.wav"], "nothing of nobody.wav was here"),
        ([""], "an empty utterance id"),
    ],
)
def test_an_id_that_is_nowhere_ends_with_65(root: str, bonafide: Run, ids: list[str], says: str) -> None:
    commit(root, plan(root, a="1").current[SLOTS["a"]], 2)

    code, _, err = bonafide("erase", *ids, "--output", root)

    assert code == 65
    assert says in err.splitlines()[-1]


def test_a_run_that_is_not_finished_comes_first(root: str, bonafide: Run) -> None:
    commit(root, plan(root, a="1", b="1").current[SLOTS["a"]], 2)

    code, _, err = bonafide("erase", "a1#0", "--output", root)

    assert code == 65
    assert "planned, not done" in err.splitlines()[-1]
    assert "a1#0" in rows(root, "embeddings")


@pytest.mark.parametrize("still_there", [True, False])
def test_a_plan_of_loose_files_forgets_the_file_and_plans_no_other_anew(
    tmp_path: Path, bonafide: Run, still_there: bool
) -> None:
    archive, output = tmp_path / "archive", str(tmp_path / "tables")
    archive.mkdir()
    for name in "abc":
        (archive / f"{name}.flac").write_bytes(encoded(tone(1.0)))
    victim = str(archive / "a.flac")

    def proposed() -> list[list[str]]:
        book, done = table(output).book(), table(output).done()
        found = propose(find(InputConfig(input=(str(archive),))), book, done, storage.stat)
        return [[source[0] for source in entry.work["sources"]] for entry in found.new]

    def first(book: Any) -> Plan | None:
        found = propose(find(InputConfig(input=(str(archive),))), book, set(), storage.stat)
        return None if book.plans else Plan("run-1", "2026-01-01", found.new)

    ledger = Ledger(output, "embeddings", KEY)
    (shard,) = ledger.freeze(first).current.values()
    same = {"uri": "u", "audio_sha256": "ab", "seconds": 1.0, "native_rate": 8_000, "channels": 1, "codec": "c"}
    same |= {"decoder": "d", "rms_dbfs": -20.0, "layer": 1, "fingerprint": KEY, "run_id": "run", "embedding": [0.5]}
    content = [same | {"utterance_id": str(archive / f"{name}.flac")} for name in "abc"]
    embedded = pa.Table.from_pylist(content, embeddings_schema(1))
    empty = pa.Table.from_pylist([], FAILURES)
    kinds = {"failures": ("failures/run_date=2026-01-01", empty), "embeddings": ("embeddings/backbone=b", embedded)}
    ledger.commit(shard, f"{victim} and 2 more", kinds)
    if not still_there:
        (archive / "a.flac").unlink()

    assert bonafide("erase", victim, "--output", output)[0] == 0

    assert proposed() == ([[victim]] if still_there else [])
    assert bonafide("verify", output)[0] == 0


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("s3://archive/2026/call.flac", True),
        ('{"uri": "2026/call.flac"}', True),
        ("2026/call.flac@1-2/ch0 and more", True),
        ("Listen to 2026/call.flac.", True),
        ("s3://archive/old/2026/call.flac", False),
        ("2026/call.flac.bak", False),
        ("2026/call.flac2", False),
        ("x2026/call.flac", False),
    ],
)
def test_a_mention_is_of_this_recording_and_no_namesake(text: str, mentions: bool) -> None:
    assert Wanted(("2026/call.flac",)).mentioned(text) is mentions


@pytest.mark.parametrize("written", [r"caf\u00e9 \"1\".wav", "café &quot;1&quot;.wav", "caf%C3%A9%20%221%22.wav"])
def test_a_mention_is_known_however_it_is_escaped(written: str) -> None:
    assert Wanted(('café "1".wav',)).mentioned(f"'{written}'")
