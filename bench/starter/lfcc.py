"""LFCC statistics as an encoder: what a head makes of the spectrum alone, without any learnt representation.

    bonafide embed --backbone bench.starter.lfcc:load --pooling mean+std …

20 linear-frequency cepstral coefficients of 25 ms windows, and their differences from frame to frame.

References
----------
Sahidullah, Kinnunen and Hanilçi, A comparison of features for synthetic speech detection, Interspeech 2015.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.fft import dct

from detector.audio import SAMPLE_RATE
from detector.backbones.melstats import MelStats
from detector.config import EmbedConfig
from detector.decoders import Samples
from detector.pooling import POOLINGS

N_COEFFICIENTS = 20
WINDOW_SAMPLES, HOP_SAMPLES, N_FFT = 25 * SAMPLE_RATE // 1000, 10 * SAMPLE_RATE // 1000, 512
PRE_EMPHASIS = 0.97
POWER_FLOOR = 1e-10


class Lfcc(MelStats):
    """20 cepstral coefficients and their differences: 40 numbers per frame."""

    min_samples = WINDOW_SAMPLES + 1

    def __init__(self, config: EmbedConfig) -> None:
        super().__init__(config)
        self.dim = 2 * N_COEFFICIENTS * POOLINGS[config.pooling].width
        self._taper = np.hamming(WINDOW_SAMPLES)
        edges = np.linspace(0.0, N_FFT // 2, N_COEFFICIENTS + 2)
        low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        bins = np.arange(N_FFT // 2 + 1)
        self._filters = np.clip(np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)), 0.0, None)

    def _frames(self, samples: Samples) -> npt.NDArray[np.float32]:
        emphasised = samples[1:] - PRE_EMPHASIS * samples[:-1]
        windows = np.lib.stride_tricks.sliding_window_view(emphasised, WINDOW_SAMPLES)[::HOP_SAMPLES]
        power = np.abs(np.fft.rfft(windows * self._taper, N_FFT)) ** 2
        levels = np.log(np.einsum("tf,bf->tb", power, self._filters) + POWER_FLOOR)
        cepstra = dct(levels, axis=1, norm="ortho")
        return np.concatenate([cepstra, np.diff(cepstra, axis=0, prepend=cepstra[:1])], axis=1).astype(np.float32)


def load(
    config: EmbedConfig, folder: str | None, *, device: str, batch_seconds: float, layers: tuple[int, ...]
) -> Lfcc:
    """Load it, as :class:`detector.backbones.Loader`."""
    return Lfcc(config)
