"""Level: how much of a recording is active, and how much of it is clipped. Counted, not learnt; no model is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from detector.audio import SAMPLE_RATE, Samples

FRAME_SAMPLES = SAMPLE_RATE // 50  # 320 samples, 20 ms
HANGOVER_FRAMES = 10  # 0.2 s: the pauses within words count as speech
MARGIN_DB = 15.9  # from the active level down to the threshold
FLOOR_DBFS = -70.0  # what is quieter is never active
THRESHOLDS_DBFS = np.arange(FLOOR_DBFS, 1.0)
CLIPPED = 0.98  # of full scale; the loudest that µ-law can say is 0.9803


def active_share(energies: npt.NDArray[np.float64]) -> float:
    """Activity factor: the share of time in which somebody speaks, beside the recording's own level.

    A frame is active where it, or one of the 0.2 s before it, is no more than 15.9 dB below the mean level of the
    active frames. Music and steady noise are active, too: this tells pauses from sound, not speech from it.

    Parameters
    ----------
    energies : float64 array of shape (n_frames,)
        Mean square of each 20 ms, 1 being full scale.

    Returns
    -------
    float
        In [0, 1]; 0 where nothing is above -70 dB re full scale.

    References
    ----------
    ITU-T P.56 (2011), method B; here with 20 ms frames for its envelope, and thresholds 1 dB apart for its 6 dB.

    Examples
    --------
    >>> active_share(np.repeat([0.01, 0.0], 50))  # a second of sound and a second of nothing: 1.2 s of 2 s
    0.6
    """
    held = np.lib.stride_tricks.sliding_window_view(np.pad(energies, (HANGOVER_FRAMES, 0)), HANGOVER_FRAMES + 1)
    loudest = np.sort(held.max(axis=1))
    n_active = len(loudest) - np.searchsorted(loudest, 10.0 ** (THRESHOLDS_DBFS / 10.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        margins = 10.0 * np.log10(energies.sum() / n_active) - THRESHOLDS_DBFS
    too_high = [*np.flatnonzero(~(margins >= MARGIN_DB) | (n_active == 0)), len(margins)]  # beyond full scale: none
    return float(n_active[max(0, too_high[0] - 1)] / len(loudest))


class Meter:
    """Listens to a recording as it goes by.

    Examples
    --------
    >>> meter = Meter()
    >>> blocks = list(meter.clipping([np.array([0.5, 1.0, -1.0, 0.0], np.float32)]))
    >>> meter.hear(np.full(SAMPLE_RATE, 0.5, np.float32))
    >>> meter.clipped_share, meter.speech_share
    (0.5, 1.0)
    """

    def __init__(self) -> None:
        self._n_clipped = 0
        self._n_stored = 0
        self._energies: list[npt.NDArray[np.float64]] = []
        self._rest = np.zeros(0, np.float32)

    def clipping(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Pass blocks on as they were stored: behind a resampler, nothing is flat any more."""
        for block in blocks:
            self._n_clipped += int(np.count_nonzero(np.abs(block) >= CLIPPED))
            self._n_stored += len(block)
            yield block

    def hear(self, samples: Samples) -> None:
        """Take the next samples at 16 kHz."""
        samples = np.concatenate([self._rest, samples])
        n_whole = len(samples) // FRAME_SAMPLES * FRAME_SAMPLES
        self._energies.append(_energies(samples[:n_whole]))
        self._rest = samples[n_whole:].copy()

    @property
    def speech_share(self) -> float:
        """As :func:`active_share`."""
        last = [np.array([_energies(self._rest, len(self._rest))[0]])] if len(self._rest) else []
        energies = np.concatenate([*self._energies, *last])
        return active_share(energies) if len(energies) else 0.0

    @property
    def clipped_share(self) -> float:
        """Share of the samples at 0.98 of full scale or beyond, in [0, 1]."""
        return self._n_clipped / max(1, self._n_stored)


def _energies(samples: Samples, frame_samples: int = FRAME_SAMPLES) -> npt.NDArray[np.float64]:
    frames = samples.reshape(-1, frame_samples)
    return np.asarray(np.einsum("ns,ns->n", frames, frames, dtype=np.float64) / frame_samples)
