"""Recordings that are joined, cut, miscounted or change their rate are heard whole, or say why not.

The samples are those that a second decoder reads of each part alone.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

from bench.codecs import Pipe
from detector.audio import SAMPLE_RATE, Excerpt, decode
from detector.decoders import Ledger, Samples
from detector.errors import UtteranceError
from detector.recording import Facts, Recording
from tests.support.audio import encoded, tone
from tests.unit.detector.test_audio import correlation, muxed, with_data_size, without_length

ONE, OTHER = tone(3.0), tone(2.0, hertz=330.0, seed=2)
SLOW = tone(2.0, hertz=330.0, rate=8_000, seed=2)
CASES = Path(__file__).parents[4] / "shared" / "cases"


def heard(content: bytes) -> tuple[Facts, Samples]:
    recording = Recording(io.BytesIO(content), segment_seconds=30.0)
    samples = np.concatenate(list(recording.segments()))
    return recording.facts, samples


def failure_of(content: bytes) -> UtteranceError:
    with pytest.raises(UtteranceError) as caught:
        heard(content)
    return caught.value


def by_libsndfile(*parts: bytes) -> Samples:
    """The samples of each part at 16 kHz, as libsndfile alone reads them."""
    pieces = []
    for part in parts:
        samples, rate = soundfile.read(io.BytesIO(part), dtype="float32")
        pieces.append(samples if rate == SAMPLE_RATE else soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ"))
    return np.concatenate(pieces)


def by_ffmpeg(content: bytes) -> Samples:
    """The samples of all frames at 16 kHz, as FFmpeg alone reads and resamples them."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
    with av.open(io.BytesIO(content), "r") as container:
        frames = [each for frame in container.decode(audio=0) for each in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in [*frames, *resampler.resample(None)]])


KINDS = [
    *(("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("RF64", "PCM_16"), ("W64", "PCM_24"), ("FLAC", "PCM_16")),
    *(("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("NIST", "PCM_16")),
    *(("OGG", "VORBIS"), ("MP3", None)),
]


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
@pytest.mark.parametrize(("second", "rate"), [(OTHER, 16_000), (SLOW, 8_000)], ids=["one rate", "two rates"])
def test_joined_recordings_are_heard_one_behind_the_other_each_at_its_own_rate(
    kind: str, subtype: str | None, second: np.ndarray, rate: int
) -> None:
    parts = encoded(ONE, kind=kind, subtype=subtype), encoded(second, rate=rate, kind=kind, subtype=subtype)

    facts, samples = heard(parts[0] + parts[1])

    assert (facts.seconds, facts.truncated, facts.trailing_bytes) == (5.0, False, 0)
    np.testing.assert_allclose(samples, by_libsndfile(*parts), atol=2e-4)


@pytest.mark.parametrize(("second", "rate"), [(OTHER, 16_000), (SLOW, 8_000)], ids=["one rate", "two rates"])
def test_joined_recordings_of_opus_are_heard_at_the_rate_of_players(second: np.ndarray, rate: int) -> None:
    parts = (encoded(each, rate=hertz, kind="OGG", subtype="OPUS") for each, hertz in ((ONE, 16_000), (second, rate)))

    facts, samples = heard(b"".join(parts))

    assert (facts.seconds, facts.native_rate, facts.truncated, facts.trailing_bytes) == (5.0, 48_000, False, 0)
    assert correlation(samples[: len(ONE)], ONE) > 0.99 < correlation(samples[len(ONE) :], OTHER)


@pytest.mark.parametrize("first", ["FLAC", "OGG", "MP3", "WAV", "W64", "AIFF", "AU", "CAF", "NIST"])
@pytest.mark.parametrize("second", ["FLAC", "OGG", "MP3", "WAV"])
def test_recordings_of_two_kinds_are_heard_one_behind_the_other(first: str, second: str) -> None:
    parts = encoded(ONE, kind=first), encoded(OTHER, kind=second)

    _, samples = heard(parts[0] + parts[1])

    np.testing.assert_allclose(samples, by_libsndfile(*parts), atol=2e-4)


def test_a_recording_behind_another_that_cannot_be_read_is_a_row() -> None:
    broken = bytearray(encoded(OTHER))
    broken[42:] = bytes(len(broken) - 42)

    error = failure_of(encoded(ONE) + bytes(broken))

    assert error.error == "trailing_data"
    assert error.message.startswith(f"another recording begins at byte {len(encoded(ONE)):,} and cannot be read")


@pytest.mark.parametrize("n_counted", [1, 4_096, 10_000, 16_384, 47_999])
@pytest.mark.parametrize("behind", [b"", encoded(OTHER)], ids=["alone", "joined"])
def test_a_flac_is_read_beyond_the_samples_that_it_counts(n_counted: int, behind: bytes) -> None:
    whole = encoded(ONE)
    fields = int.from_bytes(whole[18:26], "big") >> 36 << 36 | n_counted

    facts, samples = heard(whole[:18] + fields.to_bytes(8, "big") + whole[26:] + behind)

    claimed = n_counted / 16_000 + (2.0 if behind else 0.0)
    assert facts.seconds_claimed == pytest.approx(claimed)
    np.testing.assert_array_equal(samples, by_libsndfile(*([whole, behind] if behind else [whole])))


@pytest.mark.parametrize("size", [1_000, 32_000, 0, 0x7FFF_FFFF, 0xFFFF_FFFF])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ALAW"])
def test_a_wav_is_read_beyond_a_size_that_is_stale(size: int, subtype: str) -> None:
    whole = encoded(ONE, kind="WAV", subtype=subtype)

    facts, samples = heard(with_data_size(whole, size))

    assert (facts.truncated, facts.trailing_bytes) == (False, 0)
    np.testing.assert_array_equal(samples, by_libsndfile(whole))


def test_both_of_two_wavs_from_a_pipe_are_heard() -> None:
    parts = [with_data_size(encoded(each, kind="WAV"), 0xFFFF_FFFF) for each in (ONE, OTHER)]

    _, samples = heard(b"".join(parts))

    np.testing.assert_array_equal(samples, by_libsndfile(*parts))


def test_a_second_chunk_of_samples_is_heard() -> None:
    wav, more = encoded(ONE, kind="WAV"), encoded(OTHER, kind="WAV")[44:]

    facts, samples = heard(wav + b"LIST\4\0\0\0INFO" + b"data" + struct.pack("<I", len(more)) + more)

    assert facts.seconds_claimed == 5.0
    np.testing.assert_array_equal(samples, by_libsndfile(wav, encoded(OTHER, kind="WAV")))


def big_endian(samples: np.ndarray, n_bytes: int) -> bytes:
    """A RIFX file of PCM in so many bytes."""
    values = np.round(samples * (1 << 8 * n_bytes - 1)).astype(np.int64)
    data = b"".join(int(value).to_bytes(n_bytes, "big", signed=True) for value in values)
    header = struct.pack(">HHIIHH", 1, 1, 16_000, 16_000 * n_bytes, n_bytes, 8 * n_bytes)
    return (
        b"RIFX" + struct.pack(">I", 36 + len(data)) + b"WAVEfmt " + struct.pack(">I", 16) + header
        + b"data" + struct.pack(">I", len(data)) + data
    )  # fmt: skip


@pytest.mark.parametrize("n_bytes", [2, 3, 4])
def test_a_big_endian_wav_holds_its_samples(n_bytes: int) -> None:
    facts, samples = heard(big_endian(ONE, n_bytes))

    assert facts.decoder == "soundfile"  # FFmpeg takes the samples for little-endian ones
    np.testing.assert_allclose(samples, ONE, atol=1.01 / (1 << 8 * n_bytes - 1) + 1e-7)


def test_samples_in_another_byte_order_than_the_header_says_are_a_row() -> None:
    wav = encoded(ONE, kind="WAV")
    swapped = wav[:44] + np.frombuffer(wav[44:], "<i2").astype(">i2").tobytes()

    error = failure_of(swapped)

    assert error.error == "bad_header"
    assert error.message.startswith("white noise at full scale")
    assert (error.seconds, error.seconds_claimed) == (3.0, 3.0)


@pytest.mark.parametrize("level", [0.02, 0.1, 0.3])
def test_noise_that_is_not_at_full_scale_is_a_recording(level: float) -> None:
    noise = np.random.default_rng(0).normal(0.0, level, 48_000)

    facts, _ = heard(encoded(np.clip(noise, -1, 1), kind="WAV"))

    assert facts.seconds == 3.0


@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "NIST"])
def test_half_a_file_whose_header_holds_the_length_is_a_row_that_gives_both(kind: str) -> None:
    whole = encoded(tone(8.0), kind=kind)

    error = failure_of(whole[: len(whole) // 2])

    assert error.error == "truncated"
    assert error.seconds == pytest.approx(4.0, abs=0.1)
    assert error.seconds_claimed == pytest.approx(8.0, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("NIST", b"sample_count -i 48000", b"sample_count -i 16000"),
        ("AU", struct.pack(">I", 96_000), struct.pack(">I", 32_000)),
    ],
)
def test_samples_that_the_header_does_not_count_are_a_row_that_says_how_many(kind: str, old: bytes, new: bytes) -> None:
    error = failure_of(encoded(ONE, kind=kind).replace(old, new, 1))

    assert error.error == "trailing_data"
    assert "64,000 bytes behind the 1.00 s that the header counts: " in error.message


def variable(samples: np.ndarray, rate: int, *, to_pipe: bool) -> bytes:
    """An MP3 of variable bit rate; written to a pipe, it states no length."""
    file = Pipe() if to_pipe else io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="mono")
        stream.codec_context.qscale = True
        stream.codec_context.global_quality = 2 * 118  # FFmpeg's unit of quality
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def speechlike(seconds: float, rate: int) -> np.ndarray:
    """A tone that is loud at first and soft later, so that the first frames have more bits than the rest."""
    samples = tone(seconds, rate=rate) + np.random.default_rng(1).normal(0.0, 0.2, round(seconds * rate))
    samples[len(samples) // 4 :] *= 0.001
    return samples


def test_an_mp3_of_variable_bit_rate_that_states_no_length_is_heard_to_its_end() -> None:
    piped = variable(speechlike(20.0, 22_050), 22_050, to_pipe=True)
    with soundfile.SoundFile(io.BytesIO(piped)) as alone:  # the control: libsndfile guesses from the first frames
        assert alone.frames / 22_050 < 15.0

    facts, samples = heard(piped)

    assert (facts.decoder, facts.seconds_claimed) == ("pyav", None)
    assert facts.seconds == pytest.approx(20.0, abs=0.05)
    stated, _ = heard(variable(speechlike(20.0, 22_050), 22_050, to_pipe=False))[1], None
    assert correlation(samples[:60_000], stated[:60_000]) > 0.999  # with the same delay


def test_an_mp3_that_states_fewer_frames_than_it_has_is_heard_to_its_end() -> None:
    mp3 = variable(speechlike(8.0, 22_050), 22_050, to_pipe=False)
    at = mp3.index(b"Xing") + 8

    facts, _ = heard(mp3[:at] + struct.pack(">I", 20) + mp3[at + 4 :])

    assert facts.seconds == pytest.approx(8.0, abs=0.05)
    assert facts.seconds_claimed == pytest.approx(20 * 576 / 22_050)


@pytest.mark.parametrize("between", [b"", b"ID3\3\0\0\0\0\1\x48" + bytes(200), b"StreamTitle='x';" * 9])
def test_a_stream_rip_of_two_rates_is_heard_whole(between: bytes) -> None:
    parts = [variable(speechlike(4.0, rate), rate, to_pipe=True) for rate in (22_050, 44_100)]

    facts, samples = heard(between.join(parts))

    assert facts.seconds == pytest.approx(8.0, abs=0.05)
    assert correlation(samples[:60_000], heard(parts[0])[1][:60_000]) > 0.999
    assert correlation(samples[-60_000:], heard(parts[1])[1][-60_000:]) > 0.999


@pytest.mark.parametrize("rates", [(16_000, 22_050), (44_100, 8_000), (22_050, 22_050)])
def test_aac_in_adts_is_heard_at_the_rate_of_each_frame(rates: tuple[int, int]) -> None:
    parts = [muxed(tone(3.0, rate=rate), kind="adts", codec="aac", rate=rate) for rate in rates]

    facts, samples = heard(b"".join(parts))

    alone = [heard(part)[1] for part in parts]
    assert len(samples) == pytest.approx(sum(map(len, alone)), abs=2)
    assert correlation(samples[: len(alone[0]) - 500], alone[0]) > 0.999
    assert correlation(samples[len(alone[0]) + 500 :], alone[1][500:]) > 0.99
    assert correlation(samples[: len(alone[0]) - 500], by_ffmpeg(parts[0])) > 0.99
    assert facts.native_rate == rates[0]


def test_a_flac_from_a_live_encoder_with_another_behind_it_is_heard_whole() -> None:
    parts = encoded(ONE), encoded(SLOW, rate=8_000)

    _, samples = heard(without_length(parts[0]) + without_length(parts[1]))

    np.testing.assert_allclose(samples, by_libsndfile(*parts), atol=1e-6)


@pytest.mark.parametrize(
    ("content", "is_cut"),
    [
        (lambda: encoded(ONE, kind="OGG"), False),
        (lambda: encoded(tone(9.0), kind="OGG")[:-5_000], True),
        (lambda: muxed(ONE, kind="mp2", codec="mp2", rate=16_000), False),
        (lambda: muxed(ONE, kind="mp2", codec="mp2", rate=16_000)[:-100], True),
        (lambda: encoded(ONE, kind="WAV")[:-6_400], True),  # 0.2 s: under the second that is tolerated
    ],
)
def test_a_row_says_whether_the_file_breaks_off(content: Callable[[], bytes], is_cut: bool) -> None:
    facts, _ = heard(content())

    assert facts.truncated is is_cut


@pytest.mark.parametrize("coding", [b"ulaw,embedded-shorten-v2.00", b"pcm,embedded-wavpack"])
def test_a_sphere_file_in_a_coding_that_nobody_reads_names_it(coding: bytes) -> None:
    fields = b"sample_rate -i 16000\nsample_coding -s%d %s\nsample_count -i 16000\nend_head\n" % (len(coding), coding)

    error = failure_of((b"NIST_1A\n   1024\n" + fields).ljust(1_024, b"\0") + b"ajkg\2" + bytes(999))

    assert error.error == "not_audio"
    assert f"coded as {coding.decode()}" in error.message


def test_a_ledger_with_a_recording_that_states_nothing_states_nothing() -> None:
    assert Ledger(claims=[1.0, 2.0]).seconds_claimed == 3.0
    assert Ledger(claims=[1.0, None]).seconds_claimed is None
    assert Ledger().seconds_claimed is None


def test_an_excerpt_may_lie_across_a_change_of_rate() -> None:
    parts = encoded(ONE, kind="WAV"), encoded(SLOW, rate=8_000, kind="WAV")

    _, blocks = decode(io.BytesIO(parts[0] + parts[1]), Excerpt(2.5, 4.0))

    samples = np.concatenate(list(blocks))
    assert len(samples) == 24_000
    np.testing.assert_array_equal(samples[:8_000], by_libsndfile(parts[0])[40_000:])
    assert correlation(samples[8_000:], by_libsndfile(parts[1])[:16_000]) > 0.999


CASE_SECONDS = {
    "a.wav": 3.73, "abc.wav": 11.33, "d01_vbr_speech_ffpipe.mp3": 36.16, "c01_cat_mp3.mp3": 7.6,
    "c04_cat_flac.flac": 7.6, "c06_wav_stale_header.wav": 11.33, "c10_rifx.wav": 11.33,
}  # fmt: skip


@pytest.mark.parametrize("name", CASE_SECONDS)
def test_the_files_that_failed_are_heard_whole(name: str) -> None:
    if not CASES.is_dir():
        pytest.skip("the files that failed are not there")

    facts, _ = heard((CASES / name).read_bytes())

    assert facts.seconds == pytest.approx(CASE_SECONDS[name], abs=0.05)


def with_tracks(container_format: str, codec: str, tracks: list[Samples], default: int = 0) -> bytes:
    """Return a film without a picture: an audio stream for each of some signals of 16 kHz."""
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        streams = [container.add_stream(codec, rate=SAMPLE_RATE, layout="mono") for _ in tracks]
        for at, stream in enumerate(streams):
            stream.disposition = av.stream.Disposition.default if at == default else av.stream.Disposition(0)
        for stream, samples in zip(streams, tracks, strict=True):
            numbers = (samples * 32_767).astype(np.int16)[None] if codec == "pcm_s16le" else samples[None]
            frame = av.AudioFrame.from_ndarray(numbers, "s16" if codec == "pcm_s16le" else "fltp", "mono")
            frame.sample_rate = SAMPLE_RATE
            container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


CODECS = {"mov": "pcm_s16le", "matroska": "pcm_s16le", "avi": "pcm_s16le", "mp4": "aac", "ogg": "libopus"}


@pytest.mark.parametrize("container", CODECS)
@pytest.mark.parametrize("default", [0, 1])
def test_all_audio_streams_of_a_film_are_heard_one_after_the_other(container: str, default: int) -> None:
    signals = [tone(3.0).astype(np.float32), tone(2.0, hertz=1_200.0, seed=2).astype(np.float32)]

    facts, samples = heard(with_tracks(container, CODECS[container], signals, default))

    assert facts.seconds == pytest.approx(5.0, abs=0.2)  # AAC and Opus pad
    assert not facts.truncated
    assert [hertz_of(samples[at : at + SAMPLE_RATE]) for at in (SAMPLE_RATE, int(3.8 * SAMPLE_RATE))] == pytest.approx(
        [hertz_of(each[:SAMPLE_RATE]) for each in signals], abs=2.0
    )


def hertz_of(samples: Samples) -> float:
    """The frequency of a second of a tone."""
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * SAMPLE_RATE / len(samples))


def test_a_film_of_many_audio_streams_is_refused() -> None:
    content = with_tracks("matroska", "pcm_s16le", [tone(0.2).astype(np.float32)] * 17)

    assert str(failure_of(content)) == "bad_header: 17 audio streams; at most 16 are heard"
