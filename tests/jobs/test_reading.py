"""jobs.reading: a shard's bytes become pieces; a fault of content is one outcome and touches no neighbour."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.errors import SchemaError
from detector.recording import Recording
from jobs import storage
from jobs.archive import Shard
from jobs.errors import RunAgain
from jobs.reading import HELD_BYTES, read_shard
from tests.conftest import encoded, tone, write_tar

FLAC = encoded(tone(1.0))
SEGMENT_SECONDS = 30.0


def shard_of(path: Path, names: tuple[tuple[str, str], ...] | None = None) -> Shard:
    stored = storage.stat(str(path))
    assert stored is not None
    return Shard("tar", (stored,), names)


def outcomes(shard: Shard) -> list[dict[str, Any]]:
    """Outcomes by ordinal; the shard's end must agree with their number."""
    rows = list(read_shard(shard, SEGMENT_SECONDS))
    found = [row for row in rows if "outcome" in row]
    assert rows[-1] == {"shard_id": shard.shard_id, "n_utterances": len(found)}
    assert [row["ordinal"] for row in found] == list(range(len(found)))
    return [row["outcome"] for row in found]


def errors(shard: Shard) -> list[tuple[str, str | None]]:
    return [(found["member"] or found["uri"], found.get("error")) for found in outcomes(shard)]


def test_audio_members_of_a_webdataset_are_read_and_the_rest_is_not(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "0.tar", {"a.flac": FLAC, "a.json": b"{}", "a.txt": b"hi", "b.FLAC": FLAC, "._c.flac": b""}
    )

    found = outcomes(shard_of(path))

    assert [each["utterance_id"] for each in found] == [f"{path}#a.flac", f"{path}#b.FLAC"]
    assert all(each["seconds"] == 1.0 and each["bytes"] == len(FLAC) for each in found)


def test_a_broken_member_is_one_failure_between_whole_neighbours(tmp_path: Path) -> None:
    members = {"a.flac": FLAC, "page.mp3": b"<html>", "none.wav": b"", "b.flac": FLAC}

    assert errors(shard_of(write_tar(tmp_path / "0.tar", members))) == [
        ("a.flac", None),
        ("page.mp3", "not_audio"),
        ("none.wav", "empty"),
        ("b.flac", None),
    ]


def test_a_cut_tar_keeps_what_came_before_the_cut(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", {"a.flac": FLAC, "b.flac": FLAC})
    path.write_bytes(path.read_bytes()[: 512 + len(FLAC) + 1_000])

    assert errors(shard_of(path)) == [("a.flac", None), (str(path), "bad_archive")]


def test_a_broken_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", {"a.flac": FLAC, "b.flac": FLAC, "c.flac": FLAC})
    content = bytearray(path.read_bytes())
    third = content.index(b"c.flac")
    content[third + 150] ^= 0xFF  # within the checksum field
    path.write_bytes(content)

    assert errors(shard_of(path)) == [("a.flac", None), ("b.flac", None), (str(path), "bad_archive")]


@pytest.mark.parametrize("content", [b"", b"this is no tar" * 100], ids=["nothing", "text"])
def test_what_is_no_tar_is_one_failure(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "0.tar"
    path.write_bytes(content)

    (failure,) = outcomes(shard_of(path))

    assert (failure["utterance_id"], failure["stage"], failure["error"]) == (str(path), "read", "bad_archive")


def test_a_tar_without_its_closing_zeros_is_whole(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", {"a.flac": FLAC})
    n_blocks = -(-len(FLAC) // 512)
    path.write_bytes(path.read_bytes()[: 512 * (1 + n_blocks)])

    assert errors(shard_of(path)) == [("a.flac", None)]


def test_nothing_of_an_archive_is_run_followed_or_written(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "boom",))

    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (
            ("link.flac", tarfile.SYMTYPE),
            ("hard.flac", tarfile.LNKTYPE),
            ("pipe.flac", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/hostname"
            tar.addfile(info)
        for name, content in (
            ("../../escape.flac", FLAC),
            ("a.pkl", pickle.dumps(Bomb())),
            ("b.pkl.flac", pickle.dumps(Bomb())),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    before = sorted(tmp_path.parent.rglob("*"))

    assert errors(shard_of(path)) == [("../../escape.flac", None), ("b.pkl.flac", "not_audio")]
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_a_name_of_any_bytes_becomes_an_id_of_text(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo(b"caf\xe9.flac".decode(errors="surrogateescape"))
        info.size = len(FLAC)
        tar.addfile(info, io.BytesIO(FLAC))

    (found,) = outcomes(shard_of(path))

    assert found["member"] == r"caf\xe9.flac"
    found["utterance_id"].encode()


def test_an_id_that_stands_twice_is_refused_with_both_places(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", [("a.flac", FLAC), ("b.flac", FLAC), ("a.flac", FLAC)])

    with pytest.raises(SchemaError, match="as utterance 0 and 2"):
        outcomes(shard_of(path))


def test_a_manifest_s_members_are_read_and_a_missing_one_is_a_failure(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", {"a.flac": FLAC, "b.bin": FLAC, "c.flac": FLAC})

    found = outcomes(shard_of(path, (("b.bin", "second"), ("gone.flac", "lost"))))

    assert [(each["utterance_id"], each.get("error")) for each in found] == [("second", None), ("lost", "missing")]


def test_a_long_member_is_decoded_where_it_stands(tmp_path: Path) -> None:
    wav = encoded(tone(600.0), kind="WAV", subtype="PCM_16")
    assert len(wav) > HELD_BYTES
    path = write_tar(tmp_path / "0.tar", {"short.flac": FLAC, "long.wav": wav, "after.flac": FLAC})

    rows = [row for row in read_shard(shard_of(path), SEGMENT_SECONDS) if row.get("ordinal") == 1]

    alone = Recording(io.BytesIO(wav), SEGMENT_SECONDS)
    expected = [segment.tobytes() for segment in alone.segments()]
    assert [row["samples"] for row in rows if "samples" in row] == expected
    assert len(expected) == 20
    assert rows[-1]["outcome"]["audio_sha256"] == alone.facts.audio_sha256
    assert errors(shard_of(path)) == [("short.flac", None), ("long.wav", None), ("after.flac", None)]


def test_a_source_that_changed_since_the_plan_stops_the_run(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", {"a.flac": FLAC})
    shard = shard_of(path)
    write_tar(path, {"a.flac": encoded(np.zeros(100))})

    with pytest.raises(RunAgain, match="changed since the plan"):
        list(read_shard(shard, SEGMENT_SECONDS))


def test_loose_files_keep_their_order_and_ids(tmp_path: Path) -> None:
    for name in ("a.flac", "b.flac"):
        (tmp_path / name).write_bytes(FLAC)
    sources = tuple(storage.listing(str(tmp_path)) or ())
    shard = Shard("files", sources, ((sources[0].uri, "one"), (sources[1].uri, "two")))

    assert [each["utterance_id"] for each in outcomes(shard)] == ["one", "two"]
