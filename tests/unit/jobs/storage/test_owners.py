"""What root writes into the folder of another user is that user's, who has to go on with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from detector.errors import ConfigError
from jobs import storage
from jobs.storage import local

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


def rights() -> tuple[int, int, list[int]]:
    return os.geteuid(), os.getegid(), os.getgroups()


def test_in_the_folder_of_a_user_root_has_that_user_s_rights_for_a_while(tmp_path: Path) -> None:
    before, of_root = rights(), tmp_path / "of root"
    of_root.write_bytes(b"a secret")
    of_root.chmod(0o600)
    for each in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        each.chmod(0o755)
    (tmp_path / "output").mkdir()
    os.chown(tmp_path / "output", SERVICE, SERVICE)

    with storage.as_owner(str(tmp_path / "output" / "of root")):
        assert rights()[:2] == (SERVICE, SERVICE)
        with pytest.raises(PermissionError):
            of_root.read_bytes()

    assert rights() == before
    with storage.as_owner(str(of_root)), storage.as_owner("s3://bucket/output"):
        assert rights() == before


def test_a_link_of_root_leads_to_the_rights_of_whoever_owns_the_target(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.chown(tmp_path / "target", SERVICE, SERVICE)

    with storage.as_owner(str(tmp_path / "link")):
        assert rights()[0] == SERVICE


@pytest.mark.parametrize("theirs", ["link", "above"])
def test_root_does_nothing_where_somebody_else_could_put_a_link(tmp_path: Path, theirs: str) -> None:
    (tmp_path / "above" / "target").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "above" / "target")
    os.chown(tmp_path / theirs, SERVICE, SERVICE, follow_symlinks=False)

    with (
        pytest.raises(ConfigError, match=rf"is of root, and lies in {tmp_path}/{theirs}, which is of \w+, .* Move it"),
        storage.as_owner(str(tmp_path / "link")),
    ):
        pytest.fail("root went on")
    os.chown(tmp_path / "above" / "target", SERVICE + 1, SERVICE)
    with (
        pytest.raises(ConfigError, match=rf"Run the same command as uid {SERVICE + 1}\.$"),
        storage.as_owner(str(tmp_path / "link")),
    ):
        pytest.fail("root went on")


def test_a_root_without_the_rights_of_all_says_who_is_to_run_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_groups: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    os.chown(tmp_path, SERVICE, SERVICE)
    monkeypatch.setattr(os, "setgroups", denied)  # as without CAP_SETGID

    with pytest.raises(ConfigError, match=r"this root may not take\. Run the same command as that user"):
        storage.as_owner(str(tmp_path)).__enter__()


def test_root_s_own_files_are_root_s(tmp_path: Path) -> None:
    storage.write_bytes(f"{tmp_path}/folder/a.json", b"content")

    assert owners(tmp_path) == {(0, os.stat(tmp_path).st_gid)}


@pytest.mark.parametrize("how", ["link", "hard link"])
def test_what_takes_the_place_of_a_draft_keeps_its_mode_owner_and_time(tmp_path: Path, how: str) -> None:
    """The owner of the folder may replace a draft while root writes it, and give the object any mode before."""
    root_s, output = tmp_path / "of root", tmp_path / "output"
    root_s.write_bytes(b"a program")
    root_s.chmod(0o700)
    before = root_s.stat()
    storage.write_bytes(f"{output}/a.json", b"before")
    os.chown(output / "a.json", SERVICE, SERVICE)
    (output / "a.json").chmod(0o4777)

    with local._draft(f"{output}/a.json", b"after") as draft:
        os.remove(draft.path)
        os.symlink(root_s, draft.path) if how == "link" else os.link(root_s, draft.path)
        local._take_place(draft, f"{output}/a.json")

    after = root_s.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)


def test_no_object_gets_the_bits_that_let_others_run_it_as_its_owner(tmp_path: Path) -> None:
    storage.write_bytes(f"{tmp_path}/a.json", b"before")
    (tmp_path / "a.json").chmod(0o4755)

    storage.write_bytes(f"{tmp_path}/a.json", b"after")

    assert (tmp_path / "a.json").stat().st_mode & 0o7777 == 0o755
