"""Mixing: one channel of a recording, the mean of all, or, where they cancel one another, the loudest.

Channels in opposite phase have no mean: half of a call would vanish because a cable was soldered the wrong way, and
speech could be hidden on purpose. Of two channels, the mean is the mid (L + R) / 2; what it loses is the side
(L - R) / 2. They are compared in cells: frames of 20 ms, in ten bands from 150 Hz to 8 kHz. All samples count, and only
sound that can be heard and is encoded: nothing above or below it, such as ultrasound or a constant, sways the choice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy import fft  # now: NumPy loads it late, when a confined decoder may open no file

Samples = npt.NDArray[np.float32]
Cells = npt.NDArray[np.floating]

FRAMES_PER_SECOND = 50
BAND_EDGES = np.array([150, 300, 450, 700, 1_000, 1_400, 2_000, 2_800, 4_000, 5_600, 8_000])  # Hz
AT_ONCE = 1 << 15  # samples of all channels that are transformed at once: what a cache holds, three times as fast
SILENCE = 1e-9  # mean square, -90 dB re full scale: nothing below it can cancel
ACTIVE = 1e-4  # a cell counts if it is at most 40 dB below the mean of the block
FULL_SCALE = 1.0  # what is beyond it weighs no more

# Channels cancel in a block if one of three limits is exceeded. Of 425 simulated blocks of ordinary stereo none exceeds
# any: voices, panned, on a channel each, before two microphones up to 2 ms apart, in rooms, as mid and side; and single
# notes. The most that was seen of both stands in parentheses.
BLOCK_SIDE = 6.3  # 8 dB: energy of the side over that of the mid (5.4 dB, 5.1 dB); little sound in phase covers nothing
CELL_SIDE, CELL_SHARE = 4.0, 0.6  # share of cells with the side 6 dB above (48 %, 56 %); nor does a beep or a hum
SECOND_SIDE, SECOND_SHARE = 10.0, 0.85  # of a second's cells, 10 dB above (43 %, 79 %); nor all else in the block

# One channel is heard only where they do, by the half second: a loud insert must not cost a voice before or behind it.
STEP_FRAMES = FRAMES_PER_SECOND // 2
STEP_SIDE, STEP_SHARE = 2.0, 0.5  # 3 dB, or half of the cells with the side 6 dB above, in a block that cancels


class Spectrum(NamedTuple):
    """Energies of a block: of what the mean keeps and loses in each cell, and of each channel.

    Parameters
    ----------
    mid, side : arrays of shape (n_frames, n_bands)
        Mean squares; equal for channels that are unrelated, and for one channel beside silent ones.
    of_channels : array of shape (n_frames, n_channels)
    """

    mid: Cells
    side: Cells
    of_channels: Cells


def mixed(channels: Samples, rate: int) -> tuple[Samples, bool]:
    """Mix the channels of a block.

    Parameters
    ----------
    channels : float32 array of shape (n_channels, n_samples)
    rate : int
        In Hz.

    Returns
    -------
    float32 array of shape (n_samples,)
        The mean of the channels; where they cancel one another, the loudest of them.
    bool
        True if they do somewhere.

    Examples
    --------
    >>> tone = np.sin(np.arange(8_000)).astype(np.float32)
    >>> samples, cancel = mixed(np.stack([tone, -tone]), 8_000)
    >>> bool((samples == tone).all()), cancel
    (True, True)
    """
    if len(channels) == 1 or not channels.size:
        return np.ascontiguousarray(channels[0]), False
    if len(channels) == 2:
        if np.array_equal(channels[0], channels[1]):
            return np.ascontiguousarray(channels[0]), False
        mean = (channels[0] + channels[1]) * np.float32(0.5)  # to the bit what `mean` gives, in a fraction of its time
    else:
        mean = channels.mean(axis=0, dtype=np.float32)
    mean = np.ascontiguousarray(mean)
    with np.errstate(all="ignore"):  # samples that are no numbers are refused elsewhere
        energies = spectrum(channels, rate)
        steps = cancelled(energies)
    if steps.any():
        loudest = int(energies.of_channels[np.repeat(steps, STEP_FRAMES)[: len(energies.mid)]].sum(axis=0).argmax())
        n = STEP_FRAMES * _frame_samples(rate)
        for step in np.flatnonzero(steps):
            mean[step * n : (step + 1) * n] = channels[loudest, step * n : (step + 1) * n]
    return mean, bool(steps.any())


def _frame_samples(rate: int) -> int:
    return max(2, round(rate / FRAMES_PER_SECOND))


def spectrum(channels: Samples, rate: int) -> Spectrum:
    """Compute the energies of a block.

    Of n channels, the mean square is that of their mean and of their deviations from it. The latter is divided by
    n - 1, which it is above the former if the channels are unrelated. For n = 2 the two are mid and side.
    """
    n_channels, n_samples = channels.shape
    n = _frame_samples(rate)
    window = np.sin(np.pi * (np.arange(n, dtype=np.float32) + 0.5) / n)
    window *= np.float32(2.0 / n)  # so that the lines of a signal have its mean square in sum
    low, bands = _bands(n, rate)
    n_at_once = max(1, AT_ONCE // (n * n_channels)) * n
    mid, side, of_channels = [], [], []
    for start in range(0, n_samples, n_at_once):
        part = channels[:, start : start + n_at_once]
        frames = np.zeros((n_channels, -(-part.shape[1] // n) * n), np.float32)
        frames[:, : part.shape[1]] = part
        lines = fft.rfft(frames.reshape(n_channels, -1, n) * window)[:, :, low : low + len(bands)]
        own, mean = _power(lines) @ bands, _power(lines.sum(axis=0)) @ bands / np.float32(n_channels**2)
        own[:, ~np.isfinite(own).all(axis=0)] = 0.0
        mid.append(np.where(np.isfinite(mean), mean, 0.0))
        side.append(np.maximum(own.mean(axis=0) - mid[-1], 0.0) / (n_channels - 1))
        of_channels.append(own.sum(axis=2).T)
    return Spectrum(np.concatenate(mid), np.concatenate(side), np.concatenate(of_channels))


def _bands(n: int, rate: int) -> tuple[int, npt.NDArray[np.float32]]:
    """Return the first line of the lowest band of frames of ``n`` samples, and which lines from there on are whose."""
    edges = np.minimum(np.round(BAND_EDGES * n / rate).astype(int), n // 2 + 1)
    lines = np.arange(edges[0], max(edges[-1], edges[0] + 1))[:, None]
    bands = (lines >= edges[:-1]) & (lines < edges[1:])
    return int(edges[0]), bands[:, bands.any(axis=0)].astype(np.float32)


def _power(lines: npt.NDArray[np.complexfloating]) -> Samples:
    return np.asarray(np.square(lines.real) + np.square(lines.imag))


def cancelled(energies: Spectrum) -> npt.NDArray[np.bool_]:
    """Return the half seconds of a block in which the mean loses what is loudest: bool, of shape (n_steps,)."""
    mid, side = energies.mid, energies.side
    steps = np.arange(0, len(mid), STEP_FRAMES)
    both = np.minimum(mid + side, FULL_SCALE)
    if not both.sum(dtype=np.float64) > SILENCE * len(both):
        return np.zeros(len(steps), bool)
    # a loud beep, hum or click in phase must not outweigh all else: the fourth root of energy hardly knows loudness
    weights = np.where(both > ACTIVE * both.mean(dtype=np.float64), both, 0.0) ** 0.25

    def sums(cells: Cells) -> npt.NDArray[np.float64]:
        return np.add.reduceat(cells.sum(axis=1, dtype=np.float64), steps)

    of_mid, of_side, of_all = sums(mid), sums(side), sums(weights)
    lost, lost_by_far = sums(weights * (side > CELL_SIDE * mid)), sums(weights * (side > SECOND_SIDE * mid))
    found = _in_seconds(of_all, lost_by_far)
    if of_side.sum() > BLOCK_SIDE * of_mid.sum() or lost.sum() > CELL_SHARE * of_all.sum():
        found |= (of_side > STEP_SIDE * of_mid) | (lost > STEP_SHARE * of_all)
    return found


def _in_seconds(of_all: npt.NDArray[np.float64], of_lost: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return the half seconds that belong to a second whose cells are lost; seconds overlap by a half."""
    if len(of_all) == 1:
        return np.asarray(of_lost > SECOND_SHARE * of_all, bool)
    of_all, of_lost = of_all[1:] + of_all[:-1], of_lost[1:] + of_lost[:-1]
    are_lost = (of_all > 0.05 * of_all.max()) & (of_lost > SECOND_SHARE * of_all)
    return np.asarray(np.append(are_lost, False) | np.append(False, are_lost), bool)
