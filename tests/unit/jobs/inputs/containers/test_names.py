"""Members whose names are not UTF-8 are read under names that are unique, and that tables can hold."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from jobs.inputs.containers.names import name_fault
from tests.support.containers import FLAC, OTHER, errors, put, read, shard_of, zipped

BYTES, LITERAL = b"caf\xe9.flac", rb"caf\xe9.flac"


def tar_of(*names: bytes, kind: int = tarfile.GNU_FORMAT) -> bytes:
    """Pack recordings under names of any bytes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind, encoding="utf-8", errors="surrogateescape") as tar:
        for name, content in zip(names, (FLAC, OTHER) * len(names), strict=False):
            member = tarfile.TarInfo(name.decode(errors="surrogateescape"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_a_byte_that_is_not_text_and_its_escape_spelt_out_are_two_members_of_a_tar(tmp_path: Path, kind: int) -> None:
    path = put(tmp_path / "0.tar", tar_of(BYTES, LITERAL, kind=kind))

    found, samples = read(shard_of(path))
    listed, of_list = read(shard_of(path, ((r"caf\x5cxe9.flac", "literal"), (r"caf\xe9.flac", "bytes"))))

    assert [each["utterance_id"] for each in found] == [rf"{path}#caf\xe9.flac", rf"{path}#caf\x5cxe9.flac"]
    assert [each["utterance_id"] for each in listed] == ["bytes", "literal"]
    assert samples == of_list


def test_a_name_that_begins_with_such_a_byte_does_not_lead_out_of_the_archive(tmp_path: Path) -> None:
    path = put(tmp_path / "0.tar", tar_of(b"\xe9t\xe9.flac", b"..\xe9.flac", b"\\a.flac"))

    assert errors(path) == [(r"\xe9t\xe9.flac", None), (r"..\xe9.flac", None), (r"\a.flac", "bad_name")]


def test_the_limit_of_a_name_counts_its_text() -> None:
    # an escape is four letters: 256 of them are 1,024
    assert name_fault("\udce9" * 256) is None
    assert name_fault("\udce9" * 257) == "its name is longer than 1,024 bytes"


def test_one_false_claim_of_utf8_does_not_cost_a_zip_its_other_members(tmp_path: Path) -> None:
    content = zipped({"caf__.flac": FLAC, "é.flac": OTHER})
    for flags_at in [at for at in range(len(content)) if content.startswith(b"PK\1\2", at)]:
        content = content[: flags_at + 8] + b"\x00\x08" + content[flags_at + 10 :]
    path = put(tmp_path / "0.zip", content.replace(b"caf__", b"caf\xe9_"))
    with pytest.raises(UnicodeDecodeError):
        zipfile.ZipFile(path)

    found, samples = read(shard_of(path))

    # e9 is Θ in code page 437, in which names without a claim are read
    assert [each["member"] for each in found] == ["cafΘ_.flac", "é.flac"]
    assert len(set(samples.values())) == 2
