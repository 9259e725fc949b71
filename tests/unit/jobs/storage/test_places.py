"""A place that cannot be written to is told of before any work, with what stands there."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.errors import ConfigError
from jobs import storage
from jobs.storage.objects import storage_errors

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "some.txt").write_text("a file")
    return tmp_path / "some.txt"


@pytest.mark.parametrize("below", ["", "/tables", "/tables/of/scores"])
def test_a_folder_that_is_or_lies_below_a_file_is_refused_with_the_file(file: Path, below: str) -> None:
    with pytest.raises(storage.NotFolderError, match=r"some\.txt.*is a file, not a folder"):
        storage.check_folder(f"{file}{below}")


@pytest.mark.parametrize("below", ["", "/not/yet/there"])
def test_a_folder_that_exists_or_can_be_made_is_accepted(root: str, below: str) -> None:
    storage.check_folder(f"{root}{below}")


def test_a_folder_that_cannot_be_made_names_the_one_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: str(path) != str(tmp_path))

    with pytest.raises(ConfigError, match=f"cannot be made, because {tmp_path} may not be written to"):
        storage.check_folder(f"{tmp_path}/mount/output")


def test_writing_below_a_file_or_in_place_of_a_folder_is_an_error_of_the_name(file: Path) -> None:
    with pytest.raises(storage.NotFolderError, match="is a file, not a folder"):
        storage.write_bytes(f"{file}/x", b"")
    with pytest.raises(storage.NotFolderError, match="is a folder, not a file"):
        storage.write_bytes(str(file.parent), b"")


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EROFS, "read-only file system"), (errno.ENAMETOOLONG, "no such file"), (errno.ELOOP, "no such file")],
)
def test_errors_of_a_name_or_a_mount_are_not_those_of_the_store(number: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words), storage_errors("/archive/a"):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "verb",
    [
        ("embed", "--backbone", "melstats", "--input", "A", "--output"),
        ("score", "--input", "A", "--output"),
        ("manifest", "--input", "A", "--output"),
        ("fit", "--embeddings", "B", "--labels", "C", "--output"),
        ("evaluate", "--scores", "B", "--labels", "C", "--output"),
    ],
    ids=lambda verb: verb[0],
)
def test_every_verb_refuses_an_output_below_a_file_with_65(file: Path, bonafide: Run, verb: tuple[str, ...]) -> None:
    code, _, err = bonafide(*verb, f"{file}/output")

    assert code == 65
    assert re.search(r"some\.txt:? is a file, not a folder", err.splitlines()[-1])
