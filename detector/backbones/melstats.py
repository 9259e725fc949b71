"""The backbone without weights: log-mel levels and their rate of change, averaged over time.

It is a baseline, and a stand-in where no weights are available. A head on it recognises only the synthesisers that it
was fitted on; the backbone is deliberately not tuned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from detector.audio import SAMPLE_RATE
from detector.backbones import CountFrames, WithCells
from detector.config import LAST_LAYER, EmbedConfig
from detector.decoders import Samples
from detector.pooling import POOLINGS

WINDOW_SAMPLES = 25 * SAMPLE_RATE // 1000  # 400 samples, 25 ms
HOP_SAMPLES = 10 * SAMPLE_RATE // 1000  # 160 samples, 10 ms
N_MELS = 40
N_FFT = 512
POWER_FLOOR = 1e-10  # -100 dB, because the logarithm of digital silence is not finite


class MelStats:
    """40 log-mel levels in nats and their absolute changes from frame to frame: 80 numbers per frame."""

    layers = (LAST_LAYER,)
    device = "cpu"
    min_samples = WINDOW_SAMPLES

    def __init__(self, config: EmbedConfig) -> None:
        self._pool = POOLINGS[config.pooling]
        self.dim = 2 * N_MELS * self._pool.width
        self._window = np.hanning(WINDOW_SAMPLES).astype(np.float32)
        self._filters = mel_filters()

    def embed(self, segments: Sequence[Samples]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """As :meth:`detector.backbones.Backbone.embed`."""
        return self._pooled([self._frames(segment) for segment in segments])

    def embed_cells(self, segments: Sequence[Samples], cells_of: CountFrames) -> WithCells:
        """As :meth:`detector.backbones.CellBackbone.embed_cells`."""
        frames = [self._frames(segment) for segment in segments]
        counts = [cells_of(number, len(each)) for number, each in enumerate(frames)]
        cells = []
        for each, n_frames in zip(frames, counts, strict=True):
            vectors = np.zeros((len(n_frames), self.dim), dtype=np.float32)
            vectors[n_frames > 0] = self._pooled(np.split(each, np.cumsum(n_frames[n_frames > 0])[:-1]))[0]
            cells.append(vectors)
        return WithCells(*self._pooled(frames), cells, counts)

    def _pooled(
        self, frames: Sequence[npt.NDArray[np.float32]]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        embeddings = [self._pool(each[None], np.ones((1, len(each)), np.float32))[0] for each in frames]
        return (
            np.asarray(embeddings, dtype=np.float32).reshape(len(frames), self.dim),
            np.array([len(each) for each in frames], dtype=np.int64),
        )

    def _frames(self, samples: Samples) -> npt.NDArray[np.float32]:
        windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW_SAMPLES)[::HOP_SAMPLES]
        power = np.abs(np.fft.rfft(windows * self._window, N_FFT)) ** 2
        # einsum, not BLAS: the order of its sums depends on neither rows nor threads
        levels = np.log(np.einsum("tf,mf->tm", power, self._filters) + POWER_FLOOR)
        change = np.abs(np.diff(levels, axis=0, prepend=levels[:1]))
        return np.concatenate([levels, change], axis=1).astype(np.float32)


def mel_filters() -> npt.NDArray[np.float64]:
    """Compute triangular filters on the mel scale from 0 to 8 kHz, each with a peak of 1.

    Returns
    -------
    float64 array of shape (40, 257)
        Weight of each bin of a 512-point power spectrum in each band.

    References
    ----------
    O'Shaughnessy, Speech Communication, 1987: mel = 2595 log10(1 + f / 700).

    Examples
    --------
    >>> mel_filters().shape, bool((mel_filters().sum(axis=1) > 0).all())
    ((40, 257), True)
    """
    top = 2595.0 * np.log10(1.0 + SAMPLE_RATE / 2 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, N_MELS + 2) / 2595.0) - 1.0)
    bins = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.clip(np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)), 0.0, None)
