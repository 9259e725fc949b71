"""A recording that is silent as a whole is told before the encoder; one with any sound goes through it whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from detector.decoders import Samples
from detector.schema import embeddings_schema
from detector.silence import NOTHING, SILENT_DBFS, WITHHELD_BYTES, heard, is_silent
from detector.training.config import TrainingConfig
from tests.support.made_heads import PLAIN

LOUD = np.full(1_000, 0.5, np.float32)


def silence(number: int) -> Samples:
    """Return 1,000 samples of a level of their own, below -80 dB."""
    return np.full(1_000, 1e-6 * number, np.float32)


@pytest.mark.parametrize(("dbfs", "expected"), [(-79.99, False), (-80.01, True), (-120.0, True)])
def test_the_level_is_the_root_mean_square_of_the_segment(dbfs: float, expected: bool) -> None:
    # a sine's root mean square is its peak over the square root of 2
    peak = 2**0.5 * 10 ** (dbfs / 20)
    segment = (peak * np.sin(2 * np.pi * np.arange(16_000) / 80)).astype(np.float32)

    assert is_silent(segment) is expected


@pytest.mark.parametrize("sound_at", [0, 1, 4])
def test_one_segment_with_sound_brings_all_others_along(sound_at: int) -> None:
    segments = [silence(number) for number in range(5)]
    segments[sound_at] = LOUD

    found = list(heard(iter(segments), lambda: pytest.fail("decoded again")))

    assert [each.tobytes() for each in found] == [each.tobytes() for each in segments]


def test_sound_behind_more_silence_than_memory_holds_is_decoded_again() -> None:
    long = np.zeros(WITHHELD_BYTES // 8 + 1, np.float32)  # two of them are more than is held
    segments = [silence(1), long, long, LOUD, silence(2)]
    n_again = 0

    def again() -> list[Samples]:
        nonlocal n_again
        n_again += 1
        return segments

    found = list(heard(iter(segments), lambda: iter(again())))

    assert [each.tobytes() for each in found] == [each.tobytes() for each in segments]
    assert n_again == 1


def test_silence_of_any_length_is_one_empty_segment_and_no_recording_is_none() -> None:
    assert [each.tobytes() for each in heard(iter([silence(1)] * 5_000), list)] == [NOTHING.tobytes()]
    assert list(heard(iter([]), list)) == []


def test_the_level_is_no_higher_than_the_heads_own_by_default() -> None:
    assert TrainingConfig.__dataclass_fields__["silence_dbfs"].default >= SILENT_DBFS


@pytest.mark.parametrize("silence_dbfs", [-80.0, -110.0])
def test_a_head_rejects_a_recording_that_was_not_encoded_as_silent_whatever_its_own_level(silence_dbfs: float) -> None:
    head = replace(PLAIN, silence_dbfs=silence_dbfs, min_seconds=0.5)
    row = dict.fromkeys(embeddings_schema(len(head.weights)).names)
    row |= {"utterance_id": "a", "uri": "a", "fingerprint": head.fingerprint, "run_id": "r"}
    rows = [
        row | {"seconds": seconds, "rms_dbfs": dbfs, "embedding": embedding}
        for seconds, dbfs, embedding in [
            (9.0, -100.0, None),  # silent as a whole
            (0.4, -100.0, None),
            (9.0, -20.0, None),  # shorter than a frame of its encoder
            (9.0, -100.0, [1.0] * len(head.weights)),  # of an earlier version, which encoded silence
        ]
    ]

    judged = head.judge(pa.Table.from_pylist(rows, embeddings_schema(len(head.weights))), None, "run")

    own = "silent" if silence_dbfs == -80.0 else judged["reject_reason"][3].as_py()
    assert judged["reject_reason"].to_pylist() == ["silent", "too_short", "too_short", own]
    assert judged["score"].is_valid().to_pylist() == [False, False, False, silence_dbfs != -80.0]
