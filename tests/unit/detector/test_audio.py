"""Every container gives the samples that went in, and bytes that are not a recording are refused with the reason."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import soxr

from detector import audio
from detector.audio import SAMPLE_RATE, Excerpt, decode
from detector.decoders import AudioFormat, Block, Samples
from detector.errors import UtteranceError
from tests.support.audio import encoded, tone


def decoded(content: bytes) -> tuple[AudioFormat, Samples]:
    stored, blocks = decode(io.BytesIO(content))
    return stored, np.concatenate(list(blocks))


def failure_of(content: bytes) -> UtteranceError:
    with pytest.raises(UtteranceError) as caught:
        decoded(content)
    return caught.value


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Correlate the samples that both have; a delay of a few samples would lower it for noise and tone alike."""
    n_samples = min(len(one), len(other))
    return float(np.corrcoef(one[:n_samples], other[:n_samples])[0, 1])


def muxed(samples: np.ndarray, *, kind: str, codec: str, rate: int, **options: str) -> bytes:
    """Encode samples of shape (n_samples,) or (2, n_samples) into a container that soundfile does not support."""
    file = io.BytesIO()
    planes = np.atleast_2d(samples).astype(np.float32)
    layout = "stereo" if len(planes) == 2 else "mono"
    with av.open(file, "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def film() -> bytes:
    """A film without sound."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25, width=32, height=32, pix_fmt="yuv420p")
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def without_length(flac: bytes) -> bytes:
    """A FLAC from a live encoder: the 36 bits of STREAMINFO that state the number of samples are 0.

    The field starts in the lower half of byte 13 of STREAMINFO, which starts at byte 8 of the file.
    """
    return flac[:21] + bytes([flac[21] & 0xF0, 0, 0, 0, 0]) + flac[26:]


def with_data_size(wav: bytes, size: int) -> bytes:
    start = wav.index(b"data") + 4
    return wav[:start] + size.to_bytes(4, "little") + wav[start + 4 :]


@pytest.mark.parametrize(
    ("kind", "subtype", "least_correlation"),
    [
        ("WAV", "PCM_16", 0.999_999),
        ("WAV", "PCM_24", 0.999_999),
        ("WAV", "FLOAT", 0.999_999),
        ("WAV", "ULAW", 0.999),
        ("WAV", "ALAW", 0.999),
        ("FLAC", "PCM_16", 0.999_999),
        ("FLAC", "PCM_24", 0.999_999),
        ("AIFF", "PCM_16", 0.999_999),
        ("AU", "PCM_16", 0.999_999),
        ("CAF", "PCM_16", 0.999_999),
        ("W64", "PCM_16", 0.999_999),
        ("NIST", "PCM_16", 0.999_999),
        ("OGG", "VORBIS", 0.995),
    ],
)
def test_formats_of_soundfile_are_decoded_whole(kind: str, subtype: str, least_correlation: float) -> None:
    source = tone(2.0)

    stored, samples = decoded(encoded(source, kind=kind, subtype=subtype))

    assert stored == AudioFormat(16_000, 1, f"{kind}/{subtype}".lower(), "soundfile")
    assert (samples.dtype, samples.shape) == (np.float32, (32_000,))
    assert correlation(samples, source) > least_correlation


def test_mp3_is_read_by_pyav_to_the_sample() -> None:
    source = tone(2.0)

    stored, samples = decoded(encoded(source, kind="MP3"))

    assert stored == AudioFormat(16_000, 1, "mp3float", "pyav")
    assert (samples.dtype, samples.shape) == (np.float32, (32_000,))
    assert correlation(samples, source) > 0.995


@pytest.mark.parametrize("rate", [8_000, 12_000, 16_000, 24_000, 48_000])
def test_opus_is_decoded_at_48_khz_whatever_rate_its_header_has(rate: int) -> None:
    content = encoded(tone(2.0, rate=rate), rate=rate, kind="OGG", subtype="OPUS")
    assert soundfile.info(io.BytesIO(content)).samplerate == rate  # the control: libsndfile decodes at the header's

    stored, samples = decoded(content)

    assert (stored.native_rate, stored.decoder) == (48_000, "soundfile" if rate == 48_000 else "pyav")
    assert samples.shape == (32_000,)
    assert correlation(samples, tone(2.0)) > 0.99


@pytest.mark.parametrize(("kind", "rate"), [("ipod", 16_000), ("mp4", 44_100), ("3gp", 16_000)])
def test_aac_is_read_by_pyav_without_the_delay_of_its_encoder(kind: str, rate: int) -> None:
    stored, samples = decoded(muxed(tone(2.0, rate=rate), kind=kind, codec="aac", rate=rate))

    assert stored == AudioFormat(rate, 1, "aac", "pyav")
    # only the last of its frames, 1,024 samples each, is filled up
    assert 32_000 <= len(samples) < 32_000 + 1_024 * SAMPLE_RATE / rate
    assert correlation(samples, tone(2.0)) > 0.99


def test_webm_is_read_by_pyav_as_the_mean_of_its_channels() -> None:
    left_only = np.stack([tone(12.0, rate=48_000), np.zeros(12 * 48_000)])

    stored, samples = decoded(muxed(left_only, kind="webm", codec="libopus", rate=48_000))

    assert stored == AudioFormat(48_000, 2, "opus", "pyav")
    assert len(samples) == 12 * SAMPLE_RATE
    assert correlation(samples, tone(12.0)) > 0.99
    assert samples.std() == pytest.approx(0.25 / np.sqrt(2), rel=0.01)  # half of a sine of amplitude 0.5


def test_a_flac_without_its_length_is_read_to_the_bit_by_pyav() -> None:
    flac = encoded(tone(25.0))

    stored, samples = decoded(without_length(flac))

    assert stored == AudioFormat(16_000, 1, "flac", "pyav")
    np.testing.assert_array_equal(samples, decoded(flac)[1])


@pytest.mark.parametrize("size", [0, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_wav_that_was_written_to_a_pipe_is_read_to_its_end(size: int) -> None:
    # sox and FFmpeg cannot know the size beforehand, and write one of these
    wav = encoded(tone(2.0), kind="WAV")

    _, samples = decoded(with_data_size(wav, size))

    np.testing.assert_array_equal(samples, decoded(wav)[1])


def test_sixteen_kilohertz_comes_out_as_soundfile_reads_it() -> None:
    flac = encoded(tone(25.0))

    _, blocks = decode(io.BytesIO(flac))
    blocks = list(blocks)

    assert [len(block) for block in blocks] == [160_000, 160_000, 80_000]  # 10 s each
    expected, _ = soundfile.read(io.BytesIO(flac), dtype="float32")
    np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_reading_starts_at_the_beginning_whatever_the_file_position() -> None:
    file = io.BytesIO(encoded(tone(1.0)))
    file.seek(0, io.SEEK_END)

    _, blocks = decode(file)

    assert sum(map(len, blocks)) == SAMPLE_RATE


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_block_by_block_resampling_equals_one_pass_over_the_mean_of_the_channels(rate: int) -> None:
    stereo = np.stack([tone(25.0, rate=rate), tone(25.0, hertz=1_000.0, rate=rate, seed=1)], axis=1).astype(np.float32)

    stored, samples = decoded(encoded(stereo, rate=rate, kind="WAV", subtype="FLOAT"))

    assert (stored.native_rate, stored.channels) == (rate, 2)
    assert len(samples) == 25 * SAMPLE_RATE
    expected = soxr.resample(stereo.mean(axis=1), rate, SAMPLE_RATE, quality="HQ")
    np.testing.assert_allclose(samples, expected, atol=1e-6)


@pytest.mark.parametrize("louder", [0, 1])
def test_of_channels_in_opposite_phase_the_louder_one_is_taken(louder: int) -> None:
    source = tone(1.0).astype(np.float32)
    channels = [source, -0.9 * source] if louder == 0 else [-0.9 * source, source]

    _, samples = decoded(encoded(np.stack(channels, axis=1), kind="WAV", subtype="FLOAT"))

    np.testing.assert_array_equal(samples, source)


@pytest.mark.parametrize("n_channels", [2, 5])
def test_one_channel_beside_silent_ones_is_no_cancellation(n_channels: int) -> None:
    channels = np.zeros((16_000, n_channels), np.float32)
    channels[:, 0] = tone(1.0)

    _, samples = decoded(encoded(channels, kind="WAV", subtype="FLOAT"))

    np.testing.assert_array_equal(samples, channels.mean(axis=1, dtype=np.float32))


def level_after_resampling(hertz: float) -> float:
    """Level of a pure tone after resampling from 48 to 16 kHz, in dB relative to the input; without its ends."""
    source = 0.5 * np.sin(2 * np.pi * hertz * np.arange(12 * 48_000) / 48_000)
    _, samples = decoded(encoded(source, rate=48_000, kind="WAV", subtype="FLOAT"))
    inner = samples[SAMPLE_RATE // 10 : -SAMPLE_RATE // 10]
    return float(20 * np.log10(np.sqrt(np.mean(np.square(inner, dtype=np.float64))) / (0.5 / np.sqrt(2))))


def test_seven_kilohertz_survive_resampling() -> None:
    assert level_after_resampling(7_000.0) == pytest.approx(0.0, abs=0.2)


def test_ten_kilohertz_leave_no_alias() -> None:
    assert level_after_resampling(10_000.0) < -80.0


TWO_CHANNELS_OF_NAN = np.full((16_000, 2), np.nan)
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.wav\n#EXT-X-ENDLIST\n"

UNREADABLE: dict[str, tuple[Callable[[], bytes], str]] = {
    "no bytes": (lambda: b"", "empty"),
    "a header without samples": (lambda: encoded(np.zeros(0), kind="WAV"), "empty"),
    "a web page": (lambda: b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not_audio"),
    "a text": (lambda: b"not audio at all\n" * 500, "not_audio"),
    "zeros": (lambda: bytes(5_000), "not_audio"),
    "a playlist": (lambda: PLAYLIST, "not_audio"),
    "a film without sound": (film, "not_audio"),
    "a codec that nobody knows": (
        lambda: muxed(tone(1.0, rate=48_000), kind="webm", codec="libopus", rate=48_000).replace(b"A_OPUS", b"A_OPUX"),
        "not_audio",
    ),
    "a rate of 1 Hz": (lambda: encoded(tone(1.0), rate=1, kind="WAV"), "bad_header"),
    "a rate of 500 kHz": (lambda: encoded(tone(1.0), rate=500_000, kind="WAV"), "bad_header"),
    "64 channels": (lambda: encoded(np.zeros((100, 64)), kind="WAV"), "bad_header"),
    "not a number": (lambda: encoded(TWO_CHANNELS_OF_NAN, kind="WAV", subtype="FLOAT"), "nonfinite_audio"),
    "infinity": (lambda: encoded(np.full(16_000, np.inf), kind="WAV", subtype="FLOAT"), "nonfinite_audio"),
    "half a short FLAC": (lambda: encoded(tone(2.0))[:20_000], "decode_error"),
    "half a long FLAC": (lambda: encoded(tone(25.0))[:400_000], "decode_error"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_bytes_that_are_not_a_recording_are_refused_with_the_reason(what: str) -> None:
    content, error = UNREADABLE[what]

    assert failure_of(content()).error == error


def test_a_recording_of_more_than_twelve_hours_is_refused_before_it_is_read_to_its_end() -> None:
    # at one sample a second, because twelve real hours take a minute to resample
    hours = [Block(np.zeros(n_samples, np.float32), 1) for n_samples in (*[3_600] * 12, 1)]
    limited = audio._limited(iter(hours))

    assert sum(len(next(limited).samples) for _ in range(12)) == 43_200
    with pytest.raises(UtteranceError) as caught:
        next(limited)
    assert caught.value.error == "too_long"


def test_a_script_in_the_bytes_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.wav").write_bytes(encoded(tone(1.0), kind="WAV"))
    script = b"ffconcat version 1.0\nfile secret.wav\n"
    with av.open(io.BytesIO(script)) as opened:  # the control: FFmpeg without our options opens the file
        assert opened.streams.audio

    assert failure_of(script).error == "not_audio"


def test_the_same_bytes_fail_with_the_same_message() -> None:
    first, second = io.BytesIO(b"<html>"), io.BytesIO(b"<html>")

    messages = set()
    for file in (first, second):
        with pytest.raises(UtteranceError) as caught:
            decode(file)
        messages.add(caught.value.message)

    assert len(messages) == 1, messages


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "CAF"])
def test_damaged_bytes_give_samples_or_an_utterance_error(kind: str) -> None:
    rng = np.random.default_rng(7)
    intact = np.frombuffer(encoded(tone(0.3), kind=kind), np.uint8)
    outcomes = set()
    for length in [*[len(intact)] * 40, *rng.integers(100, len(intact), size=40)]:
        damaged = intact[:length].copy()
        reach = min(length, int(rng.choice([300, length])))  # in the header, or anywhere
        damaged[rng.integers(reach, size=4)] = rng.integers(256, size=4)
        try:
            _, samples = decoded(damaged.tobytes())
        except UtteranceError as error:
            outcomes.add(error.error)
        else:
            assert samples.dtype == np.float32
            assert np.isfinite(samples).all()
            outcomes.add("read")

    assert len(outcomes) > 1  # the damage was neither fatal nor invisible throughout


STEREO = np.stack([tone(30.0, rate=44_100), tone(30.0, rate=44_100, hertz=300.0, seed=1)])
START, END = 3.25, 27.5  # over the joints between blocks of 10 s


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
@pytest.mark.parametrize("channel", [None, 0, 1])
def test_an_excerpt_is_to_the_bit_the_file_that_was_cut_there(kind: str, channel: int | None) -> None:
    whole = encoded(STEREO.T, rate=44_100, kind=kind)
    first, last = round(START * 44_100), round(END * 44_100)
    alone = STEREO[:, first:last].T if channel is None else STEREO[channel, first:last]

    stored, blocks = decode(io.BytesIO(whole), Excerpt(START, END, channel))

    assert stored.channels == 2
    np.testing.assert_array_equal(np.concatenate(list(blocks)), decoded(encoded(alone, rate=44_100, kind=kind))[1])


def test_a_channel_that_pyav_reads_is_that_channel() -> None:
    webm = muxed(np.stack([tone(2.0, rate=48_000), np.zeros(96_000)]), kind="webm", codec="libopus", rate=48_000)

    left, right = (np.concatenate(list(decode(io.BytesIO(webm), Excerpt(channel=n))[1])) for n in (0, 1))

    assert correlation(left, tone(2.0)) > 0.99
    assert np.abs(right).max() < 0.05


class Noted(io.BytesIO):
    """A file that records how far it was read."""

    farthest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.farthest = max(self.farthest, self.tell())
        return data

    def readinto(self, buffer: Any, /) -> int:
        n_bytes = super().readinto(buffer)
        self.farthest = max(self.farthest, self.tell())
        return n_bytes


def test_nothing_after_an_excerpt_is_decoded() -> None:
    file = Noted(encoded(tone(300.0), kind="WAV"))

    _, blocks = decode(file, Excerpt(1.0, 15.0))

    assert sum(map(len, blocks)) == 14 * SAMPLE_RATE
    assert file.farthest < 2 * SAMPLE_RATE * 30  # 16-bit samples of 30 s, of 300


@pytest.mark.parametrize(
    ("excerpt", "found"),
    [
        (Excerpt(2.5, None), "@2.5-end of 2.000 s"),
        (Excerpt(5.0, 6.0), "@5-6 of 2.000 s"),
        (Excerpt(1.0, 2.2), "@1-2.2 of 2.000 s"),
        (Excerpt(channel=1), "channel 1, counted from 0, of 1"),
    ],
)
@pytest.mark.parametrize("kind", ["WAV", "m4a"])
def test_an_excerpt_beyond_the_recording_is_refused(excerpt: Excerpt, found: str, kind: str) -> None:
    content = (
        encoded(tone(2.0), kind="WAV") if kind == "WAV" else muxed(tone(2.0), kind="ipod", codec="aac", rate=16_000)
    )
    with pytest.raises(UtteranceError) as caught:
        list(decode(io.BytesIO(content), excerpt)[1])

    assert caught.value.error == "out_of_range"
    assert kind == "m4a" or caught.value.message == found


def test_an_end_may_be_rounded_up_by_a_tenth_of_a_second() -> None:
    _, blocks = decode(io.BytesIO(encoded(tone(2.0))), Excerpt(1.0, 2.1))

    assert sum(map(len, blocks)) == SAMPLE_RATE
