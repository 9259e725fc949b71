"""Foreign objects are searched for what they are, whatever they are called, and named if they cannot be read."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from jobs import storage
from jobs.erasure import parts
from jobs.erasure.foreign_text import PIECE
from jobs.erasure.mentions import find_mentions
from jobs.erasure.request import ErasureRequest
from tests.support.containers import tarred, zipped
from tests.unit.jobs.erasure.outputs import VICTIM, everything, first_object

Run = Callable[..., tuple[int, str, str]]
CALL = "2026/call.flac"
ROWS = pa.table({"member": [CALL], "label": [1]})


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(ROWS, file)
    return file.getvalue()


def feather(version: int) -> bytes:
    file = io.BytesIO()
    pyarrow.feather.write_feather(ROWS, file, version=version)
    return file.getvalue()


def orc() -> bytes:
    file = io.BytesIO()
    pyarrow.orc.write_table(ROWS, file)
    return file.getvalue()


def without_magic(content: bytes) -> bytes:
    """A tar as it was before POSIX: the header ends with the link's name, and its checksum is right."""
    header = bytearray(content[:257] + bytes(255))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content[512:]


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return bytes(sink.getvalue())


def search(folder: Path, name: str = CALL) -> list[str]:
    return find_mentions(str(folder), ErasureRequest((name,)))[0]


MENTIONING = {
    "scores.parquet.bak": parquet(),
    ".scores.parquet.Xa3f9k": parquet(),
    "backup/scores.pq": parquet(),
    "no-suffix": feather(2),
    "old.feather": feather(1),
    "a.orc": orc(),
    "tables.tgz": gzip.compress(tarred({"x/scores.parquet": parquet()})),
    "old-tar-without-magic": without_magic(tarred({"x": parquet()})),
    "tables.zip": zipped({"scores.parquet": parquet()}),
    "nested.zip": zipped({"tables.tgz": gzip.compress(tarred({"a.csv": f"id\n{CALL}\n".encode()}))}),
    "a.csv.zst": zstd(f"id,label\n{CALL},spoof\n".encode()),
    "a.csv.bz2": bz2.compress(f"id,label\n{CALL},spoof\n".encode()) + bz2.compress(b"more"),
    "a.json.xz": lzma.compress(b'{"id": "2026\\/call.flac"}'),
    "two.gz": gzip.compress(b"first") + gzip.compress(f"id {CALL}".encode()),
    "escaped.json": b'{"id": "2026/c\\u0061ll.flac"}',
    "a.csv": f"id\n{CALL}\n".encode("utf-16"),
    "log.txt": b"GET /x?id=2026%2fcall.flac HTTP/1.1",
    ".hidden/2026/call.flac": b"",
    "names.tar": tarred({CALL: b""}),
    ".scores.parquet.4711-0123abcd.part": parquet(),
}


@pytest.mark.parametrize("name", MENTIONING)
def test_a_recording_is_found_whatever_a_file_is_and_is_called(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(MENTIONING[name])
    os.utime(place, (time.time() + 3600, time.time() + 3600))

    assert search(tmp_path) == [f"{place}: mentions {CALL}"]


UNREADABLE = {
    "half.parquet": parquet()[: len(parquet()) // 2],
    "half.gz": gzip.compress(os.urandom(999))[:-9],
    "tail.gz": gzip.compress(b"x") + b"something else",
    "tail.bz2": bz2.compress(b"x") + b"something else",
    "half.tar": tarred({"a": bytes(2048)})[:1024],
    "tail.tar": tarred({"a": b"x"}) + b"something else",
    "half.zst": zstd(os.urandom(999))[:-9],
    "broken.zip": zipped({"a.csv": b"x" * 99}).replace(b"PK\x03\x04", b"PK\x03\x05", 1),
    "base.sqlite": b"SQLite format 3\0" + bytes(84),
    "old.csv": "caf\xe9".encode("latin-1"),
    "a.7z": b"7z\xbc\xaf\x27\x1c" + bytes(26),
    "packed": gzip.compress(gzip.compress(gzip.compress(gzip.compress(gzip.compress(gzip.compress(b"x")))))),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_named_and_not_taken_for_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(UNREADABLE[name])

    (found,) = search(tmp_path)

    assert found.startswith(f"{tmp_path / name}: cannot be read, so what it mentions is not known: ")


@pytest.mark.parametrize("name", ["a.gz", "a.zip", "a.tar", "a.zst"])
def test_what_unpacks_beyond_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(parts, "MAX_BYTES", 1000)
    packers: dict[str, Callable[[bytes], bytes]] = {
        "a.gz": gzip.compress,
        "a.zip": lambda content: zipped({"a": content}),
        "a.tar": lambda content: tarred({"a": content}),
        "a.zst": zstd,
    }
    (tmp_path / name).write_bytes(packers[name](bytes(5000)))

    (found,) = search(tmp_path)

    assert "unpacks to more than 1,000 bytes" in found


MEMBER = "2026/0001.tar#it's 7\" b.flac"
WRITTEN = {
    "CSV with a URI before the id": f"uri;utterance_id\ns3://archive/2026/0001.tar;{CALL};0.5",
    "Markdown": f"| s3://archive/2026/0001.tar | {CALL} |",
    "prose with a URI before it": f"see https://wiki/page {CALL} is fake",
    "CSV of two columns": "s3://archive/2026/0001.tar,s3://archive/2026/call.flac",
    "path": f"/mnt/old/{CALL}",
    "path of Windows": "C:\\mnt\\2026\\call.flac",
    "fragment": f"https://player/{CALL}#t=10",
    "table in JSON": json.dumps({"text": f"id\tscore\n{CALL}\t0.5\n"}),
    "JSON in JSON": json.dumps(json.dumps(json.dumps({"text": f"id\n{CALL}\n"}))),
    "colours of a terminal": f"\x1b[00;36m{CALL}\x1b[0m",
    "match of grep": f"\x1b[01;31m\x1b[K{CALL}\x1b[m",
    "diff": f"-{CALL},0.5",
    "Japanese": f"\u9332\u97f3{CALL}\u306f\u507d\u7269\u3067\u3059",
    "emphasis": f"_{CALL}_",
    "ellipsis": f"...{CALL}",
    "longer name": f"plots/{CALL}.png",
    "form": "https://player/?file=2026%2fcall.flac&t=10",
}
WRITTEN_OF_A_MEMBER = {
    "CSV with quotes": 'utterance_id,score\n"2026/0001.tar#it\'s 7"" b.flac",1.84\n',
    "SQL": "VALUES ('2026/0001.tar#it''s 7\" b.flac', 1.84)",
    "shell": "cat 2026/0001.tar#it\\'s\\ 7\\\"\\ b.flac",
    "JSON in CSV": '1,"{""id"": ""2026/0001.tar#it\'s 7\\"" b.flac""}"',
    "container and member": 'uri,member,score\ns3://archive/2026/0001.tar,it\'s 7"" b.flac,1.84',
    "octal": "$'2026/0001.tar#it\\047s 7\\042 b.flac'",
    "quoted-printable": "2026/0001=2Etar#it=27s 7=22 b.fla=\nc",
    "YAML": "- uri: s3://archive/2026/0001.tar\n  member: it's 7\" b.flac\n  score: 0.5\n",
    "XML": "<uri>/old/2026/0001.tar</uri>\n  <member>it's 7&quot; b.flac</member>",
    "container and member below one another": json.dumps(
        {"uri": "/old/2026/0001.tar", "member": "it's 7\" b.flac"}, indent=1
    ),
}


@pytest.mark.parametrize(
    ("name", "text"),
    [*((CALL, text) for text in WRITTEN.values()), *((MEMBER, text) for text in WRITTEN_OF_A_MEMBER.values())],
    ids=[*WRITTEN, *WRITTEN_OF_A_MEMBER],
)
def test_a_recording_is_found_however_another_program_writes_it(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(text)

    assert search(tmp_path, name) == [f"{tmp_path}/x: mentions {name}"]


@pytest.mark.parametrize("written", ["caf\u00e9.wav", "cafe\u0301.wav"])
def test_an_accent_is_found_composed_or_not(written: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(f"{written},0.5")

    assert search(tmp_path, "cafe\u0301.wav")
    assert search(tmp_path, "caf\u00e9.wav")


@pytest.mark.parametrize("text", ["id,score\n1,0.5", '{"id": 1}', "[1, 2]", "id=1"])
def test_a_word_counts_as_a_field_of_its_own(text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(text)

    assert search(tmp_path, "1")


def test_members_of_other_containers_on_other_lines_are_no_mentions(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("2026/0001.tar,b.flac\n2026/0002.tar,a.flac\nchannel 1 of 2\n")

    assert search(tmp_path, "2026/0001.tar#a.flac") == search(tmp_path, "1") == []


@pytest.mark.parametrize("name", [f"plots/{CALL}.csv", "t/2026%2Fcall.flac", f"excerpts/{CALL}/"])
def test_the_name_of_an_object_or_an_empty_folder_is_searched(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.mkdir() if name.endswith("/") else path.write_text("0.1")

    (found,) = search(tmp_path)

    assert found.startswith(str(path))
    assert f"mentions {CALL}" in found


def test_bytes_of_utf_8_are_found_in_octal(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(r'"caf\303\251.wav"')

    assert search(tmp_path, "caf\u00e9.wav")


def test_an_extract_of_a_table_of_ours_without_its_ids_is_found(tmp_path: Path) -> None:
    rows = pa.table({"uri": ["s3://archive/2026/0001.tar"], "member": ["a.flac"], "score": [0.5]})
    pq.write_table(rows.replace_schema_metadata({"bonafide.of": "a shard"}), tmp_path / "x.parquet")

    assert search(tmp_path, "2026/0001.tar#a.flac")
    assert search(tmp_path, "2026/0001.tar#b.flac") == []


def with_gap(content: bytes, gap: bytes, magic: bytes) -> bytes:
    """A table's file with bytes between its last column and its footer."""
    end = len(content) - len(magic) - 4
    footer = end - int.from_bytes(content[end : end + 4], "little")
    return content[:footer] + gap + content[footer:]


def arrow_of(rows: pa.Table) -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(rows)
    return file.getvalue()


@pytest.mark.parametrize("gap", [f"id\n{CALL},0.5".encode(), gzip.compress(CALL.encode())], ids=["plain", "packed"])
def test_bytes_that_belong_to_no_column_are_named(gap: bytes, tmp_path: Path) -> None:
    rows = pa.table({"score": [0.5]})
    file = io.BytesIO()
    pq.write_table(rows, file)
    (tmp_path / "a.parquet").write_bytes(with_gap(file.getvalue(), gap, b"PAR1"))
    (tmp_path / "b.arrow").write_bytes(with_gap(arrow_of(rows), gap, b"ARROW1"))

    found = search(tmp_path)

    assert [f"has {len(gap)} bytes that belong to no column" in each for each in found] == [True, True]


@pytest.mark.parametrize(("name", "found"), [(CALL, True), ("2026/other.flac", False)])
def test_an_index_of_pages_is_no_riddle_and_is_searched(name: str, found: bool, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [f"{CALL}.bak"]}), tmp_path / "x.parquet", write_page_index=True)

    assert bool(search(tmp_path, name)) is found


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (gzip.compress(f"id,score\n{CALL},0.5".encode()), f"mentions {CALL}"),
        (f"\ufeff{CALL}".encode("utf-16"), f"mentions {CALL}"),
        (CALL.encode(), f"mentions {CALL}"),
        (bytes(range(256)), "is no table, archive or text"),
        (bytes(32), ""),
        (b"of no interest", ""),
    ],
    ids=["packed", "UTF-16", "UTF-8", "random", "zeros", "another text"],  # the same in both workers of `make test`
)
def test_bytes_in_a_cell_are_read_as_an_object_is(cell: bytes, said: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"cell": [cell]}), tmp_path / "x.parquet")

    found = search(tmp_path)

    assert said in found[0] if said else not found


@pytest.mark.parametrize(
    "columns",
    [
        {"cell": [CALL.encode("utf-16-le")]},
        {"cell": pa.array([list(f"id\n{CALL},0.5".encode())], pa.list_(pa.uint8()))},
        {"folder": ["2026"], "file": ["call.flac"]},
    ],
    ids=["UTF-16", "list of bytes", "two columns"],
)
def test_a_name_in_cells_of_other_forms_is_found(columns: dict[str, Any], tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")

    assert search(tmp_path)
    assert search(tmp_path, "2026/other.flac") == []


def test_a_name_is_found_where_a_long_text_is_cut_into_pieces(tmp_path: Path) -> None:
    for place in range(PIECE - len(CALL) - 3, PIECE + 3):
        (tmp_path / "x").write_text("x" * (place - 1) + " " + CALL + " end")
        assert search(tmp_path), place
        (tmp_path / "x").write_text("x" * place + CALL + " end")
        assert search(tmp_path) == [], place


def test_other_recordings_are_no_mentions(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"x/2026/call.flacs": b"2026/call.flac2, my2026/call.flac"}))

    assert search(tmp_path) == []


def test_a_link_to_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    output = tmp_path / "output"
    output.mkdir()
    (output / "link").symlink_to(tmp_path / "elsewhere")

    assert "link to a folder, which is not followed" in search(output)[0]


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(f"/archive/{CALL}")

    assert "link to nothing, which is not followed" in search(tmp_path)[0]


@pytest.mark.parametrize("name", ["scores/x.parquet.bak", "_plans/x.json.old", "runs/backup.zip", ".x.Xa3f9k"])
def test_a_foreign_copy_is_refused_with_the_remedy_and_nothing_is_changed(
    tables: str, bonafide: Run, name: str
) -> None:
    content = storage.read_bytes(first_object(tables, "scores"))
    storage.write_bytes(f"{tables}/{name}", zipped({"a.pq": content}) if name.endswith("zip") else content)
    before = everything(tables)

    code, _, err = bonafide("erase", VICTIM, "--output", tables)

    assert code == 65
    assert f"{tables}/{name}: mentions {VICTIM}" in err.splitlines()[-1]
    assert "Delete it, or rewrite it without the recording" in err.splitlines()[-1]
    assert everything(tables) == before
    storage.remove(f"{tables}/{name}")
    assert bonafide("erase", VICTIM, "--output", tables)[0] == 0


def test_drafts_are_removed_whatever_their_clock_says(tables: str, bonafide: Run) -> None:
    draft = Path(f"{tables}/scores/.x.parquet.4711-0123abcd.part")
    draft.write_bytes(storage.read_bytes(first_object(tables, "scores")))
    os.utime(draft, (time.time() + 3600, time.time() + 3600))

    assert bonafide("erase", VICTIM, "--output", tables)[0] == 0

    assert not draft.exists()


def test_a_file_that_no_path_can_name_is_refused_by_its_place(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    with contextlib.chdir(output):
        for _ in range(16):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
        Path("f" * 250).write_text(CALL)
    try:
        (found,) = search(output)
    finally:
        handle = os.open(output, os.O_RDONLY)
        shutil.rmtree("d" * 250, dir_fd=handle)
        os.close(handle)
    assert found.startswith(f"{output}/ddd")
    assert "a longer path than the system takes, which cannot be read, so what it mentions is not known" in found
