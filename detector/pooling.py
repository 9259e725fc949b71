"""Pooling: what reduces the frames of a segment to one vector, and joins the segments of a recording.

Pooling is written with operators that NumPy arrays and torch tensors share, so that it runs where the frames are.
Joining gives what pooling gives of all frames of the recording at once: cutting a long one changes no value but for
rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BELOW_ALL = 1e30  # no frame is as low as minus this


def mean(frames: Any, valid: Any) -> Any:
    """Mean over the valid frames.

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
    """Mean and standard deviation over the valid frames, side by side; the deviation of one frame is 0.

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
    both = means[:, [*range(dim), *range(dim)]]  # the second half makes room
    both[:, dim:] = mean((frames - means[:, None]) ** 2, valid) ** 0.5
    return both


def maximum(frames: Any, valid: Any) -> Any:
    """Largest value of each dimension over the valid frames.

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


def join_means(vectors: npt.NDArray[np.float64], n_frames: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Mean over all frames, from the means of segments: ``sum(n m) / sum(n)``.

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
    """Mean and deviation over all frames, from those of segments: ``s^2 = sum(n (s_i^2 + (m_i - m)^2)) / sum(n)``.

    Parameters
    ----------
    vectors : float64 array of shape (n_segments, 2 * dim)
    n_frames : int64 array of shape (n_segments,)
        Each at least 1.

    References
    ----------
    Chan, Golub and LeVeque, The American Statistician 37(3), 1983: the deviations of parts about the whole's mean.

    Examples
    --------
    >>> join_means_and_stds(np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([10, 10]))  # ten ones and ten threes
    array([2., 1.])
    """
    means, deviations = np.split(vectors, 2, axis=1)
    whole = join_means(means, n_frames)
    return np.concatenate([whole, np.sqrt(join_means(deviations**2 + (means - whole) ** 2, n_frames))])


def join_maxima(vectors: npt.NDArray[np.float64], n_frames: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Maximum over all frames, from the maxima of segments.

    Examples
    --------
    >>> join_maxima(np.array([[1.0], [4.0]]), np.array([20, 10]))
    array([4.])
    """
    joined: npt.NDArray[np.float64] = vectors.max(axis=0)
    return joined


@dataclass(frozen=True)
class Pooling:
    """How frames become a vector, and the vectors of segments one of the recording.

    Parameters
    ----------
    pool : callable
        Frames and their validity to vectors, as :func:`mean`.
    join : callable
        Vectors and frames of segments to the recording's vector, as :func:`join_means`.
    width : int
        Length of the vector, in dimensions of a frame.
    """

    pool: Callable[[Any, Any], Any]
    join: Callable[[npt.NDArray[np.float64], npt.NDArray[np.int64]], npt.NDArray[np.float64]]
    width: int = 1

    def __call__(self, frames: Any, valid: Any) -> Any:
        """Pool."""
        return self.pool(frames, valid)


POOLINGS: dict[str, Pooling] = {
    "mean": Pooling(mean, join_means),
    "mean+std": Pooling(mean_std, join_means_and_stds, width=2),
    "max": Pooling(maximum, join_maxima),
}
