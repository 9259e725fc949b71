"""The embedding of a recording, from the embeddings of its segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from detector.backbones import Backbone, CellBackbone
from detector.decoders import Samples
from detector.errors import ConfigError
from detector.pooling import POOLINGS
from detector.windows import CellPart, Windows


def embed_segments(
    backbone: Backbone, segments: Sequence[Samples]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Embed segments of any length, including those too short for the encoder.

    Parameters
    ----------
    backbone : Backbone
    segments : sequence of float32 arrays of shape (n_samples,)
        16 kHz mono.

    Returns
    -------
    float32 array of shape (n_segments, n_layers * dim)
        The layers' vectors side by side; zeros for a segment that is too short for one frame.
    int64 array of shape (n_segments,)
        Frames in each segment; 0 if it is too short.
    """
    long_enough = [index for index, segment in enumerate(segments) if len(segment) >= backbone.min_samples]
    embeddings = np.zeros((len(segments), len(backbone.layers) * backbone.dim), dtype=np.float32)
    n_frames = np.zeros(len(segments), dtype=np.int64)
    embeddings[long_enough], n_frames[long_enough] = backbone.embed([segments[index] for index in long_enough])
    return embeddings, n_frames


def embed_cells(
    backbone: Backbone, segments: Sequence[Samples], starts: Sequence[int], windows: Windows
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], list[CellPart]]:
    """Embed segments as :func:`embed_segments` does, to the bit, and in the same pass the cells of their windows.

    Parameters
    ----------
    starts : sequence of int
        First sample of each segment within its recording.
    windows : Windows

    Returns
    -------
    embeddings, n_frames
        As of :func:`embed_segments`.
    list of CellPart
        For each segment, its cells, with the layers' vectors side by side; none if it is too short for one frame.

    Raises
    ------
    ConfigError
        If the encoder is one of your own that does not pool cells.
    """
    refuse_without_cells(backbone)
    width = len(backbone.layers) * backbone.dim
    embeddings = np.zeros((len(segments), width), dtype=np.float32)
    n_frames = np.zeros(len(segments), dtype=np.int64)
    parts = [CellPart(start // windows.hop_samples, embeddings[:0], n_frames[:0]) for start in starts]
    long_enough = [index for index, segment in enumerate(segments) if len(segment) >= backbone.min_samples]

    def cells_of(number: int, n_frames: int) -> npt.NDArray[np.int64]:
        index = long_enough[number]
        return windows.cells_of(starts[index], len(segments[index]), n_frames)

    found = cast(CellBackbone, backbone).embed_cells([segments[index] for index in long_enough], cells_of)
    embeddings[long_enough], n_frames[long_enough] = found.embeddings, found.n_frames
    for index, cells, counts in zip(long_enough, found.cells, found.cell_frames, strict=True):
        parts[index] = CellPart(parts[index].first, cells, counts)
    return embeddings, n_frames, parts


def embed_frames(backbone: CellBackbone, segment: Samples) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Embed one segment as :func:`embed_segments` does, to the bit, and hand out its frames.

    Parameters
    ----------
    backbone : CellBackbone
        With the pooling `mean`: a cell of one frame is then that frame.
    segment : float32 array of shape (n_samples,)

    Returns
    -------
    float32 array of shape (n_layers * dim,)
    float32 array of shape (n_frames, n_layers * dim)
        Empty if the segment is too short for one frame.
    """
    if len(segment) < backbone.min_samples:
        nothing = np.zeros((1, len(backbone.layers) * backbone.dim), np.float32)
        return nothing[0], nothing[:0]
    found = backbone.embed_cells([segment], lambda _number, n_frames: np.ones(n_frames, np.int64))
    return found.embeddings[0], found.cells[0]


def refuse_without_cells(backbone: Backbone) -> None:
    """Raise :class:`ConfigError` unless an encoder can embed the cells of windows."""
    if not hasattr(backbone, "embed_cells"):
        raise ConfigError(
            f"{type(backbone).__name__}: this encoder of your own has no embed_cells, which --segments needs "
            f"(docs/extending.md). Omit --segments, or add it."
        )


def join_segments(
    embeddings: npt.NDArray[np.float32], n_frames: npt.NDArray[np.int64], pooling: str = "mean"
) -> npt.NDArray[np.float32] | None:
    """Join the segments of one recording into the vector that pooling over all of its frames gives.

    Parameters
    ----------
    embeddings : float32 array of shape (n_segments, dim)
        Vectors of one layer.
    n_frames : int64 array of shape (n_segments,)
        Frames in each segment; segments without a frame are ignored.
    pooling : str
        One of :data:`detector.pooling.POOLINGS`.

    Returns
    -------
    float32 array of shape (dim,), or None
        None if no segment has a frame.

    Examples
    --------
    >>> join_segments(np.array([[1.0], [4.0]], np.float32), np.array([20, 10]))
    array([2.], dtype=float32)
    """
    counted = n_frames > 0
    if counted.sum() <= 1:  # a single segment keeps its exact bits
        return embeddings[counted][0] if counted.any() else None
    joined = POOLINGS[pooling].join(embeddings[counted].astype(np.float64), n_frames[counted])
    return joined.astype(np.float32)


def join_layers(
    embeddings: npt.NDArray[np.float32], n_frames: npt.NDArray[np.int64], pooling: str, n_layers: int
) -> npt.NDArray[np.float32] | None:
    """Join the segments of one recording, layer by layer: :func:`join_segments` of each, side by side.

    Parameters
    ----------
    embeddings : float32 array of shape (n_segments, n_layers * dim)
    n_frames, pooling
        As for :func:`join_segments`.
    n_layers : int
    """
    layers = [join_segments(each, n_frames, pooling) for each in np.split(embeddings, n_layers, axis=1)]
    found = [each for each in layers if each is not None]
    return np.concatenate(found) if found else None
