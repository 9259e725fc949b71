"""A header that libsndfile and FFmpeg read differently makes a row, or is read as players read it."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

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


def test_a_big_endian_wav_that_is_another_voice_as_a_little_endian_one_is_a_row() -> None:
    stated = struct.pack(">HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
    chunks = b"fmt " + struct.pack(">I", 16) + stated + b"data" + struct.pack(">I", len(WORDS)) + WORDS
    content = b"RIFX" + struct.pack(">I", 4 + len(chunks)) + b"WAVE" + chunks
    assert correlation(by_ffmpeg(content), VOICE) > 0.99 < correlation(by_libsndfile(content), OTHER)  # the control

    error = failure_of(content)

    assert (error.error, "opposite byte order" in error.message) == ("bad_header", True)


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


@pytest.mark.parametrize("name", [b"\1\2\3\4", b"caf\xe9", bytes(4)])
@pytest.mark.parametrize("content", [b"", b"ten bytes ", big_chunk(b"SSND", bytes(8) + WORDS[::-1])])
def test_chunks_without_a_printable_name_are_passed_over_as_players_do(name: bytes, content: bytes) -> None:
    _, plain = heard(aiff(b"AIFF", common()))

    for chunks in ((big_chunk(name, content), common()), (common(), big_chunk(name, content))):
        facts, samples = heard(aiff(b"AIFF", *chunks))

        assert (facts.decoder, facts.trailing_bytes) == ("pyav", 0)
        np.testing.assert_allclose(samples, plain, atol=1e-4)


def caf(packet_bytes: int, bits: int, n_frames: int = 1, channels: int = 1) -> bytes:
    described = struct.pack(">d4s5I", 16_000.0, b"lpcm", 0, packet_bytes, n_frames, channels, bits)
    chunks = (
        b"desc" + struct.pack(">Q", 32) + described,
        b"data" + struct.pack(">Q", 4 + len(WORDS)) + bytes(4) + WORDS,
    )
    return b"caff\0\1\0\0" + b"".join(chunks)


@pytest.mark.parametrize("sizes", [(4, 24), (4, 16), (2, 24), (2, 16, 1, 2), (2, 16, 2)])
def test_a_caf_whose_samples_are_not_packed_is_a_row(sizes: tuple[int, ...]) -> None:
    error = failure_of(caf(*sizes))

    assert (error.error, "which players read differently" in error.message) == ("bad_header", True)


@pytest.mark.parametrize("sizes", [(2, 16), (3, 24), (3, 20), (2, 12), (4, 16, 1, 2), (4, 16, 2)])
def test_a_caf_whose_samples_are_packed_is_heard(sizes: tuple[int, ...]) -> None:
    content = caf(*sizes)

    _, samples = heard(content)

    assert len(samples) == len(by_ffmpeg(content))
    assert correlation(samples, by_ffmpeg(content)) > 0.9999


# NIST SPHERE


FIELDS = (
    "channel_count -i 1",
    "sample_n_bytes -i 2",
    "sample_sig_bits -i 16",
    "sample_rate -i 16000",
    "sample_coding -s3 pcm",
    f"sample_count -i {len(WORDS) // 2}",
    "sample_byte_format -s2 01",
)


def sphere(*lines: str, without: str = "-", n_bytes: int = 1_024, end: str = "end_head\n") -> bytes:
    """A SPHERE file of the words, with lines before its own ones, of which some are left out."""
    fields = [*lines, *(each for each in FIELDS if without not in each or without == "-")]
    text = f"NIST_1A\n{n_bytes:7}\n" + "".join(f"{each}\n" for each in fields) + end
    return text.encode().ljust(n_bytes) + WORDS


@pytest.mark.parametrize(
    "content",
    [
        sphere("sample_byte_format -s2 10"),
        sphere("channel_count -i 1"),
        sphere("note -s21 x sample_n_bytes -i 4"),
        sphere("sample_rate  -i 8000"),
        sphere("sample_rates -i 8000"),
        sphere("note -s25 sample_byte_format -s2 10", without="byte_format"),
        sphere("sample_byte_format  -s2 10", without="byte_format"),
        sphere(" sample_byte_format -s2 10", without="byte_format"),
        sphere("sample_byte_format -s1 10", without="byte_format"),
        sphere("sample_byte_format -i 10", without="byte_format"),
        sphere("note -s1 x\rsample_byte_format -s2 10", without="byte_format"),
        sphere("note -s8 end_head"),
        sphere("note -s1 \0"),
        sphere("sample_sig_bits -i 24", without="sig_bits"),
        sphere("sample_sig_bits -i 8", without="sig_bits"),
        sphere("sample_n_bytes -r 2.0", without="n_bytes"),
        sphere("sample_n_bytes -s1 1", "sample_byte_format -s1 1", without="sample_"),
    ],
)
def test_a_sphere_file_whose_fields_are_not_each_a_line_is_a_row(content: bytes) -> None:
    error = failure_of(content)

    assert (error.error, "which players read differently" in error.message) == ("bad_header", True)


@pytest.mark.parametrize(
    "content",
    [
        sphere(),
        sphere("speaker_id -s4 fcjf", "database_id -s5 TIMIT", "sample_min -i -2000", "sample_checksum -i 41000"),
        sphere("sample_sig_bits -i 12", without="sig_bits"),
        sphere(without="sig_bits"),
        sphere(without="sample_coding"),
        sphere("sample_count -r 48000.0", without="sample_count"),
        sphere("sample_coding -s3 pcm  ", without="coding"),
        sphere(end="end_head\nsample_byte_format -s2 10\n"),
        sphere(n_bytes=2_048),
    ],
)
def test_a_sphere_file_whose_fields_are_lines_is_heard(content: bytes) -> None:
    facts, samples = heard(content)

    assert facts.decoder == "soundfile"
    assert correlation(samples, VOICE) > 0.99 < correlation(by_ffmpeg(content), VOICE)


@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24", "PCM_32", "ULAW", "ALAW"])
def test_a_sphere_file_as_libsndfile_writes_it_is_heard(subtype: str, endian: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, VOICE, 16_000, format="NIST", subtype=subtype, endian=endian)

    facts, samples = heard(file.getvalue())

    assert (facts.decoder, facts.seconds, facts.seconds_claimed) == ("soundfile", 3.0, 3.0)
    np.testing.assert_array_equal(samples, by_libsndfile(file.getvalue()))


def test_a_sphere_file_whose_header_does_not_end_is_a_row() -> None:
    assert len(by_libsndfile(sphere(end=""))) == len(VOICE)  # the control; FFmpeg looks for the end among the samples

    assert failure_of(sphere(end="")).error == "not_audio"


def test_a_field_of_a_sphere_file_that_libsndfile_does_not_reach_is_heeded() -> None:
    content = sphere("note -s1000 " + "x" * 1_000, "sample_byte_format -s2 10", without="byte_format", n_bytes=2_048)

    facts, samples = heard(content)

    assert facts.decoder == "pyav"
    assert correlation(samples, OTHER) > 0.99
