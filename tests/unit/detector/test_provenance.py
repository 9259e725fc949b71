"""A manifest is found where the C2PA specification puts it, in each container, without reading the sound."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from detector.provenance import CHUNKS, HELD_BYTES, Provenance, provenance
from tests.support import ROOT
from tests.support.audio import encoded, tone
from tests.support.provenance.store import (
    NAMED,
    box,
    chunk,
    encapsulated,
    frame,
    generated_by,
    manifest,
    page,
    provenance_box,
    riff,
    store,
    tag,
)
from tests.unit.detector.test_audio import muxed

SIGNED = Path(ROOT) / "tests" / "support" / "provenance"
READ = json.loads((SIGNED / "read.json").read_text())
BEFORE = {"updated.m4a": ("Voice Maker/3.1",)}
FOUND = Provenance(True, "Voice Maker/3.1")
UNREADABLE = Provenance(True, None)
NONE = Provenance(False, None)
UNKNOWN = Provenance(None, None)
DATA = chunk(b"data", bytes(64))
MP3 = b"\xff\xfb\x90\x64" + bytes(413)
FTYP = box(b"ftyp", b"M4A \0\0\0\0")


def read(content: bytes) -> Provenance:
    return provenance(io.BytesIO(content))


@pytest.mark.parametrize("name", READ)
def test_signed_recordings_are_read_as_by_the_reference_implementation(name: str) -> None:
    with (SIGNED / name).open("rb") as file:
        assert provenance(file) == Provenance(True, READ[name]["claim_generator"])


@pytest.mark.parametrize("name", READ)
def test_a_signed_recording_that_ends_anywhere_is_read(name: str) -> None:
    content = (SIGNED / name).read_bytes()

    for size in range(0, len(content), 7):
        found = read(content[:size])
        # without the update at its end, an MP4 has the manifest that was updated
        assert found.claim_generator in (None, READ[name]["claim_generator"], *BEFORE.get(name, ()))


@pytest.mark.parametrize(
    ("kind", "subtype", "expected"),
    [
        ("WAV", "PCM_16", False),
        ("RF64", "PCM_16", False),
        ("FLAC", "PCM_16", False),
        ("MP3", None, False),
        ("OGG", "VORBIS", False),
        ("OGG", "OPUS", False),
        ("AIFF", "PCM_16", None),
        ("CAF", "PCM_16", None),
        ("AU", "PCM_16", None),
        ("W64", "PCM_16", None),
        ("NIST", "PCM_16", None),
    ],
)
def test_recordings_without_a_manifest_have_none_or_no_place_for_one(
    kind: str, subtype: str | None, expected: bool | None
) -> None:
    assert read(encoded(tone(0.2), kind=kind, subtype=subtype)) == Provenance(expected, None)


@pytest.mark.parametrize(
    ("kind", "codec", "rate", "expected"),
    [
        ("mp4", "aac", 16_000, False),
        ("mov", "pcm_s16le", 16_000, False),
        ("adts", "aac", 16_000, False),
        ("webm", "libopus", 48_000, None),
    ],
)
def test_films_without_a_manifest_have_none_or_no_place_for_one(
    kind: str, codec: str, rate: int, expected: bool | None
) -> None:
    assert read(muxed(tone(0.2, rate=rate), kind=kind, codec=codec, rate=rate)) == Provenance(expected, None)


@pytest.mark.parametrize("content", [b"", b"R", b"RIFF", b"ID3\4", b"\0" * 100, b"MATLAB 5.0 MAT-file"])
def test_other_bytes_are_unknown(content: bytes) -> None:
    assert read(content) in (UNKNOWN, NONE)


# RIFF


@pytest.mark.parametrize(("form", "order"), [(b"RIFF", "<"), (b"RIFX", ">")])
def test_a_chunk_behind_the_sound_is_found(form: bytes, order: str) -> None:
    odd = chunk(b"LIST", bytes(5), order)

    assert (
        read(riff(odd, chunk(b"data", bytes(64), order), chunk(b"C2PA", NAMED, order), form=form, order=order)) == FOUND
    )


@pytest.mark.parametrize("form", [b"RF64", b"BW64"])
def test_a_chunk_behind_sound_whose_size_has_64_bits_is_found(form: bytes) -> None:
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, 64, 32, 0))
    data = chunk(b"data", bytes(64), n_bytes=0xFFFF_FFFF)

    assert read(riff(sizes, data, chunk(b"C2PA", NAMED), form=form)) == FOUND
    assert read(riff(data, chunk(b"C2PA", NAMED), form=form)) == NONE
    too_far = chunk(b"ds64", struct.pack("<QQQI", 0, (1 << 64) - 1, 32, 0))
    assert read(riff(too_far, data, chunk(b"C2PA", NAMED), form=form)) == NONE


def test_a_chunk_in_the_sound_is_not_looked_for() -> None:
    assert read(riff(chunk(b"data", chunk(b"C2PA", NAMED)))) == NONE


def test_a_wav_of_too_many_chunks_is_unknown() -> None:
    assert read(riff(*[chunk(b"junk", b"")] * (CHUNKS - 1), chunk(b"C2PA", NAMED))) == FOUND
    assert read(riff(*[chunk(b"junk", b"")] * CHUNKS, chunk(b"C2PA", NAMED))) == UNKNOWN


@pytest.mark.parametrize("content", [b"", b"\0" * 40, NAMED[:-2], b"x" * 500])
def test_a_chunk_without_a_readable_store_is_a_manifest_without_a_generator(content: bytes) -> None:
    assert read(riff(DATA, chunk(b"C2PA", content))) == UNREADABLE
    assert read(riff(DATA, chunk(b"C2PA", content, n_bytes=0xFFFF_FFFF))) == UNREADABLE


# ID3v2 tags: MP3 and FLAC


@pytest.mark.parametrize("sound", [MP3, b"fLaC", b"RIFF\4\0\0\0WAVE"])
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("utf_16", [True, False])
@pytest.mark.parametrize("media_type", [b"application/c2pa", b"application/x-c2pa-manifest-store"])
def test_an_object_in_a_tag_is_found(sound: bytes, version: int, utf_16: bool, media_type: bytes) -> None:
    content = encapsulated(NAMED, media_type=media_type, utf_16=utf_16)
    frames = [
        frame(b"TIT2", b"\3a title" * 40, version=version),
        frame(b"GEOB", encapsulated(b"", media_type=b"image/png"), version=version),
        frame(b"GEOB", content, version=version),
    ]

    assert read(tag(*frames, version=version) + sound) == FOUND
    assert read(tag(*frames[:2], version=version) + sound) == NONE
    assert read(tag(*frames[:2], version=version) + tag(frames[2], version=version) + sound) == FOUND


def test_extended_headers_footers_and_extra_fields_of_frames_are_skipped() -> None:
    content = encapsulated(NAMED)
    of_version_3 = tag(frame(b"GEOB", content, version=3), version=3, flags=0x40, extension=b"\0\0\0\6" + bytes(6))
    of_version_4 = tag(frame(b"GEOB", content), flags=0x40, extension=b"\0\0\0\6\1\0")
    grouped = tag(frame(b"GEOB", b"g\0\0\0\0" + content, flags=b"\0\x41"))
    footer = tag(flags=0x10) + b"3DI\4\0\0" + bytes(4) + tag(frame(b"GEOB", content))

    assert [read(each + MP3) for each in (of_version_3, of_version_4, grouped, footer)] == [FOUND] * 4


def test_unsynchronised_objects_are_restored() -> None:
    plain = generated_by({"name": "Voice Maker", "version": "3.1", "x": b"\xff\0\xff\xe0\xff\xff\0"})
    assert b"\xff\0" in plain
    frames = {version: frame(b"GEOB", encapsulated(plain), version=version) for version in (3, 4)}

    def unsynchronised(content: bytes) -> bytes:
        return content.replace(b"\xff", b"\xff\0")

    whole_tag = tag(version=3, flags=0x80, extension=unsynchronised(frames[3]))
    one_frame = tag(frame(b"GEOB", unsynchronised(encapsulated(plain)), flags=b"\0\2"), flags=0x80)

    assert read(whole_tag + MP3) == read(one_frame + MP3) == FOUND
    assert read(tag(version=3, flags=0x80, extension=bytes(HELD_BYTES)) + MP3) == UNKNOWN


@pytest.mark.parametrize(("version", "flags"), [(3, b"\0\x80"), (3, b"\0\x40"), (4, b"\0\x08"), (4, b"\0\x04")])
def test_a_compressed_or_encrypted_object_is_unknown(version: int, flags: bytes) -> None:
    assert read(tag(frame(b"GEOB", b"x" * 50, version=version, flags=flags), version=version) + MP3) == UNKNOWN


@pytest.mark.parametrize(
    "content",
    [b"\0application/c2pa", b"\0application/c2pa\0", b"\1application/c2pa\0" + b"x" * 9_999, encapsulated(NAMED[:99])],
)
def test_an_object_that_ends_early_is_not_mistaken(content: bytes) -> None:
    assert read(tag(frame(b"GEOB", content)) + MP3) == UNREADABLE


def test_an_object_of_another_type_is_no_manifest() -> None:
    for media_type in (b"application/c2pax", b"", b"application/c2p", b"APPLICATION/JSON"):
        assert read(tag(frame(b"GEOB", encapsulated(NAMED, media_type=media_type))) + MP3) == NONE


def test_a_tag_of_another_version_or_of_too_many_frames() -> None:
    assert read(tag(frame(b"GEOB", encapsulated(NAMED)), version=2) + MP3) == NONE
    assert read(tag(*[frame(b"TXXX", b"x")] * CHUNKS, frame(b"GEOB", encapsulated(NAMED))) + MP3) == UNKNOWN


# MP4 and its kin


def test_a_box_at_the_top_level_is_found_and_an_update_at_the_end_counts() -> None:
    update = provenance_box(generated_by({"name": "Editor"}), b"update")
    mdat = box(b"mdat", bytes(64))

    assert read(FTYP + provenance_box(NAMED) + mdat) == FOUND
    assert read(FTYP + provenance_box(NAMED, b"original") + mdat + update) == Provenance(True, "Editor")
    assert read(FTYP + provenance_box(NAMED, b"original") + mdat) == FOUND
    assert read(FTYP + mdat + box(b"moov", provenance_box(NAMED))) == NONE
    assert read(FTYP + box(b"uuid", bytes(16), NAMED) + provenance_box(NAMED, b"merkle")) == NONE


def test_boxes_with_sizes_of_64_bits_and_of_zero_are_walked() -> None:
    long = struct.pack(">I4sQ", 1, b"mdat", 16 + 64) + bytes(64)
    up_to_the_end = bytes(4) + provenance_box(NAMED)[4:]

    assert read(FTYP + long + up_to_the_end) == FOUND
    for size in (0, 15, 1 << 63, (1 << 64) - 1):
        assert read(FTYP + struct.pack(">I4sQ", 1, b"mdat", size) + provenance_box(NAMED)) == NONE


def test_a_film_of_many_fragments_is_not_walked_to_its_end() -> None:
    assert read(FTYP + box(b"moof") * CHUNKS + provenance_box(NAMED)) == NONE


# Ogg


def test_a_logical_stream_of_ogg_is_found() -> None:
    first, last = 2, 4
    vorbis = page(b"\1vorbis" + bytes(23), serial=7, flags=first)
    manifest = page(b"\0c2pa" + NAMED, serial=8, flags=first | last)
    sound = page(bytes(99), serial=7) * 3

    assert read(vorbis + manifest + sound) == read(manifest + vorbis + sound) == FOUND
    assert read(vorbis + sound + manifest) == NONE


def test_a_store_in_many_pages_of_ogg_is_put_together() -> None:
    long = b"\0c2pa" + generated_by([{"name": "Voice Maker", "version": "3.1", "x": bytes(60_000)}]) + bytes(1_000)
    first, rest = long[: 100 * 255], long[100 * 255 :]
    pages = [page(first, serial=8, flags=2), page(b"\1vorbis", serial=7, flags=2), page(b"sound", serial=7)]

    assert read(b"".join(pages) + page(rest, serial=8, flags=4)) == FOUND
    assert read(b"".join(pages)) == UNREADABLE
    too_long = b"\0c2pa" + store(box(b"free", bytes(HELD_BYTES + 70_000)), manifest({"claim_generator": "x"}))
    parts = [too_long[at : at + 250 * 255] for at in range(0, len(too_long), 250 * 255)]
    assert read(b"".join(page(part, serial=8, flags=2 * (part is parts[0])) for part in parts)) == UNREADABLE


# cost and rights


class Counted(io.BytesIO):
    """A file that counts reads and the bytes of them, and can do nothing but read and seek."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.n_reads = self.n_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.n_reads, self.n_bytes = self.n_reads + 1, self.n_bytes + len(content)
        return content

    def readinto(self, buffer: object) -> int:
        raise AssertionError("only seek and read may be used")

    readline = readinto1 = read1 = getvalue = getbuffer = readinto  # type: ignore[assignment]


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG", "mp4"])
def test_a_recording_without_a_manifest_costs_a_few_reads(kind: str) -> None:
    sound = tone(10.0)
    content = muxed(sound, kind="mp4", codec="aac", rate=16_000) if kind == "mp4" else encoded(sound, kind=kind)
    file = Counted(content)

    assert provenance(file) == NONE
    assert (file.n_reads, file.n_bytes) < (12, 1_000)


def test_no_file_is_opened_after_the_import() -> None:
    names = [str(SIGNED / name) for name in READ]
    code = f"""
import io, sys
from detector.provenance import provenance
files = [io.BytesIO(open(name, "rb").read()) for name in {names!r}]
opened = []
sys.addaudithook(lambda event, details: opened.append(details) if event in ("open", "import") else None)
found = [provenance(file).has_c2pa for file in files]
assert found == [True] * len(files) and opened == [], (found, opened)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
