"""Containers: every kind yields the members that were packed; broken members and bombs become single rows."""

from __future__ import annotations

import gzip
import io
import os
import random
import resource
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.errors import SchemaError
from detector.recording import Recording
from jobs import storage
from jobs.errors import CorruptError
from jobs.inputs.archive import find
from jobs.inputs.config import InputConfig
from jobs.inputs.containers import CONTAINERS, container_kind, parquet
from jobs.inputs.containers.decompressed import DecompressedFile, Gzip, Zstd, zstd
from jobs.inputs.containers.member import FREE_BYTES
from jobs.inputs.shard_reader import MAX_BUFFERED_BYTES, read_shard
from jobs.inputs.shards import Portion, Shard
from jobs.storage.files import RangeFile
from tests.support.audio import encoded, tone

SEGMENT_SECONDS = 30.0
FLAC, OTHER = encoded(tone(1.0)), encoded(tone(1.5, seed=1))
LONG = encoded(np.random.default_rng(0).normal(0, 0.1, 600 * 16_000), kind="WAV", subtype="PCM_16")  # 19 MB
MEMBERS = {"a.flac": FLAC, "notes.txt": b"hi", "b.flac": OTHER}

Members = dict[str, bytes]
Outcome = dict[str, Any]


def tarred(members: Members) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as packed:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zipped(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file.getvalue()


def in_parquet(members: Members, row_group_size: int = 2, **options: Any) -> bytes:
    """As `datasets` writes it; only what is audio, since there every row is."""
    rows = [{"bytes": content, "path": name} for name, content in members.items() if name.endswith((".flac", ".wav"))]
    file = io.BytesIO()
    table = pa.table({"audio": rows, "text": ["words"] * len(rows)})
    pq.write_table(table, file, row_group_size=row_group_size, **options)
    return file.getvalue()


PACKED: dict[str, Callable[[Members], bytes]] = {
    "0.tar": tarred,
    "0.tar.gz": lambda members: gzip.compress(tarred(members)),
    "0.tgz": lambda members: b"".join(gzip.compress(part) for part in (tarred(members)[:700], tarred(members)[700:])),
    "0.tar.zst": lambda members: zstd.compress(tarred(members)),
    "0.tzst": lambda members: b"".join(zstd.compress(part) for part in (tarred(members)[:700], tarred(members)[700:])),
    "0.zip": zipped,
    "0.ZIP": lambda members: zipped(members, zipfile.ZIP_STORED),
    "0.parquet": in_parquet,
}


def shard_of(path: Path, names: tuple[tuple[str, str], ...] | None = None) -> Shard:
    stored, kind = storage.stat(str(path)), container_kind(str(path))
    assert stored is not None
    assert kind is not None
    return Shard(kind, (stored,), names)


def read(shard: Shard) -> tuple[list[Outcome], dict[int, bytes]]:
    rows = list(read_shard(Portion(shard), SEGMENT_SECONDS))
    outcomes = [row["outcome"] for row in rows if "outcome" in row]
    assert rows[-1] == {"shard_id": shard.shard_id, "n_utterances": len(outcomes)}
    samples: dict[int, bytes] = {}
    for row in rows:
        if "samples" in row:
            samples[row["ordinal"]] = samples.get(row["ordinal"], b"") + row["samples"]
    return outcomes, samples


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def errors(path: Path) -> list[tuple[str | None, str | None]]:
    return [(each["member"], each.get("error")) for each in read(shard_of(path))[0]]


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
        try:
            read(shard_of(put(tmp_path / name, bytes(flipped))))
        except SchemaError as error:
            assert "occurs twice" in str(error)  # noqa: PT017


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


def test_rows_without_a_path_are_named_by_number_and_rows_without_bytes_are_failures(tmp_path: Path) -> None:
    rows = [
        {"bytes": FLAC, "path": None},
        None,
        {"bytes": None, "path": "x.wav"},
        {"bytes": OTHER, "path": "b"},
    ]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    path = tmp_path / "0.parquet"
    pq.write_table(pa.table({"audio": pa.array(rows, kind)}), path, row_group_size=3)

    assert errors(path) == [
        ("00000000", None),
        ("00000001", "empty"),
        ("x.wav", "empty"),
        ("b", None),
    ]


def test_a_plain_column_of_bytes_holds_recordings_named_by_number(tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    pq.write_table(pa.table({"sound": [FLAC, OTHER], "text": ["a", "b"]}), path)

    assert errors(path) == [("00000000", None), ("00000001", None)]


def test_of_several_columns_of_bytes_only_one_called_audio_is_accepted(tmp_path: Path) -> None:
    two = {"image": pa.array([b"?"]), "audio": pa.array([FLAC])}
    pq.write_table(pa.table(two), tmp_path / "0.parquet")
    pq.write_table(pa.table({"left": [FLAC], "right": [FLAC]}), tmp_path / "1.parquet")

    assert errors(tmp_path / "0.parquet") == [("00000000", None)]
    with pytest.raises(SchemaError, match="left, right hold bytes"):
        find(InputConfig(input=(str(tmp_path / "1.parquet"),)))


def test_columns_decide_if_a_parquet_file_is_recordings_or_a_list_and_others_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "audio.parquet", in_parquet(MEMBERS))
    put(tmp_path / "a.flac", FLAC)
    pq.write_table(pa.table({"uri": ["a.flac"]}), tmp_path / "list.parquet")
    pq.write_table(pa.table({"text": ["words"]}), tmp_path / "words.parquet")

    shard, listed = (find(InputConfig(input=(str(tmp_path / f"{name}.parquet"),))) for name in ("audio", "list"))

    assert ([each.kind for each in shard.containers], shard.files) == (["parquet"], ())
    assert ([each.uri for each in listed.files], listed.containers) == ([f"{tmp_path}/a.flac"], ())
    with pytest.raises(SchemaError, match="neither recordings nor a list"):
        find(InputConfig(input=(str(tmp_path / "words.parquet"),)))


def test_in_a_folder_parquet_with_recordings_is_a_shard_and_other_tables_are_skipped(root: str) -> None:
    tables = {"list": pa.table({"uri": ["x"]}), "words": pa.table({"text": ["x"]})}
    for name, table in tables.items():
        file = io.BytesIO()
        pq.write_table(table, file)
        storage.write_bytes(f"{root}/{name}.parquet", file.getvalue())
    storage.write_bytes(f"{root}/audio.parquet", in_parquet(MEMBERS))
    storage.write_bytes(f"{root}/broken.parquet", b"PAR1 and no more")

    found = find(InputConfig(input=(root,)))

    assert [each.uri.rpartition("/")[2] for each in found.containers] == ["audio.parquet", "broken.parquet"]


def test_parquet_is_read_from_front_to_back_and_a_page_at_a_time(tmp_path: Path) -> None:
    noise = [np.random.default_rng(n).bytes(1 << 20) for n in range(64)]
    rows = [{"bytes": content, "path": f"{n:02d}.wav"} for n, content in enumerate(noise)]
    path = tmp_path / "0.parquet"
    pq.write_table(pa.table({"audio": rows}), path, row_group_size=32, use_dictionary=False, write_batch_size=1)
    stored = storage.stat(str(path))
    assert stored is not None
    places: list[int] = []
    most = 0
    before = pa.total_allocated_bytes()
    with storage.opened(stored) as file:
        seek = file.seek

        def noted(offset: int, whence: int = 0) -> int:
            if whence == os.SEEK_SET:
                places.append(offset)
            return seek(offset, whence)

        file.seek = noted  # type: ignore[method-assign]
        for member, content in zip(parquet.members(file, stored), noise, strict=True):
            assert not isinstance(member.content, Exception)
            assert member.content.read() == content
            most = max(most, pa.total_allocated_bytes() - before)

    assert places == sorted(places)
    assert most < 16 << 20  # of 64 MiB in two row groups


def test_shards_of_earlier_versions_keep_their_slots_and_ids() -> None:
    # as commit b4a72df gave them: else every output that stands would be computed anew
    uri = "s3://bucket/0"
    loose = Shard("files", (storage.Stored(f"{uri}.flac", 10_240, "tag"),), ((f"{uri}.flac", "x"),))
    packed = Shard("tar", (storage.Stored(f"{uri}.tar", 10_240, "tag"),))

    assert (packed.slot, packed.shard_id) == ("caceca9b06b251b7", "f24a90b8aca0b80b")
    assert (loose.slot, loose.shard_id) == ("30bdc5873be63e9f", "3b10e6db9f23bd43")
