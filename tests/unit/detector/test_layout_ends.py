"""A recording goes on behind what a player passes over; what nobody reads behind it is a row, unless it is a tag.

The samples are those of the same recording without what was put between its units.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import av
import numpy as np
import pytest

from bench.codecs import Pipe
from detector.audio import UNHEARD_BYTES
from detector.decoders import Samples
from detector.layout import Layouts
from detector.layout.frames import adts_bytes, mpeg_bytes
from tests.support.audio import encoded, tone
from tests.support.wild_films import box
from tests.unit.detector.test_audio import muxed, without_length
from tests.unit.detector.test_heard_whole import failure_of, heard

JUNK = np.random.default_rng(7).bytes(60_000)
OTHER = encoded(tone(0.7, hertz=330.0), kind="WAV")


def written(kind: str, codec: str, seconds: float = 1.2, rate: int = 16_000, **options: str) -> bytes:
    """A recording as a live encoder writes it, to a pipe."""
    file = Pipe()
    with av.open(file, "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        if codec == "wmav2":
            stream.bit_rate = 32_000
        samples = tone(seconds, rate=rate).astype(np.float32)
        for at in range(0, len(samples), rate // 10):
            frame = av.AudioFrame.from_ndarray(samples[None, at : at + rate // 10].copy(), "fltp", "mono")
            frame.sample_rate, frame.pts = rate, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


MP4 = written("mp4", "aac", movflags="frag_keyframe+empty_moov+default_base_moof", frag_duration="300000")
WEBM = written("webm", "libopus", rate=48_000, live="1", cluster_time_limit="300")
AVI = written("avi", "libmp3lame", rate=44_100)
MP3 = muxed(tone(1.2, rate=44_100), kind="mp2", codec="mp2", rate=44_100)
ADTS = muxed(tone(1.2), kind="adts", codec="aac", rate=16_000)
OGG = encoded(tone(9.0), kind="OGG", subtype="VORBIS")
SECOND_FRAGMENT = MP4.index(b"moof", MP4.index(b"moof") + 4) - 4
CLUSTERS = WEBM.index(b"\x1f\x43\xb6\x75"), WEBM.index(b"\x1f\x43\xb6\x75", WEBM.index(b"\x1f\x43\xb6\x75") + 4)


def samples_of(content: bytes) -> Samples:
    return heard(content)[1]


@pytest.mark.parametrize(
    "between",
    [
        box(b"abcd", bytes(8)),
        box(b"imda", JUNK),
        box(b"\1\2\3\4", bytes(8)),
        struct.pack(">I4sQ", 1, b"long", 32) + bytes(16),
    ],
    ids=["unknown", "new", "no name", "long"],
)
def test_boxes_that_nobody_knows_end_no_film(between: bytes) -> None:
    film = MP4[:SECOND_FRAGMENT] + between + MP4[SECOND_FRAGMENT:]

    np.testing.assert_array_equal(samples_of(film), samples_of(MP4))


def test_many_boxes_end_no_film_either() -> None:
    film = MP4[:SECOND_FRAGMENT] + box(b"free") * 100_001 + MP4[SECOND_FRAGMENT:]

    layouts = [(each.start, each.end) for each in Layouts(io.BytesIO(film + OTHER))]

    assert layouts == [(0, len(film)), (len(film), len(film + OTHER))]


@pytest.mark.parametrize(
    "between", [struct.pack(">I4s", 2, b"free"), struct.pack(">I4s", 0, b"free"), bytes(8), b"?" * 99]
)
def test_what_no_player_passes_over_in_a_film_is_a_row(between: bytes) -> None:
    error = failure_of(MP4[:SECOND_FRAGMENT] + between + 3 * MP4[SECOND_FRAGMENT:])

    assert error.error == "trailing_data"
    assert "behind the recording at byte 0 are no sound that is known" in error.message


def with_segment_size(size: int) -> bytes:
    at = WEBM.index(b"\x18\x53\x80\x67") + 4
    return WEBM[:at] + struct.pack(">Q", 1 << 56 | size) + WEBM[at + 8 :]


@pytest.mark.parametrize("size", [0, 77, CLUSTERS[1] - CLUSTERS[0], 1 << 40])
def test_the_size_of_a_segment_ends_no_webm(size: int) -> None:
    np.testing.assert_array_equal(samples_of(with_segment_size(size)), samples_of(WEBM))


def test_a_webm_goes_on_behind_damage() -> None:
    damaged = WEBM[: CLUSTERS[1]] + JUNK[:300] + WEBM[CLUSTERS[1] :]

    facts, samples = heard(damaged)

    np.testing.assert_array_equal(samples, samples_of(WEBM))
    assert facts.trailing_bytes == 300


@pytest.mark.parametrize("name", [b"RIFF", b"LIST"])
@pytest.mark.parametrize("size", [0, 9_999, 10_000, 1 << 30, 0xFFFF_FFFF])
def test_the_sizes_that_hold_all_chunks_end_no_avi(name: bytes, size: int) -> None:
    at = (0 if name == b"RIFF" else AVI.index(b"movi") - 8) + 4
    stale = AVI[:at] + struct.pack("<I", size) + AVI[at + 4 :]

    np.testing.assert_array_equal(samples_of(stale), samples_of(AVI))


def mpeg_frames(content: bytes) -> Iterator[bytes]:
    at = 0
    while at + 4 <= len(content):
        n_bytes = mpeg_bytes(content[at + 1], content[at + 2])
        yield content[at : at + n_bytes]
        at += n_bytes


def adts_frames(content: bytes) -> Iterator[bytes]:
    at = 0
    while at + 8 <= len(content):
        n_bytes = adts_bytes(content[at : at + 8])
        yield content[at : at + n_bytes]
        at += n_bytes


@pytest.mark.parametrize("junk", [b"\0", b"\xff\xfb", JUNK[:9]])
@pytest.mark.parametrize("every", [1, 3])
def test_bytes_between_frames_end_no_mpeg_audio(junk: bytes, every: int) -> None:
    frames = list(mpeg_frames(MP3))

    damaged = b"".join(each + (junk if n % every == 0 else b"") for n, each in enumerate(frames[:-1], 1)) + frames[-1]

    np.testing.assert_array_equal(samples_of(damaged), samples_of(MP3))


def test_bytes_between_frames_end_no_adts() -> None:
    damaged = b"".join(each + (b"?" if n % 4 == 0 else b"") for n, each in enumerate(adts_frames(ADTS), 1))

    np.testing.assert_array_equal(samples_of(damaged), samples_of(ADTS))


def test_frames_in_what_looks_like_a_tag_are_heard() -> None:
    frames = list(mpeg_frames(MP3))
    rest = b"".join(frames[20:])
    size = bytes(len(rest) >> shift & 0x7F for shift in (21, 14, 7, 0))

    facts, _ = heard(b"".join(frames[:20]) + b"ID3\3\0\0" + size + rest)

    assert facts.seconds == pytest.approx(1.2, abs=0.1)


@pytest.mark.parametrize("between", [OTHER, encoded(tone(0.7), kind="MP3"), encoded(tone(0.7), kind="OGG")])
def test_the_recording_that_begins_first_behind_a_flac_is_heard_first(between: bytes) -> None:
    flac = encoded(tone(0.5))

    assert heard(flac + between + flac)[0].seconds == pytest.approx(1.7, abs=0.01)
    assert heard(without_length(flac) + between)[0].seconds == pytest.approx(1.2, abs=0.01)


def test_a_page_behind_another_recording_does_not_hide_that_recording() -> None:
    third = OGG.index(b"OggS", OGG.index(b"OggS", OGG.index(b"OggS", 4) + 4) + 4)

    layouts = [each.start for each in Layouts(io.BytesIO(OGG[:third] + OTHER + OGG[third:]))]

    assert layouts[:2] == [0, third]


@pytest.mark.parametrize(
    "first", [WEBM, AVI, ADTS, written("mpeg", "mp2", rate=44_100), written("ac3", "ac3", rate=48_000)]
)
def test_a_recording_behind_one_that_states_no_size_is_heard(first: bytes) -> None:
    alone = samples_of(first)

    np.testing.assert_array_equal(samples_of(first + OTHER)[-11_200:], samples_of(OTHER))
    assert len(samples_of(first + OTHER)) == pytest.approx(len(alone) + 11_200, abs=2_000)


ALL = {
    "wav": OTHER, "flac": encoded(tone(0.7)), "live flac": without_length(encoded(tone(0.7))), "mp4": MP4, "webm": WEBM,
    "avi": AVI, "mp2": MP3, "mp3": encoded(tone(0.7), kind="MP3"), "adts": ADTS, "ogg": OGG,
    "ts": muxed(tone(0.5), kind="mpegts", codec="aac", rate=16_000),
    "wavpack": muxed(tone(0.5), kind="wv", codec="wavpack", rate=16_000),
    "tta": muxed(tone(0.5), kind="tta", codec="tta", rate=16_000),
}  # fmt: skip


@pytest.mark.parametrize("kind", ALL)
def test_many_bytes_behind_a_recording_that_no_decoder_reads_are_a_row(kind: str) -> None:
    error = failure_of(ALL[kind] + JUNK)

    assert error.error == "trailing_data"
    assert f"at most {UNHEARD_BYTES:,} are left unheard" in error.message


APE = b"APETAGEX" + struct.pack("<IIII8x", 2_000, 40_032, 1, 1 << 31 | 1 << 29)
TAILS = {
    "ID3v1": b"TAG".ljust(128, b"\0"),
    "APE": APE + JUNK[:40_000] + APE[:20] + struct.pack("<I8x", 1 << 31),
    "Lyrics": b"LYRICSBEGINwords000016LYRICS200" + b"TAG".ljust(128, b"\0"),
    "zeros": bytes(100_000),
    "page": b"<html>404 not found</html>\n" * 150,
    "remains": JUNK[:3_000],
    "ID3v2": b"ID3\3\0\0\0\2\x38\x40" + JUNK[:40_000],  # 2 × 16,384 + 56 × 128 + 64
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("kind", ["wav", "flac", "live flac", "mp4", "webm", "mp3", "adts", "ogg"])
def test_tags_padding_and_a_few_bytes_change_nothing(kind: str, tail: str) -> None:
    np.testing.assert_array_equal(samples_of(ALL[kind] + TAILS[tail]), samples_of(ALL[kind]))


def test_many_joined_files_with_tags_are_no_unknown_bytes() -> None:
    joined = (TAILS["ID3v2"] + ALL["mp3"] + TAILS["ID3v1"]) * 3

    facts, _ = heard(joined)

    assert (facts.seconds, facts.trailing_bytes) == (pytest.approx(2.1), 0)


@pytest.mark.parametrize("n_bytes", [1, 3, 4, 5])
def test_a_few_bytes_behind_mpeg_audio_are_counted(n_bytes: int) -> None:
    layouts = Layouts(io.BytesIO(MP3 + b"?" * n_bytes))

    assert [each.end for each in layouts] == [len(MP3)]
    assert layouts.trailing_bytes == n_bytes


def test_a_live_wma_is_heard_to_its_end_and_no_further() -> None:
    wma = written("asf", "wmav2", rate=22_050)

    alone = samples_of(wma)

    assert len(alone) == pytest.approx(1.2 * 16_000, abs=2_500)
    assert len(samples_of(wma + OTHER)) == pytest.approx(len(alone) + 11_200, abs=2)
