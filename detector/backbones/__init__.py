"""Backbones: frozen encoders that turn segments into pooled embeddings.

To add one, write a module with a class that keeps :class:`Backbone`, and name its loader in ``BACKBONES``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from detector.audio import Samples
from detector.config import HUGGINGFACE, MELSTATS, EmbedConfig


class Backbone(Protocol):
    """A frozen encoder with its pooling."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""

    @property
    def device(self) -> str:
        """Where it computes, as people say it: `cpu`, `cuda:0 (NVIDIA H100)`."""

    @property
    def min_samples(self) -> int:
        """Shortest segment that gives one frame, in samples at 16 kHz."""

    def embed(self, segments: Sequence[Samples]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Embed segments; a row never depends on what else is in the call.

        Parameters
        ----------
        segments : sequence of float32 arrays of shape (n_samples,)
            16 kHz mono, each at least `min_samples` long.

        Returns
        -------
        float32 array of shape (n_segments, dim)
        int64 array of shape (n_segments,)
            Valid frames in each, the weights that join a recording's segments.
        """


def _melstats(config: EmbedConfig, folder: str | None, device: str, batch_size: int) -> Backbone:
    from detector.backbones.melstats import MelStats

    return MelStats(config)


def _huggingface(config: EmbedConfig, folder: str | None, device: str, batch_size: int) -> Backbone:
    from detector.backbones.huggingface import HuggingFace

    # On a CPU, one segment at a time is as fast as a padded batch and gives the same bits in any company.
    return HuggingFace(config, folder, device, batch_size if device != "cpu" else 1)


BACKBONES: dict[str, Callable[[EmbedConfig, str | None, str, int], Backbone]] = {
    MELSTATS: _melstats,
    HUGGINGFACE: _huggingface,
}


def load_backbone(
    config: EmbedConfig, folder: str | None = None, *, device: str = "cpu", batch_size: int = 16
) -> Backbone:
    """Load the backbone that ``config`` names.

    Parameters
    ----------
    config : EmbedConfig
    folder : str or None
        Local checkpoint folder (`config.json`, `preprocessor_config.json`, `*.safetensors`); None for an
        encoder without weights.
    device : str
        `cpu`, `cuda` or `cuda:1`.
    batch_size : int
        Segments in one forward pass on a GPU.

    Raises
    ------
    ConfigError
        Where the folder does not hold such a checkpoint, or the device is not there.

    Examples
    --------
    >>> backbone = load_backbone(EmbedConfig(backbone="melstats"))
    >>> embedding, n_frames = backbone.embed([np.zeros(16_000, np.float32)])
    >>> embedding.shape, n_frames
    ((1, 80), array([98]))
    """
    return BACKBONES[config.backbone](config, folder, device, batch_size)
