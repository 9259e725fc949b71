"""An overview keeps what the samples were, in a bounded number of columns, however they come."""

from __future__ import annotations

import numpy as np
import pytest

from detector.backbones.melstats import N_FFT, mel_filters
from detector.level import FRAME_SAMPLES
from detector.overview import Overview


def overview_of(*parts: np.ndarray, max_columns: int = 8) -> Overview:
    found = Overview(max_columns)
    for part in parts:
        found.add(part.astype(np.float32))
    return found


@pytest.mark.parametrize("n_samples", [1, 319, 320, 2_561, 50_000])
def test_columns_hold_the_extremes_and_the_mean_power_of_their_stretch(n_samples: int) -> None:
    samples = np.random.default_rng(n_samples).normal(size=n_samples).astype(np.float32)

    found = overview_of(samples)

    n = round(found.column_seconds * 16_000)
    stretches = [samples[start : start + n] for start in range(0, n_samples, n)]
    assert len(found.lowest) == len(stretches) <= 8
    np.testing.assert_array_equal(found.highest, [max(each.max(), 0.0) for each in stretches])
    np.testing.assert_array_equal(found.lowest, [min(each.min(), 0.0) for each in stretches])
    assert found.seconds == n_samples / 16_000
    blocks = np.pad(samples, (0, -n_samples % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES) * np.hanning(FRAME_SAMPLES)
    powers = np.abs(np.fft.rfft(blocks, N_FFT)) ** 2 @ mel_filters().T
    per_column = n // FRAME_SAMPLES
    means = [powers[start : start + per_column].mean(axis=0) for start in range(0, len(powers), per_column)]
    np.testing.assert_allclose(found.levels, 10.0 * np.log10(np.array(means) + 1e-10))


def test_it_does_not_matter_how_the_samples_come() -> None:
    samples = np.random.default_rng(0).normal(size=40_001)
    cuts = np.sort(np.random.default_rng(1).integers(0, len(samples), size=30))

    one, other = overview_of(samples), overview_of(*np.split(samples, cuts))

    np.testing.assert_allclose(one.levels, other.levels, atol=1e-9)
    assert one.lowest.tobytes() == other.lowest.tobytes()
    assert one.seconds == other.seconds


def test_a_tone_is_in_its_band_at_its_time() -> None:
    time = np.arange(32_000) / 16_000
    samples = np.where(time < 1.0, np.sin(2 * np.pi * 300.0 * time), np.sin(2 * np.pi * 5_000.0 * time))

    found = overview_of(samples, max_columns=1_600)

    low, high = (int(mel_filters()[:, round(hertz / 16_000 * N_FFT)].argmax()) for hertz in (300.0, 5_000.0))
    assert found.levels.argmax(axis=1).tolist() == [low] * 50 + [high] * 50


def test_nothing_has_no_columns() -> None:
    assert (len(Overview().lowest), Overview().levels.shape, Overview().seconds) == (0, (0, 40), 0.0)
