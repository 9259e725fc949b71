"""A local source has a tag that nobody can keep when they replace it; a file of an output keeps its tag when copied."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from jobs import storage
from jobs.errors import SourceChangedError


def put_back_time(path: Path, content: bytes) -> None:
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_source_that_is_replaced_under_its_time_is_another_one_wherever_it_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"1234")
    finds = [
        lambda: storage.stat(str(path), as_source=True),
        lambda: storage.listing(str(tmp_path), "no")[0],  # type: ignore[index]
        lambda: storage.matching(f"{tmp_path}/*", "anywhere").objects[0],
    ]
    before = [find() for find in finds]
    assert len(set(before)) == 1
    planned = before[0]
    assert planned is not None

    with storage.opened(planned) as file:
        assert file.read() == b"1234"
    with pytest.raises(SourceChangedError), storage.opened(planned):
        put_back_time(path, b"5678")
    with pytest.raises(SourceChangedError):
        storage.first_bytes(planned, 1)
    assert all(find() != planned for find in finds)


def test_a_file_of_an_output_has_its_tag_after_a_copy_that_keeps_times(tmp_path: Path) -> None:
    for name in ("output", "copy"):
        (tmp_path / name).mkdir()
    path = tmp_path / "output" / "a"
    path.write_bytes(b"1234")
    shutil.copy2(path, tmp_path / "copy" / "a")

    tags = {each.etag for name in ("output", "copy") for each in storage.listing(str(tmp_path / name)) or []}
    assert tags == {storage.stat(str(path)).etag}  # type: ignore[union-attr]
