"""What root writes into the folder of another user is that user's, who has to go on with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs import storage

SERVICE = 65_534  # an account without rights, which every system has

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


def owners(folder: Path) -> set[tuple[int, int]]:
    return {(found.st_uid, found.st_gid) for found in (path.lstat() for path in folder.rglob("*"))}


def test_files_and_folders_get_the_owner_of_the_folder_that_they_are_in(tmp_path: Path) -> None:
    os.chown(tmp_path, SERVICE, SERVICE)

    storage.write_bytes(f"{tmp_path}/_plans/embeddings/000001.json", b"a plan")
    storage.put(f"{tmp_path}/_commits/a.json", b"a marker", storage.ABSENT)

    assert len(list(tmp_path.rglob("*"))) == 5
    assert owners(tmp_path) == {(SERVICE, SERVICE)}


def test_a_file_that_is_replaced_keeps_its_owner(tmp_path: Path) -> None:
    storage.write_bytes(f"{tmp_path}/a.json", b"before")
    os.chown(tmp_path / "a.json", SERVICE, SERVICE)

    storage.write_bytes(f"{tmp_path}/a.json", b"after")

    assert owners(tmp_path) == {(SERVICE, SERVICE)}
    assert (tmp_path / "a.json").read_bytes() == b"after"


def test_root_s_own_files_are_root_s(tmp_path: Path) -> None:
    storage.write_bytes(f"{tmp_path}/folder/a.json", b"content")

    assert owners(tmp_path) == {(0, os.stat(tmp_path).st_gid)}
