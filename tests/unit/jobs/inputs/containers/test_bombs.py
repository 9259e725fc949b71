"""Bombs, and members of a zip that are broken or lie, become single rows."""

from __future__ import annotations

import gzip
import io
import resource
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import storage
from jobs.errors import CorruptError
from jobs.inputs.containers import container_kind, parquet, tar
from jobs.inputs.containers.decompressed import zstd
from jobs.inputs.expansion import FREE_BYTES
from jobs.inputs.shards import Shard
from jobs.storage.files import RangeFile
from tests.support.containers import (
    FLAC,
    MEMBERS,
    OTHER,
    PACKED,
    errors,
    put,
    read,
    tarred,
    zipped,
)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_a_bomb_is_one_row_after_the_members_before_it(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    zeros = pack(bytes(16 << 20))  # a thousandth, or less
    stored = tarred({"a.flac": FLAC}).rstrip(b"\0") + bytes(512)
    liar = tarfile.TarInfo("b.wav")
    liar.size = 1 << 30
    stored = stored + bytes(-len(stored) % 512) + liar.tobuf(tarfile.GNU_FORMAT)
    name = "0.tar.gz" if pack is gzip.compress else "0.tar.zst"
    path = put(tmp_path / name, pack(stored) + zeros * 64)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert errors(path)[0] == ("a.flac", None)
    assert errors(path)[-1] == (None, "bad_archive")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100 << 10  # KiB


def test_a_bomb_in_a_zip_is_its_own_row_and_leaves_its_neighbours_intact(tmp_path: Path) -> None:
    n_bytes = 2 * FREE_BYTES
    path = put(tmp_path / "0.zip", zipped({"a.flac": FLAC, "bomb.wav": bytes(n_bytes), "b.flac": OTHER}))

    assert errors(path) == [("a.flac", None), ("bomb.wav", "bad_archive"), ("b.flac", None)]


def test_a_zip_whose_directory_understates_a_member_inflates_no_more_than_it_says(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.flac": FLAC, "bomb.wav": bytes(200 << 20)}))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.rindex(mark) + offset
        content[at : at + 4] = (1_000).to_bytes(4, "little")
    path = put(tmp_path / "0.zip", bytes(content))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert errors(path) == [("a.flac", None), ("bomb.wav", "bad_archive")]  # by its checksum
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 50 << 10  # KiB


def test_a_member_of_a_zip_without_a_name_is_no_recording(tmp_path: Path) -> None:
    # found by fuzzing: zipfile asks for the last letter of the name
    content = bytearray(zipped({"a.flac": FLAC, "x": b"x"}))
    lengths = content.rindex(b"PK\x01\x02") + 28
    content[lengths : lengths + 4] = b"\0\0\1\0"  # the byte of the name is one of the extra field

    assert errors(put(tmp_path / "0.zip", bytes(content))) == [("a.flac", None)]


def test_members_of_a_zip_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    # one content under two names of the directory: Fifield, "A better zip bomb", USENIX WOOT 2019
    content = bytearray(zipped({"a.flac": FLAC, "b.flac": OTHER}))
    second = content.rindex(b"PK\x01\x02") + 42
    content[second : second + 4] = (0).to_bytes(4, "little")

    assert errors(put(tmp_path / "0.zip", bytes(content))) == [(None, "bad_archive")]


def test_unreadable_members_of_a_zip_are_rows_of_their_own(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.flac": FLAC, "secret.flac": FLAC, "z.flac": OTHER}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(mark, content.index(mark) + 4) + offset
        content[at] |= 1
    path = put(tmp_path / "0.zip", bytes(content))
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("../up.flac", FLAC)
        packed.writestr("lzma.flac", FLAC, zipfile.ZIP_LZMA)
        link = zipfile.ZipInfo("link.flac")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/hostname")

    assert errors(path) == [
        ("a.flac", None),
        ("secret.flac", "encrypted"),
        ("z.flac", None),
        ("../up.flac", "bad_name"),
        ("lzma.flac", "bad_archive"),
        ("link.flac", "not_a_file"),
    ]


def test_a_member_of_a_zip_whose_checksum_is_wrong_is_a_row_between_whole_neighbours(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.flac": FLAC, "m.flac": FLAC, "b.flac": OTHER}, zipfile.ZIP_STORED))
    content[content.index(b"m.flac") + 1_000] ^= 1

    assert errors(put(tmp_path / "0.zip", bytes(content))) == [
        ("a.flac", None),
        ("m.flac", "bad_archive"),
        ("b.flac", None),
    ]


class Mangled:
    """Ranges of an object in which a byte is changed on its way."""

    def __init__(self, ranges: Any) -> None:
        self._ranges = ranges
        self.digest, self.conclusive = ranges.digest, ranges.conclusive

    def fetch(self, start: int, stop: int) -> bytes:
        block = bytearray(self._ranges.fetch(start, stop))
        if start <= 3_000 < stop:
            block[3_000 - start] ^= 1
        return bytes(block)


@pytest.mark.parametrize("name", ["0.zip", "0.tar.gz", "0.parquet"])
def test_bytes_corrupted_in_transit_never_become_a_row(
    s3_root: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{s3_root}/{name}"
    storage.write_bytes(uri, PACKED[name](MEMBERS))
    stored, kind = storage.stat(uri), container_kind(uri)
    assert stored is not None
    assert kind is not None
    assert [each.get("error") for each in read(Shard(kind, (stored,)))[0]] == [None, None]
    begin = RangeFile.__init__
    monkeypatch.setattr(
        RangeFile, "__init__", lambda file, stored, ranges, *, whole: begin(file, stored, Mangled(ranges), whole=whole)
    )

    with pytest.raises(CorruptError):
        read(Shard(kind, (stored,)))


def sparse_header_of_negative_size() -> bytes:
    """Return a GNU sparse header (type S) whose stored size is -5,120 in base 256, and whose real size is 10 bytes."""
    header = bytearray(tarfile.TarInfo("sparse.flac").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-5_120).to_bytes(12, "big", signed=True)
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[483:495] = b"00000000012\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("name", ["0.tar", "0.tar.gz", "0.tar.zst"])
def test_a_sparse_header_that_leads_before_the_first_byte_is_a_row_and_not_a_defect(tmp_path: Path, name: str) -> None:
    # tarfile adds the stored size to its offset, and seeks to less than 0
    pack = {"0.tar": bytes, "0.tar.gz": gzip.compress, "0.tar.zst": zstd.compress}[name]
    path = put(tmp_path / name, pack(sparse_header_of_negative_size() + tarred({"a.flac": FLAC})))

    assert errors(path)[-1] == (None, "bad_archive")
    assert {error for _, error in errors(path)} <= {"not_a_file", "bad_archive"}


EMPTY_STREAMS = {".tar.gz": gzip.compress(b""), ".tar.zst": zstd.compress(b"")}


@pytest.mark.parametrize("suffix", EMPTY_STREAMS)
def test_thousands_of_streams_that_hold_nothing_are_one_row(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"0{suffix}"
    path.write_bytes(EMPTY_STREAMS[suffix] * 12_000)

    assert errors(path) == [(None, "bad_archive")]


def test_far_more_headers_than_recordings_need_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "FREE_HEADER_BYTES", 64 << 10)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as packed:
        for number in range(1_000):
            folder = tarfile.TarInfo(f"{number:04}")
            folder.type = tarfile.DIRTYPE
            packed.addfile(folder)
    path = tmp_path / "0.tar.gz"
    path.write_bytes(gzip.compress(file.getvalue()))

    assert errors(path) == [(None, "bad_archive")]


def test_an_extended_header_of_thousands_of_records_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as packed:
        member = tarfile.TarInfo("a.wav")
        member.pax_headers = {f"x{number}": "" for number in range(2_000)}
        packed.addfile(member)

    assert errors(path) == [(None, "bad_archive")]


def test_a_dictionary_that_is_copied_for_far_too_many_rows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "FREE_COPIED_BYTES", 1 << 20)
    monkeypatch.setattr(parquet, "COPIED_RATIO", 0)
    path = tmp_path / "0.parquet"
    values = pa.array([b"RIFF", bytes(100 << 10)], pa.binary())
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 20, pa.int32()), values)
    pq.write_table(pa.table({"audio": rows}), path)

    assert errors(path)[-1] == (None, "bad_archive")
    assert len(errors(path)) == 11  # ten rows copy ten times 100 KiB
