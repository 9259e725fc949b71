"""Shortcuts: properties other than speech that separate the classes of a corpus: length, silence, bandwidth, level.

A corpus with shortcuts overstates a detector. Where the length of the leading silence alone gives 15 % EER (as on
ASVspoof 2019 LA, arXiv 2106.12914), a detector with 15 % EER may have learnt that silence.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from detector.audio import SAMPLE_RATE
from detector.decoders import Samples
from detector.errors import ConfigError
from detector.groups import Groups
from detector.metrics import Floats

FRAME_SAMPLES = 160  # 10 ms
SPECTRUM_SAMPLES = 512  # 32 ms
SILENCE_DB = 40.0  # below the loudest frame
ROLL_OFF = 0.99
FLOOR = 1e-12  # power of digital silence, -120 dB

SHORTCUTS = {
    "duration": ("seconds",),
    "level": ("rms_dbfs",),
    "native rate": ("native_rate",),
    "silence": ("leading_silence_seconds", "trailing_silence_seconds", "silence_share"),
    "bandwidth": ("roll_off_hertz", "above_4_khz_db", "above_6_khz_db"),
}
"""Baselines, and the facts of a recording that each one uses. The last two need the audio."""


@dataclass(frozen=True)
class Sound:
    """Facts of a recording that do not depend on its speech.

    Parameters
    ----------
    leading_silence_seconds, trailing_silence_seconds : float
        Time before the first and after the last frame of 10 ms that is within 40 dB of the loudest.
    silence_share : float
        Share of frames that are quieter than that, in [0, 1].
    roll_off_hertz : float
        Frequency in Hz below which 99 % of the energy lies.
    above_4_khz_db, above_6_khz_db : float
        Energy above, relative to all, in dB; -120 where there is none.
    """

    leading_silence_seconds: float
    trailing_silence_seconds: float
    silence_share: float
    roll_off_hertz: float
    above_4_khz_db: float
    above_6_khz_db: float

    def to_dict(self) -> dict[str, float]:
        """Return the facts by name."""
        return asdict(self)


def sound_of(samples: Samples) -> Sound:
    """Measure a recording.

    Parameters
    ----------
    samples : float32 array of shape (n_samples,)
        16 kHz mono, at least 32 ms.

    Returns
    -------
    Sound

    Examples
    --------
    >>> tone = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000)
    >>> sound = sound_of(np.concatenate([np.zeros(8_000), tone]).astype(np.float32))
    >>> sound.leading_silence_seconds, sound.trailing_silence_seconds, round(sound.roll_off_hertz, -2)
    (0.5, 0.0, 1000.0)
    """
    if len(samples) < SPECTRUM_SAMPLES:
        raise ValueError(f"{len(samples)} samples; expected at least {SPECTRUM_SAMPLES}, one frame of the spectrum.")
    power = np.square(_frames(samples, FRAME_SAMPLES)).mean(axis=1)
    loud = np.flatnonzero(power >= max(float(power.max()), FLOOR) * 10.0 ** (-SILENCE_DB / 10.0))
    leading, trailing = (loud[0], len(power) - 1 - loud[-1]) if len(loud) else (len(power), 0)
    spectrum = np.square(np.abs(np.fft.rfft(_frames(samples, SPECTRUM_SAMPLES) * np.hanning(SPECTRUM_SAMPLES))))
    energy = spectrum.sum(axis=0) / max(float(spectrum.sum()), FLOOR)
    hertz = np.fft.rfftfreq(SPECTRUM_SAMPLES, 1.0 / SAMPLE_RATE)
    return Sound(
        leading_silence_seconds=float(leading * FRAME_SAMPLES / SAMPLE_RATE),
        trailing_silence_seconds=float(trailing * FRAME_SAMPLES / SAMPLE_RATE),
        silence_share=1.0 - len(loud) / len(power),
        roll_off_hertz=float(hertz[min(int(np.searchsorted(np.cumsum(energy), ROLL_OFF)), len(hertz) - 1)]),
        above_4_khz_db=_decibels(energy[hertz >= 4_000.0].sum()),
        above_6_khz_db=_decibels(energy[hertz >= 6_000.0].sum()),
    )


def transferred(facts: Floats, is_spoof: npt.NDArray[np.bool_], unseen: Floats) -> Floats:
    """Score ``unseen`` recordings by their facts alone, with a model that was fitted on others.

    Parameters
    ----------
    facts : array of shape (n, n_facts)
    is_spoof : bool array of shape (n,)
        Both classes must be present.
    unseen : array of shape (n_unseen, n_facts)

    Returns
    -------
    array of shape (n_unseen,)
        Logits of a logistic regression on the facts, their squares and products; higher for bona fide.
    """
    return np.asarray(_model().fit(facts, ~is_spoof).decision_function(unseen), dtype=np.float64)


def cross_fitted(facts: Floats, is_spoof: npt.NDArray[np.bool_], groups: npt.NDArray[np.generic]) -> Floats | None:
    """Score recordings by their facts alone, each with a model that was fitted on other groups of the same corpus.

    Parameters
    ----------
    facts : array of shape (n, n_facts)
    is_spoof : bool array of shape (n,)
    groups : array of shape (n,)
        Speaker, source or system; a group is never in two folds.

    Returns
    -------
    array of shape (n,) or None
        Logits, higher for bona fide; None if a class has too few groups.
    """
    number = np.unique(groups, return_inverse=True)[1].astype(np.int32)
    try:
        fold = Groups(number, "of the report").folds(~is_spoof)
    except ConfigError:
        return None
    scores = np.zeros(len(facts))
    for unseen in range(fold.max() + 1):
        seen = fold != unseen
        scores[~seen] = transferred(facts[seen], is_spoof[seen], facts[~seen])
    return scores


def _model() -> LogisticRegression:
    squares = PolynomialFeatures(2, include_bias=False)  # a class may lie between two parts of the other
    return make_pipeline(StandardScaler(), squares, StandardScaler(), LogisticRegression(class_weight="balanced"))


def _frames(samples: Samples, length: int) -> Floats:
    whole = len(samples) // length * length
    return np.asarray(samples[:whole], dtype=np.float64).reshape(-1, length)


def _decibels(share: float) -> float:
    return float(10.0 * np.log10(max(share, FLOOR)))
