"""Damage to a copy or its output is found, and the damaged object is named."""

from __future__ import annotations

import contextlib
import io
import re

import pyarrow.parquet as pq
import pytest

from jobs import storage
from jobs.tables.compaction.copy import CompactedCopy
from jobs.tables.compaction.objects import FOOTER_KEY, difference
from jobs.tables.compaction.writer import CompactedObjectWriter
from tests.support.compaction import (
    TINY,
    Run,
    assert_same,
    etags,
    in_a_folder,
    objects,
    shards,
)
from tests.support.tables import place


def end_of_rows(content: bytes | bytearray) -> int:
    """The last byte of the ids in a Parquet file of one row group."""
    ids = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0)
    return int(ids.dictionary_page_offset + ids.total_compressed_size - 1)


@in_a_folder
def test_a_flipped_byte_in_the_copy_is_found_and_its_object_named(output: str, copy: str, bonafide: Run) -> None:
    bonafide("compact", output, "--to", copy)
    uri = next(uri for uri in objects(copy) if "/scores/" in uri)
    content = bytearray(storage.read_bytes(uri))
    content[end_of_rows(content)] ^= 1
    storage.write_bytes(uri, bytes(content))

    for verb in (("verify", copy), ("compact", output, "--to", copy)):
        code, _, err = bonafide(*verb)
        assert code == 65
        assert uri in err.splitlines()[-1]

    storage.remove(uri)  # what the message says to do
    assert bonafide("compact", output, "--to", copy)[0] == 0
    assert_same(output, copy)
    assert bonafide("verify", copy)[0] == 0


@in_a_folder
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.long)])
def test_a_flipped_byte_anywhere_in_a_footer_is_damage(step: int, root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    shards(output, a="1")
    bonafide("compact", output, "--to", copy)
    (uri,) = (uri for uri in objects(copy) if "/embeddings/" in uri)
    expected = CompactedCopy(copy).look()[uri.removeprefix(f"{copy}/")].compacted
    content = storage.read_bytes(uri)
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    kinds: dict[str, bytes] = {}
    for at in range(start, len(content), step):
        flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        if found := difference(expected, flipped):
            kinds.setdefault(re.sub(r"[^a-z]+", " ", found)[:40], flipped)
    assert len(kinds) > 2

    for flipped in kinds.values():
        storage.write_bytes(uri, flipped)
        for verb in (("verify", copy), ("compact", output, "--to", copy)):
            code, _, err = bonafide(*verb)
            assert code == 65
            assert uri in err.splitlines()[-1]


@in_a_folder
def test_a_damaged_object_that_is_to_be_written_anew_is_named(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    shards(output, a="1", b="1")
    bonafide("compact", output, "--to", copy)
    (uri,) = (uri for uri in objects(copy) if "/embeddings/" in uri)
    content = bytearray(storage.read_bytes(uri))
    content[end_of_rows(content)] ^= 1
    storage.write_bytes(uri, bytes(content))
    shards(output, a="2")

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 65
    assert f"{uri}: is damaged" in err.splitlines()[-1]


class Broken(io.BytesIO):
    """A file on a disk with a read error."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError(f"{size} bytes: input/output error")


@in_a_folder
def test_a_store_that_gives_up_at_a_footer_is_no_damage(
    root: str, copy: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = f"{root}/tables"
    shards(output, a="1")
    bonafide("compact", output, "--to", copy)
    for stored in storage.listing(f"{copy}/_compacted") or []:
        storage.remove(stored.uri)  # so that footers are read
    monkeypatch.setattr(
        storage,
        "opened",
        lambda stored: contextlib.nullcontext(storage.StoredFile(Broken(bytes(stored.size)), stored.uri)),
    )

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 69
    assert "the store gave up" in err.splitlines()[-1]


@in_a_folder
@pytest.mark.parametrize("which", ["the first", "the last", "all"])
def test_following_the_error_message_repairs_one_of_several_objects(
    root: str, copy: str, bonafide: Run, which: str
) -> None:
    output = f"{root}/tables"
    shards(output, a="1", b="1", c="1")
    bonafide("compact", output, "--to", copy, "--object-mib", TINY)
    uris = sorted(objects(copy))
    for uri in {"the first": uris[:1], "the last": uris[-1:], "all": uris}[which]:
        storage.remove(uri)

    assert "is gone" in bonafide("verify", copy)[2].splitlines()[-1]
    for _ in range(2):
        assert bonafide("compact", output, "--to", copy)[0] == 0
        assert_same(output, copy)
        assert bonafide("verify", copy)[0] == 0
    assert len(etags(f"{copy}/_compacted")) == len(objects(copy))


@in_a_folder
def test_changed_rows_under_a_valid_footer_are_found(output: str, copy: str, bonafide: Run) -> None:
    bonafide("compact", output, "--to", copy)
    uri = next(uri for uri in objects(copy) if "/scores/" in uri)
    content = io.BytesIO(storage.read_bytes(uri))
    rows, about = pq.read_table(content, partitioning=None), pq.read_metadata(content).metadata
    other = rows.take([0, *range(len(rows) - 1)]).replace_schema_metadata({FOOTER_KEY: about[FOOTER_KEY]})
    file = io.BytesIO()
    pq.write_table(other, file)
    storage.write_bytes(uri, file.getvalue())

    for verb in (("verify", copy), ("compact", output, "--to", copy)):
        code, _, err = bonafide(*verb)
        assert code == 65
        assert f"{uri}: " in err.splitlines()[-1]
        assert "the digest of its rows is" in err.splitlines()[-1]


@in_a_folder
def test_a_row_that_is_lost_on_the_way_ends_with_65(
    output: str, copy: str, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = CompactedObjectWriter.add
    monkeypatch.setattr(
        CompactedObjectWriter,
        "add",
        lambda self, share, batches, n=0: add(self, share, [each.slice(1) for each in batches], n),
    )

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 65
    assert "the digest of its rows is" in err.splitlines()[-1]


@in_a_folder
@pytest.mark.parametrize("content", [b"", b"PAR1 no table", None])
def test_an_object_that_compact_did_not_put_there_is_named(
    output: str, copy: str, bonafide: Run, content: bytes | None
) -> None:
    bonafide("compact", output, "--to", copy)
    uri = f"{copy}/scores/run_date=2026-11-22/mine.parquet"
    theirs = storage.read_bytes((storage.listing(f"{output}/scores") or [])[0].uri)
    storage.write_bytes(uri, theirs if content is None else content)

    for verb in (("verify", copy), ("compact", output, "--to", copy)):
        code, _, err = bonafide(*verb)
        assert code == 65
        assert uri in err.splitlines()[-1]


@in_a_folder
def test_a_shard_of_the_output_that_is_gone_is_named(root: str, copy: str, bonafide: Run) -> None:
    output = f"{root}/tables"
    shards(output, a="1", b="1")
    storage.remove(place(output, "a"))

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 65
    assert f"{place(output, 'a')}: is gone; it was committed with 3 rows" in err.splitlines()[-1]


@in_a_folder
def test_a_damaged_shard_of_the_output_is_named_and_not_copied(output: str, copy: str, bonafide: Run) -> None:
    uri = (storage.listing(f"{output}/scores") or [])[3].uri
    content = bytearray(storage.read_bytes(uri))
    content[end_of_rows(content)] ^= 1
    storage.write_bytes(uri, bytes(content))

    code, _, err = bonafide("compact", output, "--to", copy)

    assert code == 65
    assert f"{uri}: is not what was committed" in err.splitlines()[-1]
