"""Targets that the starter encoder predicts for the frames that are masked.

HuBERT (Hsu et al. 2021, arXiv 2106.07447) clusters MFCCs, which describe what is spoken. A detector needs what MFCCs
discard. So there are three codebooks, each from k-means over frames of the *clean* recording (25 ms, every 20 ms, like
the frames of the encoder):

- `timbre`: 13 mel cepstra and their slope, less the mean of the recording
- `fine`: energies of 24 linear bands from 2 to 8 kHz relative to the frame's, less the mean of the recording
- `source`: how tonal the frame is in 12 bands, and height and position of the peak of its autocorrelation
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.fft import dct
from sklearn.cluster import MiniBatchKMeans

from detector.audio import SAMPLE_RATE

CODEBOOKS = ("timbre", "fine", "source")
FRAME, HOP = 400, 320
FFT = 512
SHIFT = 16  # samples between the two windows whose phases are compared: 1 ms

Floats = npt.NDArray[np.float32]


def frames_of(samples: Floats, first: int = 0) -> Floats:
    """Cut windowed frames, an array of shape (n_frames, 400), like those of the encoder's front end."""
    n_frames = (len(samples) - FRAME) // HOP + 1
    padded = np.pad(samples, (0, SHIFT))
    at = first + np.arange(n_frames)[:, None] * HOP + np.arange(FRAME)
    return np.asarray(padded[at] * np.hanning(FRAME).astype(np.float32))


def features(samples: Floats) -> dict[str, Floats]:
    """Compute the features of each frame by codebook: arrays of shape (n_frames, n).

    Parameters
    ----------
    samples : float32 array of shape (n_samples,)
        16 kHz, at least 400 samples.

    Examples
    --------
    >>> found = features(np.random.default_rng(0).normal(size=16_000).astype(np.float32))
    >>> {name: values.shape for name, values in found.items()}
    {'timbre': (49, 26), 'fine': (49, 24), 'source': (49, 14)}
    """
    spectrum = np.fft.rfft(frames_of(samples), FFT)
    later = np.fft.rfft(frames_of(samples, SHIFT), FFT)
    power = np.abs(spectrum) ** 2
    floor = 1e-6 * power.mean() + 1e-12
    return {
        "timbre": _timbre(power, floor),
        "fine": _fine(power, floor),
        "source": np.concatenate([_tonality(spectrum, later, floor), _pitch(power)], axis=1),
    }


def _timbre(power: Floats, floor: float) -> Floats:
    cepstra = dct(np.log(power @ bands(FFT, 40, 0.0, 8_000.0, mel=True) + floor), axis=1, norm="ortho")[:, :13]
    slope = np.gradient(cepstra, axis=0) if len(cepstra) > 1 else np.zeros_like(cepstra)
    return np.asarray(np.concatenate([cepstra - cepstra.mean(axis=0), slope], axis=1), np.float32)


def _fine(power: Floats, floor: float) -> Floats:
    levels = np.log(power @ bands(FFT, 24, 2_000.0, 8_000.0, mel=False) + floor)
    shape = levels - levels.mean(axis=1, keepdims=True)
    return np.asarray(shape - shape.mean(axis=0), np.float32)


def _tonality(spectrum: npt.NDArray[np.complex128], later: npt.NDArray[np.complex128], floor: float) -> Floats:
    """Measure how far the phase of each bin advances like a tone there: 1 for harmonics, near 0 for noise."""
    turn = np.exp(-2j * np.pi * np.arange(FFT // 2 + 1) * SHIFT / FFT)
    cross = later * np.conj(spectrum) * turn
    edges = np.linspace(4, FFT // 2, 13).astype(int)
    sums = np.add.reduceat(cross, edges[:-1], axis=1)
    sizes = np.add.reduceat(np.abs(cross), edges[:-1], axis=1)
    return np.asarray(np.abs(sums) / (sizes + floor), np.float32)


def _pitch(power: Floats) -> Floats:
    correlation = np.fft.irfft(power)
    lags = slice(SAMPLE_RATE // 400, SAMPLE_RATE // 65)
    window = correlation[:, lags] / (correlation[:, :1] + 1e-12)
    lag = SAMPLE_RATE // 400 + window.argmax(axis=1)
    return np.asarray(np.stack([np.log2(lag / 80.0), 2.0 * window.max(axis=1)], axis=1), np.float32)


def bands(n_fft: int, n_bands: int, low: float, high: float, *, mel: bool) -> Floats:
    """Make triangular filters over the bins of a spectrum: an array of shape (n_fft / 2 + 1, n_bands)."""
    pitch = [2_595.0 * math.log10(1.0 + hertz / 700.0) if mel else hertz for hertz in (low, high)]
    edges = np.linspace(pitch[0], pitch[1], n_bands + 2)
    edges = 700.0 * (10.0 ** (edges / 2_595.0) - 1.0) if mel else edges
    bins = np.arange(n_fft // 2 + 1)[:, None] * SAMPLE_RATE / n_fft
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.asarray(np.clip(np.minimum(rising, falling), 0.0, None), np.float32)


def clustered(recordings: list[Floats], n_clusters: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Assign each frame a cluster in each codebook: an array of shape (n_frames, 3) for each recording."""
    found = [features(samples) for samples in recordings]
    columns = []
    for name in CODEBOOKS:
        rows = np.concatenate([each[name] for each in found])
        rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
        means = MiniBatchKMeans(n_clusters, random_state=seed, batch_size=4_096, n_init=3)
        columns.append(means.fit_predict(rows).astype(np.int64))
    ends = np.cumsum([len(each["timbre"]) for each in found])[:-1]
    return np.split(np.stack(columns, axis=1), ends)
