"""A shard's bytes become pieces; a fault of content is one outcome and touches no neighbour."""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.audio import Excerpt
from detector.recording import Recording
from jobs import storage
from jobs.errors import RunAgain, StorageError
from jobs.inputs.shard_reader import MAX_BUFFERED_BYTES, read_shard
from jobs.inputs.shards import CHANGED, Portion, Selection, Shard
from tests.support import containers
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.containers import PACKED

FLAC = encoded(tone(1.0))
SEGMENT_SECONDS = 30.0
BLOCK = 512
MEMBER_BYTES = BLOCK * (
    1 + math.ceil(len(FLAC) / BLOCK)
)  # of FLAC in a tar: its header, and its content up to a whole block


def shard_of(path: Path, names: tuple[tuple[str, str], ...] | None = None) -> Shard:
    stored = storage.stat(str(path))
    assert stored is not None
    return Shard("tar", (stored,), names)


def outcomes(shard: Shard) -> list[dict[str, Any]]:
    """Outcomes by ordinal; the shard's end must agree with their number."""
    rows = list(read_shard(Portion(shard), SEGMENT_SECONDS))
    found = [row for row in rows if "outcome" in row]
    assert (rows[-1]["shard_id"], rows[-1]["n_utterances"]) == (shard.shard_id, len(found))
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


def passed_over(shard: Shard) -> dict[str, int]:
    *_, end = read_shard(Portion(shard), SEGMENT_SECONDS)
    return {suffix: each["count"] for suffix, each in json.loads(end["passed_over"]).items()}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst", ".zip", ".ZIP"])
def test_members_whose_names_say_nothing_are_read_by_their_first_bytes(tmp_path: Path, suffix: str) -> None:
    long = encoded(tone(180.0, seed=1), kind="WAV", subtype="DOUBLE")  # 23 MB, more than is held
    members = {"call.17": FLAC, "notes": b"text", "._a.wav": b"\0\5\x16\7" + bytes(90), "long": long, "a.json": FLAC}
    path = tmp_path / f"0{suffix}"
    path.write_bytes(PACKED[f"0{suffix}"](members))
    shard = containers.shard_of(path)

    found = outcomes(shard)

    assert [(each["member"], each["bytes"]) for each in found] == [("call.17", len(FLAC)), ("long", len(long))]
    assert "error" not in found[0]
    (alone,) = outcomes(shard_of(write_tar(tmp_path / "1.tar", {"a.flac": FLAC})))
    assert found[0]["audio_sha256"] == alone["audio_sha256"]
    assert passed_over(shard) == {"(no suffix)": 1, "._*": 1, ".json": 1}


def test_a_broken_member_of_a_zip_whose_name_says_nothing_is_a_row(tmp_path: Path) -> None:
    # stored without compression, so that only the CRC can tell; the fault is behind what was looked at
    content = bytearray(PACKED["0.ZIP"]({"call.17": FLAC, "b.flac": FLAC}))
    content[content.index(FLAC) + 6_000] ^= 1
    path = tmp_path / "0.zip"
    path.write_bytes(content)

    assert errors(containers.shard_of(path)) == [("call.17", "bad_archive"), ("b.flac", None)]


@pytest.mark.parametrize("names", [None, (("x", "0.tar#x"), ("y", "mine"))], ids=["whole", "by its members"])
def test_a_container_that_is_not_there_gives_a_failure_for_each_recording_that_is_named(
    names: tuple[tuple[str, str], ...] | None,
) -> None:
    absent = Shard("tar", (storage.Stored("/archive/0.tar", 0, storage.ABSENT),), names)

    found = outcomes(absent)

    expected = [("/archive/0.tar", None)] if names is None else [("0.tar#x", "x"), ("mine", "y")]
    assert [(each["utterance_id"], each["member"]) for each in found] == expected
    assert {(each["stage"], each["error"], each["bytes"]) for each in found} == {("read", "missing", 0)}


def test_a_broken_member_is_one_failure_between_whole_neighbours(tmp_path: Path) -> None:
    members = {"a.flac": FLAC, "page.mp3": b"<html>", "none.wav": b"", "cut.flac": FLAC[:9_000], "b.flac": FLAC}
    shard = shard_of(write_tar(tmp_path / "0.tar", members))

    found = outcomes(shard)

    assert [(each["member"], each.get("stage"), each.get("error"), each["bytes"]) for each in found] == [
        ("a.flac", None, None, len(FLAC)),
        ("page.mp3", "decode", "not_audio", 6),
        ("none.wav", "read", "empty", 0),
        ("cut.flac", "decode", "decode_error", 9_000),
        ("b.flac", None, None, len(FLAC)),
    ]
    alone = next(Recording(io.BytesIO(FLAC), SEGMENT_SECONDS).segments()).tobytes()
    samples = {
        row["ordinal"]: row["samples"] for row in read_shard(Portion(shard), SEGMENT_SECONDS) if "samples" in row
    }
    assert (samples[0], samples[4]) == (alone, alone)


@pytest.mark.parametrize("beyond", [100, BLOCK + 1_000], ids=["in its header", "in its content"])
def test_a_tar_that_is_cut_within_a_member_keeps_those_before(tmp_path: Path, beyond: int) -> None:
    path = write_tar(tmp_path / "0.tar", {"a.flac": FLAC, "b.flac": FLAC})
    path.write_bytes(path.read_bytes()[: MEMBER_BYTES + beyond])

    assert errors(shard_of(path)) == [("a.flac", None), (str(path), "bad_archive")]


def test_a_broken_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", {"a.flac": FLAC, "b.flac": FLAC, "c.flac": FLAC})
    content = bytearray(path.read_bytes())
    third = content.index(b"c.flac")
    content[third + 150] ^= 0xFF  # within the checksum field
    path.write_bytes(content)

    assert errors(shard_of(path)) == [("a.flac", None), ("b.flac", None), (str(path), "bad_archive")]


@pytest.mark.parametrize("content", [b"", b"this is no tar" * 100], ids=["nothing", "text"])
def test_a_file_that_is_no_tar_is_one_failure(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "0.tar"
    path.write_bytes(content)

    (failure,) = outcomes(shard_of(path))

    assert (failure["utterance_id"], failure["stage"], failure["error"]) == (str(path), "read", "bad_archive")


def test_a_tar_without_its_closing_zeros_is_whole(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", {"a.flac": FLAC})
    path.write_bytes(path.read_bytes()[:MEMBER_BYTES])

    assert errors(shard_of(path)) == [("a.flac", None)]


@pytest.mark.parametrize("n_zeros", [1, 2, 40])
def test_members_after_closing_zeros_are_not_lost_silently(tmp_path: Path, n_zeros: int) -> None:
    # as `cat first.tar second.tar` makes them, or a hole in a file
    first = write_tar(tmp_path / "first.tar", {"a.flac": FLAC}).read_bytes()[:MEMBER_BYTES]
    second = write_tar(tmp_path / "second.tar", {"b.flac": FLAC}).read_bytes()
    path = tmp_path / "0.tar"
    path.write_bytes(first + bytes(n_zeros * BLOCK) + second)

    assert errors(shard_of(path)) == [("a.flac", None), (str(path), "bad_archive")]


@pytest.mark.parametrize("size", [-1, -4 * BLOCK, 1 << 40])
def test_a_header_with_a_false_size_is_one_failure(tmp_path: Path, size: int) -> None:
    path = write_tar(tmp_path / "0.tar", {"a.flac": FLAC})
    liar = tarfile.TarInfo("b.flac")
    liar.size = size
    path.write_bytes(path.read_bytes()[:MEMBER_BYTES] + liar.tobuf(tarfile.GNU_FORMAT) + bytes(20 * BLOCK))

    assert errors(shard_of(path)) == [("a.flac", None), (str(path), "bad_archive")]


def test_no_member_of_an_archive_is_run_followed_or_written(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "boom",))

    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (
            ("link.flac", tarfile.SYMTYPE),
            ("hard.flac", tarfile.LNKTYPE),
            ("pipe.flac", tarfile.FIFOTYPE),
            ("folder.flac", tarfile.DIRTYPE),
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

    assert errors(shard_of(path)) == [
        ("link.flac", "not_a_file"),
        ("hard.flac", "not_a_file"),
        ("pipe.flac", "not_a_file"),
        ("../../escape.flac", "bad_name"),
        ("b.pkl.flac", "not_audio"),
    ]
    assert sorted(tmp_path.parent.rglob("*")) == before


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_of_any_bytes_becomes_an_id_of_text(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "0.tar"
    long = f"{'日本/' * 20}{'x' * 80}.flac"
    with tarfile.open(path, "w", format=kind) as tar:
        for name in (b"caf\xe9.flac".decode(errors="surrogateescape"), long):
            info = tarfile.TarInfo(name)
            info.size = len(FLAC)
            tar.addfile(info, io.BytesIO(FLAC))

    found = outcomes(shard_of(path))

    assert [each["member"] for each in found] == [r"caf\xe9.flac", long]
    assert [each["utterance_id"].encode().decode() for each in found] == [f"{path}#{each['member']}" for each in found]


def test_a_repeated_id_is_refused_with_both_places(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", [("a.flac", FLAC), ("b.flac", FLAC), ("a.flac", FLAC)])

    first, other, again = outcomes(shard_of(path))

    assert (first.get("error"), other.get("error"), again["error"]) == (None, None, "bad_name")
    assert again["utterance_id"] == first["utterance_id"]
    assert "as utterance 0 and 2" in again["message"]


def test_a_manifest_s_members_are_read_and_a_missing_one_is_a_failure(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", {"a.flac": FLAC, "b.bin": FLAC, "c.flac": FLAC})

    found = outcomes(shard_of(path, (("b.bin", "second"), ("gone.flac", "lost"))))

    assert [(each["utterance_id"], each.get("error")) for each in found] == [("second", None), ("lost", "missing")]


def test_a_long_member_is_decoded_in_place(tmp_path: Path) -> None:
    wav = encoded(tone(600.0), kind="WAV", subtype="PCM_16")
    assert len(wav) > MAX_BUFFERED_BYTES
    path = write_tar(tmp_path / "0.tar", {"short.flac": FLAC, "long.wav": wav, "after.flac": FLAC})

    rows = [row for row in read_shard(Portion(shard_of(path)), SEGMENT_SECONDS) if row.get("ordinal") == 1]

    alone = Recording(io.BytesIO(wav), SEGMENT_SECONDS)
    expected = [segment.tobytes() for segment in alone.segments()]
    assert [row["samples"] for row in rows if "samples" in row] == expected
    assert len(expected) == 20
    assert rows[-1]["outcome"]["audio_sha256"] == alone.facts.audio_sha256
    assert errors(shard_of(path)) == [("short.flac", None), ("long.wav", None), ("after.flac", None)]


def test_a_long_recording_is_several_segments_and_one_outcome(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", {"long.flac": encoded(tone(65.0)), "b.flac": FLAC})

    rows = [row for row in read_shard(Portion(shard_of(path)), SEGMENT_SECONDS) if row.get("ordinal") == 0]

    lengths = [(row["segment"], len(row["samples"]) // 4) for row in rows[:-1]]
    assert lengths == [(0, 480_000), (1, 480_000), (2, 80_000)]  # 30 + 30 + 5 s
    assert (rows[-1]["outcome"]["seconds"], rows[-1]["outcome"]["n_segments"]) == (65.0, 3)


def test_a_source_that_changed_since_the_plan_stops_the_run(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "0.tar", {"a.flac": FLAC})
    shard = shard_of(path)
    write_tar(path, {"a.flac": encoded(tone(3.0))})

    with pytest.raises(RunAgain, match="changed since the plan"):
        list(read_shard(Portion(shard), SEGMENT_SECONDS))


@pytest.mark.parametrize("kind", ["tar", "files"])
def test_a_trouble_of_the_store_inside_a_decoder_is_never_a_verdict(s3_root: str, tmp_path: Path, kind: str) -> None:
    wav = encoded(tone(600.0), kind="WAV", subtype="PCM_16")
    uri = f"{s3_root}/0.{'tar' if kind == 'tar' else 'wav'}"
    storage.write_bytes(uri, write_tar(tmp_path / "0.tar", {"a.wav": wav}).read_bytes() if kind == "tar" else wav)
    source = storage.stat(uri)
    assert source is not None

    rows = read_shard(Portion(Shard(kind, (source,), None if kind == "tar" else ((uri, "a"),))), SEGMENT_SECONDS)
    next(rows)
    storage.write_bytes(uri, b"something else")

    if kind == "tar":
        with pytest.raises((RunAgain, StorageError), match=uri):
            list(rows)
    else:  # the next run reads it again; what follows it in the shard goes on
        *_, changed, end = rows
        assert (changed["outcome"]["error"], end["n_utterances"]) == (CHANGED, 1)


@pytest.mark.parametrize("channels", ["first", "each"])
def test_each_utterance_of_a_file_that_changed_has_an_outcome_and_its_neighbours_theirs(
    tmp_path: Path, channels: str
) -> None:
    sources, names = [], []
    for name in "abc":
        path = tmp_path / f"{name}.flac"
        path.write_bytes(FLAC)
        source = storage.stat(str(path))
        assert source is not None
        sources.append(source)
        names += [(source.uri, name)] if name != "b" else [(source.uri, "b1"), (source.uri, "b2")]
    (tmp_path / "b.flac").write_bytes(encoded(tone(3.0)))

    rows = list(read_shard(Portion(Shard("files", tuple(sources), tuple(names))), SEGMENT_SECONDS, channels))

    found = {row["outcome"]["utterance_id"][:2]: row["outcome"].get("error") for row in rows if "outcome" in row}
    assert [found.pop(name) for name in ("b1", "b2")] == [CHANGED, CHANGED]
    assert ([name[0] for name in found], set(found.values())) == (["a", "c"], {None})
    assert rows[-1]["n_utterances"] == 4


def test_loose_files_keep_their_order_and_ids(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(FLAC)
    (tmp_path / "b.flac").write_bytes(b"?")
    sources = tuple(storage.listing(str(tmp_path)) or ())
    shard = Shard("files", sources, ((sources[0].uri, "one"), (sources[1].uri, "two")))

    found = [(each["utterance_id"], each["uri"], each["member"], each.get("error")) for each in outcomes(shard)]

    assert found == [("one", f"{tmp_path}/a.flac", None, None), ("two", f"{tmp_path}/b.flac", None, "not_audio")]


STEREO = np.stack([tone(6.0), tone(6.0, hertz=330.0, seed=1)]).T


def test_excerpts_of_one_recording_are_rows_with_their_times_and_channel(tmp_path: Path) -> None:
    flac = encoded(STEREO)
    path = write_tar(tmp_path / "0.tar", {"a.flac": flac, "b.flac": FLAC})
    selections = [
        ("a.flac", Selection("first", Excerpt(0.0, 2.0))),
        ("a.flac", Selection("side", Excerpt(1.0, None, 1))),
        ("a.flac", Selection("beyond", Excerpt(5.0, 9.0))),
        ("a.flac", Selection("all")),
    ]
    shard = Shard.selecting("tar", shard_of(path).sources, selections)

    found = outcomes(shard)

    place = ("utterance_id", "seconds", "start", "end", "channel", "error")
    assert [tuple(each.get(name) for name in place) for each in found] == [
        ("first", 2.0, 0.0, 2.0, None, None),
        ("side", 5.0, 1.0, None, 1, None),
        ("beyond", 1.0, None, None, None, "out_of_range"),  # it was read from second 5 to 6
        ("all", 6.0, None, None, None, None),
    ]
    assert {each["audio_sha256"] for each in found if "audio_sha256" in each} == {hashlib.sha256(flac).hexdigest()}
    samples = [
        row["samples"]
        for row in read_shard(Portion(shard), SEGMENT_SECONDS)
        if row.get("ordinal") == 1 and "samples" in row
    ]
    alone = Recording(io.BytesIO(encoded(STEREO[16_000:, 1])), SEGMENT_SECONDS)
    assert samples == [segment.tobytes() for segment in alone.segments()]


@pytest.mark.parametrize("content", [b"", encoded(tone(0.5), kind="WAV")], ids=["nothing else", "a recording first"])
def test_a_file_of_holes_is_a_row_of_which_nothing_is_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(encoded(tone(0.5)))
    (tmp_path / "hollow.wav").write_bytes(content)
    with open(tmp_path / "hollow.wav", "r+b") as file:
        file.truncate(1 << 40)
    sources = [storage.stat(str(tmp_path / name)) for name in ("a.wav", "hollow.wav")]
    names = [(source.uri, Selection(Path(source.uri).name)) for source in sources if source is not None]

    found = errors(Shard.selecting("files", [each for each in sources if each is not None], names))

    assert [error for _, error in found] == [None, "too_large"]
