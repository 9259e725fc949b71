"""The first bytes decide as the specifications of the containers say."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from detector.audio import SAMPLE_RATE, decode
from detector.sniff import sniff
from tests.support.audio import encoded, tone
from tests.unit.detector.test_audio import muxed

SHORT = tone(0.2)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        *(("WAV", "PCM_16"), ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610"), ("WAVEX", "PCM_24")),
        *(("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "ULAW"), ("CAF", "ALAC_16")),
        *(("NIST", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)),
    ],
)
def test_libsndfile_may_read_the_speech_formats_that_it_writes(kind: str, subtype: str | None) -> None:
    assert sniff(io.BytesIO(encoded(SHORT, kind=kind, subtype=subtype))).soundfile


@pytest.mark.parametrize("n_tags", [1, 3])
@pytest.mark.parametrize(("content", "expected"), [(encoded(SHORT, kind="MP3"), True), (b"MATLAB 5.0", False)])
def test_tags_do_not_hide_the_container(n_tags: int, content: bytes, expected: bool) -> None:
    # ID3v2.3: 200 bytes after a header of 10; the size is four times seven bits: 1 × 128 + 72
    tag = b"ID3\3\0\0" + bytes([0, 0, 1, 72]) + bytes(200)

    assert sniff(io.BytesIO(tag * n_tags + content)).soundfile is expected


@pytest.mark.parametrize("size", range(0, 80, 3))
def test_a_file_that_ends_anywhere_is_sniffed(size: int) -> None:
    for kind in ("WAV", "W64", "RF64", "OGG", "FLAC", "AIFF"):
        subtype = "VORBIS" if kind == "OGG" else "PCM_16"
        sniff(io.BytesIO(encoded(SHORT, kind=kind, subtype=subtype)[:size]))


@pytest.mark.parametrize(("claimed", "expected"), [(6_400, 6_400), (1 << 20, 1 << 20), (0, None), (0x7FFF_FFFF, None)])
def test_a_wav_claims_the_size_of_its_data_chunk_unless_it_is_a_placeholder(claimed: int, expected: int | None) -> None:
    wav = bytearray(encoded(SHORT, kind="WAV"))  # 0.2 s × 16,000 Hz × 2 bytes
    struct.pack_into("<I", wav, wav.index(b"data") + 4, claimed)

    found = sniff(io.BytesIO(bytes(wav)))

    assert found.claimed_bytes == expected
    assert found.present_bytes == min(claimed, 6_400)


def test_a_chained_ogg_is_recognised_and_multiplexed_streams_are_not_mistaken_for_one() -> None:
    vorbis, opus = (encoded(SHORT, kind="OGG", subtype=each) for each in ("VORBIS", "OPUS"))
    assert sniff(io.BytesIO(vorbis)).soundfile
    assert not sniff(io.BytesIO(vorbis + opus)).soundfile
    second_page = opus.index(b"OggS", 4)

    # RFC 3533: the first pages of all streams that run side by side come before any other page
    assert sniff(io.BytesIO(vorbis[: vorbis.index(b"OggS", 4)] + opus[:second_page])).soundfile


@pytest.mark.parametrize("rate", [16_000, 44_100])  # MPEG 2 and 1 have the LAME header at different offsets
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_that_continues_after_its_stated_size_is_not_for_libsndfile(rate: int, channels: int) -> None:
    samples = np.zeros((rate * 30, channels), np.int16).squeeze()
    mp3 = muxed(np.ascontiguousarray((samples + 0.1).T), kind="mp3", codec="libmp3lame", rate=rate)

    assert sniff(io.BytesIO(mp3)).soundfile
    assert sniff(io.BytesIO(mp3 + b"TAG".ljust(128, b"\0"))).soundfile
    assert not sniff(io.BytesIO(mp3 * 2)).soundfile


def test_concatenated_mp3s_are_read_to_the_last() -> None:
    mp3 = muxed(tone(30.0), kind="mp3", codec="libmp3lame", rate=16_000)

    stored, blocks = decode(io.BytesIO(mp3 * 3))

    assert stored.decoder == "pyav"
    assert sum(map(len, blocks)) / SAMPLE_RATE == pytest.approx(90.0, abs=0.5)
