"""The overview of a recording: waveform and spectrogram in a bounded number of columns, collected while it is read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from detector.audio import SAMPLE_RATE
from detector.backbones.melstats import N_FFT, N_MELS, POWER_FLOOR, mel_filters
from detector.decoders import Samples
from detector.level import FRAME_SAMPLES
from detector.metrics import Floats

MAX_COLUMNS = 1_600  # three hours end with columns of 10 s


class Overview:
    """Lowest and highest sample and mean power by band, of columns of equal length.

    When there are :data:`MAX_COLUMNS`, each two become one of twice the length, so memory does not depend on the
    recording.

    ```
    20 ms   ▁▂▃▅▃▂▁▂        full
    40 ms   ▂▅▃▂ · · · ·    merged in pairs, and on
    ```

    Examples
    --------
    >>> overview = Overview(max_columns=4)
    >>> overview.add(np.linspace(-1.0, 1.0, 1_600, dtype=np.float32))
    >>> overview.seconds, overview.column_seconds, overview.highest.round(2).tolist()
    (0.1, 0.04, [0.0, 0.6, 1.0])
    """

    def __init__(self, max_columns: int = MAX_COLUMNS) -> None:
        self._max_columns = max_columns  # even
        self._n_blocks = 1  # of a column
        self._columns: Floats = np.zeros((0, 2 + N_MELS))  # lowest, highest, powers
        self._blocks = self._columns  # of a column that is not whole yet
        self._samples: Samples = np.zeros(0, np.float32)  # of a block that is not whole yet
        self._n_samples = 0
        self._window = np.hanning(FRAME_SAMPLES)
        self._filters = mel_filters()

    def add(self, samples: Samples) -> None:
        """Add the samples that follow: float array of shape (n_samples,), 16 kHz mono."""
        self._n_samples += len(samples)
        samples = np.concatenate([self._samples, samples])
        whole = len(samples) - len(samples) % FRAME_SAMPLES
        self._samples = samples[whole:]
        self._blocks = np.concatenate([self._blocks, self._blocks_of(samples[:whole])])
        while len(self._blocks) >= self._n_blocks:
            n = min(len(self._blocks) // self._n_blocks, self._max_columns - len(self._columns))
            ready, self._blocks = np.split(self._blocks, [n * self._n_blocks])
            self._columns = np.concatenate([self._columns, _merged(ready, self._n_blocks)])
            if len(self._columns) == self._max_columns:
                self._columns, self._n_blocks = _merged(self._columns, 2), 2 * self._n_blocks

    @property
    def seconds(self) -> float:
        """Length of what was added."""
        return self._n_samples / SAMPLE_RATE

    @property
    def column_seconds(self) -> float:
        """Length of a column; the last one may be shorter."""
        return self._n_blocks * FRAME_SAMPLES / SAMPLE_RATE

    @property
    def lowest(self) -> Floats:
        """Lowest sample of each column: array of shape (n_columns,)."""
        return np.asarray(self._all[:, 0])

    @property
    def highest(self) -> Floats:
        """Highest sample of each column: array of shape (n_columns,)."""
        return np.asarray(self._all[:, 1])

    @property
    def levels(self) -> Floats:
        """Power of each mel band in dB, of each column: array of shape (n_columns, 40)."""
        return np.asarray(10.0 * np.log10(self._all[:, 2:] + POWER_FLOOR))

    @property
    def _all(self) -> Floats:
        """The columns, with one that is not whole."""
        left = [self._blocks]
        if len(self._samples):
            left.append(self._blocks_of(np.pad(self._samples, (0, FRAME_SAMPLES - len(self._samples)))))
        rest = np.concatenate(left)
        return np.concatenate([self._columns, _merged(rest, len(rest))]) if len(rest) else self._columns

    def _blocks_of(self, samples: Samples) -> Floats:
        blocks = samples.reshape(-1, FRAME_SAMPLES)
        power = np.abs(np.fft.rfft(blocks * self._window, N_FFT)) ** 2
        return np.column_stack(
            [blocks.min(axis=1, initial=0.0), blocks.max(axis=1, initial=0.0), power @ self._filters.T]
        )


def _merged(columns: Floats, n: int) -> npt.NDArray[np.float64]:
    """Make one column of each n; their number is a multiple of it."""
    groups = columns.reshape(-1, n, columns.shape[1])
    return np.column_stack([groups[:, :, 0].min(axis=1), groups[:, :, 1].max(axis=1), groups[:, :, 2:].mean(axis=1)])
