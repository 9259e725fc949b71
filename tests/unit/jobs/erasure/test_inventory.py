"""The inventory refuses damage, unknown ids and mentions out of reach before anything is changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pytest

from detector.schema import FAILURES
from jobs import storage
from jobs.inputs.shards import Shard
from jobs.storage import Stored
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Entry, Plan
from tests.support.tables import KEY, SLOTS, commit, place, plan
from tests.unit.jobs.erasure.outputs import TAR, TAR_KEY, VICTIM, everything, first_object, rows, write_damaged

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (["nobody.wav"], "holds no recording nobody.wav. The id is misspelt"),
        (["a1#0", "nobody.wav"], "holds no recording nobody.wav. The id is misspelt"),
        ([""], "an empty utterance id"),
    ],
)
def test_an_unknown_id_is_refused(root: str, bonafide: Run, ids: list[str], says: str) -> None:
    commit(root, plan(root, a="1").current[SLOTS["a"]], 2)

    code, _, err = bonafide("erase", *ids, "--output", root)

    assert code == 65
    assert says in err.splitlines()[-1]


@pytest.mark.parametrize("name", [TAR_KEY, "nightly", "1", "mean", "spoof", "scores", "2026", "0003.flac"])
@pytest.mark.parametrize("erased_before", [False, True])
def test_an_id_that_is_no_recording_changes_nothing(tables: str, bonafide: Run, name: str, erased_before: bool) -> None:
    if erased_before:
        assert bonafide("erase", VICTIM, "--output", tables)[0] == 0
    before = everything(tables)

    assert bonafide("erase", name, "--output", tables)[0] == 65
    assert bonafide("erase", f"{TAR_KEY}#0005.flac", name, "--output", tables)[0] == 65

    assert everything(tables) == before


def test_an_unfinished_run_is_refused(root: str, bonafide: Run) -> None:
    commit(root, plan(root, a="1", b="1").current[SLOTS["a"]], 2)

    code, _, err = bonafide("erase", "a1#0", "--output", root)

    assert code == 65
    assert "planned but not done" in err.splitlines()[-1]
    assert "a1#0" in rows(root, "embeddings")


@pytest.mark.parametrize("erased_before", [False, True])
@pytest.mark.parametrize("change", [{"score": 99.0}, {"prior": 0.25}])
def test_a_damaged_table_is_refused_and_its_checksum_is_not_renewed(
    tables: str, bonafide: Run, erased_before: bool, change: dict[str, Any]
) -> None:
    if erased_before:
        assert bonafide("erase", f"{TAR_KEY}#0004.flac", "--output", tables)[0] == 0
    write_damaged(first_object(tables, "scores"), **change)
    before = everything(tables)

    code, _, err = bonafide("erase", VICTIM, "--output", tables)

    assert code == 65
    assert "is not what was committed. `verify` says more." in err.splitlines()[-1]
    assert everything(tables) == before
    assert bonafide("verify", tables)[0] == 65


@pytest.mark.parametrize("name", ["embeddings", "scores"])
@pytest.mark.parametrize("length", [0, 100])
def test_an_object_of_which_the_end_is_gone_is_refused_by_its_name(
    tables: str, bonafide: Run, name: str, length: int
) -> None:
    uri = first_object(tables, name)
    storage.write_bytes(uri, storage.read_bytes(uri)[:length])

    code, _, err = bonafide("erase", VICTIM, "--output", tables)

    assert code == 65
    assert f"{uri.rpartition('/')[2]}: is not what was committed. `verify` says more." in err.splitlines()[-1]


def test_damage_after_an_interrupted_erasure_is_refused(
    tables: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:  # rows of both tables are gone, no marker says so
        patched.setattr("jobs.erasure.rewriting._replace_object", lambda *_: None)
        bonafide("erase", VICTIM, "--output", tables)
    write_damaged(first_object(tables, "scores"), score=99.0)
    before = everything(tables)

    code, _, err = bonafide("erase", VICTIM, "--output", tables)

    assert code == 65
    assert "is not what was committed. `verify` says more." in err.splitlines()[-1]
    assert everything(tables) == before


def test_a_damaged_record_is_refused_before_anything_is_changed(tables: str, bonafide: Run) -> None:
    record = next(uri for uri in everything(tables) if "/runs/" in uri and uri.endswith(".json"))
    storage.write_bytes(record, storage.read_bytes(record).replace(b"40", b"41", 1))
    before = everything(tables)

    assert bonafide("erase", VICTIM, "--output", tables)[0] == 65
    assert everything(tables) == before


def test_an_earlier_erasure_is_proved_again(tables: str, bonafide: Run) -> None:
    assert bonafide("erase", VICTIM, "--output", tables)[0] == 0
    before = everything(tables)

    code, _, err = bonafide("erase", VICTIM, "--output", tables)

    assert code == 65
    assert (
        f"misspelt, or the recording was erased before: none of the {len(before)} objects mentions it."
        in err.splitlines()[-1]
    )
    assert everything(tables) == before


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("notes.txt", f"listen to {VICTIM}".encode(), f"mentions {VICTIM}, and `erase` does not rewrite it. bonafide"),
        ("other/x.parquet", b"PAR1 no table", "cannot be read"),
        ("scores/x/0.parquet", b"PAR1 no table", "Delete it, or rewrite it without the recording"),
        (f"scores/x/{KEY}-{SLOTS['a']}.parquet", b"PAR1 no table", "Run `bonafide gc "),
    ],
)
def test_a_mention_that_cannot_be_rewritten_is_refused_before_anything_is_changed(
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


def test_uncommitted_rows_are_refused_until_gc_removes_them(root: str, bonafide: Run) -> None:
    commit(root, plan(root, a="1").current[SLOTS["a"]], 2)
    dead = place(root, "a").replace(SLOTS["a"], SLOTS["c"])
    storage.write_bytes(dead, storage.read_bytes(place(root, "a")))

    code, _, err = bonafide("erase", "a1#0", "--output", root)

    assert code == 65
    assert f"Run `bonafide gc {root} --grace-hours 0` first" in err.splitlines()[-1]
    assert bonafide("gc", root, "--grace-hours", "0")[0] == 0
    assert bonafide("erase", "a1#0", "--output", root)[0] == 0


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
