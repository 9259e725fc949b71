"""Log-mel levels of signals with known levels."""

from __future__ import annotations

import numpy as np
import pytest

from detector.audio import SAMPLE_RATE
from detector.backbones.melstats import HOP_SAMPLES, N_MELS, WINDOW_SAMPLES, MelStats, mel_filters
from detector.config import EmbedConfig
from tests.support.audio import tone


def embedded(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels and their change, both of shape (40,)."""
    (embedding,), _ = MelStats(EmbedConfig(backbone="melstats")).embed([samples.astype(np.float32)])
    return embedding[:N_MELS], embedding[N_MELS:]


def centres() -> np.ndarray:
    """Centres of the bands in Hz: 40 points evenly spaced in mel between 0 and 8 kHz, by O'Shaughnessy's formula."""
    top = 2595 * np.log10(1 + 8_000 / 700)
    return np.array([700 * (10 ** (top * (band + 1) / 41 / 2595) - 1) for band in range(N_MELS)])


def test_silence_is_at_the_floor_and_does_not_change() -> None:
    levels, change = embedded(np.zeros(SAMPLE_RATE))

    assert levels == pytest.approx(np.log(1e-10))  # -23.03 nats
    assert not change.any()


def test_doubling_the_amplitude_adds_two_log_two_in_every_band() -> None:
    levels, change = embedded(tone(1.0))
    louder_levels, louder_change = embedded(2 * tone(1.0))

    # power grows by four; the floor of 1e-10 is far below the noise
    assert louder_levels - levels == pytest.approx(2 * np.log(2), abs=1e-3)
    assert louder_change == pytest.approx(change, abs=1e-3)


@pytest.mark.parametrize("hertz", [440.0, 1_000.0, 3_000.0, 6_500.0])
def test_a_tone_is_loudest_in_the_band_around_it(hertz: float) -> None:
    levels, _ = embedded(tone(1.0, hertz=hertz))

    assert np.argmax(levels) == np.argmin(np.abs(centres() - hertz))


def test_a_step_in_level_shows_as_change() -> None:
    steady, stepping = tone(1.0), tone(1.0) * np.repeat([0.1, 1.0], SAMPLE_RATE // 2)

    # twenty decibels up once in 98 frames: 2 ln(10) / 98 more change than the steady tone's in every band
    assert np.mean(embedded(stepping)[1] - embedded(steady)[1]) == pytest.approx(2 * np.log(10) / 98, rel=0.25)


@pytest.mark.parametrize(("n_samples", "n_frames"), [(400, 1), (559, 1), (560, 2), (16_000, 98)])
def test_a_frame_starts_every_ten_milliseconds_and_lasts_twenty_five(n_samples: int, n_frames: int) -> None:
    assert (WINDOW_SAMPLES, HOP_SAMPLES) == (400, 160)

    _, counted = MelStats(EmbedConfig(backbone="melstats")).embed([np.zeros(n_samples, np.float32)])

    assert counted.tolist() == [n_frames]


def test_neighbouring_filters_share_every_bin_between_their_centres() -> None:
    bins = np.linspace(0, 8_000, 257)
    between = (bins >= centres()[0]) & (bins <= centres()[-1])

    # one triangle falls as the next one rises
    assert mel_filters()[:, between].sum(axis=0) == pytest.approx(1.0)
