"""Resynthesis: analyse a recording and synthesise it again, with the artefacts of synthesisers but without one.

Synthesisers have in common not a voice but a bottleneck: they generate a spectrum at some hop, and invent the phase,
the fine structure or the upper half of the band. Each kind here invents one of these. So an encoder can learn to detect
resynthesis without labels, and without a synthesiser that is evaluated later.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import soxr
import torch
from torch import Tensor

from bench.starter.targets import HOP, bands, features
from detector.audio import SAMPLE_RATE

Floats = npt.NDArray[np.float32]

N_FFT = 1_024
ROUNDS = 16  # iterations of Griffin and Lim
MOMENTUM = 0.99
N_BANDS = (40, 64, 80, 100)
HOPS = (128, 160, 200, 256)


def magnitude(samples: Floats, rng: np.random.Generator) -> Floats:
    """Invent the phase: keep the magnitudes of the spectrum, and find a phase by Griffin and Lim's method."""
    hop = int(rng.choice(HOPS))
    return _griffin_lim(_spectrum(samples, hop).abs(), hop, len(samples), rng)


def mel(samples: Floats, rng: np.random.Generator) -> Floats:
    """Invent phase and fine structure: the same, from a number of mel bands."""
    hop = int(rng.choice(HOPS))
    return _griffin_lim(_through_mel(_spectrum(samples, hop).abs(), rng), hop, len(samples), rng)


def smooth(samples: Floats, rng: np.random.Generator) -> Floats:
    """Invent the fine structure: average magnitudes over mel bands or over frames, and keep the phase."""
    hop = int(rng.choice(HOPS))
    spectrum = _spectrum(samples, hop)
    size = spectrum.abs()
    if rng.random() < 0.5:
        wanted = _through_mel(size, rng)
    else:
        width = int(rng.integers(3, 8))
        wanted = torch.nn.functional.avg_pool1d(size[None], width, 1, width // 2, count_include_pad=False)[0]
        wanted = wanted[:, : size.shape[1]]
    return _sound(wanted * spectrum[:, : wanted.shape[1]] / (size[:, : wanted.shape[1]] + 1e-9), hop, len(samples))


def jitter(samples: Floats, rng: np.random.Generator) -> Floats:
    """Add random offsets to the phase, per bin or per frame."""
    hop = int(rng.choice(HOPS))
    spectrum = _spectrum(samples, hop)
    shape = spectrum.shape if rng.random() < 0.5 else (1, spectrum.shape[1])
    phase = torch.from_numpy(rng.uniform(0.3, 1.2) * rng.standard_normal(shape, np.float32))
    return _sound(spectrum * torch.polar(torch.ones_like(phase), phase), hop, len(samples))


def excitation(samples: Floats, rng: np.random.Generator) -> Floats:
    """Invent the source: filter pulses at the pitch, and noise, with the smooth envelope of the spectrum."""
    hop = 128
    source = features(samples)["source"][:, -2:]
    at = np.arange(len(samples)) / HOP
    lag = 80.0 * 2.0 ** np.interp(at, np.arange(len(source)), source[:, 0])
    voiced = np.clip(np.interp(at, np.arange(len(source)), source[:, 1]) - 0.4, 0.0, 1.0)
    turns = np.floor(np.cumsum(rng.uniform(0.9, 1.1) / lag))
    pulses = np.diff(turns, prepend=0.0) * np.sqrt(lag)
    breath = rng.standard_normal(len(samples)) * rng.uniform(0.1, 1.0)
    drive = _spectrum((voiced * pulses + (1.0 - voiced) * breath).astype(np.float32), hop)
    cepstra = torch.fft.irfft(torch.log(_spectrum(samples, hop).abs() + 1e-4), dim=0)
    n_kept = int(rng.integers(20, 50))
    cepstra[n_kept : len(cepstra) - n_kept + 1] = 0.0
    return _sound(drive * torch.exp(torch.fft.rfft(cepstra, dim=0).real), hop, len(samples))


def imaging(samples: Floats, rng: np.random.Generator) -> Floats:
    """Invent the upper band: hold samples of a lower rate or join them by lines, which mirrors the lower band."""
    factor = int(rng.integers(2, 4))
    low = soxr.resample(samples, SAMPLE_RATE, SAMPLE_RATE / factor)
    at = np.arange(len(samples)) / factor
    held = low[np.minimum(at.astype(int), len(low) - 1)]
    joined = np.interp(at, np.arange(len(low)), low)
    return np.asarray(held if rng.random() < 0.5 else joined, np.float32)


Resynthesise = Callable[[Floats, np.random.Generator], Floats]

KINDS: dict[str, Resynthesise] = {
    "magnitude": magnitude,
    "mel": mel,
    "smooth": smooth,
    "jitter": jitter,
    "excitation": excitation,
    "imaging": imaging,
}


def resynthesised(samples: Floats, kind: str, rng: np.random.Generator) -> Floats:
    """Apply one of `KINDS` to ``samples``, keeping their level.

    Parameters
    ----------
    samples : float32 array of shape (n_samples,)
        16 kHz, at least 1,024 samples.

    Returns
    -------
    float32 array of the same shape
        Aligned with the input, sample by sample.

    Examples
    --------
    >>> noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    >>> [resynthesised(noise, kind, np.random.default_rng(0)).shape for kind in KINDS] == 6 * [(16_000,)]
    True
    """
    made = KINDS[kind](samples, rng)
    return np.asarray(made * (samples.std() / (made.std() + 1e-9)), np.float32)


def _spectrum(samples: Floats, hop: int) -> Tensor:
    window = torch.hann_window(N_FFT)
    return torch.stft(torch.from_numpy(samples), N_FFT, hop, window=window, return_complex=True)


def _sound(spectrum: Tensor, hop: int, n_samples: int) -> Floats:
    sound = torch.istft(spectrum, N_FFT, hop, window=torch.hann_window(N_FFT), length=n_samples)
    return np.asarray(sound.numpy())


def _griffin_lim(size: Tensor, hop: int, n_samples: int, rng: np.random.Generator) -> Floats:
    """Griffin and Lim's method (1984), with the momentum of Perraudin, Balazs and Søndergaard (2013)."""
    turn = torch.from_numpy(rng.uniform(-np.pi, np.pi, size.shape).astype(np.float32))
    phase = torch.polar(torch.ones_like(turn), turn)
    before = torch.zeros_like(phase)
    for _ in range(ROUNDS):
        rebuilt = _spectrum(_sound(size * phase, hop, n_samples), hop)
        phase = rebuilt - MOMENTUM / (1.0 + MOMENTUM) * before
        phase, before = phase / (phase.abs() + 1e-9), rebuilt
    return _sound(size * phase, hop, n_samples)


def _through_mel(size: Tensor, rng: np.random.Generator) -> Tensor:
    """Reconstruct magnitudes from a number of mel bands, by least squares."""
    weights = torch.from_numpy(bands(N_FFT, int(rng.choice(N_BANDS)), 0.0, 8_000.0, mel=True))
    return torch.clamp(torch.linalg.pinv(weights).T @ (weights.T @ size), min=1e-5)
