"""A header that libsndfile and FFmpeg read differently makes a row, or is read as players read it."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.support.audio import encoded, tone
from tests.unit.detector.test_audio import correlation
from tests.unit.detector.test_heard_whole import by_ffmpeg, by_libsndfile, failure_of, heard
from tests.unit.detector.test_wave_readers import hidden, in_w64

VOICE, OTHER = tone(3.0), tone(3.0, hertz=347.0, seed=2)


def in_8_bits(samples: np.ndarray) -> np.ndarray:
    return np.round(samples * 127).astype(np.int8)


# the voice to whom reads the words in little-endian order, the other one to whom reads them in big-endian order
WORDS = np.stack([in_8_bits(OTHER), in_8_bits(VOICE)], 1).tobytes()


# a tag in front


def id3(n_bytes: int) -> bytes:
    """An ID3v2 tag of so many bytes behind its ten first."""
    return b"ID3\3\0\0" + bytes(n_bytes >> shift & 0x7F for shift in (21, 14, 7, 0)) + bytes(n_bytes)


@pytest.mark.parametrize("n_bytes", [10, 203, 50_000])
@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "OGG", "MP3"])
def test_a_tag_in_front_takes_nothing_off_the_end(kind: str, n_bytes: int) -> None:
    facts, samples = heard(encoded(VOICE, kind=kind))

    tagged_facts, tagged_samples = heard(id3(n_bytes) + encoded(VOICE, kind=kind))

    for name in ("seconds", "seconds_claimed", "truncated", "trailing_bytes", "decoder"):
        assert getattr(tagged_facts, name) == getattr(facts, name)
    np.testing.assert_array_equal(tagged_samples, samples)


@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "NIST"])
def test_half_a_file_behind_a_tag_is_truncated(kind: str) -> None:
    whole = encoded(VOICE, kind=kind)

    error = failure_of(id3(50_000) + whole[: len(whole) // 2])

    assert (error.error, error.seconds_claimed) == ("truncated", pytest.approx(3.0, abs=0.01))
    assert error.seconds == pytest.approx(1.5, abs=0.1)


def test_a_w64_behind_a_tag_of_any_length_is_looked_at_like_others() -> None:
    assert "AC-3" in str(failure_of(id3(13) + in_w64(hidden("AC-3"))))


# byte order


@pytest.mark.parametrize("n_bytes", [2, 3, 4])
def test_a_big_endian_wav_is_a_row(n_bytes: int) -> None:
    stated = struct.pack(">HHIIHH", 1, 1, 16_000, 16_000 * n_bytes, n_bytes, 8 * n_bytes)
    chunks = b"fmt " + struct.pack(">I", 16) + stated + b"data" + struct.pack(">I", len(WORDS)) + WORDS
    content = b"RIFX" + struct.pack(">I", 4 + len(chunks)) + b"WAVE" + chunks
    if n_bytes == 2:
        assert correlation(by_ffmpeg(content), VOICE) > 0.99 < correlation(by_libsndfile(content), OTHER)  # the control

    error = failure_of(content)

    assert (error.error, "convert" in error.message) == ("bad_header", True)


AIFF_C = 0xA2805140


def big_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack(">I", len(content)) + content + bytes(len(content) % 2)


def common(compression: bytes = b"", bits: int = 16, rate: int = 16_000) -> bytes:
    """A chunk COMM for the words."""
    exponent = rate.bit_length() - 1
    real = struct.pack(">HQ", exponent + 16_383, rate << 63 - exponent)
    n_frames = 8 * len(WORDS) // bits
    return big_chunk(
        b"COMM", struct.pack(">hIh", 1, n_frames, bits) + real + compression + bytes(2) * bool(compression)
    )


def aiff(form: bytes, *chunks: bytes) -> bytes:
    content = form + b"".join(chunks) + big_chunk(b"SSND", bytes(8) + WORDS)
    return b"FORM" + struct.pack(">I", len(content)) + content


def version(number: int) -> bytes:
    return big_chunk(b"FVER", struct.pack(">I", number))


@pytest.mark.parametrize(
    "content",
    [
        aiff(b"AIFF", common(b"sowt")),
        aiff(b"AIFF", version(AIFF_C + 1), common(b"sowt")),
        aiff(b"AIFC", version(AIFF_C + 1), common(b"sowt")),
        aiff(b"AIFC", version(AIFF_C), version(0), common(b"sowt")),
        aiff(b"AIFC", version(AIFF_C), common(b"sowt", bits=8)),
        aiff(b"AIFC", version(AIFF_C), common(b"sowt", bits=24)),
        aiff(b"AIFC", version(AIFF_C), common(b"sowt", bits=32, rate=32_000)),
        aiff(b"AIFC", version(AIFF_C), common(b"in24", bits=16)),
        aiff(b"AIFC", version(AIFF_C), common(b"in32", bits=24)),
    ],
)
def test_an_aiff_whose_samples_have_two_sizes_or_orders_is_a_row(content: bytes) -> None:
    found, other = by_ffmpeg(content), by_libsndfile(content)
    assert abs(len(found) - len(other)) > 100 or correlation(found, other) < 0.1  # the control

    error = failure_of(content)

    assert (error.error, "which players read differently" in error.message) == ("bad_header", True)


@pytest.mark.parametrize(
    "content",
    [
        aiff(b"AIFC", version(AIFF_C), common(b"sowt")),
        aiff(b"AIFC", common(b"sowt")),
        aiff(b"AIFC", common(b"sowt", bits=12)),
        aiff(b"AIFC", version(AIFF_C), common(b"twos")),
        aiff(b"AIFC", version(AIFF_C), common(b"NONE", bits=24)),
        aiff(b"AIFC", version(AIFF_C), common(b"in24", bits=24)),
        aiff(b"AIFC", version(AIFF_C), common(b"in32", bits=32)),
        aiff(b"AIFC", version(AIFF_C), common(b"ulaw", bits=16)),
        aiff(b"AIFF", common(b"NONE")),
        aiff(b"AIFF", common()),
    ],
)
def test_an_aiff_that_all_read_alike_is_heard(content: bytes) -> None:
    facts, samples = heard(content)

    assert facts.decoder == "soundfile"
    np.testing.assert_allclose(samples, by_ffmpeg(content), atol=1e-4)
