"""Augmentation: the effects of rooms, microphones and levels on a batch, drawn anew for each pass."""

from __future__ import annotations

import torch
from torch import Tensor

FFT_MARGIN = 8_000  # samples of the longest echo


def degrade(batch: Tensor, draw: torch.Generator) -> Tensor:
    """Add reverberation, colouring, noise and level changes to a batch.

    Parameters
    ----------
    batch : float32 tensor of shape (n_segments, n_samples)
    draw : torch.Generator

    Returns
    -------
    float32 tensor of the same shape
        Each row with zero mean and unit variance, as the encoder's preprocessor gives it.
    """
    heard = _through(batch, draw)
    heard = heard + _noise(heard, draw)
    clip = 10 ** (-0.05 * (3.0 + 20.0 * torch.rand(len(batch), 1, generator=draw)))
    level = heard.abs().amax(dim=1, keepdim=True) * torch.where(_chosen(batch, 0.1, draw), 8.0 * clip, 1.0)
    heard = heard.clamp(-level, level)
    return (heard - heard.mean(dim=1, keepdim=True)) / (heard.std(dim=1, keepdim=True) + 1e-7)


def _chosen(batch: Tensor, share: float, draw: torch.Generator) -> Tensor:
    return torch.rand(len(batch), 1, generator=draw) < share


def _through(batch: Tensor, draw: torch.Generator) -> Tensor:
    """Apply a room (a decaying echo) to a quarter of the rows, a smooth random response with an upper edge to half."""
    n_segments, n_samples = batch.shape
    size = n_samples + FFT_MARGIN
    time = torch.arange(FFT_MARGIN) / 16_000.0
    decay = 0.05 + 0.35 * torch.rand(n_segments, 1, generator=draw)  # RT60, s
    echo = torch.randn(n_segments, FFT_MARGIN, generator=draw) * torch.exp(-6.9 * time / decay)
    echo = echo / echo.square().sum(dim=1, keepdim=True).sqrt()
    echo = echo * 10 ** (-0.05 * (20.0 * torch.rand(n_segments, 1, generator=draw)))
    echo = torch.where(_chosen(batch, 0.25, draw), echo, 0.0)
    echo[:, 0] += 1.0
    response = torch.fft.rfft(echo, size)
    points = 6.0 * torch.randn(n_segments, 1, 9, generator=draw)  # dB, from 0 to 8 kHz
    colour = torch.nn.functional.interpolate(points, response.shape[1], mode="linear", align_corners=True)[:, 0]
    hertz = torch.linspace(0.0, 8_000.0, response.shape[1])
    edge = 3_000.0 + 6_000.0 * torch.rand(n_segments, 1, generator=draw)
    colour = colour - 60.0 * torch.clamp((hertz - edge) / 300.0, 0.0, 1.0)
    colour = torch.where(_chosen(batch, 0.5, draw), 10 ** (0.05 * colour), 1.0)
    heard: Tensor = torch.fft.irfft(torch.fft.rfft(batch, size) * response * colour, size)[:, :n_samples]
    return heard


def _noise(batch: Tensor, draw: torch.Generator) -> Tensor:
    """Add noise of a random slope, 5 to 40 dB below the speech, to half of the rows, the next voice to a tenth."""
    n_segments, n_samples = batch.shape
    white = torch.fft.rfft(torch.randn(n_segments, n_samples, generator=draw))
    slope = torch.rand(n_segments, 1, generator=draw)  # slope of the amplitude: 0 is white, 1 is brown
    bins = torch.arange(1, white.shape[1] + 1)
    noise = torch.fft.irfft(white * bins**-slope, n_samples)
    noise = torch.where(_chosen(batch, 0.1, draw), batch.roll(1, dims=0), noise)
    ratio = 10 ** (-0.05 * (5.0 + 35.0 * torch.rand(n_segments, 1, generator=draw)))
    loud = ratio * batch.std(dim=1, keepdim=True) / (noise.std(dim=1, keepdim=True) + 1e-7)
    return torch.where(_chosen(batch, 0.5, draw), loud * noise, 0.0)
