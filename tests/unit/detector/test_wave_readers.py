"""A WAV that libsndfile and FFmpeg read differently is a row; one that both read alike is heard."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from detector.layout import disguised
from detector.layout.disguised import coding
from tests.support.audio import RATE, encoded, tone
from tests.support.dev_corpus import CORPUS
from tests.unit.detector.test_audio import muxed
from tests.unit.detector.test_heard_whole import by_ffmpeg, by_libsndfile, failure_of, heard

CANARIES = Path(disguised.__file__).parents[1] / "canaries"
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
GUID = bytes.fromhex("000000001000800000aa00389b71")
SAMPLES = tone(2.0)
PLAIN = (SAMPLES * 32_767).astype("<i2").tobytes()
CODECS = {  # by name of the coding: container, codec, rate
    "MPEG audio": ("mp3", "libmp3lame", 16_000),
    "AAC in ADTS": ("adts", "aac", 16_000),
    "AAC in LATM": ("latm", "aac", 16_000),
    "AC-3": ("ac3", "ac3", 48_000),
}


def chunk(name: bytes, content: bytes, endian: str = "<") -> bytes:
    return name + struct.pack(f"{endian}I", len(content)) + content


def plain_format(
    rate: int = RATE, channels: int = 1, bits: int = 16, *, block: int | None = None, tag: int = PCM
) -> bytes:
    block = channels * -(-bits // 8) if block is None else block
    return struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits)


def extensible(bits: int, valid: int, *, tag: int = PCM, channels: int = 1, block: int | None = None) -> bytes:
    head = plain_format(channels=channels, bits=bits, block=block, tag=EXTENSIBLE)
    return head + struct.pack("<HHIH", 22, valid, 0, tag) + GUID


def wav(*chunks: bytes, kind: bytes = b"RIFF") -> bytes:
    if kind == b"RF64":
        ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, len(chunks[-1]) - 8, 0, 0))
        chunks = (ds64, *chunks)
    content = b"WAVE" + b"".join(chunks)
    return kind + struct.pack("<I", len(content)) + content


def wav_of(samples: bytes, stated: bytes | None = None, kind: bytes = b"RIFF") -> bytes:
    return wav(chunk(b"fmt ", stated or plain_format()), chunk(b"data", samples), kind=kind)


def in_w64(content: bytes) -> bytes:
    """Return the 16-bit samples of a WAV in a W64 file."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(len(content) // 2, "i2"), RATE, format="W64", subtype="PCM_16")
    return file.getvalue()[: -(len(content) // 2 * 2)] + content


def codec_of(content: bytes) -> str:
    with av.open(io.BytesIO(content), "r") as container:
        return container.streams.audio[0].codec_context.name


# two formats


def test_two_different_formats_are_a_row() -> None:
    twice = wav(chunk(b"fmt ", plain_format()), chunk(b"fmt ", plain_format(8_000)), b"data" + bytes(4) + PLAIN)
    assert len(by_ffmpeg(twice)) == pytest.approx(len(SAMPLES), abs=100)  # the control: FFmpeg takes the first

    failure = failure_of(twice)

    assert failure.error == "bad_header"
    assert "two formats" in str(failure)


def test_two_equal_formats_are_one() -> None:
    content = wav(chunk(b"fmt ", plain_format()), chunk(b"fmt ", plain_format()), chunk(b"data", PLAIN))

    np.testing.assert_array_equal(heard(content)[1], by_libsndfile(wav_of(PLAIN)))


def test_a_format_of_xma2_in_front_of_another_is_a_row() -> None:
    xma2 = struct.pack(">BB10xI4xI8xB3x", 3, 1, RATE, len(SAMPLES), 1)
    content = wav(chunk(b"XMA2", xma2), chunk(b"fmt ", plain_format()), chunk(b"data", PLAIN))
    assert codec_of(content) == "xma2"  # the control

    assert failure_of(content).error == "bad_header"


# bits, valid bits, size of a block


@pytest.mark.parametrize(
    "stated",
    [
        extensible(16, 32, channels=2),
        extensible(16, 8),
        extensible(32, 24),
        extensible(24, 32),
        extensible(64, 32, tag=FLOAT),
        extensible(32, 24, tag=FLOAT),
        extensible(24, 24, block=4),
        plain_format(bits=24, block=4),
        plain_format(channels=2, block=2),
        plain_format(bits=32, block=8, tag=FLOAT),
    ],
)
def test_samples_whose_size_is_told_in_two_ways_are_a_row(stated: bytes) -> None:
    assert failure_of(wav_of(PLAIN, stated)).error == "bad_header"


def test_32_valid_bits_of_16_are_other_samples_to_ffmpeg() -> None:
    assert codec_of(wav_of(PLAIN, extensible(16, 32, channels=2))) == "pcm_s32le"


@pytest.mark.parametrize(
    ("bits", "valid", "tag"),
    [
        (24, 20, PCM),
        (16, 12, PCM),
        (16, 0, PCM),
        (16, 16, PCM),
        (24, 24, PCM),
        (32, 32, PCM),
        (32, 32, FLOAT),
        (64, 0, FLOAT),
    ],
)
@pytest.mark.parametrize("kind", [b"RIFF", b"RF64"])
def test_valid_bits_that_need_the_same_bytes_are_heard(bits: int, valid: int, tag: int, kind: bytes) -> None:
    if tag == PCM:
        samples = np.round(SAMPLES * 2.0**31).astype("<i4")[:, None].view("u1")[:, 4 - bits // 8 :].tobytes()
    else:
        samples = SAMPLES.astype(f"<f{bits // 8}").tobytes()
    content = wav_of(samples, extensible(bits, valid, tag=tag), kind)

    _, found = heard(content)

    np.testing.assert_allclose(found, SAMPLES, atol=4e-5)
    np.testing.assert_allclose(by_ffmpeg(content), SAMPLES, atol=4e-5)


@pytest.mark.parametrize(("byte_rate", "is_heard"), [(8_000, True), (9_999, True), (4_000, False), (10_000, False)])
def test_g721_has_four_bits(byte_rate: int, *, is_heard: bool) -> None:
    # FFmpeg takes 8 × bytes a second / samples a second, rounded down: 4, 4, 2 and 5
    content = bytearray(encoded(SAMPLES, kind="WAV", subtype="G721_32"))
    struct.pack_into("<I", content, content.index(b"fmt ") + 16, byte_rate)
    assert (abs(len(by_ffmpeg(content)) - len(SAMPLES)) < 100) is is_heard  # the control

    if is_heard:
        assert heard(bytes(content))[0].seconds == pytest.approx(2.0, abs=0.01)
    else:
        assert failure_of(bytes(content)).error == "bad_header"


@pytest.mark.parametrize(("block", "is_heard"), [(2, True), (4, False)])
def test_of_a_big_endian_wav_the_size_of_a_block_counts(block: int, is_heard: bool) -> None:
    # FFmpeg does not read it, so valid bits are nothing that players read differently
    stated = struct.pack(">HHIIHHHHIIHH", EXTENSIBLE, 1, RATE, 2 * RATE, block, 16, 22, 32, 0, PCM, 0, 16) + GUID[6:]
    samples = np.frombuffer(PLAIN, "<i2").astype(">i2").tobytes()
    content = b"WAVE" + chunk(b"fmt ", stated, ">") + chunk(b"data", samples, ">")
    content = b"RIFX" + struct.pack(">I", len(content)) + content

    if is_heard:
        np.testing.assert_allclose(heard(content)[1], SAMPLES, atol=1e-4)
    else:
        assert failure_of(content).error == "bad_header"


# other codings among the samples


def hidden(name: str, seconds: float = 3.0) -> bytes:
    container, codec, rate = CODECS[name]
    content = muxed(tone(seconds, rate=rate), kind=container, codec=codec, rate=rate)
    if name == "MPEG audio":
        content = content[content.index(b"\xff\xf3", content.index(b"Info")) :]  # without the tag in front
    return content + bytes(len(content) % 2)


def bursts(n: int = 20) -> bytes:
    """Bursts of S/PDIF with AC-3 between samples: IEC 61937-3."""
    frames = hidden("AC-3")
    n_bytes = disguised.ac3_bytes(frames)
    parts = []
    for at in range(0, n * n_bytes, n_bytes):
        frame = np.frombuffer(frames[at : at + n_bytes], "<u2").byteswap().tobytes()
        parts.append((struct.pack("<HHHH", 0xF872, 0x4E1F, 1, 8 * n_bytes) + frame).ljust(6_144, b"\x11"))
    return b"".join(parts)


def dts(order: str, n_bits: int, n: int = 20) -> bytes:
    """Headers of DTS, in words of 14 or 16 bits, between samples: ETSI TS 102 114, 5.3."""
    fields = (
        (0x7FFE8001, 32),
        (63, 6),
        (0, 1),
        (15, 7),
        (1_023, 14),
        (2, 6),
        (13, 4),
        (15, 5),
        (0, 12),
        (1, 1),
        (7, 5),
        (1, 2),
    )
    bits = "".join(f"{value:0{width}b}" for value, width in fields)
    words = [int(bits[at : at + n_bits].ljust(n_bits, "0"), 2) for at in range(0, len(bits), n_bits)]
    if n_bits == 14:
        words = [word | 0xC000 if word & 0x2000 else word for word in words]
    head = struct.pack(f"{order}{len(words)}H", *words)
    samples = np.random.default_rng(0).normal(0.0, 2_000.0, n * 2_048).astype("<i2").tobytes()
    return b"".join(head + samples[at + len(head) : at + 4_096] for at in range(0, len(samples), 4_096))


@pytest.mark.parametrize("kind", ["RIFF", "RF64", "W64"])
@pytest.mark.parametrize("name", CODECS)
def test_samples_that_begin_with_frames_of_another_coding_are_a_row(name: str, kind: str) -> None:
    samples = hidden(name) + PLAIN
    content = in_w64(samples) if kind == "W64" else wav_of(samples, kind=kind.encode())
    assert codec_of(content) != "pcm_s16le"  # the control

    failure = failure_of(content)

    assert failure.error == "bad_header"
    assert name in str(failure)


@pytest.mark.parametrize(
    "stated",
    [
        plain_format(48_000, 2),
        extensible(16, 16, channels=2),
        extensible(16, 12, channels=2),
        *(plain_format(48_000, 2, bits) for bits in (8, 20, 24, 32)),
        extensible(24, 24),
        extensible(32, 32),
    ],
)
def test_bursts_of_spdif_between_samples_are_a_row(stated: bytes) -> None:
    content = wav_of(bursts(), stated)
    assert codec_of(content) == "ac3"  # the control

    assert "S/PDIF" in str(failure_of(content))


def test_a_burst_in_samples_of_24_bits_is_an_accident() -> None:
    samples = bursts(1) + np.random.default_rng(0).bytes(3 << 16)
    content = wav_of(samples, plain_format(48_000, 2, 24))
    assert codec_of(content) == "pcm_s24le"  # the control

    assert disguised.bursts(samples) == ""
    assert disguised.bursts(samples + bursts(1)) == "bursts of S/PDIF"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("n_bits", [14, 16])
def test_frames_of_dts_between_samples_are_a_row(order: str, n_bits: int) -> None:
    content = wav_of(PLAIN[:4_000] + dts(order, n_bits), plain_format(44_100, 2))
    assert codec_of(content) == "dca"  # the control

    assert "DTS" in str(failure_of(content))


def test_ac3_with_its_bytes_swapped_is_a_row() -> None:
    content = wav_of(np.frombuffer(hidden("AC-3"), "<u2").byteswap().tobytes())
    assert codec_of(content) == "ac3"  # the control

    assert "AC-3" in str(failure_of(content))


def test_a_tag_in_front_of_frames_hides_nothing() -> None:
    content = wav_of(b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + hidden("MPEG audio"))
    assert codec_of(content) != "pcm_s16le"  # the control

    assert failure_of(content).error == "bad_header"


@pytest.mark.parametrize("name", CODECS)
def test_frames_that_are_all_alike_at_the_beginning_are_a_row(name: str) -> None:
    frames = hidden(name)
    n_bytes = disguised.ac3_bytes(frames) or disguised._frame_bytes(frames[:8])
    content = wav_of(frames[:n_bytes] * 8 + PLAIN[: 50_000 + n_bytes % 2])
    assert codec_of(content) != "pcm_s16le"  # the control

    assert name in str(failure_of(content))


@pytest.mark.parametrize("name", CODECS)
def test_frames_are_found_behind_samples_too(name: str) -> None:
    assert coding(PLAIN[:10_001] + hidden(name)) == name


@pytest.mark.parametrize("name", CODECS)
def test_two_frames_are_an_accident(name: str) -> None:
    content = hidden(name)
    second = content.index(content[:2], 40)

    assert coding(PLAIN[:1_000] + content[: second + 20].ljust(10_000, b"\x11")) == ""


def test_ffmpeg_looks_at_32_packets_of_at_most_a_tenth_of_a_second() -> None:
    assert disguised.n_probed(16_000, 2) == 32 * 4_096  # of older versions; 1,024 samples are less
    assert disguised.n_probed(48_000, 4) == 32 * 4_096 * 4
    assert disguised.n_probed(0xFFFF_FFFF, 4) == disguised.MAX_BYTES


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_nothing_is_found_in_tones_silence_and_noise(channels: int, rate: int) -> None:
    time, rng = np.arange(rate) / rate, np.random.default_rng(0)
    waves = [np.sin(2 * np.pi * hertz * time) for hertz in (50, 250, 400, 440, 1_000, 2_000, rate // 2 - 2)]
    waves += [np.sign(wave) for wave in waves] + [np.zeros(len(time)), np.ones(len(time))]
    waves += [rng.normal(0.0, 1.0, len(time)) for _ in range(3)]
    for peak in (-1, 1, 30, 1_000, 30_000, 32_767, 60_000):
        for wave in waves:
            samples = np.clip(np.round(peak * wave), -32_768, 32_767).astype("<i2").repeat(channels).tobytes()
            assert coding(samples) == ""


@pytest.mark.parametrize("path", sorted(CANARIES.glob("*.flac")), ids=lambda path: path.name)
@pytest.mark.parametrize("gain", [0.02, 1.0, 8.0])
def test_nothing_is_found_in_speech(path: Path, gain: float) -> None:
    samples, _ = soundfile.read(path)
    clipped = (np.clip(samples * gain, -1.0, 1.0) * 32_767).astype("<i2")

    assert [coding(clipped.tobytes()), coding(clipped.repeat(2).tobytes())] == ["", ""]


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the dev corpus is not beside the checkout")
def test_nothing_is_found_in_some_recordings_of_the_dev_corpus() -> None:
    paths = sorted(CORPUS.rglob("*.flac"))[::60]
    contents = [encoded(soundfile.read(path)[0], kind="WAV") for path in paths]

    assert len(paths) > 20
    assert {coding(content[44:]) for content in contents} == {""}


def test_frames_in_a_big_endian_wav_are_a_row() -> None:
    stated = struct.pack(">HHIIHH", PCM, 1, RATE, 2 * RATE, 2, 16)
    content = b"WAVE" + chunk(b"fmt ", stated, ">") + chunk(b"data", hidden("MPEG audio"), ">")
    content = b"RIFX" + struct.pack(">I", len(content)) + content
    assert codec_of(content) != "pcm_s16le"  # the control

    assert failure_of(content).error == "bad_header"
