"""Every kind of container yields the members that were packed; a broken one keeps those before the fault."""

from __future__ import annotations

import gzip
import io
import random
from pathlib import Path

import numpy as np
import pytest

from detector.recording import Recording
from jobs.inputs.containers import CONTAINERS
from jobs.inputs.containers.decompressed import DecompressedFile, Gzip, Zstd, zstd
from jobs.inputs.shard_reader import MAX_BUFFERED_BYTES
from tests.support.audio import encoded, tone
from tests.support.containers import (
    FLAC,
    MEMBERS,
    OTHER,
    PACKED,
    SEGMENT_SECONDS,
    errors,
    put,
    read,
    shard_of,
    zipped,
)

LONG = encoded(np.random.default_rng(0).normal(0, 0.1, 600 * 16_000), kind="WAV", subtype="PCM_16")  # 19 MB


def alone(content: bytes) -> tuple[bytes, str]:
    recording = Recording(io.BytesIO(content), SEGMENT_SECONDS)
    return b"".join(segment.tobytes() for segment in recording.segments()), recording.facts.audio_sha256


def test_every_suffix_of_every_container_is_packed_here() -> None:
    names = [name.lower() for name in PACKED]

    assert {suffix for each in CONTAINERS.values() for suffix in each.suffixes} == {name[1:] for name in names}


@pytest.mark.parametrize("name", PACKED)
def test_every_container_gives_the_same_recordings_to_the_bit(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / name, PACKED[name](MEMBERS))

    found, samples = read(shard_of(path))

    assert [each["utterance_id"] for each in found] == [f"{path}#a.flac", f"{path}#b.flac"]
    assert [(samples[at], found[at]["audio_sha256"]) for at in (0, 1)] == [alone(FLAC), alone(OTHER)]


def test_a_member_of_a_zip_that_is_called_like_a_folder_and_has_content_is_heard(tmp_path: Path) -> None:
    path = put(tmp_path / "a.zip", zipped({"folder/": b"", "folder/a.flac/": FLAC, "b.flac": OTHER}))

    found, samples = read(shard_of(path))

    assert [each["utterance_id"] for each in found] == [f"{path}#folder/a.flac/", f"{path}#b.flac"]
    assert samples[0] == alone(FLAC)[0]


@pytest.mark.parametrize("name", PACKED)
def test_members_that_a_list_names_are_read_and_a_missing_one_is_a_row(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / name, PACKED[name](MEMBERS))

    found, _ = read(shard_of(path, (("b.flac", "second"), ("gone.flac", "lost"))))

    assert [(each["utterance_id"], each.get("error")) for each in found] == [("second", None), ("lost", "missing")]


@pytest.mark.parametrize("name", PACKED)
def test_a_long_member_is_decoded_in_place(tmp_path: Path, name: str) -> None:
    assert len(LONG) > MAX_BUFFERED_BYTES
    path = put(tmp_path / name, PACKED[name]({"a.flac": FLAC, "long.wav": LONG, "b.flac": OTHER}))

    found, samples = read(shard_of(path))

    assert [each.get("error") for each in found] == [None, None, None]
    assert [(samples[at], found[at]["audio_sha256"]) for at in range(3)] == [alone(FLAC), alone(LONG), alone(OTHER)]


@pytest.mark.parametrize("name", PACKED)
def test_a_truncated_container_keeps_the_members_before_the_cut_and_reports_it(tmp_path: Path, name: str) -> None:
    content = PACKED[name]({f"{n}.flac": encoded(tone(6.0, seed=n)) for n in range(6)})
    path = put(tmp_path / name, content[: len(content) // 2])

    found, _ = read(shard_of(path))

    assert found[-1]["error"] == "bad_archive"
    assert (found[-1]["utterance_id"], found[-1]["stage"]) == (str(path), "read")
    assert [each.get("error") for each in found[:-1]] == [None] * (len(found) - 1)
    assert len(found) > 1 or name.lower().endswith((".zip", ".parquet"))  # their directories stand at the end


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("content", [b"", b"no container" * 100, FLAC], ids=["nothing", "text", "audio"])
def test_a_file_that_is_no_container_is_one_row(tmp_path: Path, name: str, content: bytes) -> None:
    path = put(tmp_path / name, content)

    assert errors(path) == [(None, "bad_archive")]


@pytest.mark.parametrize("name", PACKED)
def test_flipped_bytes_only_ever_cause_rows(tmp_path: Path, name: str) -> None:
    content = PACKED[name](MEMBERS)
    draw = random.Random(0)
    for _ in range(20):
        flipped = bytearray(content)
        for _ in range(3):
            flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        read(shard_of(put(tmp_path / name, bytes(flipped))))


def test_of_two_joined_zips_the_second_is_heard_and_a_row_tells_of_the_first(tmp_path: Path) -> None:
    path = put(tmp_path / "a.zip", zipped({"a.flac": FLAC}) + zipped({"b.flac": OTHER}))

    assert errors(path) == [("b.flac", None), (None, "bad_archive")]


def test_a_member_whose_header_has_another_name_is_a_row_that_does_not_repeat_it(tmp_path: Path) -> None:
    content = zipped({"Zoë.flac": FLAC, "Eva1.flac": OTHER}).replace("Zoë.flac".encode(), b"Eva1.flac", 1)
    path = put(tmp_path / "a.zip", content)

    (first, second), _ = read(shard_of(path))

    assert (first["utterance_id"], first["error"]) == (f"{path}#Zoë.flac", "bad_archive")
    assert first["message"] == "its header is broken: it is not the one that the archive's directory describes"
    assert (second["utterance_id"], second.get("error")) == (f"{path}#Eva1.flac", None)


def test_a_program_before_a_zip_that_unpacks_it_is_passed_over(tmp_path: Path) -> None:
    path = put(tmp_path / "a.zip", b"#!/bin/sh\nexec unzip $0\n" + zipped({"a.flac": FLAC}))

    assert errors(path) == [("a.flac", None)]


@pytest.mark.parametrize(
    ("content", "found"), [(zipped({}), []), (zipped({})[:-1], [(None, "bad_archive")]), (b"", [(None, "bad_archive")])]
)
def test_a_zip_of_nothing_has_no_rows_and_one_that_is_cut_has_one(
    tmp_path: Path, content: bytes, found: list[tuple[str | None, str]]
) -> None:
    assert errors(put(tmp_path / "a.zip", content)) == found


@pytest.mark.parametrize("begin", [Gzip, Zstd])
def test_a_decompressed_file_reads_the_same_at_every_offset(begin: type[Gzip] | type[Zstd]) -> None:
    draw = random.Random(1)
    content = np.random.default_rng(2).integers(0, 40, 5 << 20, dtype=np.uint8).tobytes()
    pack = gzip.compress if begin is Gzip else zstd.compress
    file = DecompressedFile(io.BytesIO(pack(content[:2_500_000]) + pack(content[2_500_000:])), begin)
    marked = 0
    for step in range(60):
        if step % 20 == 10:
            marked = min(file.tell(), len(content) // 2)
            file.forget_before(marked)
        at, n_bytes = draw.randrange(marked, len(content)), draw.choice([0, 1, 512, 70_000, 2 << 20])
        file.seek(at)
        assert file.read(n_bytes) == content[at : at + n_bytes]


def test_a_step_back_in_gzip_restarts_at_the_last_restart_point() -> None:
    class Counted(io.BytesIO):
        n_read = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.n_read += len(data)
            return data

    content = np.random.default_rng(3).bytes(8 << 20)  # it does not compress
    stored = Counted(gzip.compress(content, 1))
    file = DecompressedFile(stored, Gzip)
    file.seek(6 << 20)
    file.read(512)
    file.forget_before(file.tell())
    file.read()
    before = stored.n_read

    file.seek((6 << 20) + 512)
    file.read(1)

    assert stored.n_read - before < 1 << 20
