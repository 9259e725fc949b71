"""A walk lists files once, follows the links that it is told to, ends whatever they lead to, and tells what it left."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import storage
from jobs.errors import SourceChangedError
from jobs.inputs import config
from jobs.storage import Links, Listing
from jobs.storage.local import Local
from jobs.storage.walk import walk
from tests.support.permissions import binding_permissions, denied


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"1")


def link(folder: Path, **targets: str) -> None:
    for name, target in targets.items():
        (folder / name).symlink_to(target)


def survey(folder: Path, follow: str = "no") -> Listing:
    found = storage.survey(str(folder), follow)
    assert found is not None
    return found


def names(found: Listing, folder: Path) -> list[str]:
    return [each.uri.removeprefix(f"{folder}/") for each in found.objects]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An archive with links inside, outside, upwards and to nothing; `outside` beside it."""
    root = tmp_path / "archive"
    put(tmp_path, "archive/real/sub/a.wav", "outside/o.wav")
    link(root, dead="nothing", inside="real", out="../outside")
    link(root / "real", up="..", alike="sub", self="self")
    return root


def test_by_default_links_to_folders_are_passed_over_and_counted_with_the_first(root: Path) -> None:
    found = survey(root)

    assert names(found, root) == ["real/sub/a.wav"]
    assert found.links == {"broken": Links(2, f"{root}/dead"), "folder": Links(4, f"{root}/inside")}


def test_links_inside_the_root_are_followed_once_each_and_never_back(root: Path) -> None:
    found = survey(root, "inside")

    # `inside` gives `real` once more, and in it `alike`; the link `real/alike` is the second one to `sub`
    assert names(found, root) == ["inside/alike/a.wav", "real/sub/a.wav"]
    assert found.links["outside"] == Links(1, f"{root}/out")
    assert "folder" not in found.links


def test_links_that_lead_out_are_followed_only_where_that_is_asked_for(root: Path) -> None:
    assert "out/o.wav" in names(survey(root, "anywhere"), root)
    assert "outside" not in survey(root, "anywhere").links
    assert names(survey(root / "out"), root / "out") == ["o.wav"]  # a link that is named itself is no question


@pytest.mark.parametrize("follow", ["no", "inside"])
def test_a_link_that_takes_the_place_of_a_folder_before_it_is_read_leads_nowhere(tmp_path: Path, follow: str) -> None:
    put(tmp_path, "archive/a/x.wav", "archive/b/y.wav", "private/z.wav")

    def swapped(path: str) -> bool:
        if path.endswith("/a"):
            (tmp_path / "archive" / "a").rename(tmp_path / "was")
            link(tmp_path / "archive", a=str(tmp_path / "private"))
        return True

    found = walk(str(tmp_path / "archive"), follow, swapped)

    assert names(found, tmp_path / "archive") == ["b/y.wav"]
    assert found.links["outside"].first == f"{tmp_path}/archive/a"


@pytest.mark.parametrize(
    ("path", "is_there"), [("b/y.wav", True), ("in.wav", True), ("out.wav", False), ("d/z.wav", False)]
)
def test_a_source_behind_a_link_that_leads_out_is_not_there(tmp_path: Path, path: str, is_there: bool) -> None:
    put(tmp_path, "archive/b/y.wav", "private/z.wav")
    link(tmp_path / "archive", **{"in.wav": "b/y.wav", "out.wav": "../private/z.wav", "d": "../private"})

    found = storage.stat_below(f"{tmp_path}/archive/{path}", f"{tmp_path}/archive/")

    assert (found is not None) == is_there


def test_a_link_to_a_parent_of_the_root_does_not_read_the_root_again(tmp_path: Path) -> None:
    put(tmp_path, "archive/a.wav", "beside/b.wav")
    link(tmp_path / "archive", up="..")

    assert names(survey(tmp_path / "archive", "anywhere"), tmp_path / "archive") == ["a.wav", "up/beside/b.wav"]


def test_a_ladder_of_links_that_has_a_million_paths_is_walked_once(tmp_path: Path) -> None:
    # 20 folders, each with two links to the next: 2 ** 20 paths to the last
    for number in range(20):
        put(tmp_path, f"{number}/a.wav")
        link(tmp_path / str(number), left=f"../{number + 1}", right=f"../{number + 1}")

    found = survey(tmp_path, "inside")

    # each but the first under its own path, and once under a link
    assert len(found.objects) == 20 + 19


def test_a_deep_tree_is_walked_without_recursion(tmp_path: Path) -> None:
    depth = 1_200
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        Path("a.wav").write_bytes(b"1")
        n_found = len(survey(tmp_path).objects)
        os.remove("a.wav")
        for _ in range(depth):  # pytest's own removal is recursive
            os.chdir("..")
            os.rmdir("d")
    finally:
        os.chdir(before)

    assert n_found == 1


@pytest.mark.parametrize("pattern", ["*/sub/*.wav", "**/*.wav", "*/*", "[!x]*/sub"])
def test_globs_and_folders_pass_over_the_same_links(root: Path, pattern: str) -> None:
    found = storage.matching(f"{root}/{pattern}")

    assert names(found, root) == ["real/sub/a.wav"]
    assert found.links["folder"].first == f"{root}/inside"


def test_a_folder_that_may_not_be_listed_is_told_and_the_rest_is_found(root: Path) -> None:
    put(root, "lost+found/x.wav", "z.wav")

    with denied(root / "lost+found"):
        found, by_glob = survey(root), storage.matching(f"{root}/**/*.wav")
        with pytest.raises(storage.NoPermissionError, match="lost"):
            storage.listing(str(root))  # of our own tables, all or nothing is read

    for each in (found, by_glob):
        assert names(each, root) == ["real/sub/a.wav", "z.wav"]
        assert each.denied == [f"{root}/lost+found"]


def test_files_in_a_folder_that_may_only_be_listed_are_denied_each(root: Path) -> None:
    put(root, "seen/x.wav", "seen/deep/y.wav")
    (root / "seen").chmod(0o444)

    with binding_permissions():
        found = survey(root / "..")

    assert [each.uri for each in found.objects if each.etag == storage.DENIED] == [f"{root.resolve()}/seen/x.wav"]
    assert found.denied == [f"{root.resolve()}/seen/deep"]
    (root / "seen").chmod(0o755)


@pytest.mark.parametrize("mode", [0, 0o444, 0o333])
def test_a_root_that_may_not_be_read_is_an_error_that_speaks_of_permission(root: Path, mode: int) -> None:
    root.chmod(mode)

    with binding_permissions():
        for look in (storage.survey, lambda uri: storage.matching(f"{uri}/*.wav")):
            with pytest.raises(storage.NoPermissionError, match=f"{root}: permission denied") as caught:
                look(str(root))
            assert "spelling" not in str(caught.value)
    root.chmod(0o755)


def test_bytes_that_are_not_text_are_listed_opened_and_replaced_by_their_uri(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/d\xe9r"
    os.mkdir(folder)
    for name, content in ((b"caf\xe9.wav", b"latin"), (rb"caf\xe9.wav", b"literal")):
        with open(folder + b"/" + name, "wb") as file:
            file.write(content)

    found = storage.listing(str(tmp_path)) or []

    assert [each.uri for each in found] == [rf"{tmp_path}/d\xe9r/caf\x5cxe9.wav", rf"{tmp_path}/d\xe9r/caf\xe9.wav"]
    assert [storage.read_bytes(each.uri) for each in found] == [b"literal", b"latin"]
    assert storage.matching(rf"{tmp_path}/d\xe9r/caf\xe9*").objects == found[1:]
    for each in found:
        assert storage.stat(each.uri) == each
        with storage.opened(each, whole=True) as file:
            assert len(file.read()) == each.size
        assert storage.put(each.uri, b"new", each.etag) is None
    storage.remove(found[0].uri)
    assert os.listdir(folder) == [b"caf\xe9.wav"]
    assert list(storage.modified(str(tmp_path))) == [found[1].uri]


def test_permission_that_is_lost_while_a_file_is_read_does_not_lose_the_file(root: Path) -> None:
    stored = storage.stat(f"{root}/real/sub/a.wav")
    assert stored is not None

    with binding_permissions(), storage.opened(stored, whole=True) as file, denied(root / "real/sub"):
        assert file.read() == b"1"
        file.verify()


def test_the_help_names_the_ways_to_follow_that_the_store_knows() -> None:
    assert config.FOLLOW == storage.FOLLOW


def test_what_is_no_file_is_passed_over_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"a")
    os.mkfifo(tmp_path / "b.wav")
    (tmp_path / "c.wav").symlink_to("/dev/null")

    found = storage.survey(str(tmp_path))

    assert found is not None
    assert [storage.name_of(stored.uri) for stored in found.objects] == ["a.wav"]
    assert {reason: each.n for reason, each in found.links.items()} == {"special": 2}


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file beside a tree whose lower part, and the files in it, no path can name."""
    root = tmp_path / "archive"
    put(root, "own.wav")
    with contextlib.chdir(root):
        for _ in range(20):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
            Path("f" * 250 + ".wav").write_bytes(b"1")
    yield root
    handle = os.open(root, os.O_RDONLY)
    shutil.rmtree("d" * 250, dir_fd=handle)
    os.close(handle)


def test_what_no_path_can_name_is_counted_and_stops_nothing(deep: Path) -> None:
    found = survey(deep)

    named = [each.uri for each in found.objects]
    assert f"{deep}/own.wav" in named
    longest = max(map(len, named))
    ((reason, passed),) = found.links.items()
    assert reason == "too long"
    assert passed.n in (2, 3)  # a file and the folder beside it; and a file beside the folder above, if it just fits
    assert longest < 4096 <= len(passed.first)
    assert storage.drafts(str(deep)) == storage.empty_folders(str(deep)) == []


@pytest.mark.parametrize("follow", ["no", "inside"])
def test_links_to_files_are_read_in_the_archive_and_passed_over_where_they_lead_out(root: Path, follow: str) -> None:
    put(root, "b.wav")
    targets = {"near.wav": "real/sub/a.wav", "far.wav": "../outside/o.wav", "process.wav": "/proc/self/environ"}
    link(root, **targets, round="real/out.wav")  # the last one by a second link
    link(root / "real", **{"out.wav": "../../outside/o.wav"})

    found = survey(root, follow)

    assert {"b.wav", "near.wav", "real/sub/a.wav"} <= set(names(found, root))
    assert not {"far.wav", "process.wav", "round", "real/out.wav"} & set(names(found, root))
    assert found.links["outside"].first == f"{root}/far.wav"
    assert found.links["outside"].n >= 4
    assert {"far.wav", "round"} <= set(names(survey(root, "anywhere"), root))


def test_a_root_that_is_a_link_holds_what_it_leads_to(root: Path) -> None:
    link(root.parent, alias="archive")
    link(root, **{"near.wav": "real/sub/a.wav"})

    assert names(survey(root.parent / "alias"), root.parent / "alias") == ["near.wav", "real/sub/a.wav"]


def test_links_out_count_only_if_a_glob_means_them(root: Path) -> None:
    link(root, **{"far.wav": "../outside/o.wav", "notes.txt": "/etc/hostname"})

    found = storage.matching(f"{root}/*.wav", "no")

    assert (found.objects, found.links["outside"]) == ([], Links(1, f"{root}/far.wav"))


def test_a_folder_of_our_own_may_have_its_files_elsewhere(root: Path) -> None:
    link(root, **{"far.parquet": "../outside/o.wav"})

    assert f"{root}/far.parquet" in [each.uri for each in storage.listing(str(root)) or []]


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.wav")
    (planned,) = storage.listing(str(tmp_path)) or []
    (tmp_path / "a.wav").unlink()
    os.mkfifo(tmp_path / "a.wav")
    monkeypatch.setattr(Local, "stat", lambda *_, **__: planned)  # as it was a moment before it is opened

    with pytest.raises(SourceChangedError, match="it is gone"), storage.opened(planned):
        pass
