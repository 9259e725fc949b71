"""Sparse members of tars are read with their holes, and what stands behind them is read too."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jobs import storage
from jobs.inputs.containers import CONTAINERS, container_kind, tar
from jobs.inputs.containers.decompressed import zstd
from jobs.inputs.pieces import batches
from jobs.inputs.shard_reader import MAX_BUFFERED_BYTES, read_shard
from jobs.inputs.shards import Portion
from tests.support.audio import RATE, encoded, tone
from tests.support.containers import FLAC, OTHER, SEGMENT_SECONDS, errors, put, read, shard_of, tarred, zipped
from tests.support.sparse_tars import BLOCK, FORMS, Extents, extended, sparse_member

PACKS: dict[str, Callable[[bytes], bytes]] = {"0.tar": bytes, "0.tar.gz": gzip.compress, "0.tar.zst": zstd.compress}


def with_holes(seconds: float, sound: Extents) -> tuple[bytes, np.ndarray]:
    """Return a WAV of silence with a tone in some blocks of its bytes, and its samples."""
    samples = np.zeros(round(seconds * RATE), np.int16)
    for at, n_bytes in sound:
        first, last = max(0, at - 44) // 2, (at + n_bytes - 44) // 2
        samples[first:last] = 8_000 * np.sin(np.arange(first, last) / 11)
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="PCM_16")
    return file.getvalue(), samples / np.float32(1 << 15)


def contents(path: Path) -> dict[str, bytes]:
    stored, kind = storage.stat(str(path)), container_kind(str(path))
    assert stored is not None
    assert kind is not None
    with storage.opened(stored) as file:
        return {each.name: each.content.read() for each in CONTAINERS[kind].members(file, stored)}  # type: ignore[union-attr]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PACKS)
def test_a_sparse_member_is_heard_with_its_holes_and_so_is_what_stands_behind_it(
    tmp_path: Path, name: str, form: str
) -> None:
    extents = [(0, 2 * BLOCK), (20 * BLOCK, 8 * BLOCK), (100 * BLOCK, 9 * BLOCK)]
    content, expected = with_holes(3.0, extents)
    members = tarred({"a.flac": FLAC})[: BLOCK + len(FLAC) + -len(FLAC) % BLOCK]
    members += sparse_member("s.wav", content, [*extents, (len(content), 0)], form) + tarred({"b.flac": OTHER})

    found, samples = read(shard_of(put(tmp_path / name, PACKS[name](members))))

    assert [(each["member"], each.get("error")) for each in found] == [
        ("a.flac", None),
        ("s.wav", None),
        ("b.flac", None),
    ]
    assert found[1]["bytes"] == len(content)
    np.testing.assert_array_equal(np.frombuffer(samples[1], np.float32), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n_extents", [0, 1, 4, 5, 25, 26, 400])
def test_a_map_may_have_any_number_of_extents(tmp_path: Path, form: str, n_extents: int) -> None:
    draw = np.random.default_rng(n_extents)
    content, extents = bytearray(2_000 * n_extents + 5_000), []
    for number in range(n_extents):
        at, n_bytes = 2_000 * number + int(draw.integers(1_000)), int(draw.integers(1, 1_000))
        content[at : at + n_bytes] = draw.bytes(n_bytes)
        extents.append((at, n_bytes))
    extents.append((len(content), 0))  # as GNU tar ends every map
    members = sparse_member("s.wav", bytes(content), extents, form) + tarred({"b.flac": OTHER})

    assert contents(put(tmp_path / "0.tar", members)) == {"s.wav": bytes(content), "b.flac": OTHER}


@pytest.mark.parametrize("form", ["gnu", "1.0"])
def test_a_map_in_blocks_of_its_own_may_be_longer_than_other_headers(tmp_path: Path, form: str) -> None:
    extents = [(2_000 * number + 7, 100) for number in range(20_000)]
    content = bytes(range(256)) * 156_250
    holes = bytearray(content)
    for (at, n_bytes), (after, _) in zip([(0, 0), *extents], [*extents, (len(content), 0)], strict=True):
        holes[at + n_bytes : after] = bytes(after - at - n_bytes)
    member = sparse_member("s.wav", content, extents, form)
    assert len(member) - 100 * len(extents) > tar.MAX_HEADER_BYTES

    assert contents(put(tmp_path / "0.tar", member + tarred({}))) == {"s.wav": bytes(holes)}


def test_a_sparse_member_beyond_the_buffer_is_decoded_in_place_without_its_holes_in_memory(tmp_path: Path) -> None:
    content, expected = with_holes(1_000.0, [(0, BLOCK), (31_000_064, 2 * BLOCK)])
    assert len(content) > MAX_BUFFERED_BYTES
    extents = [(0, BLOCK), (31_000_064, 2 * BLOCK)]
    path = put(
        tmp_path / "0.tar", sparse_member("s.wav", content, extents, "1.0", stored=None) + tarred({"b.flac": OTHER})
    )
    stored = storage.stat(str(path))
    assert stored is not None
    tracemalloc.start()
    with storage.opened(stored) as file:
        member = next(iter(tar.members(file, stored)))
        assert not isinstance(member.content, Exception)
        while member.content.read(64 << 10):
            pass
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    found, samples = read(shard_of(path))

    assert most < 1 << 20
    assert [each.get("error") for each in found] == [None, None]
    np.testing.assert_array_equal(np.frombuffer(samples[0], np.float32), expected)


@pytest.mark.parametrize("form", FORMS)
def test_bytes_at_every_offset_are_those_of_the_content(tmp_path: Path, form: str) -> None:
    extents = [(3, 700), (703, 10), (2_000, 1), (5_000, 3_000)]
    content = bytearray(9_000)
    for at, n_bytes in extents:
        content[at : at + n_bytes] = np.random.default_rng(at).bytes(n_bytes)
    path = put(tmp_path / "0.tar.gz", gzip.compress(sparse_member("s.wav", bytes(content), extents, form) + tarred({})))
    stored = storage.stat(str(path))
    assert stored is not None
    draw = np.random.default_rng(1)
    with storage.opened(stored) as file:
        opened = next(iter(tar.gzip_members(file, stored))).content
        assert not isinstance(opened, Exception)
        for at, n_bytes in draw.integers(0, 10_000, (300, 2)):
            opened.seek(at)
            assert opened.read(n_bytes) == content[at : at + n_bytes]


def test_a_resource_fork_that_macos_stores_beside_a_recording_is_passed_over(tmp_path: Path) -> None:
    fork = sparse_member("call/._s.wav", b"\0\5\x16\7" + bytes(5_000), [(0, 4)], "1.0")
    content, _ = with_holes(1.0, [(0, BLOCK)])
    path = put(tmp_path / "0.tar", fork + sparse_member("call/s.wav", content, [(0, BLOCK)], "1.0") + tarred({}))

    assert errors(path) == [("call/s.wav", None)]


@pytest.mark.parametrize("kind", [b"\0", b"7", b"8"], ids=["before POSIX", "contiguous", "unknown"])
def test_a_member_of_any_type_that_is_a_file_is_read(tmp_path: Path, kind: bytes) -> None:
    # POSIX.1-2017, ustar interchange format: a type that is not known is treated as a regular file
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as packed:
        info = tarfile.TarInfo("m.flac")
        info.size, info.type = len(FLAC), kind
        packed.addfile(info)
        file.write(FLAC + bytes(-len(FLAC) % BLOCK) + tarred({"b.flac": OTHER}))

    assert errors(put(tmp_path / "0.tar", file.getvalue())) == [("m.flac", None), ("b.flac", None)]


def test_the_second_half_of_a_file_of_another_volume_is_no_recording(tmp_path: Path) -> None:
    info = tarfile.TarInfo("m.wav")
    info.size, info.type = BLOCK, b"M"
    content = info.tobuf(tarfile.GNU_FORMAT) + bytes(BLOCK) + tarred({"b.flac": OTHER})

    assert errors(put(tmp_path / "0.tar", content)) == [("m.wav", "not_a_file"), ("b.flac", None)]


@pytest.mark.parametrize("key", ["size", "GNU.sparse.realsize"])
def test_a_member_that_a_header_for_all_members_shortens_is_a_row_and_not_half_heard(tmp_path: Path, key: str) -> None:
    content = encoded(tone(2.0), kind="WAV", subtype="PCM_16")
    path = put(tmp_path / "0.tar", extended([(key, "32044")], tarfile.XGLTYPE) + tarred({"a.wav": content}))

    assert errors(path) == [("a.wav", "bad_archive")]


HUGE = 10**400


def test_a_size_that_no_number_of_a_table_holds_is_a_row(tmp_path: Path) -> None:
    content = extended([("GNU.sparse.map", "0,1,2"), ("GNU.sparse.realsize", str(HUGE)), ("GNU.sparse.major", "9")])
    path = put(tmp_path / "0.tar", content + tarred({"a.wav": OTHER, "b.flac": OTHER}))

    (rows,) = batches(read_shard(Portion(shard_of(path)), SEGMENT_SECONDS))

    outcomes = [each for each in rows["outcome"].to_pylist() if each]
    assert [each["error"] for each in outcomes] == ["bad_archive", None]
    assert outcomes[0]["bytes"] == 2**63 - 1


def test_a_size_in_a_zip_that_no_number_of_a_table_holds_is_a_row(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.flac": OTHER}))
    place = content.index(b"PK\x01\x02")
    name = content.index(b"a.flac", place) + len(b"a.flac")
    content[place + 24 : place + 28] = b"\xff" * 4  # the size stands in a ZIP64 field
    content[place + 30 : place + 32] = (12).to_bytes(2, "little")
    content[name:name] = b"\x01\x00\x08\x00" + b"\xff" * 8
    end = content.index(b"PK\x05\x06")
    content[end + 12 : end + 16] = (int.from_bytes(content[end + 12 : end + 16], "little") + 12).to_bytes(4, "little")

    (rows,) = batches(read_shard(Portion(shard_of(put(tmp_path / "0.zip", bytes(content)))), SEGMENT_SECONDS))

    (outcome,) = (each for each in rows["outcome"].to_pylist() if each)
    assert (outcome["error"], outcome["bytes"]) == ("bad_archive", 2**63 - 1)
