"""What an erasure could not reach is named, with what to do, before anything is changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jobs.erasure.mentions import find_mentions
from jobs.erasure.request import ErasureRequest
from tests.support.permissions import binding_permissions
from tests.unit.jobs.erasure.outputs import VICTIM, everything, first_object

Run = Callable[..., tuple[int, str, str]]


def test_an_object_that_is_a_link_is_refused_and_nothing_is_changed(tables: str, bonafide: Run, tmp_path: Path) -> None:
    path = Path(first_object(tables, "scores"))
    (tmp_path / "disk2.parquet").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "disk2.parquet")
    assert bonafide("verify", tables)[0] == 0
    before = everything(tables)

    code, _, error = bonafide("erase", VICTIM, "--output", tables)

    assert code == 65
    assert f"{path}: a link to a file, which lies elsewhere and would stay. Remove it, or put what it leads to" in error
    assert everything(tables) == before


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir(mode=0)
    (tmp_path / "note.txt").write_text("a")

    with binding_permissions():
        problems, n_objects = find_mentions(str(tmp_path), ErasureRequest(["a.wav"]))

    assert problems == [
        f"{tmp_path}/lost+found: a folder that this user may not list, so what it mentions is not known"
    ]
    assert n_objects == 1
