"""No copy of a table passes the proof: neither in a file of two formats, nor under a name of bonafide's own objects."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from detector.canaries import Heard, contents
from jobs import storage
from jobs.erasure.mentions import find_mentions, ids_in_plan
from jobs.erasure.redaction import redact_plan
from jobs.erasure.request import ErasureRequest
from jobs.tables.canaries import Reference
from jobs.tables.checksummed_json import dump_checksummed
from jobs.tables.heads import introduce
from jobs.tables.protocol import Plan
from tests.support.containers import tarred, zipped
from tests.support.made_heads import PLAIN
from tests.unit.jobs.erasure.outputs import VICTIM, everything, first_object
from tests.unit.jobs.erasure.test_foreign import CALL, parquet, zstd

Run = Callable[..., tuple[int, str, str]]
CSV = f"id,label\n{CALL},spoof\n".encode()
OTHER = b"id,label\n2026/other.flac,spoof\n"


def zip_with_comment(comment: bytes, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = comment
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def without_entry(content: bytes) -> bytes:
    """A zip of two members whose directory lists the second one alone, as a program that deletes by it leaves it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = archive.start_dir
        first, _ = archive.infolist()
    length = 46 + len(first.filename) + len(first.extra) + len(first.comment)
    directory, end = content[start + length : -22], bytearray(content[-22:])
    end[8:20] = struct.pack("<HHLL", 1, 1, len(directory), start)
    return content[:start] + directory + bytes(end)


def gzip_with(flag: int, header: bytes, content: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    data = deflate.compress(content) + deflate.flush()
    end = struct.pack("<LL", zlib.crc32(content), len(content))
    return b"\x1f\x8b\x08" + bytes([flag]) + bytes(4) + b"\0\xff" + header + data + end


def skipped(content: bytes) -> bytes:
    return b"\x50\x2a\x4d\x18" + struct.pack("<L", len(content)) + content


def avro(*values: bytes) -> bytes:
    """A file of Avro with one row of texts, whose lengths are of one byte each."""
    schema = b'{"type": "string"}'
    header = b"Obj\x01\x02" + b"\x16avro.schema" + bytes([2 * len(schema)]) + schema + b"\0" + bytes(16)
    block = b"".join(bytes([2 * len(each)]) + each for each in values)
    size = 2 * len(block)
    return header + b"\x02" + bytes([size & 0x7F | 0x80, size >> 7]) + block + bytes(16)


def arrow(metadata: dict[str, str]) -> bytes:
    file = io.BytesIO()
    batch = pa.record_batch({"a": [1]})
    with pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch, custom_metadata=metadata)
    return file.getvalue()


def orc(name: str) -> bytes:
    file = io.BytesIO()
    pyarrow.orc.write_table(pa.table({"id": [name]}), file)
    return file.getvalue()


def table(name: str) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"id": [name]}), file)
    return file.getvalue()


LONG = "2026/a-call-of-fifty-or-so-characters/0000012345.flac"
NOTES = zipped({"notes.txt": b"nothing of interest"})

HIDDEN = {
    "tar with a zip at its end": tarred({"scores.parquet": parquet(), "notes.zip": NOTES}),
    "tar, then a zip": tarred({"scores.parquet": parquet()}) + NOTES,
    "zip, then a zip": zipped({"scores.csv": CSV}) + NOTES,
    "table, then a zip": parquet() + NOTES,
    "gzip, then a zip": gzip.compress(CSV) + NOTES,
    "script, then a zip": b"#!/bin/sh\nexec unzip $0\n" + zipped({"scores.parquet": parquet()}),
    "script with the id, then a zip": b"#!/bin/sh\n# " + CALL.encode() + b"\n" + NOTES,
    "zip in the comment of a zip": zip_with_comment(zipped({"a.csv": CSV}), a=b"x"),
    "table in the comment of a zip": zip_with_comment(parquet(), a=b"x"),
    "zip with something behind it": NOTES + gzip.compress(CSV),
    "zip with a member that its directory leaves out": without_entry(zip_with_comment(b"", a=CSV, b=b"x")),
    "zip whose directory ends early": zip_with_comment(b"", a=CSV, b=b"x").replace(b"PK\x01\x02", b"PK\x01\x03", 1),
    "zip in a table": zip_with_comment(b"", a=CSV) + table("other"),
    "second name in a gzip": gzip.compress(b"x") + gzip_with(8, CALL.encode() + b"\0", b"y"),
    "comment in a gzip": gzip_with(16, b"of " + CALL.encode() + b"\0", b"x"),
    "extra field in a gzip": gzip_with(4, struct.pack("<H", len(NOTES) + 200) + bytes(200) + NOTES, b"x"),
    "gzips of tables": gzip.compress(table("other")) + gzip.compress(parquet()),
    "gzips of tars": gzip.compress(tarred({"a": b"x"})) + gzip.compress(tarred({"b": CSV})),
    "gzips of zips": gzip.compress(zipped({"a": CSV})) + gzip.compress(NOTES),
    "frame that zstd skips": zstd(b"x" * 99) + skipped(CSV) + zstd(b"y" * 99),
    "frame that zstd skips, packed": zstd(b"x" * 99) + skipped(gzip.compress(CSV)),
    "frame that zstd skips at the start": skipped(gzip.compress(CSV)) + zstd(b"x"),
    "two zstd": zstd(b"x\n") + zstd(CSV),
    "two tables": table("other") + parquet(),
    "two tables of ORC": orc("2026/else.flac") + orc(CALL),
    "metadata of a batch": arrow({"of": CALL}),
    "text, then a table": b"some text\n" + parquet(),
    "ar": b"!<arch>\n" + b"a.csv/          0           0     0     644     14        `\n" + CALL.encode() + b"b/",
    "lz4 of old": b"\x02\x21\x4c\x18" + struct.pack("<L", 40) + b"x" * 40,
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_copy_is_found_or_refused_wherever_it_hides(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_bytes(HIDDEN[name])

    (found,), _ = find_mentions(str(tmp_path), ErasureRequest((CALL,)))

    assert found.startswith((f"{tmp_path}/x: mentions {CALL}", f"{tmp_path}/x: cannot be read"))


HARMLESS = {
    "tar with a zip at its end": tarred({"other.csv": OTHER, "notes.zip": NOTES}),
    "zip, then a zip": zipped({"other.csv": OTHER}) + NOTES,
    "script, then a zip": b"#!/bin/sh\nexec unzip $0\n" + NOTES,
    "zip with a comment": zip_with_comment(b"made by hand", a=OTHER, b=b""),
    "zip in a gzip that stores it": gzip.compress(NOTES, 0),
    "gzips": gzip.compress(OTHER) + gzip.compress(OTHER) + bytes(512),
    "indexed gzip": gzip_with(4, b"\x06\0BC\x02\0\x1b\0", OTHER),
    "frames": zstd(OTHER) + skipped(b"an index") + zstd(OTHER),
    "xz": lzma.compress(OTHER) + bytes(4) + lzma.compress(OTHER),
    "table": table("2026/other.flac"),
    "orc": orc("2026/other.flac"),
    "arrow": arrow({"of": "2026/other.flac"}),
    "avro": avro(b"2026/other.flac"),
    "coloured log": b"\x1b[31mred\x1b[0m\r\n\f\x08",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_common_tools_write_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_bytes(HARMLESS[name])

    assert find_mentions(str(tmp_path), ErasureRequest((CALL,)))[0] == []


def test_a_zip_that_was_streamed_is_read(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.content = b""

        def writable(self) -> bool:
            return True

        def write(self, part: bytes) -> int:  # type: ignore[override]
            self.content += bytes(part)
            return len(part)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # each member is followed by its sizes
        archive.writestr("a", OTHER)
        archive.writestr("b", OTHER)
    (tmp_path / "x").write_bytes(pipe.content)

    assert find_mentions(str(tmp_path), ErasureRequest((CALL,)))[0] == []


@pytest.mark.parametrize("name", [LONG, "2026/caf\xe9.flac", "interview"])
def test_an_id_between_other_values_of_avro_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_bytes(avro(b"abcdefgh", name.encode(), b"x" * 50))

    assert find_mentions(str(tmp_path), ErasureRequest((name,)))[0] == [f"{tmp_path}/x: mentions {name}"]


OWN_NAMES = [
    *("_canaries/copy.parquet", "_canaries/embeddings-0123456789abcdef/000009.json", "runs/backup.html"),
    *("runs/x.json", "heads/0123456789abcdef.json", "heads/active.json", "heads/copy.parquet", "_garbage/x.json"),
    *("_commits/x.json", "failures/run_date=2026-11-30/empty.parquet", "_plans/old/x.json", "runs/ended/x.json"),
]


@pytest.mark.parametrize("name", OWN_NAMES)
@pytest.mark.parametrize("kind", ["table", "packed", "sealed"])
def test_a_copy_under_a_name_of_ours_is_found_or_refused(tmp_path: Path, name: str, kind: str) -> None:
    place = tmp_path / name
    place.parent.mkdir(parents=True)
    sealed = dump_checksummed({"run_id": "x", "verb": "x", "shards": [["a", "b", {"names": [["u", CALL]]}]]})
    place.write_bytes({"table": parquet(), "packed": gzip.compress(CSV), "sealed": sealed}[kind])

    (found,), _ = find_mentions(str(tmp_path), ErasureRequest((CALL,)))

    assert found.startswith((f"{place}: mentions {CALL}", f"{place}: cannot be read"))


@pytest.mark.parametrize("name", ["_canaries/copy.parquet", "runs/backup.html"])
def test_a_copy_under_a_name_of_ours_is_refused_before_anything_changes(tables: str, bonafide: Run, name: str) -> None:
    storage.write_bytes(f"{tables}/{name}", storage.read_bytes(first_object(tables, "scores")))
    before = everything(tables)

    code, _, err = bonafide("erase", VICTIM, "--output", tables)

    assert code == 65
    assert f"{tables}/{name}: mentions {VICTIM}" in err.splitlines()[-1]
    assert everything(tables) == before


def words_of(content: bytes) -> Iterator[str]:
    """All keys and texts in JSON."""
    found = [json.loads(content)]
    while found:
        value = found.pop()
        if isinstance(value, dict):
            yield from value
            found += value.values()
        elif isinstance(value, list):
            found += value
        elif isinstance(value, str):
            yield value


def test_words_of_our_own_objects_are_no_mentions(tables: str) -> None:
    introduce(tables, PLAIN, "starter", "2026-11-30")
    objects = {uri: content for uri, content in everything(tables).items() if uri.endswith(".json")}
    words = {word for content in objects.values() for word in words_of(content)}
    ids = {word for word in words if word and "/" not in word and ".flac" not in word} | {"starter", "2026-11-30"}

    mentions, _ = find_mentions(tables, ErasureRequest(sorted(ids)))

    assert [each for each in mentions if ".json: " in each] == []


def test_a_recording_that_is_called_like_an_encoder_a_folder_or_a_codec_can_be_erased(tmp_path: Path) -> None:
    called = ["facebook/wav2vec2", "calls/2026", "wav/pcm_16", "2.1.3", "opus", "4:2"]
    detail = {"model": called[0], "recipe": {"weights": called[0]}, "id_roots": ["s3://archive/calls/2026/"]}
    detail |= {"segments": "4:2"}
    plan = Plan("2026-11-30-0", "2026-11-30", (), detail | {"redo": "shard=s3://archive/calls/2026"})
    heard = Heard(np.zeros(4, np.float32), "wav/pcm_16", 8_000, "opus")
    accepted = {"accepted": [{"codec": "wav/pcm_16"}]}
    reference = Reference({next(iter(contents())): heard}, {}, {"numpy": "2.1.3"}, accepted)
    request = ErasureRequest(called, ["s3://archive/"])
    place = tmp_path / "_canaries" / "embeddings-0123456789abcdef" / "000001.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(reference.to_json())

    redacted = redact_plan(plan, request)

    assert redacted.detail == detail | {"redo": "(erased)"}
    assert ids_in_plan(plan, request) == {"calls/2026"}
    assert ids_in_plan(redacted, request) == set()
    assert find_mentions(str(tmp_path), request) == ([], 1)


def test_verify_and_gc_take_an_output_with_heads_for_whole(tables: str, bonafide: Run) -> None:
    before = sorted(Path(tables, "heads").iterdir())

    assert before
    assert bonafide("verify", tables)[0] == 0
    assert bonafide("gc", tables, "--grace-hours", "0")[0] == 0
    assert sorted(Path(tables, "heads").iterdir()) == before
    Path(tables, "heads", "active.json").write_bytes(b"{}")
    code, _, err = bonafide("verify", tables)
    assert code == 65
    assert f"{tables}/heads/active.json: is damaged" in err


# an independent writer of nested containers: whatever it hides, the proof names


def packed(rng: random.Random, content: bytes, depth: int) -> bytes:
    """Content in containers drawn at random, which tools read in one way or another."""
    if depth == 0:
        return content
    inner, other = packed(rng, content, depth - 1), rng.choice([OTHER, NOTES, table("other"), b""])
    before, after = rng.sample([(f"a{rng.random()}", inner), ("b", other)], 2)
    return rng.choice(
        [
            lambda: tarred(dict([before, after])),
            lambda: zip_with_comment(b"", **dict([before, after])),
            lambda: zip_with_comment(inner[:60000], b=other),
            lambda: gzip.compress(inner),
            lambda: gzip.compress(other) + gzip.compress(inner),
            lambda: lzma.compress(inner) + lzma.compress(other),
            lambda: zstd(other) + skipped(inner),
            lambda: zstd(inner),
            lambda: inner + NOTES,
            lambda: other + inner,
            lambda: inner + other,
            lambda: tarred(dict([before, after])) + NOTES,
            lambda: without_entry(zip_with_comment(b"", a=inner, b=other)),
        ]
    )()


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 6))])
def test_whatever_hides_a_copy_is_named(tmp_path: Path, seed: int) -> None:
    check_seeds(tmp_path, range(seed * 10, seed * 10 + 10))


@pytest.mark.long
def test_thousands_more_are(tmp_path: Path) -> None:
    check_seeds(tmp_path, range(1_000, 6_000))


def check_seeds(folder: Path, seeds: range) -> None:
    for seed in seeds:
        rng = random.Random(seed)
        content = packed(rng, rng.choice([CSV, parquet(), orc(CALL), avro(CALL.encode())]), rng.randrange(1, 4))
        (folder / str(seed)).write_bytes(content)

    mentions, _ = find_mentions(str(folder), ErasureRequest((CALL,)))

    assert {Path(each.partition(": ")[0]).name for each in mentions} == {str(seed) for seed in seeds}
