"""Pooling: what reduces the frames of a segment to one vector.

Written with operators that NumPy arrays and torch tensors share, so that pooling runs where the frames are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


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
    >>> import numpy as np
    >>> mean(np.array([[[1.0], [3.0], [100.0]]]), np.array([[1.0, 1.0, 0.0]]))
    array([[2.]])
    """
    return (frames * valid[..., None]).sum(1) / valid.sum(1)[..., None]


POOLINGS: dict[str, Callable[[Any, Any], Any]] = {"mean": mean}
"""Each joins the segments of a long recording as their frame-weighted mean, so it must be linear in frames."""
