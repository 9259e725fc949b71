"""erase: nothing in the output speaks of the recording any more, everything else is as it was, and it is proved."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest
from markupsafe import escape

from detector.audio import Excerpt
from detector.schema import FAILURES, embeddings_schema
from jobs import storage
from jobs.inputs.archive import InputConfig, find
from jobs.inputs.shards import Shard
from jobs.storage import Stored
from jobs.tables.ledger import Ledger, parquet_bytes
from jobs.tables.plan import propose
from jobs.tables.protocol import Entry, Plan
from tests.support.audio import encoded, tone
from tests.support.nights import Recording, drawn, head, night, recordings
from tests.support.tables import KEY, SLOTS, commit, place, plan, table

Run = Callable[..., tuple[int, str, str]]

TAR = "s3://archive/2026/radio/0001.tar"
TAR_KEY = "2026/radio/0001.tar"
VICTIM = "2026/radio/0001.tar#0003.flac"


def everything(output: str) -> dict[str, bytes]:
    return {stored.uri: storage.read_bytes(stored.uri) for stored in storage.listing(output) or []}


def rows(output: str, name: str) -> dict[str, dict[str, Any]]:
    uris = [each for each in everything(output) if f"/{name}/" in each and each.endswith(".parquet")]
    found = pa.concat_tables([pa.parquet.read_table(pa.BufferReader(storage.read_bytes(uri))) for uri in uris])
    return {row["utterance_id"]: row for row in found.to_pylist()}


def row(name: str) -> dict[str, Any]:
    """A row of `embeddings`."""
    same = {"uri": "u", "audio_sha256": "ab", "seconds": 1.0, "native_rate": 8_000, "channels": 1, "codec": "c"}
    same |= {"decoder": "d", "rms_dbfs": -20.0, "layer": 1, "fingerprint": KEY, "run_id": "run", "embedding": [0.5]}
    return same | {"utterance_id": name}


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

    assert bonafide("erase", VICTIM, "--output", tables)[0] == 0
    assert VICTIM not in rows(tables, "embeddings") | rows(tables, "scores")
    assert bonafide("verify", tables)[0] == 0


def test_a_run_that_wrote_meanwhile_wins_and_erase_says_to_come_again(
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
        patched.setattr("jobs.verbs.erase._say_copies", lambda *_: None)
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


def test_ids_of_other_audio_are_not_named(tables: str, bonafide: Run) -> None:
    assert "the same audio" not in bonafide("erase", VICTIM, "--output", tables)[1]


def test_the_closing_words_say_when_a_recording_comes_back(tables: str, bonafide: Run) -> None:
    out = bonafide("erase", VICTIM, "--output", tables)[1]

    assert "a loose file that is still in the archive is embedded again by the very next run" in out


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


def rewritten(uri: str, **columns: Any) -> None:
    """Change the first row of a table, and leave all that its footer says."""
    rows = pa.parquet.read_table(pa.BufferReader(storage.read_bytes(uri)))
    about = rows.schema.metadata
    for name, value in columns.items():
        values = [value, *rows[name].to_pylist()[1:]]
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), [values])
    storage.write_bytes(uri, parquet_bytes(rows, about))


def of_table(output: str, name: str) -> str:
    return next(uri for uri in everything(output) if f"/{name}/" in uri and uri.endswith(".parquet"))


@pytest.mark.parametrize("erased_before", [False, True])
@pytest.mark.parametrize("change", [{"score": 99.0}, {"prior": 0.25}])
def test_a_damaged_table_is_refused_and_not_sealed_anew(
    tables: str, bonafide: Run, erased_before: bool, change: dict[str, Any]
) -> None:
    if erased_before:
        assert bonafide("erase", f"{TAR_KEY}#0004.flac", "--output", tables)[0] == 0
    rewritten(of_table(tables, "scores"), **change)
    before = everything(tables)

    code, _, err = bonafide("erase", VICTIM, "--output", tables)

    assert code == 65
    assert "is not what was committed. `verify` says more." in err.splitlines()[-1]
    assert everything(tables) == before
    assert bonafide("verify", tables)[0] == 65


def test_an_erasure_that_was_broken_off_and_then_damaged_is_refused_too(
    tables: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:  # rows of both tables are gone, no marker says so
        patched.setattr("jobs.verbs.erase._rewrite", lambda *_: None)
        bonafide("erase", VICTIM, "--output", tables)
    rewritten(of_table(tables, "scores"), score=99.0)
    before = everything(tables)

    code, _, err = bonafide("erase", VICTIM, "--output", tables)

    assert code == 65
    assert "is not what was committed. `verify` says more." in err.splitlines()[-1]
    assert everything(tables) == before


@pytest.mark.parametrize("committed", [False, True])
def test_a_run_that_plans_after_the_first_look_is_noticed_before_the_proof(
    root: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    commit(root, plan(root, a="1").current[SLOTS["a"]], 2)

    def meanwhile(*_: Any) -> int:
        again = plan(root, a="2").current[SLOTS["a"]]
        if committed:
            commit(root, again, 2)
        return 0

    monkeypatch.setattr("jobs.verbs.erase._remove_pages", meanwhile)

    code, out, err = bonafide("erase", "a1#0", "--output", root)

    assert code == 75
    assert "read again" not in out
    assert "another run planned shards meanwhile" in err.splitlines()[-1]


@pytest.mark.parametrize("name", [TAR_KEY, "nightly", "1", "mean", "spoof", "scores", "2026", "0003.flac"])
@pytest.mark.parametrize("erased_before", [False, True])
def test_an_id_that_is_no_recording_changes_nothing(tables: str, bonafide: Run, name: str, erased_before: bool) -> None:
    if erased_before:
        assert bonafide("erase", VICTIM, "--output", tables)[0] == 0
    before = everything(tables)

    assert bonafide("erase", name, "--output", tables)[0] == 65
    assert bonafide("erase", f"{TAR_KEY}#0005.flac", name, "--output", tables)[0] == 65

    assert everything(tables) == before


def test_what_was_erased_before_is_proved_again(tables: str, bonafide: Run) -> None:
    assert bonafide("erase", VICTIM, "--output", tables)[0] == 0
    before = everything(tables)

    code, _, err = bonafide("erase", VICTIM, "--output", tables)

    assert code == 65
    assert f"Misspelt, or erased before: none of the {len(before)} objects mentions it." in err.splitlines()[-1]
    assert everything(tables) == before


def test_a_damaged_record_is_refused_while_nothing_is_changed(tables: str, bonafide: Run) -> None:
    record = next(uri for uri in everything(tables) if "/runs/" in uri and uri.endswith(".json"))
    storage.write_bytes(record, storage.read_bytes(record).replace(b"40", b"41", 1))
    before = everything(tables)

    assert bonafide("erase", VICTIM, "--output", tables)[0] == 65
    assert everything(tables) == before


def test_a_recording_may_be_called_like_a_word_of_ours(tmp_path: Path, bonafide: Run) -> None:
    output = str(tmp_path / "tables")
    names = ["nightly", "mean", "1", "spoof", "a.wav"]
    vectors, _ = drawn(5, seed=5)
    loose = [Recording(f"s3://archive/{name}", None, vector) for name, vector in zip(names, vectors, strict=True)]
    night(output, {"s3://archive/files": loose})
    (before,) = (content for uri, content in everything(output).items() if "/runs/" in uri and uri.endswith(".json"))

    assert bonafide("erase", *names[:4], "--output", output)[0] == 0

    (after,) = (content for uri, content in everything(output).items() if "/runs/" in uri)
    assert json.loads(after)["verb"] == json.loads(before)["verb"] == "nightly"
    assert list(rows(output, "scores")) == ["a.wav"]
    assert bonafide("verify", output)[0] == 0


EXCERPTS = [Excerpt(12.5), Excerpt(1e-5, 2.0), Excerpt(0.5, 1e22, 1), Excerpt(channel=3)]


def test_every_excerpt_goes_with_its_recording(tmp_path: Path, bonafide: Run) -> None:
    output = str(tmp_path / "tables")
    names = [f"a.wav{each}" for each in EXCERPTS]
    others = ["a.wav\n", "a.wav@1-2x", "a.wav@-2"]
    loose = [Recording(f"s3://archive/{name}", None, np.zeros(8, np.float32)) for name in (*names, *others)]
    night(output, {"s3://archive/files": loose}, pages=False)

    code, out, err = bonafide("erase", "a.wav", "--output", output)

    assert code == 0, err
    assert f"erased {2 * len(EXCERPTS)} rows" in out
    assert sorted(rows(output, "embeddings")) == sorted(others)


def test_a_recording_and_a_channel_of_it_are_both_known(tmp_path: Path, bonafide: Run) -> None:
    output = str(tmp_path / "tables")
    loose = [Recording("s3://archive/a.wav/ch0", None, np.zeros(8, np.float32))]
    night(output, {"s3://archive/files": loose}, pages=False)

    assert bonafide("erase", "a.wav", "a.wav/ch0", "--output", output)[0] == 0


def test_a_page_that_shows_a_name_in_entities_is_removed(tmp_path: Path, bonafide: Run) -> None:
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


def test_what_nobody_finished_writing_goes_too(tables: str, bonafide: Run) -> None:
    whole = Path(of_table(tables, "scores"))
    draft = whole.with_name(f".{whole.name}.123-0011aabb.part")
    draft.write_bytes(whole.read_bytes())
    os.utime(draft, (1e9, 1e9))

    assert bonafide("erase", VICTIM, "--output", tables)[0] == 0

    assert not draft.exists()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("notes.txt", f"listen to {VICTIM}".encode(), f"mentions {VICTIM}, and `erase` does not rewrite it. Remove it"),
        ("other/x.parquet", b"PAR1 no table", "cannot be read"),
        ("scores/x/0.parquet", b"PAR1 no table", "Run `bonafide gc "),
    ],
)
def test_what_cannot_be_rewritten_is_named_before_anything_is_changed(
    tables: str, bonafide: Run, name: str, content: bytes, says: str
) -> None:
    storage.write_bytes(f"{tables}/{name}", content)
    before = everything(tables)

    code, _, err = bonafide("erase", VICTIM, "--output", tables)

    assert code == 65
    assert says in err.splitlines()[-1]
    assert everything(tables) == before
    storage.remove(f"{tables}/{name}")
    assert bonafide("erase", VICTIM, "--output", tables)[0] == 0


def test_rows_of_a_dead_attempt_are_collected_first(root: str, bonafide: Run) -> None:
    commit(root, plan(root, a="1").current[SLOTS["a"]], 2)
    dead = place(root, "a").replace(SLOTS["a"], SLOTS["c"])
    storage.write_bytes(dead, storage.read_bytes(place(root, "a")))

    code, _, err = bonafide("erase", "a1#0", "--output", root)

    assert code == 65
    assert f"Run `bonafide gc {root} --grace-hours 0` first" in err.splitlines()[-1]
    assert bonafide("gc", root, "--grace-hours", "0")[0] == 0
    assert bonafide("erase", "a1#0", "--output", root)[0] == 0


def test_a_marker_that_was_replaced_forgets_the_recording_too(root: str, bonafide: Run) -> None:
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


def test_a_container_that_failed_as_a_whole_is_refused_with_a_remedy(tmp_path: Path, bonafide: Run) -> None:
    output = str(tmp_path / "tables")
    shard = Shard("tar", (Stored(TAR, 1, "tag"),))
    ledger = Ledger(output, "embeddings", KEY)
    entry = Entry(shard.slot, shard.shard_id, shard.to_content())
    history = ledger.freeze(lambda known: None if known.plans else Plan("run-1", "2026-01-01", (entry,)))
    failed = {"utterance_id": TAR_KEY, "uri": TAR, "stage": "read", "error": "bad_archive", "message": "cut"}
    failures = pa.Table.from_pylist([failed | {"bytes": 1, "attempts": 1, "run_id": "run-1"}], FAILURES)
    ledger.commit(history.current[shard.slot], TAR, {"failures": ("failures/run_date=2026-01-01", failures)})
    before = everything(output)

    code, _, err = bonafide("erase", TAR_KEY, "--output", output)

    assert code == 65
    assert "A container that failed as a whole has none: repair it, or score the others" in err.splitlines()[-1]
    assert everything(output) == before
