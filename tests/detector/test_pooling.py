"""detector.pooling: every pooling ignores padding, and is linear in frames, of arrays and of tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detector.pooling import POOLINGS, mean

RNG = np.random.default_rng(0)
FRAMES = RNG.normal(size=(2, 50, 4))
ALL = np.ones((2, 50))


def test_mean_is_over_the_valid_frames_of_each_segment() -> None:
    frames = np.array([[[1.0, 10.0], [3.0, 30.0], [99.0, 99.0]], [[4.0, 40.0], [99.0, 99.0], [99.0, 99.0]]])

    pooled = mean(frames, np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))

    assert pooled.tolist() == [[2.0, 20.0], [4.0, 40.0]]  # (1 + 3) / 2 and 4 / 1


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_does_not_show(pooling: str) -> None:
    padded = np.concatenate([FRAMES, np.full((2, 30, 4), 1e3)], axis=1)
    valid = np.concatenate([ALL, np.zeros((2, 30))], axis=1)

    np.testing.assert_allclose(POOLINGS[pooling](padded, valid), POOLINGS[pooling](FRAMES, ALL), rtol=1e-12)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_segments_join_to_the_whole_by_their_frames(pooling: str) -> None:
    pool = POOLINGS[pooling]

    first, second = pool(FRAMES[:, :20], ALL[:, :20]), pool(FRAMES[:, 20:], ALL[:, 20:])

    np.testing.assert_allclose((20 * first + 30 * second) / 50, pool(FRAMES, ALL), rtol=1e-12)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_tensors_pool_as_arrays_do(pooling: str) -> None:
    pooled = POOLINGS[pooling](torch.from_numpy(FRAMES), torch.from_numpy(ALL))

    np.testing.assert_allclose(pooled.numpy(), POOLINGS[pooling](FRAMES, ALL), rtol=1e-12)
