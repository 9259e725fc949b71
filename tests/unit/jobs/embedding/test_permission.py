"""What may not be read is a row of failures, alone and for as long as it lasts; the rest of the archive is embedded."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.errors import ConfigError
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.result import EmbeddingRun
from jobs.erasure.erasing import erase
from jobs.erasure.request import ErasureRequest
from jobs.errors import StorageError
from jobs.inputs import archive
from jobs.inputs.config import InputConfig
from jobs.reports.nightly.redrawing import redraw_pages
from jobs.tables.id_rule import id_roots_of
from jobs.tables.verification import verify_tables
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.embedding_runs import embed_archive
from tests.support.permissions import binding_permissions, denied
from tests.support.runner import InProcessRunner

RECIPE = recipe_of(EmbedConfig(backbone="melstats"), None)
ROW = "no_permission"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive of two loose files, a tar, a Parquet file and a folder with a third file."""
    folder = tmp_path / "archive"
    (folder / "lost+found").mkdir(parents=True)
    for number, name in enumerate(("a.wav", "b.wav", "lost+found/c.wav")):
        (folder / name).write_bytes(encoded(tone(1.0, seed=number), kind="WAV"))
    write_tar(folder / "0.tar", {"m.wav": encoded(tone(1.0, seed=7), kind="WAV")})
    column = pa.array([{"bytes": encoded(tone(1.0, seed=8)), "path": "p.flac"}])
    pq.write_table(pa.table({"audio": column}), folder / "1.parquet")
    return folder


def embedded(folder: Path, *inputs: Path) -> EmbeddingRun:
    settings = InputConfig(input=tuple(map(str, inputs or (folder,))))
    output = OutputConfig(output=str(folder.parent / "output"))
    return embed_archive(InProcessRunner(), settings, RECIPE, ModelConfig(), output, RunConfig())


def rows(run: EmbeddingRun) -> dict[str, str | None]:
    """Return what is committed: the error of each id, or None for one that is embedded; ids without the folder."""
    found: dict[str, str | None] = {}
    for table in ("embeddings", "failures"):
        _, tables = run.ledger.read_all(table)
        for row in (row for each in tables for row in each.to_pylist()):
            name = row["utterance_id"].rpartition("/archive/")[2]
            assert name not in found, "a recording has two rows"
            found[name] = row.get("error")
    return found


ALL: dict[str, Any] = dict.fromkeys(["a.wav", "b.wav", "lost+found/c.wav", "0.tar#m.wav", "1.parquet#p.flac"])


def test_each_file_container_and_folder_that_may_not_be_read_is_a_row_until_it_may(folder: Path) -> None:
    with denied(*(folder / name for name in ("b.wav", "0.tar", "1.parquet", "lost+found"))):
        run = embedded(folder)
        again = embedded(folder)
    healed = embedded(folder)

    assert rows(healed) == ALL
    assert again.markers == []  # nothing is tried again before it may be read
    assert embedded(folder).markers == []
    assert [marker.rows["failures"] for marker in healed.markers] == [0, 0, 0, 0, 0]
    assert sum(marker.rows["failures"] for marker in run.markers) == 4
    assert sum(marker.detail.get(ROW, 0) for marker in run.markers) == 4


def test_a_recording_that_is_called_like_a_folder_which_could_not_be_listed_is_erased(folder: Path) -> None:
    (folder / "v.wav").mkdir()
    with denied(folder / "v.wav"):
        embedded(folder)
    (folder / "v.wav").rmdir()
    (folder / "v.wav").write_bytes(encoded(tone(1.0, seed=9), kind="WAV"))
    assert rows(embedded(folder))["v.wav"] is None
    (folder / "v.wav").unlink()
    output = str(folder.parent / "output")

    erase(output, ErasureRequest(["v.wav"], id_roots_of(output)), redraw_pages)

    assert rows(embedded(folder)) == ALL
    assert verify_tables(output) == []


def test_rows_name_the_path_the_right_that_is_missing_and_the_stage(folder: Path) -> None:
    with denied(folder / "b.wav", folder / "lost+found"):
        run = embedded(folder)

    assert rows(run) == {"a.wav": None, "0.tar#m.wav": None, "1.parquet#p.flac": None, "b.wav": ROW, "lost+found": ROW}
    for row in (row for each in run.ledger.read_all("failures")[1] for row in each.to_pylist()):
        assert (row["stage"], row["attempts"]) == ("read", 1)
        assert row["message"].startswith(f"{row['uri']}: ")
        assert "(rx)" in row["message"]


def test_other_rows_of_the_run_are_what_they_are_without_the_denied_file(folder: Path) -> None:
    with denied(folder / "b.wav"):
        run = embedded(folder)
    (one,) = (each for each in run.markers if each.rows["failures"])
    beside = run.ledger.read(one, "embeddings")
    healed = embedded(folder)
    (other,) = healed.markers
    with_it = healed.ledger.read(other, "embeddings")

    assert beside is not None
    assert with_it is not None
    same = [row for row in with_it.drop_columns(["run_id"]).to_pylist() if not row["utterance_id"].endswith("b.wav")]
    assert beside.drop_columns(["run_id"]).to_pylist() == same


def test_permission_that_is_lost_after_the_listing_is_a_row_and_is_tried_again_once_it_is_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, stack = archive.find, contextlib.ExitStack()

    def find_and_lose(*given: Any, **named: Any) -> archive.Archive:
        found = find(*given, **named)
        stack.enter_context(denied(folder / "b.wav", folder / "0.tar"))
        return found

    with monkeypatch.context() as patch, stack:
        patch.setattr(archive, "find", find_and_lose)
        run = embedded(folder)
    lost = rows(run)
    healed = embedded(folder)  # the files have the sizes and times that were planned

    there = {name: error for name, error in ALL.items() if name != "0.tar#m.wav"}
    assert lost == {**there, "b.wav": ROW, "0.tar": ROW}
    assert rows(healed) == ALL
    assert len(healed.markers) == 2


def test_files_in_a_folder_that_may_only_be_listed_and_files_that_a_list_names_are_rows(folder: Path) -> None:
    (folder.parent / "list.csv").write_text("uri\narchive/a.wav\narchive/lost+found/c.wav\n")
    (folder / "lost+found").chmod(0o444)

    with binding_permissions():
        from_folder = rows(embedded(folder))
        from_list = archive.find(InputConfig(input=(str(folder.parent / "list.csv"),)))
    (folder / "lost+found").chmod(0o755)

    assert from_folder == {**ALL, "lost+found/c.wav": ROW}
    assert [each.etag == "no permission" for each in from_list.files] == [False, True]
    assert rows(embedded(folder)) == ALL


def test_an_input_that_may_not_be_read_itself_ends_the_run(folder: Path) -> None:
    for name in (".", "a.wav", "0.tar", "1.parquet"):
        with denied(folder / name), pytest.raises(StorageError, match="permission denied"):
            embedded(folder, folder / name)


def test_a_glob_that_a_denied_folder_might_match_gives_the_folder_and_nothing_else(folder: Path) -> None:
    with denied(folder / "lost+found"):
        found = archive.find(InputConfig(input=(f"{folder}/lost*/x/*.wav",)))

    assert [each.uri for each in found.folders] == [f"{folder}/lost+found"]
    assert found.files == found.containers == ()
    with pytest.raises(ConfigError, match="matches nothing"):
        archive.find(InputConfig(input=(f"{folder}/lost*/x/*.wav",)))


def test_a_folder_that_another_input_does_not_reach_keeps_its_row(folder: Path) -> None:
    with denied(folder / "lost+found"):
        embedded(folder)

    assert rows(embedded(folder, folder / "a.wav"))["lost+found"] == ROW
    assert rows(embedded(folder)) == ALL


def test_what_may_not_be_read_and_which_links_are_passed_over_stands_in_the_log(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "link").symlink_to("lost+found")
    (folder / "dead.wav").symlink_to("nothing")
    with denied(folder / "lost+found"):
        found = archive.find(InputConfig(input=(str(folder),)))

    assert f"1 files or folders below {folder} may not be read; first: {folder}/lost+found" in caplog.text
    assert "1 links to folders, which are passed over; --follow-links" in caplog.text
    assert f"1 links to nothing, which are passed over; first: {folder}/dead.wav" in caplog.text
    assert {reason: each.n for reason, each in found.links.items()} == {"folder": 1, "broken": 1}
