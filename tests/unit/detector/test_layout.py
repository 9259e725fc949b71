"""The structure of a file, not what its header claims, decides where a recording begins and ends."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import numpy as np
import pytest

from detector.layout import BOTH, PYAV, SOUNDFILE, Layout, Layouts, flac, layout_at, mpeg, tags, wave
from detector.layout.spliced import Range, spliced
from tests.support.audio import encoded, tone
from tests.unit.detector.test_audio import film, muxed, with_data_size

SHORT = tone(0.2)
ID3 = b"ID3\3\0\0" + bytes([0, 0, 1, 72]) + bytes(200)  # the size is four times seven bits: 1 × 128 + 72


def first(content: bytes) -> Layout:
    return layout_at(io.BytesIO(content), 0, len(content))


def starts(content: bytes) -> list[int]:
    layouts = Layouts(io.BytesIO(content))
    layouts.decoder = PYAV  # a FLAC is then taken to be read to its end
    return [layout.start for layout in layouts]


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        *(("WAV", "PCM_16"), ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610"), ("WAVEX", "PCM_24")),
        *(("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "ULAW"), ("CAF", "PCM_16")),
        *(("NIST", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")),
    ],
)
@pytest.mark.parametrize("n_tags", [0, 1, 3])
def test_libsndfile_may_read_the_speech_formats_that_it_writes_behind_tags_too(
    kind: str, subtype: str | None, n_tags: int
) -> None:
    assert first(ID3 * n_tags + encoded(SHORT, kind=kind, subtype=subtype)).decoders == BOTH


@pytest.mark.parametrize("content", [b"MATLAB 5.0 MAT-file", ID3 + b"MATLAB 5.0", b"", b"\x1a\x45\xdf\xa3", film()])
def test_libsndfile_may_read_nothing_else(content: bytes) -> None:
    assert SOUNDFILE not in first(content).decoders


@pytest.mark.parametrize("size", range(0, 80, 3))
def test_a_file_that_ends_anywhere_has_a_layout(size: int) -> None:
    for kind in ("WAV", "W64", "RF64", "OGG", "FLAC", "AIFF", "AU", "CAF", "NIST", "MP3"):
        content = encoded(SHORT, kind=kind)[:size]
        for layout in Layouts(io.BytesIO(content)):
            assert 0 <= layout.start <= (layout.end or 0) <= len(content) or layout.end is None


@pytest.mark.parametrize(("claimed", "share"), [(6_400, 1.0), (12_800, 2.0), (0, None), (0x7FFF_FFFF, None)])
def test_a_wav_claims_the_size_of_its_data_chunk_unless_it_is_a_placeholder(claimed: int, share: float | None) -> None:
    wav = encoded(SHORT, kind="WAV")  # 0.2 s × 16,000 Hz × 2 bytes

    assert first(with_data_size(wav, claimed)).claimed_share == share


def test_a_size_that_wrapped_at_four_gibibytes_is_not_believed() -> None:
    wav = with_data_size(encoded(tone(3.0), kind="WAV"), 6_400)  # 96,000 bytes: as 4 GiB and 6,400 B would be stated

    found = wave.read(io.BytesIO(wav), 0, len(wav), wav[:64])

    assert (found.samples, found.claimed_bytes, found.is_regular) == ((Range(44, 96_044),), 6_400, False)
    long = replace(found, samples=(Range(44, 44 + (5 << 30)),))
    assert long.header()[-4:] == b"\xff\xff\xff\xff"  # which decoders take for the rest of the file


@pytest.mark.parametrize(
    "behind", [b"LIST\4\0\0\0INFO", b"TAG".ljust(128, b"\0"), bytes(10_000), b"LIST\xff\0\0\0INFO"]
)
def test_chunks_tags_and_padding_behind_a_wav_are_no_samples(behind: bytes) -> None:
    layouts = Layouts(io.BytesIO(encoded(tone(1.0), kind="WAV") + behind))

    (layout,) = layouts

    assert (layout.claimed_share, layouts.trailing_bytes) == (1.0, 0)


@pytest.mark.parametrize("exponent", [0x0000, 0x3000, 0x4100, 0x7FFF, 0xFFFF])
def test_an_aiff_with_a_rate_that_is_no_number_of_hertz_states_no_length(exponent: int) -> None:
    content = bytearray(encoded(tone(1.0), kind="AIFF"))
    struct.pack_into(">H", content, content.index(b"COMM") + 16, exponent)

    assert first(bytes(content)).claimed_seconds is None


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("behind", [np.random.default_rng(3).bytes(50_000), b"<xml>not a sample</xml>" * 999])
def test_text_and_packed_bytes_behind_a_wav_are_no_samples(behind: bytes, subtype: str) -> None:
    layouts = Layouts(io.BytesIO(encoded(tone(1.0), kind="WAV", subtype=subtype) + behind))

    (layout,) = layouts

    assert layout.claimed_share == 1.0
    assert layouts.trailing_bytes == pytest.approx(len(behind), abs=1)


def test_a_header_that_ends_before_it_begins_is_passed() -> None:
    au = b".snd" + struct.pack(">IIIII", 0, 0, 3, 16_000, 1)  # samples from byte 0 on, and none of them

    assert starts(au + encoded(tone(1.0))) == [0, 24]


def test_bytes_of_no_known_kind_are_counted() -> None:
    layouts = Layouts(io.BytesIO(encoded(tone(1.0), kind="MP3") + b"neither sound nor tag"))

    assert len(list(layouts)) == 1
    assert layouts.trailing_bytes == 21


def test_streams_that_run_side_by_side_in_an_ogg_are_one_link() -> None:
    vorbis, opus = (encoded(SHORT, kind="OGG", subtype=each) for each in ("VORBIS", "OPUS"))
    assert starts(vorbis + opus) == [0, len(vorbis)]

    # RFC 3533: the first pages of all streams that run side by side come before any other page
    assert starts(vorbis[: vorbis.index(b"OggS", 4)] + opus) == [0]


@pytest.mark.parametrize("rate", [16_000, 44_100])  # MPEG 2 and 1 have the LAME header at different offsets
@pytest.mark.parametrize("channels", [1, 2])
def test_joined_mp3s_are_cut_where_a_first_frame_states_the_length(rate: int, channels: int) -> None:
    samples = np.zeros((channels, rate * 3), np.int16) + 0.1
    mp3 = muxed(samples, kind="mp3", codec="libmp3lame", rate=rate)

    assert starts(mp3) == [0]
    assert starts(mp3 + b"TAG".ljust(128, b"\0")) == [0]
    assert starts(mp3 * 3) == [0, len(mp3), 2 * len(mp3)]
    assert starts(mp3 + ID3 + mp3) == [0, len(mp3)]
    begin, _ = tags.after_id3(io.BytesIO(mp3), 0, len(mp3))
    assert starts(mp3 + b"junk" * 100 + mp3) == [0, len(mp3) + 400 + begin]


def frame(bit_rate: int, n_bytes: int, rate: int = 0) -> bytes:
    """MPEG 1, layer III, mono, without checksum: the index of the bit rate, and of the sample rate."""
    return (b"\xff\xfb" + bytes([bit_rate << 4 | rate << 2, 0xC0])).ljust(n_bytes, b"\0")


@pytest.mark.parametrize(
    ("bit_rate", "n_bytes"),
    [(1, 104), (5, 208), (9, 417), (14, 1_044)],  # floor(144 × 32, 64, 128, 320 kbit/s / 44.1 kHz)
)
def test_frames_have_the_size_of_their_bit_rate(bit_rate: int, n_bytes: int) -> None:
    content = frame(bit_rate, n_bytes) * 5

    stream = mpeg.walk(io.BytesIO(content), 0, len(content))

    assert (stream.end, stream.n_frames, stream.n_bit_rates, stream.is_cut) == (len(content), 5, 1, False)


def test_a_walk_ends_at_another_rate_and_says_whether_the_last_frame_is_whole() -> None:
    content = frame(9, 417) * 3 + frame(5, 208) * 2 + frame(9, 384, rate=1)[:300]

    stream = mpeg.walk(io.BytesIO(content), 0, len(content))
    other = mpeg.walk(io.BytesIO(content), stream.end, len(content))

    assert (stream.end, stream.n_frames, stream.n_bit_rates, stream.is_cut) == (3 * 417 + 2 * 208, 5, 2, False)
    assert (other.end, other.n_frames, other.is_cut) == (len(content), 1, True)


@pytest.mark.parametrize("n_counted", [4_096, 10_000, 47_999])
def test_the_first_frame_that_a_flac_does_not_count_is_found(n_counted: int) -> None:
    content = encoded(tone(3.0))  # 48,000 samples in blocks of 4,096
    info = flac.StreamInfo(4_096, 16_000, n_counted)

    found = flac.find_uncounted(content[flac.HEADER_BYTES :], info)

    assert found is not None
    assert found.n_counted == n_counted % 4_096
    frames = spliced(io.BytesIO(content), flac.uncounted(content[:42]), Range(found.start + 42, len(content)))
    assert layout_at(frames, 0, len(frames.read())).decoders == (PYAV,)


def test_a_flac_that_is_counted_right_has_no_such_frame() -> None:
    content = encoded(tone(3.0))
    info = flac.stream_info(content[:42])
    assert info == flac.StreamInfo(4_096, 16_000, 48_000)

    assert flac.find_uncounted(content, info) is None


@pytest.mark.parametrize(
    "tag",
    [
        b"TAG".ljust(128, b"\0"),
        b"TAG+".ljust(227, b"\0") + b"TAG".ljust(128, b"\0"),
        b"APETAGEX"
        + struct.pack("<IIII8x", 2_000, 40, 1, 1 << 31 | 1 << 29)
        + bytes(8)
        + b"APETAGEX"
        + struct.pack("<IIII8x", 2_000, 40, 1, 1 << 31),
        b"LYRICSBEGIN" + b"words" + b"000016" + b"LYRICS200",
    ],
)
def test_tags_at_the_end_are_known(tag: bytes) -> None:
    content = b"sound" * 10 + tag

    assert tags.before_tags(io.BytesIO(content), 0, len(content)) == 50
    assert tags.before_tags(io.BytesIO(content + tag), 0, len(content + tag)) == 50


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 5_000, bytes(5_000), b"RIFF", b"text of no kind " * 900, b"\xff\xfb\x90\xc0"]
)
def test_no_recording_is_found_where_there_is_none(content: bytes) -> None:
    assert tags.find_recording(io.BytesIO(content), 0, len(content)) is None
