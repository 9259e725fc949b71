"""Padding does not change a pooled vector, and segments join to the pooling of all frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detector.embedding import join_segments
from detector.pooling import POOLINGS, maximum, mean, mean_std

RNG = np.random.default_rng(0)
FRAMES = RNG.normal(size=(2, 50, 4))
ALL = np.ones((2, 50))


def test_mean_is_over_the_valid_frames_of_each_segment() -> None:
    frames = np.array([[[1.0, 10.0], [3.0, 30.0], [99.0, 99.0]], [[4.0, 40.0], [99.0, 99.0], [99.0, 99.0]]])

    pooled = mean(frames, np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))

    assert pooled.tolist() == [[2.0, 20.0], [4.0, 40.0]]  # (1 + 3) / 2 and 4 / 1


def test_deviation_is_that_of_the_population() -> None:
    frames = np.array([[[2.0], [4.0], [4.0], [4.0], [5.0], [5.0], [7.0], [9.0], [77.0]]])

    pooled = mean_std(frames, np.array([[1.0] * 8 + [0.0]]))

    assert pooled.tolist() == [[5.0, 2.0]]  # the textbook's eight numbers: 32 / 8 = 2 squared


def test_the_deviation_of_a_single_frame_is_zero() -> None:
    assert mean_std(np.array([[[0.1], [5.0]]]), np.array([[1.0, 0.0]])).tolist() == [[0.1, 0.0]]


def test_maximum_is_over_the_valid_frames_even_below_zero() -> None:
    frames = np.array([[[-3.0, 8.0], [-1.0, 9.0], [0.0, 99.0]]])

    assert maximum(frames, np.array([[1.0, 1.0, 0.0]])).tolist() == [[-1.0, 9.0]]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_width_is_the_length_of_the_vector(pooling: str) -> None:
    assert POOLINGS[pooling](FRAMES, ALL).shape == (2, POOLINGS[pooling].width * 4)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_does_not_change_the_result(pooling: str) -> None:
    padded = np.concatenate([FRAMES, np.full((2, 30, 4), 1e3)], axis=1)
    valid = np.concatenate([ALL, np.zeros((2, 30))], axis=1)

    np.testing.assert_allclose(POOLINGS[pooling](padded, valid), POOLINGS[pooling](FRAMES, ALL), rtol=1e-12)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cuts", [[20], [1, 2, 49], [10, 20, 30, 40]])
def test_segments_join_to_the_pooling_of_all_frames(pooling: str, cuts: list[int]) -> None:
    frames = (FRAMES[:1] + 100.0).astype(np.float32)  # an offset at which sums of squares would lose all precision
    parts = np.split(frames, cuts, axis=1)
    vectors = [POOLINGS[pooling](part, np.ones(part.shape[:2], np.float32))[0] for part in parts]

    joined = join_segments(np.stack(vectors), np.array([part.shape[1] for part in parts]), pooling)

    whole = POOLINGS[pooling](frames.astype(np.float64), ALL[:1])[0]
    np.testing.assert_allclose(joined, whole, rtol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_segments_without_a_frame_are_ignored(pooling: str) -> None:
    width = POOLINGS[pooling].width
    vectors = np.array([[-4.0] * width, [0.0] * width, [-8.0] * width], np.float32)

    joined = join_segments(vectors, np.array([3, 0, 3]), pooling)
    alone = join_segments(vectors[:2], np.array([3, 0]), pooling)

    assert joined is not None
    assert joined[0] == {"mean": -6.0, "mean+std": -6.0, "max": -4.0}[pooling]
    assert alone is not None
    assert alone.tolist() == [-4.0] * width


@pytest.mark.parametrize("pooling", POOLINGS)
def test_tensors_pool_as_arrays_do(pooling: str) -> None:
    pooled = POOLINGS[pooling](torch.from_numpy(FRAMES), torch.from_numpy(ALL))

    np.testing.assert_allclose(pooled.numpy(), POOLINGS[pooling](FRAMES, ALL), rtol=1e-12)
