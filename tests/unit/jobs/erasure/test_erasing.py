"""An erasure removes the rows, leaves everything else unchanged, and says what it proved."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from detector.audio import Excerpt
from jobs import storage
from jobs.tables import run_records
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from tests.support.audio import encoded, tone
from tests.support.nightly_runs import Recording, drawn, head, night
from tests.support.tables import SLOTS, commit, plan
from tests.unit.jobs.erasure.outputs import TAR, VICTIM, everything, first_object, rows

Run = Callable[..., tuple[int, str, str]]
EXCERPTS = [Excerpt(12.5), Excerpt(1e-5, 2.0), Excerpt(0.5, 1e22, 1), Excerpt(channel=3)]


def test_rows_are_removed_from_every_table_and_all_others_stay_unchanged(tables: str, bonafide: Run) -> None:
    before = {name: rows(tables, name) for name in ("embeddings", "scores")}

    code, out, err = bonafide("erase", VICTIM, "--output", tables)

    assert code == 0, err
    assert f"erased 2 rows of {VICTIM}" in out
    for name, whole in before.items():
        assert rows(tables, name) == {key: row for key, row in whole.items() if key != VICTIM}
    assert bonafide("verify", tables)[0] == 0


def test_no_byte_of_the_output_names_the_recording_afterwards(tables: str, bonafide: Run) -> None:
    page = next(uri for uri in everything(tables) if uri.endswith(".html"))
    storage.write_bytes(page, storage.read_bytes(page) + f"<td>{VICTIM}</td>".encode())

    assert "1 drawn again without, 0 removed" in bonafide("erase", VICTIM, "--output", tables)[1]

    assert not [uri for uri, content in everything(tables).items() if b"0003.flac" in content]
    # compressed columns, by an engine of others
    for name in ("embeddings", "scores", "failures"):
        files = f"read_parquet('{tables}/{name}/**/*.parquet')"
        assert duckdb.sql(f"SELECT count(*) FROM {files} WHERE utterance_id LIKE '%0003.flac'").fetchall() == [(0,)]


def test_a_page_is_drawn_again_from_the_rows_that_are_left(tables: str, bonafide: Run) -> None:
    page = next(uri for uri in everything(tables) if uri.endswith(".html"))
    before = storage.read_bytes(page).decode()
    shown = re.findall(r'<td class="name"><bdi[^>]*>([^<]*#\d+\.flac)</bdi>', before)
    victim, *others = dict.fromkeys(shown)

    code, out, err = bonafide("erase", victim, "--output", tables)

    assert code == 0, err
    assert "1 drawn again without, 0 removed" in out
    after = storage.read_bytes(page).decode()
    assert victim not in after
    assert all(each in after for each in others)
    assert "<h1>Nightly report</h1>" in after


def test_a_page_that_a_killed_erasure_removed_is_drawn_by_the_next(
    tables: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    page = next(uri for uri in everything(tables) if uri.endswith(".html"))
    storage.write_bytes(page, storage.read_bytes(page) + f"<td>{VICTIM}</td>".encode())
    record = load_checksummed(storage.read_bytes(page.replace(".html", ".json")), page)
    embedded = record | {"run_id": "2026-11-23-0a1b2c3d", "table": "embeddings-0123456789abcdef"}  # has no page
    storage.write_bytes(f"{tables}/runs/{embedded['run_id']}.json", dump_checksummed(embedded))
    remove = storage.remove

    def dying(uri: str) -> None:
        remove(uri)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(storage, "remove", dying)
        assert bonafide("erase", VICTIM, "--output", tables)[0] == 75
    assert storage.stat(page) is None

    assert "1 drawn again without, 0 removed" in bonafide("erase", VICTIM, "--output", tables)[1]

    assert b"<h1>Nightly report</h1>" in storage.read_bytes(page)
    assert "not drawn again" not in caplog.text


@pytest.mark.parametrize("other", [True, False], ids=["replaced", "gone"])
def test_a_page_whose_head_is_no_longer_there_is_removed_and_that_is_said(
    other: bool, tables: str, tmp_path: Path, bonafide: Run, caplog: pytest.LogCaptureFixture
) -> None:
    page = next(uri for uri in everything(tables) if uri.endswith(".html"))
    storage.write_bytes(page, storage.read_bytes(page) + f"<td>{VICTIM}</td>".encode())
    (tmp_path / "head.json").unlink()
    if other:
        (tmp_path / "head.json").write_text(head(target_coverage=0.5).to_json())

    code, out, err = bonafide("erase", VICTIM, "--output", tables)

    assert code == 0, err
    assert "0 drawn again without, 1 removed" in out
    assert storage.stat(page) is None
    assert f"{page}: removed, and not drawn again" in caplog.text


def test_a_failure_is_erased_like_a_score(tables: str, bonafide: Run) -> None:
    assert bonafide("erase", f"{TAR}#broken.flac", "--output", tables)[0] == 0

    assert rows(tables, "failures") == {}
    assert bonafide("verify", tables)[0] == 0


def test_what_a_stranger_s_row_says_of_the_recording_is_redacted(tmp_path: Path, bonafide: Run) -> None:
    archive, output = tmp_path / "archive", str(tmp_path / "tables")
    archive.mkdir()
    (archive / "my call.flac").write_bytes(encoded(tone(1.0)))
    with tarfile.open(archive / "s.tar", "w") as packed:
        packed.add(archive / "my call.flac", "my call.flac")
    os.truncate(archive / "s.tar", 2_560)  # behind its headers
    embed = ("embed", "--input", archive, "--backbone", "melstats", "--runner", "local")
    assert bonafide(*embed, "--max-failures", 1, "--output", output)[0] == 0
    assert "in the middle of 'my call.flac'" in rows(output, "failures")["s.tar"]["message"]

    code, _, err = bonafide("erase", "my call.flac", "--output", output)

    assert code == 0, err
    assert rows(output, "failures")["s.tar"]["message"] == "(erased)"
    assert bonafide("verify", output)[0] == 0
    (archive / "my call.flac").unlink()
    assert "nothing new" in bonafide(*embed, "--max-failures", 1, "--output", output)[1]


def test_a_recording_that_is_called_like_what_replaces_names_is_erased(tmp_path: Path, bonafide: Run) -> None:
    archive, output = tmp_path / "archive", str(tmp_path / "tables")
    archive.mkdir()
    for name in ("(erased)", "my call.flac"):
        (archive / name).write_bytes(encoded(tone(1.0)))
    embed = ("embed", "--input", archive / "*", "--backbone", "melstats", "--runner", "local", "--output", output)
    assert bonafide(*embed)[0] == 0
    assert bonafide(*embed, "--redo", f"shard={archive}/my call.flac")[0] == 0

    for name in ("my call.flac", "(erased)"):
        code, _, err = bonafide("erase", name, "--output", output)
        assert code == 0, err

    assert [each for each in Path(output).rglob("*.json") if b"(erased)" in each.read_bytes()] == []
    assert bonafide("verify", output)[0] == 0


def test_a_recording_that_is_called_like_what_replaces_names_is_erased_beside_one_of_its_id(
    tmp_path: Path, bonafide: Run
) -> None:
    output = str(tmp_path / "tables")
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "(erased)").write_bytes(encoded(tone(1.0, seed=ord(folder))))
    embed = ("embed", "--backbone", "melstats", "--runner", "local", "--output", output, "--max-failures", 1)
    assert bonafide(*embed, "--input", tmp_path / "a")[0] == 0
    assert bonafide(*embed, "--input", tmp_path / "a", "--input", tmp_path / "b")[0] == 65
    assert [each["error"] for each in rows(output, "failures").values()] == ["bad_name"]

    code, _, err = bonafide("erase", "(erased)", "--output", output)

    assert code == 0, err
    assert "none of the" in bonafide("erase", "(erased)", "--output", output)[2]


def test_what_a_run_was_told_of_the_recording_is_redacted_and_words_stay(tmp_path: Path, bonafide: Run) -> None:
    archive, output = tmp_path / "archive", str(tmp_path / "tables")
    archive.mkdir()
    for name in ("my call.flac", "other.flac"):
        (archive / name).write_bytes(encoded(tone(1.0)))
    embed = ("embed", "--input", archive, "--backbone", "melstats", "--runner", "local", "--output", output)
    assert bonafide(*embed)[0] == 0
    assert bonafide(*embed, "--redo", f"shard={archive}/my call.flac")[0] == 0

    assert bonafide("erase", "my call.flac", "--output", output)[0] == 0

    written = [each.read_bytes() for each in Path(output).rglob("*.json")]
    assert [each for each in written if b"my call" in each] == []
    assert any(b'"backbone": "melstats"' in each for each in written)
    assert bonafide("verify", output)[0] == 0


def test_the_record_keeps_its_counts_and_says_how_many_rows_were_erased(tables: str, bonafide: Run) -> None:
    bonafide("erase", VICTIM, "--output", tables)

    records = [
        json.loads(content) for uri, content in everything(tables).items() if uri.endswith(".json") and "/runs/" in uri
    ]
    scored = next(record for record in records if record["table"].startswith("scores"))
    assert scored["erased"] == 1
    assert scored["scores"]["rows"] == 40


def test_attempts_that_were_recorded_hinder_neither_erase_nor_verify(tables: str, bonafide: Run) -> None:
    run_records.write_end(tables, "2026-11-23-00000000", "nightly", 75, "stopped early, run me again")

    assert bonafide("erase", VICTIM, "--output", tables)[0] == 0
    assert bonafide("verify", tables)[0] == 0


def test_another_head_scores_the_rows_that_are_left(tables: str, bonafide: Run, tmp_path: Path) -> None:
    bonafide("erase", VICTIM, "--output", tables)
    other = head(target_coverage=0.5)

    (tmp_path / "other.json").write_text(other.to_json())
    code, _, err = bonafide("score", "--embeddings", tables, "--head", tmp_path / "other.json", "--output", tables)

    assert code in (0, 3), err
    assert len([key for key in rows(tables, "scores") if key == VICTIM]) == 0
    assert bonafide("verify", tables)[0] == 0


def test_channels_and_excerpts_are_erased_and_similar_names_stay(tmp_path: Path, bonafide: Run) -> None:
    output = str(tmp_path / "tables")
    names = ["a.wav", "a.wav/ch0", "a.wav@1-2.5/ch1", "aa.wav", "a.wav2", "b/a.wav", "a.wav.bak"]
    loose = [Recording(f"s3://archive/{name}", None, np.zeros(8, np.float32)) for name in names]
    night(output, {"s3://archive/files": loose}, pages=False)

    assert "erased 6 rows" in bonafide("erase", "a.wav", "--output", output)[1]

    assert sorted(rows(output, "embeddings")) == ["a.wav.bak", "a.wav2", "aa.wav", "b/a.wav"]


def test_every_excerpt_is_erased_with_its_recording(tmp_path: Path, bonafide: Run) -> None:
    output = str(tmp_path / "tables")
    names = [f"a.wav{each}" for each in EXCERPTS]
    others = ["a.wav\n", "a.wav@1-2x", "a.wav@-2"]
    loose = [Recording(f"s3://archive/{name}", None, np.zeros(8, np.float32)) for name in (*names, *others)]
    night(output, {"s3://archive/files": loose}, pages=False)

    code, out, err = bonafide("erase", "a.wav", "--output", output)

    assert code == 0, err
    assert f"erased {2 * len(EXCERPTS)} rows" in out
    assert sorted(rows(output, "embeddings")) == sorted(others)


def test_a_recording_and_one_of_its_channels_can_be_erased_together(tmp_path: Path, bonafide: Run) -> None:
    output = str(tmp_path / "tables")
    loose = [Recording("s3://archive/a.wav/ch0", None, np.zeros(8, np.float32))]
    night(output, {"s3://archive/files": loose}, pages=False)

    assert bonafide("erase", "a.wav", "a.wav/ch0", "--output", output)[0] == 0


def test_a_recording_may_be_named_like_a_word_in_the_tables(tmp_path: Path, bonafide: Run) -> None:
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


def test_recordings_are_erased_from_folders_and_object_stores(root: str, bonafide: Run) -> None:
    commit(root, plan(root, a="1").current[SLOTS["a"]], 2, 1)

    code, out, err = bonafide("erase", "a1#1", "a!0", "--output", root)

    assert code == 0, err
    assert "erased 2 rows of 2 recordings" in out
    assert list(rows(root, "embeddings")) == ["a1#0"]
    assert bonafide("verify", root)[0] == 0


def test_other_ids_of_the_same_audio_are_named(root: str, bonafide: Run) -> None:
    commit(root, plan(root, a="1").current[SLOTS["a"]], 3)  # their audio is one and the same

    out = bonafide("erase", "a1#1", "--output", root)[1]

    assert "other ids have the same audio and are not erased: a1#0, a1#2" in out


def test_ids_of_other_audio_are_not_named(tables: str, bonafide: Run) -> None:
    assert "the same audio" not in bonafide("erase", VICTIM, "--output", tables)[1]


def test_the_output_says_when_a_recording_comes_back(tables: str, bonafide: Run) -> None:
    out = bonafide("erase", VICTIM, "--output", tables)[1]

    assert "a loose file that is still in the archive is embedded again by the next run" in out


def test_a_dry_run_changes_nothing(tables: str, bonafide: Run) -> None:
    before = everything(tables)

    code, out, _ = bonafide("erase", VICTIM, "--output", tables, "--dry-run")

    assert code == 0
    assert f"objects mention {VICTIM}" in out
    assert everything(tables) == before


@pytest.mark.parametrize("committed", [False, True])
def test_a_run_that_plans_after_the_inventory_is_noticed_before_the_proof(
    root: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    commit(root, plan(root, a="1").current[SLOTS["a"]], 2)

    def meanwhile(*_: Any) -> list[str]:
        again = plan(root, a="2").current[SLOTS["a"]]
        if committed:
            commit(root, again, 2)
        return []

    monkeypatch.setattr("jobs.erasure.erasing.remove_pages", meanwhile)

    code, out, err = bonafide("erase", "a1#0", "--output", root)

    assert code == 75
    assert "read again" not in out
    assert "another run planned meanwhile what may hold a1#0" in err.splitlines()[-1]


def test_unfinished_writes_are_removed(tables: str, bonafide: Run) -> None:
    whole = Path(first_object(tables, "scores"))
    draft = whole.with_name(f".{whole.name}.123-0011aabb.part")
    draft.write_bytes(whole.read_bytes())
    os.utime(draft, (1e9, 1e9))

    assert bonafide("erase", VICTIM, "--output", tables)[0] == 0

    assert not draft.exists()
