"""Activity and clipping agree with the closed forms of known signals."""

from __future__ import annotations

import io

import numpy as np
import pytest

from detector.audio import SAMPLE_RATE
from detector.level import CLIPPED, FLOOR_DBFS, FRAME_SAMPLES, MARGIN_DB, Meter, active_share
from detector.recording import Facts, Recording
from tests.support.audio import encoded, tone

PER_SECOND = SAMPLE_RATE // FRAME_SAMPLES


def levels(*parts: tuple[float, float]) -> np.ndarray:
    """Energies of the frames of parts with the given lengths, s, and levels, dB re full scale."""
    return np.concatenate([np.full(round(seconds * PER_SECOND), 10 ** (level / 10)) for seconds, level in parts])


def facts_of(samples: np.ndarray, **options: object) -> Facts:
    recording = Recording(io.BytesIO(encoded(samples, kind="WAV", subtype="FLOAT", **options)), 1.0)
    list(recording.segments())
    return recording.facts


@pytest.mark.parametrize("level", [600.0, 20.0, 0.0, -20.0, -60.0])
def test_a_steady_sound_is_active_all_the_time(level: float) -> None:
    assert active_share(levels((3.0, level))) == 1.0


@pytest.mark.parametrize("level", [FLOOR_DBFS - 1, -200.0])
def test_frames_below_the_floor_are_never_active(level: float) -> None:
    assert active_share(levels((3.0, level))) == 0.0


@pytest.mark.parametrize("noise", [-200.0, -60.0, -45.0])
def test_pauses_are_inactive_except_for_the_hangover(noise: float) -> None:
    # a second of sound, and 0.2 s behind it, of every 3 s
    assert active_share(levels(*[(1.0, -20.0), (2.0, noise)] * 4)) == pytest.approx(1.2 / 3, abs=1e-9)


def test_frames_within_the_margin_of_the_active_level_are_active() -> None:
    # half of the time 10 dB lower: the mean level is 2.6 dB under the louder part, so the lower is 7.4 dB under it
    assert active_share(levels((2.0, -20.0), (2.0, -30.0))) == 1.0
    assert MARGIN_DB > 7.4


def test_a_recording_s_shares_are_those_of_its_samples_however_it_is_cut() -> None:
    second, pause = np.sin(2 * np.pi * 220 * np.arange(SAMPLE_RATE) / SAMPLE_RATE) / 2, np.zeros(2 * SAMPLE_RATE)

    facts = facts_of(np.concatenate([second, pause] * 4))

    assert facts.speech_share == pytest.approx(1.2 / 3, abs=0.5 / PER_SECOND)
    assert facts.clipped_share == 0.0


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_the_clipped_share_of_a_sine_is_the_closed_form_at_the_stored_rate(rate: int) -> None:
    # |A sin x| >= c for 1 - 2/pi asin(c / A) of the time
    sine = np.clip(1.5 * np.sin(2 * np.pi * 100.3 * np.arange(2 * rate) / rate), -1.0, 1.0)

    facts = facts_of(sine, rate=rate)

    assert facts.clipped_share == pytest.approx(1 - 2 / np.pi * np.arcsin(CLIPPED / 1.5), abs=2e-3)


def test_the_largest_mu_law_sample_counts_as_clipped() -> None:
    square = np.sign(np.sin(np.arange(8_000) / 9.0))
    recording = Recording(io.BytesIO(encoded(square, rate=8_000, kind="WAV", subtype="ULAW")), 1.0)
    list(recording.segments())

    assert recording.facts.clipped_share > 0.99


@pytest.mark.parametrize("n_samples", [1, 100, FRAME_SAMPLES, FRAME_SAMPLES + 1])
def test_a_recording_of_less_than_a_frame_has_shares_too(n_samples: int) -> None:
    meter = Meter()
    meter.add(np.full(n_samples, 0.5, np.float32))

    assert meter.levels.speech_share == 1.0


def test_digital_silence_is_no_speech() -> None:
    facts = facts_of(np.zeros(SAMPLE_RATE))

    assert (facts.speech_share, facts.clipped_share, facts.rms_dbfs) == (0.0, 0.0, -120.0)
    assert facts_of(tone(1.0)).speech_share == 1.0
