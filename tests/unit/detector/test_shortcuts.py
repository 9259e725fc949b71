"""Facts of synthetic sounds are measured as they were made, and a class that a fact reveals is found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import firwin, lfilter

from detector.metrics import equal_error_rate
from detector.shortcuts import SHORTCUTS, Sound, cross_fitted, sound_of, transferred

RATE = 16_000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.1, round(seconds * RATE))


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.0), (0.3, 0.1), (0.0, 0.5)])
def test_silence_before_and_after_is_measured_to_ten_milliseconds(before: float, after: float) -> None:
    hush = 1e-5 * noise(1.0, 1)  # 80 dB below
    samples = np.concatenate([hush[: round(before * RATE)], noise(1.0), hush[: round(after * RATE)]])

    sound = sound_of(samples.astype(np.float32))

    assert sound.leading_silence_seconds == pytest.approx(before, abs=0.011)
    assert sound.trailing_silence_seconds == pytest.approx(after, abs=0.011)
    assert sound.silence_share == pytest.approx((before + after) / (1.0 + before + after), abs=0.02)


@pytest.mark.parametrize("hertz", [2_000, 5_000])
def test_bandwidth_is_where_the_sound_ends(hertz: int) -> None:
    narrow = lfilter(firwin(513, hertz, fs=RATE), 1.0, noise(3.0))

    sound = sound_of(narrow.astype(np.float32))

    assert sound.roll_off_hertz == pytest.approx(hertz, abs=100)
    # white noise has half its energy above 4 kHz; cut at 5 kHz a fifth is left there, cut at 2 kHz nothing
    expected = 10 * np.log10((hertz - 4_000) / hertz) if hertz > 4_000 else -50.0
    assert (
        sound.above_4_khz_db == pytest.approx(expected, abs=0.3) if hertz > 4_000 else sound.above_4_khz_db < expected
    )
    assert sound.above_6_khz_db < -50.0


def test_digital_silence_is_all_silence_and_no_error() -> None:
    sound = sound_of(np.zeros(RATE, dtype=np.float32))

    assert (sound.leading_silence_seconds, sound.silence_share) == (1.0, 1.0)
    assert (sound.above_4_khz_db, sound.above_6_khz_db) == (-120.0, -120.0)
    assert all(np.isfinite(list(sound.to_dict().values())))


def test_a_recording_shorter_than_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="511 samples"):
        sound_of(np.zeros(511, dtype=np.float32))


def test_a_fact_that_reveals_a_class_is_found_even_if_the_class_is_in_the_middle() -> None:
    rng = np.random.default_rng(0)
    spoof = np.arange(400) % 2 == 0
    seconds = np.where(spoof, rng.normal(3.0, 0.2, 400), rng.choice([1.0, 5.0], 400) + rng.normal(0, 0.2, 400))[:, None]
    half = np.arange(400) < 200

    learnt = transferred(seconds[half], spoof[half], seconds[~half])
    folded = cross_fitted(seconds, spoof, np.arange(400) // 4)

    assert equal_error_rate(learnt[~spoof[~half]], learnt[spoof[~half]]) < 0.01
    assert folded is not None
    assert equal_error_rate(folded[~spoof], folded[spoof]) < 0.01


def test_an_uninformative_fact_is_at_chance() -> None:
    rng = np.random.default_rng(1)
    spoof = np.arange(600) % 2 == 0

    folded = cross_fitted(rng.normal(size=(600, 1)), spoof, np.arange(600))

    assert folded is not None
    assert equal_error_rate(folded[~spoof], folded[spoof]) == pytest.approx(0.5, abs=0.1)


def test_folds_need_two_groups_of_each_class() -> None:
    spoof = np.arange(20) % 2 == 0

    assert cross_fitted(np.zeros((20, 1)), spoof, spoof) is None


def test_every_shortcut_is_of_facts_that_something_measures() -> None:
    in_tables = {"seconds", "rms_dbfs", "native_rate"}

    assert {fact for facts in SHORTCUTS.values() for fact in facts} == in_tables | set(Sound.__dataclass_fields__)
