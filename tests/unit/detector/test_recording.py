"""Segments concatenate to the recording, and facts count the decoded samples."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

import numpy as np
import pytest

from detector.audio import SAMPLE_RATE
from detector.decoders import Samples
from detector.errors import UtteranceError
from detector.recording import MIN_SEGMENT_SAMPLES, Facts, Recording, cut
from tests.support.audio import encoded, tone


def read(content: bytes, segment_seconds: float = 30.0) -> tuple[list[Samples], Facts]:
    recording = Recording(io.BytesIO(content), segment_seconds)
    return list(recording.segments()), recording.facts


@pytest.mark.parametrize("seed", range(20))
def test_cut_keeps_every_sample_and_the_promised_lengths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    segment_samples = int(rng.integers(MIN_SEGMENT_SAMPLES, 6 * SAMPLE_RATE))
    whole = rng.normal(size=rng.integers(1, 30 * SAMPLE_RATE)).astype(np.float32)
    ends = np.sort(rng.integers(0, len(whole), size=rng.integers(0, 12)))  # some blocks are empty

    segments = list(cut(np.split(whole, ends), segment_samples))

    np.testing.assert_array_equal(np.concatenate(segments), whole)
    assert [len(segment) for segment in segments[:-1]] == [segment_samples] * (len(segments) - 1)
    assert len(segments[-1]) < segment_samples + MIN_SEGMENT_SAMPLES
    assert len(segments[-1]) >= min(MIN_SEGMENT_SAMPLES, len(whole))


@pytest.mark.parametrize(
    ("n_samples", "lengths"),
    [
        (1, [1]),
        (64_000, [64_000]),
        (79_999, [79_999]),  # a tail of 15,999 samples is under 1 s and stays
        (80_000, [64_000, 16_000]),  # one of 16,000 stands alone
        (143_999, [64_000, 79_999]),
        (144_000, [64_000, 64_000, 16_000]),
    ],
)
def test_a_tail_under_one_second_stays_with_the_segment_before_it(n_samples: int, lengths: list[int]) -> None:
    assert [len(segment) for segment in cut([np.zeros(n_samples, np.float32)], 4 * SAMPLE_RATE)] == lengths


def test_no_blocks_give_no_segments() -> None:
    assert list(cut([], SAMPLE_RATE)) == []
    assert list(cut([np.zeros(0, np.float32)], SAMPLE_RATE)) == []


def test_a_segment_goes_out_before_the_next_block_is_read() -> None:
    n_read = 0

    def blocks() -> Iterator[Samples]:
        nonlocal n_read
        for n_read in range(1, 4):  # noqa: B007 - the count is what is tested
            yield np.zeros(10 * SAMPLE_RATE, np.float32)

    next(cut(blocks(), 4 * SAMPLE_RATE))

    assert n_read == 1


def test_facts_are_those_of_the_file_and_of_its_decoded_samples() -> None:
    # 70 s at 16 bits is more than is read at once for the digest
    content = encoded(np.stack([tone(70.0, rate=8_000)] * 2, axis=1), rate=8_000, kind="WAV")

    segments, facts = read(content)

    assert [len(segment) / SAMPLE_RATE for segment in segments] == [30.0, 30.0, 10.0]
    assert len(content) > 1 << 20
    assert facts.audio_sha256 == hashlib.sha256(content).hexdigest()
    assert (facts.seconds, facts.n_segments) == (70.0, 3)
    assert (facts.native_rate, facts.channels, facts.codec, facts.decoder) == (8_000, 2, "wav/pcm_16", "soundfile")


def test_seconds_count_samples_and_not_what_the_header_claims() -> None:
    wav = encoded(tone(2.0), kind="WAV")

    _, facts = read(wav[: len(wav) - 16_000])  # 8,000 samples, 0.5 s, of the two are lost

    assert facts.seconds == 1.5


TIME = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE


@pytest.mark.parametrize(
    ("samples", "rms_dbfs"),
    [
        (np.full(32_000, 1.0), 0.0),
        (np.full(32_000, -0.5), -6.0206),  # 20 log10(1/2)
        (np.sin(2 * np.pi * 100 * TIME), -3.0103),  # a sine's power is half of its peak's
        (0.1 * np.sin(2 * np.pi * 100 * TIME), -23.0103),
        (np.concatenate([np.full(16_000, 0.5), np.zeros(16_000)]), -9.0309),  # half of the power of 0.5
        (np.full(32_000, 1e-7), -120.0),  # -140 dB, under the floor
        (np.zeros(32_000), -120.0),
    ],
)
def test_rms_of_known_signals_is_the_closed_form(samples: np.ndarray, rms_dbfs: float) -> None:
    _, facts = read(encoded(samples, kind="WAV", subtype="FLOAT"), segment_seconds=1.0)

    assert facts.rms_dbfs == pytest.approx(rms_dbfs, abs=1e-3)


def test_reading_twice_gives_the_same_segments_and_facts() -> None:
    recording = Recording(io.BytesIO(encoded(tone(3.0))), segment_seconds=1.0)

    first, facts = list(recording.segments()), recording.facts
    second = list(recording.segments())

    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert recording.facts == facts


def test_there_are_no_facts_before_the_end() -> None:
    recording = Recording(io.BytesIO(encoded(tone(3.0))), segment_seconds=1.0)
    next(recording.segments())

    with pytest.raises(RuntimeError, match="to the end"):
        _ = recording.facts


def test_a_recording_that_resamples_to_nothing_is_empty() -> None:
    # one sample at 48 kHz is a third of one at 16 kHz
    with pytest.raises(UtteranceError, match="no samples") as caught:
        read(encoded(np.full(1, 0.1), rate=48_000, kind="WAV"))

    assert caught.value.error == "empty"
