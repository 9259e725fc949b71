"""Level: the share of a recording that is active, and the share that is clipped. Both are counted; no model is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.audio import SAMPLE_RATE
from detector.decoders import Block, Samples

FRAME_SAMPLES = SAMPLE_RATE // 50  # 320 samples, 20 ms
HANGOVER_FRAMES = 10  # 0.2 s: pauses within words count as speech
MARGIN_DB = 15.9  # from the active level down to the threshold
FLOOR_DBFS = -70.0  # quieter frames are never active
THRESHOLDS_DBFS = np.arange(FLOOR_DBFS, 1.0)
CLIPPED = 0.98  # of full scale; the largest µ-law sample is 0.9803


def active_frames(energies: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Find the frames that are active, relative to the recording's own level.

    A frame is active if it, or any frame of the 0.2 s before it, is at most 15.9 dB below the mean level of the active
    frames. Music and steady noise are active, too: this separates sound from pauses, not speech from other sound.

    Parameters
    ----------
    energies : float64 array of shape (n_frames,)
        Mean square of each frame of 20 ms, 1 being full scale.

    Returns
    -------
    bool array of shape (n_frames,)

    References
    ----------
    ITU-T P.56 (2011), method B, with 20 ms frames in place of its envelope and thresholds 1 dB apart in place of 6 dB.
    """
    held = np.lib.stride_tricks.sliding_window_view(np.pad(energies, (HANGOVER_FRAMES, 0)), HANGOVER_FRAMES + 1)
    loudest = held.max(axis=1)
    thresholds = 10.0 ** (THRESHOLDS_DBFS / 10.0)
    n_active = len(loudest) - np.searchsorted(np.sort(loudest), thresholds)
    with np.errstate(divide="ignore", invalid="ignore"):
        margins = 10.0 * np.log10(energies.sum() / n_active) - THRESHOLDS_DBFS
    too_high = [*np.flatnonzero(~(margins >= MARGIN_DB) | (n_active == 0)), len(margins)]  # beyond full scale: none
    return np.asarray(loudest >= thresholds[max(0, too_high[0] - 1)])


def active_share(energies: npt.NDArray[np.float64]) -> float:
    """Compute the activity factor: the share of frames that are active (:func:`active_frames`).

    Parameters
    ----------
    energies : float64 array of shape (n_frames,)
        Mean square of each frame of 20 ms, 1 being full scale.

    Returns
    -------
    float
        In [0, 1]; 0 if nothing is above -70 dB re full scale.

    Examples
    --------
    >>> active_share(np.repeat([0.01, 0.0], 50))  # 1 s of sound, 1 s of silence: 1.2 s of 2 s
    0.6
    """
    active = active_frames(energies)
    return float(np.count_nonzero(active) / len(active))


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Level statistics of one recording: the columns of :data:`detector.schema.LEVELS`.

    Parameters
    ----------
    speech_share : float
        As :func:`active_share`, in [0, 1].
    clipped_share : float
        Share of the stored samples at 0.98 of full scale or beyond, in [0, 1].
    """

    speech_share: float
    clipped_share: float


class Meter:
    """Measure a recording block by block, while it is decoded.

    Examples
    --------
    >>> meter = Meter()
    >>> blocks = list(meter.native([Block(np.array([0.5, 1.0, -1.0, 0.0], np.float32), 8_000)]))
    >>> meter.add(np.full(SAMPLE_RATE, 0.5, np.float32))
    >>> meter.levels
    Levels(speech_share=1.0, clipped_share=0.5)
    """

    def __init__(self) -> None:
        self._n_clipped = 0
        self._n_stored = 0
        self._energies: list[npt.NDArray[np.float64]] = []
        self._rest = np.zeros(0, np.float32)  # samples of a frame that is not complete yet

    def native(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Measure blocks at the stored rate and pass them on; a resampler would round off what was clipped."""
        for block in blocks:
            self._n_clipped += int(np.count_nonzero(np.abs(block.samples) >= CLIPPED))
            self._n_stored += len(block.samples)
            yield block

    def add(self, samples: Samples) -> None:
        """Measure the next samples at 16 kHz: float32 array of shape (n_samples,)."""
        samples = np.concatenate([self._rest, samples])
        n_whole = len(samples) // FRAME_SAMPLES * FRAME_SAMPLES
        self._energies.append(_energies(samples[:n_whole]))
        self._rest = samples[n_whole:].copy()

    @property
    def energies(self) -> npt.NDArray[np.float64]:
        """Mean square of each frame of 20 ms so far, the last one of what there is of it."""
        last = [np.array([_energies(self._rest, len(self._rest))[0]])] if len(self._rest) else []
        return np.concatenate([np.zeros(0), *self._energies, *last])

    @property
    def levels(self) -> Levels:
        """The statistics of all samples so far."""
        energies = self.energies
        return Levels(
            speech_share=active_share(energies) if len(energies) else 0.0,
            clipped_share=self._n_clipped / max(1, self._n_stored),
        )


def _energies(samples: Samples, frame_samples: int = FRAME_SAMPLES) -> npt.NDArray[np.float64]:
    """Mean square of each frame: float64 array of shape (n_frames,), 1 being full scale."""
    frames = samples.reshape(-1, frame_samples)
    return np.asarray(np.einsum("ns,ns->n", frames, frames, dtype=np.float64) / frame_samples)
