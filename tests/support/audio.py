"""Audio for tests: tones with a little noise, encoded as files."""

from __future__ import annotations

import io

import numpy as np
import soundfile

RATE = 16_000


def tone(seconds: float, *, hertz: float = 220.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Return a tone with a little noise: float64 array of shape (n_samples,), peak below 0.6."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0.0, 0.02, len(time))
    return 0.5 * np.sin(2 * np.pi * hertz * time) + noise


def encoded(samples: np.ndarray, *, rate: int = RATE, kind: str = "FLAC", subtype: str | None = None) -> bytes:
    """Encode samples as the bytes of an audio file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()
