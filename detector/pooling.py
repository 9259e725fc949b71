"""Pooling: the reduction of a segment's frames to one vector, and the join of a recording's segments.

Pooling uses only operators that NumPy arrays and torch tensors share, so that it runs on the device of the frames.
Joining the vectors of segments gives the vector of all frames at once, up to rounding; cutting a recording does not
change its embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BELOW_ALL = 1e30  # padding is lowered by this, below every frame


def mean(frames: Any, valid: Any) -> Any:
    """Average the valid frames.

    Parameters
    ----------
    frames : array or tensor of shape (n_segments, n_frames, dim)
    valid : array or tensor of shape (n_segments, n_frames), the dtype of ``frames``
        1 for a frame of the recording, 0 for padding. Each segment has at least one valid frame.

    Returns
    -------
    array or tensor of shape (n_segments, dim)

    Examples
    --------
    >>> mean(np.array([[[1.0], [3.0], [100.0]]]), np.array([[1.0, 1.0, 0.0]]))
    array([[2.]])
    """
    return (frames * valid[..., None]).sum(1) / valid.sum(1)[..., None]


def mean_std(frames: Any, valid: Any) -> Any:
    """Compute mean and standard deviation over the valid frames, side by side; the deviation of one frame is 0.

    Parameters
    ----------
    frames, valid
        As for :func:`mean`.

    Returns
    -------
    array or tensor of shape (n_segments, 2 * dim)
        The means, then the deviations (of the population: the sum of squares is divided by the number of frames).

    Examples
    --------
    >>> mean_std(np.array([[[1.0], [3.0], [100.0]]]), np.array([[1.0, 1.0, 0.0]]))
    array([[2., 1.]])
    """
    means = mean(frames, valid)
    dim = means.shape[1]
    both = means[:, [*range(dim), *range(dim)]]  # the second half is overwritten below
    both[:, dim:] = mean((frames - means[:, None]) ** 2, valid) ** 0.5
    return both


def maximum(frames: Any, valid: Any) -> Any:
    """Compute the largest value of each dimension over the valid frames.

    Parameters
    ----------
    frames, valid
        As for :func:`mean`.

    Returns
    -------
    array or tensor of shape (n_segments, dim)

    Examples
    --------
    >>> maximum(np.array([[[-1.0], [-3.0], [100.0]]]), np.array([[1.0, 1.0, 0.0]]))
    array([[-1.]])
    """
    lowered = frames * valid[..., None] - BELOW_ALL * (1 - valid[..., None])
    return lowered.amax(1) if hasattr(lowered, "amax") else lowered.max(1)


def parts_of_frames(counts: Sequence[npt.NDArray[np.int64]], n_frames: int) -> npt.NDArray[np.int64]:
    """Number the frames of consecutive parts of segments, to take them out of all frames at once.

    Parameters
    ----------
    counts : sequence of int64 arrays
        For each segment: frames in each part, from the first frame on.
    n_frames : int
        Frames of each segment, padding included.

    Returns
    -------
    int64 array of shape (n_parts, n_most)
        Places among the frames of all segments; -1 behind the last frame of a part. Parts without a frame are left out.

    Examples
    --------
    >>> parts_of_frames([np.array([2, 1]), np.array([0, 2])], n_frames=4)
    array([[ 0,  1],
           [ 2, -1],
           [ 4,  5]])
    """
    ends = np.concatenate([number * n_frames + np.cumsum(each) for number, each in enumerate(counts)])
    sizes = np.concatenate(counts)
    ends, sizes = ends[sizes > 0], sizes[sizes > 0]
    steps = np.arange(sizes.max(initial=0))
    return np.where(steps < sizes[:, None], (ends - sizes)[:, None] + steps, -1)


def join_means(vectors: npt.NDArray[np.float64], n_frames: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Join means of segments to the mean over all frames: ``sum(n m) / sum(n)``.

    Parameters
    ----------
    vectors : float64 array of shape (n_segments, dim)
    n_frames : int64 array of shape (n_segments,)
        Each at least 1.

    Examples
    --------
    >>> join_means(np.array([[1.0], [4.0]]), np.array([20, 10]))
    array([2.])
    """
    joined: npt.NDArray[np.float64] = (vectors * n_frames[:, None]).sum(axis=0) / n_frames.sum()
    return joined


def join_means_and_stds(vectors: npt.NDArray[np.float64], n_frames: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Join means and deviations of segments: ``s^2 = sum(n (s_i^2 + (m_i - m)^2)) / sum(n)``.

    Parameters
    ----------
    vectors : float64 array of shape (n_segments, 2 * dim)
    n_frames : int64 array of shape (n_segments,)
        Each at least 1.

    References
    ----------
    Chan, Golub and LeVeque, The American Statistician 37(3), 1983.

    Examples
    --------
    >>> join_means_and_stds(np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([10, 10]))  # ten ones and ten threes
    array([2., 1.])
    """
    means, deviations = np.split(vectors, 2, axis=1)
    whole = join_means(means, n_frames)
    return np.concatenate([whole, np.sqrt(join_means(deviations**2 + (means - whole) ** 2, n_frames))])


def join_maxima(vectors: npt.NDArray[np.float64], n_frames: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Join maxima of segments to the maximum over all frames.

    Examples
    --------
    >>> join_maxima(np.array([[1.0], [4.0]]), np.array([20, 10]))
    array([4.])
    """
    joined: npt.NDArray[np.float64] = vectors.max(axis=0)
    return joined


@dataclass(frozen=True)
class Pooling:
    """A pair of functions: frames to a vector, and vectors of segments to the vector of the recording.

    Parameters
    ----------
    pool : callable
        Takes frames and their validity, returns vectors, as :func:`mean` does.
    join : callable
        Takes vectors and frame counts of segments, returns one vector, as :func:`join_means` does.
    width : int
        Length of the vector as a multiple of the frame's.
    """

    pool: Callable[[Any, Any], Any]
    join: Callable[[npt.NDArray[np.float64], npt.NDArray[np.int64]], npt.NDArray[np.float64]]
    width: int = 1

    def __call__(self, frames: Any, valid: Any) -> Any:
        """Pool frames, as :func:`mean` does."""
        return self.pool(frames, valid)


POOLINGS: dict[str, Pooling] = {
    "mean": Pooling(mean, join_means),
    "mean+std": Pooling(mean_std, join_means_and_stds, width=2),
    "max": Pooling(maximum, join_maxima),
}
