"""B01 to B07, B20, B23, B24: archives with false headers, path traversal, bombs or loops, and with odd names."""

from __future__ import annotations

import gzip
import io
import logging
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.inputs import archive
from jobs.inputs.config import InputConfig
from jobs.inputs.containers import tar
from jobs.inputs.containers.decompressed import zstd
from jobs.telemetry import logs
from tests.hostile.harness import AFTER, BEFORE, Lab, alone, header, hostile, packed
from tests.support.audio import encoded, tone

FLAC = encoded(tone(1.0))
BLOCK = 512
CLIMBING = ("../../x.flac", "/tmp/x.flac", "call/../../x.flac", "C:\\x.flac", "\\\\host\\x.flac", "..\\x.flac")
UP_TO_FIRST = packed([BEFORE])[: BLOCK + len(BEFORE[1]) + -len(BEFORE[1]) % BLOCK]  # a tar that goes on
LONG = "x" * 10_000 + ".flac"


@pytest.mark.parametrize("name", CLIMBING)
@hostile("B01", given="a tar member `../../x`, an absolute path, a drive letter", expected="row `bad_name`, no file")
def test_a_name_that_leads_out_of_the_archive_is_refused(lab: Lab, name: str) -> None:
    assert "leads out" in lab.expect("read", "bad_name", FLAC, name)


@hostile("B01", given="a tar member with a zero byte in its name", expected="row `bad_name`, no file")
def test_a_name_with_a_zero_byte_is_refused(lab: Lab) -> None:
    info = tarfile.TarInfo("m.flac")
    info.pax_headers = {"path": "m\0.flac"}
    content = packed([BEFORE, (info, FLAC), AFTER], tarfile.PAX_FORMAT)

    read = lab.read(content)

    assert read.errors() == [("a.flac", None), ("m\0.flac", "bad_name"), ("z.flac", None)]
    lab.saw("read: `bad_name`")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
@hostile("B02", given="a symbolic or hard link, a pipe, a device", expected="row `not_a_file`; no link is followed")
def test_a_member_that_is_no_regular_file_is_not_followed(lab: Lab, kind: bytes) -> None:
    info = tarfile.TarInfo("m.flac")
    info.type, info.linkname = kind, "/etc/hostname"

    message = lab.expect("read", "not_a_file", b"", info)

    assert "/etc/hostname" not in message  # the name of another member would outlive that one's erasure


class Bomb:
    """An object that writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (Path(self.path),))


def bombs(path: Path) -> dict[str, bytes]:
    file = io.BytesIO()
    np.save(file, np.array([Bomb(str(path))], dtype=object), allow_pickle=True)
    pickled = pickle.dumps(Bomb(str(path)))
    torch_like = io.BytesIO()
    with zipfile.ZipFile(torch_like, "w") as zipped:
        zipped.writestr("archive/data.pkl", pickled)
    deep = b'{"a":' * 1_000_000
    return {"m.pkl": pickled, "m.pt": torch_like.getvalue(), "m.npy": file.getvalue(), "m.json": deep}


@hostile("B03", given="a tar with a .pkl, a .pt, a .npy of objects and a .json bomb", expected="not opened; no row")
def test_a_member_without_an_audio_suffix_is_not_opened(lab: Lab) -> None:
    boom = lab.folder.parent / "outside" / "boom"

    read = lab.read(packed([BEFORE, *bombs(boom).items(), AFTER]))

    assert read.errors() == [("a.flac", None), ("z.flac", None)]
    lab.saw("no row")


@pytest.mark.parametrize("kind", ["m.pkl", "m.pt", "m.npy", "m.json"])
@hostile("B03", given="the same, called .wav", expected="row `not_audio`; no code is run")
def test_a_bomb_with_an_audio_suffix_is_not_audio(lab: Lab, kind: str) -> None:
    lab.expect("decode", "not_audio", bombs(lab.folder.parent / "outside" / "boom")[kind], "m.wav")


SIZES = [1 << 60, -1, -4 * BLOCK, (1 << 63) + 5, 1 << 33]


@pytest.mark.parametrize("size", SIZES)
@hostile(
    "B04", given="a tar header that claims 2^60 bytes, a negative size, one in base 256", expected="row `bad_archive`"
)
def test_a_header_with_a_false_size_ends_the_shard(lab: Lab, size: int) -> None:
    read = lab.read(UP_TO_FIRST + header("m.flac", size) + bytes(20 * BLOCK) + packed([AFTER]))

    assert [error for _, error in read.errors()] == [None, "bad_archive"]
    lab.saw("members before it whole; read: `bad_archive`")


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return an extended header with these bytes."""
    return header("x", len(records), kind) + records + bytes(-len(records) % BLOCK)


def sparse_1_0() -> bytes:
    """Return a GNU sparse 1.0 file whose map claims a thousand million numbers, followed by nothing."""
    records = b"".join(
        b"%d %s\n" % (len(record) + 4, record)
        for record in (b"GNU.sparse.major=1", b"GNU.sparse.minor=0", b"GNU.sparse.name=m.flac")
    )
    return pax(records) + header("m.flac", BLOCK) + b"1000000000\n".ljust(BLOCK, b"\0")


SWELLING = {
    "an extended header of 1 GB": header("x", 1 << 30, tarfile.XHDTYPE),
    "a long name of 1 GB": header("././@LongLink", 1 << 30, tarfile.GNUTYPE_LONGNAME),
    "extended headers one behind another": pax(b"12 comment=a\n"[:13]) * 2_000,
    "a sparse map without end": sparse_1_0(),
    "a sparse map that is cut": header("m.flac", BLOCK, tarfile.GNUTYPE_SPARSE)[:482] + b"\1" + bytes(29),
    "records for all members, in thousands": b"".join(
        pax(b"".join(b"13 k%07d=\n" % n for n in range(k, k + 600)), tarfile.XGLTYPE) + header("n.txt")
        for k in (0, 600, 1_200)
    ),
}


@pytest.mark.parametrize("what", SWELLING)
@hostile("B05", expected="row `bad_archive`; headers stay within their limit")
def test_a_tar_of_endless_headers_is_abandoned(lab: Lab, what: str) -> None:
    lab.given = what
    path = lab.folder / "0.tar"
    path.write_bytes(UP_TO_FIRST + SWELLING[what])
    if "1 GB" in what:
        with path.open("r+b") as file:
            file.truncate((1 << 30) + (1 << 20))  # it is all there, as a hole
    else:
        path.write_bytes(path.read_bytes() + packed([AFTER]))

    read = lab.read_file(path)

    assert read.errors() == [("a.flac", None), (None, "bad_archive")]
    lab.saw("read: `bad_archive`")


@hostile("B05", given="an extended header with overlapping records", expected="skipped, in bounded time")
def test_overlapping_records_do_not_take_quadratic_time(lab: Lab) -> None:
    # each would be searched for its end through all that follow: CVE-2024-6232, in Pythons before 3.11.10
    overlapping = pax((b"5 aaa" * 13_000)[: 30 << 10] + b"=")

    read = lab.read(UP_TO_FIRST + overlapping + packed([AFTER]))

    assert read.errors() == [("a.flac", None), ("z.flac", None)]
    lab.saw("both neighbours whole")


@hostile(
    "B05", given="10,000 empty members with the limit set to 1,000 (normally 1,000,000)", expected="row `bad_archive`"
)
def test_a_tar_of_too_many_empty_members_is_abandoned(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MAX_MEMBERS", 1_000)

    read = lab.read(packed([BEFORE, *((f"{n}.txt", b"") for n in range(10_000))]))

    assert read.errors() == [("a.flac", None), (None, "bad_archive")]
    lab.saw("read: `bad_archive`")


@hostile(
    "B06", given="two members with the same name", expected="row `bad_name` for both, and 65 once all else is done"
)
def test_a_repeated_name_is_refused(lab: Lab) -> None:
    read = lab.read(packed([BEFORE, AFTER, BEFORE]))

    assert read.errors()[1:] == [(AFTER[0], None), (BEFORE[0], "bad_name")]
    assert "as utterance 0 and 2" in read.outcomes[2]["message"]
    lab.saw("read: `bad_name`")


@hostile("B06", given="names that differ by case, or NFC and NFD", expected="a row for each")
def test_names_that_look_alike_stay_distinct(lab: Lab) -> None:
    names = ["é.flac", "e\u0301.flac", "E\u0301.flac", "A.flac", "a.flac"]

    read = lab.read(packed([(name, FLAC) for name in names]))

    assert read.errors() == [(name, None) for name in names]
    assert len({each["utterance_id"] for each in read.outcomes}) == len(names)
    lab.saw("a row each")


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("a.flac", FLAC)
    return file.getvalue()


FOREIGN = {
    "a tar.gz": lambda: gzip.compress(packed([BEFORE])),
    "a zip": zipped,
    "a 7z": lambda: b"7z\xbc\xaf\x27\x1c\0\4" + bytes(5_000),
    "1 GB of zeros in 1 MB of gzip": lambda: gzip.compress(bytes(1 << 20)) * 1_024,
}


@pytest.mark.parametrize("what", FOREIGN)
@hostile("B07", expected="row `bad_archive`, nothing unpacked")
def test_a_file_that_is_no_tar_is_not_unpacked(lab: Lab, what: str) -> None:
    lab.given = f"{what} that is called .tar"

    read = lab.read(FOREIGN[what]())

    assert read.errors() == [(None, "bad_archive")]
    lab.saw("read: `bad_archive`")


def a_gigabyte_of_zeros(pack: Callable[[bytes], bytes]) -> bytes:
    """Return a good member and one of a thousand million zeros, compressed in many small frames."""
    begun = UP_TO_FIRST + header("m.wav", 1 << 30)
    return pack(begun) + pack(bytes(1 << 20)) * 1_024


def zip_of_zeros(n_bytes: int = 100 << 20) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(*BEFORE)
        opened.writestr("m.wav", bytes(n_bytes))
        opened.writestr(*AFTER)
    return file.getvalue()


def parquet_of_zeros(n_rows: int = 100) -> bytes:
    file = io.BytesIO()
    schema = pa.schema({"audio": pa.struct({"bytes": pa.binary(), "path": pa.string()})})
    rows = [BEFORE, *((f"m{number}.wav", bytes(1 << 20)) for number in range(n_rows))]
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=False) as writer:
        for name, content in rows:  # a row group each: no one of them swells beyond what is allowed
            writer.write_table(pa.table({"audio": [{"bytes": content, "path": name}]}, schema=schema))
    return file.getvalue()


def nested() -> bytes:
    return gzip.compress(packed([BEFORE, ("m.tar.gz", gzip.compress(packed([AFTER]))), AFTER]))


BOMBS = {
    "1 GB of zeros in a .tar.gz of 1 MB": ("0.tar.gz", lambda: a_gigabyte_of_zeros(gzip.compress), ["a.flac", None]),
    "1 GB of zeros in a .tar.zst of 100 kB": (
        "0.tar.zst",
        lambda: a_gigabyte_of_zeros(zstd.compress),
        ["a.flac", None],
    ),
    "100 MB of zeros in a .zip of 130 kB": ("0.zip", zip_of_zeros, ["a.flac", "m.wav", "z.flac"]),
    "100 MB of zeros in a .parquet": ("0.parquet", parquet_of_zeros, ["a.flac", None]),
}


@pytest.mark.parametrize("what", BOMBS)
@hostile("B07", expected="row `bad_archive`; members before it are kept, and in a zip those after it, too")
def test_a_decompression_bomb_is_abandoned_in_bounded_memory(lab: Lab, what: str) -> None:
    name, content, members = BOMBS[what]
    lab.given = what

    read = lab.read(content(), name)

    good = {"a.flac", "z.flac"}
    assert read.errors()[0] == ("a.flac", None)
    assert read.errors()[-1] == (members[-1], None if members[-1] in good else "bad_archive")
    assert {error for member, error in read.errors() if member not in good} <= {"bad_archive", "not_audio"}
    assert read.samples[0] == alone(BEFORE[1])[0]
    lab.saw("read: `bad_archive`")


@hostile("B07", given="a .tar.gz in a .tar.gz", expected="not opened; no row")
def test_a_container_in_a_container_is_no_recording(lab: Lab) -> None:
    read = lab.read(nested(), "0.tar.gz")

    assert read.errors() == [("a.flac", None), ("z.flac", None)]
    lab.saw("no row")


ODD = ["new\nline.flac", "\x1b[2J\x1b]0;red.flac", "\u202egnp.flac", "tab\t.flac", "quo\"'te.flac", "%s%n.flac"]


@pytest.mark.parametrize("name", ODD)
@hostile(
    "B20",
    given="an id with newline, ANSI escape, U+202E",
    expected="stored unchanged; escaped on a single line of the log",
)
def test_an_odd_name_is_stored_unchanged_and_logged_on_one_line(
    lab: Lab, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    outcome, _ = lab.between(FLAC, name)
    assert outcome["member"] == name
    table = pa.table({"utterance_id": [outcome["utterance_id"]]})
    pq.write_table(table, lab.folder / "t.parquet")
    assert pq.read_table(lab.folder / "t.parquet").equals(table)

    line = logs.LINES.format(logging.makeLogRecord({"msg": "%s: lost", "args": (name,), "levelname": "WARNING"}))

    assert line.isprintable()
    assert line.endswith(": lost")
    lab.saw("stored; one line of printable text")


@hostile("B20", given="an id of 10 kB", expected="row `bad_name`; the id is the beginning of the name and a digest")
def test_a_huge_name_is_shortened(lab: Lab) -> None:
    outcome, _ = lab.between(FLAC, LONG)

    assert (outcome["error"], len(outcome["member"])) == ("bad_name", 145)
    assert outcome["utterance_id"].endswith(f"#{outcome['member']}")
    lab.saw("read: `bad_name`")


@hostile(
    "B20", given="an id with half a surrogate pair, or with bytes that are not UTF-8", expected="stored with escapes"
)
def test_a_name_that_is_not_text_is_stored_with_escapes(lab: Lab) -> None:
    outcome, _ = lab.between(FLAC, "caf\udce9.flac")

    assert outcome["member"] == r"caf\xe9.flac"
    lab.saw(r"`caf\xe9.flac`")


PATTERNS = ["*.wav", "[ab].wav", "?.wav", "{a,b}.wav", "-rf.wav", "~.wav", "$(touch x).wav", "a;b.wav"]


@hostile(
    "B24",
    given="files called `*.wav`, `[ab].wav`, `-rf.wav`, `$(touch x).wav`",
    expected="each read under its own name",
)
def test_a_name_that_looks_like_a_pattern_is_a_name(lab: Lab) -> None:
    folder = lab.folder / "archive"
    folder.mkdir()
    for name in [*PATTERNS, "a.wav", "b.wav"]:
        (folder / name).write_bytes(FLAC)

    for name in PATTERNS:
        found = archive.find(InputConfig(input=(str(folder / name),)))
        assert str(folder / name) in [each.uri for each in found.files]
    whole = archive.find(InputConfig(input=(str(folder),)))

    assert {Path(each.uri).name for each in whole.files} == {*PATTERNS, "a.wav", "b.wav"}
    lab.saw("each is read, with what it matches as a pattern")


@hostile(
    "B23",
    given="an id `'; DROP TABLE`, a partition value with `/ = % ..`",
    expected="treated as data, never as SQL or a path",
)
def test_an_id_is_data(lab: Lab) -> None:
    name = "'; DROP TABLE scores; --=%2F.flac"
    outcome, _ = lab.between(FLAC, name)
    pq.write_table(pa.table({"utterance_id": [outcome["utterance_id"]]}), lab.folder / "t.parquet")

    with duckdb.connect() as sql:
        (found,) = sql.execute(
            "SELECT count(*) FROM read_parquet(?) WHERE utterance_id = ?",
            [str(lab.folder / "t.parquet"), outcome["utterance_id"]],
        ).fetchone() or (0,)

    assert found == 1
    lab.saw("a row like any other")
