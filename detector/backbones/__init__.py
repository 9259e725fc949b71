"""Backbones: frozen encoders that turn segments into pooled embeddings.

To add one, write a module with a class that implements :class:`Backbone`, and add its loader to ``BACKBONES``. A
private encoder can stay in a package of its own (docs/extending.md).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from detector import starter
from detector.config import HUGGINGFACE, MELSTATS, STARTER, EmbedConfig
from detector.decoders import Samples
from detector.errors import ConfigError

BATCH_SECONDS = 160.0  # 8,000 frames: enough rows for a GPU's matrix units, and they fit into its memory


class WithCells(NamedTuple):
    """Vectors of segments and of their cells, as :meth:`CellBackbone.embed_cells` returns them.

    Parameters
    ----------
    embeddings : float32 array of shape (n_segments, n_layers * dim)
    n_frames : int64 array of shape (n_segments,)
        As of :meth:`Backbone.embed`, to the bit.
    cells : list of float32 arrays of shape (n_cells, n_layers * dim)
        For each segment, the vector of each cell; zeros for one without a frame.
    cell_frames : list of int64 arrays of shape (n_cells,)
        For each segment, the frames in each cell.
    """

    embeddings: npt.NDArray[np.float32]
    n_frames: npt.NDArray[np.int64]
    cells: list[npt.NDArray[np.float32]]
    cell_frames: list[npt.NDArray[np.int64]]


CountFrames = Callable[[int, int], npt.NDArray[np.int64]]
"""Takes the number of a segment and its frames; returns the frames of each of its cells, which are consecutive."""


class Backbone(Protocol):
    """A frozen encoder with its pooling."""

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that it pools, as :attr:`detector.config.EmbedConfig.layer`."""

    @property
    def dim(self) -> int:
        """Length of one layer's embedding."""

    @property
    def device(self) -> str:
        """Device for people to read: `cpu`, `cuda:0 (NVIDIA H100)`."""

    @property
    def min_samples(self) -> int:
        """Shortest segment that gives one frame, in samples at 16 kHz."""

    def embed(self, segments: Sequence[Samples]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Embed segments; a row never depends on the other segments of the call.

        Parameters
        ----------
        segments : sequence of float32 arrays of shape (n_samples,)
            16 kHz mono, each at least `min_samples` long.

        Returns
        -------
        float32 array of shape (n_segments, n_layers * dim)
            The layers' vectors side by side, in the order of `layers`.
        int64 array of shape (n_segments,)
            Valid frames in each segment: the weights with which a recording's segments are joined.
        """


class CellBackbone(Backbone, Protocol):
    """A backbone that also pools over parts of segments, in the same pass: for `--segments`."""

    def embed_cells(self, segments: Sequence[Samples], cells_of: CountFrames) -> WithCells:
        """Embed segments as :meth:`embed` does, and each of their cells."""


class Loader(Protocol):
    """A function that loads a backbone: a value of ``BACKBONES``, or named by `--backbone package.module:loader`."""

    def __call__(
        self, config: EmbedConfig, folder: str | None, *, device: str, batch_seconds: float, layers: tuple[int, ...]
    ) -> Backbone:
        """Load a backbone, as :func:`load_backbone` does; `layers` overrides `config.layer`."""


def _melstats(
    config: EmbedConfig, folder: str | None, *, device: str, batch_seconds: float, layers: tuple[int, ...]
) -> Backbone:
    from detector.backbones.melstats import MelStats

    return MelStats(config)


def _huggingface(
    config: EmbedConfig, folder: str | None, *, device: str, batch_seconds: float, layers: tuple[int, ...]
) -> Backbone:
    from detector.backbones.huggingface import HuggingFace

    # on a CPU, single segments are faster than a padded batch, and their bits do not depend on their neighbours
    return HuggingFace(config, folder, device, batch_seconds if device != "cpu" else 0.0, layers)


def _starter(
    config: EmbedConfig, folder: str | None, *, device: str, batch_seconds: float, layers: tuple[int, ...]
) -> Backbone:
    return _huggingface(config, str(starter.ENCODER), device=device, batch_seconds=batch_seconds, layers=layers)


BACKBONES: dict[str, Loader] = {
    MELSTATS: _melstats,
    STARTER: _starter,
    HUGGINGFACE: _huggingface,
}


def load_backbone(
    config: EmbedConfig,
    folder: str | None = None,
    *,
    device: str = "cpu",
    batch_seconds: float = BATCH_SECONDS,
    layers: tuple[int, ...] | None = None,
) -> Backbone:
    """Load the backbone that ``config`` names.

    Parameters
    ----------
    config : EmbedConfig
    folder : str or None
        Local checkpoint folder (`config.json`, `preprocessor_config.json`, `*.safetensors`); None for an encoder
        without weights.
    device : str
        `cpu`, `cuda` or `cuda:1`.
    batch_seconds : float
        Audio in one forward pass on a GPU, padding included.
    layers : tuple of int, optional
        Layers to pool in one pass, instead of `config.layer`.

    Raises
    ------
    ConfigError
        If the folder does not hold such a checkpoint, the device is missing, or the loader cannot be imported.

    Examples
    --------
    >>> backbone = load_backbone(EmbedConfig(backbone="melstats"))
    >>> embedding, n_frames = backbone.embed([np.zeros(16_000, np.float32)])
    >>> embedding.shape, n_frames
    ((1, 80), array([98]))
    """
    loader = BACKBONES[config.backbone] if config.backbone in BACKBONES else _loader(config.backbone)
    return loader(config, folder, device=device, batch_seconds=batch_seconds, layers=layers or (config.layer,))


def _loader(name: str) -> Loader:
    """The loader that `package.module:function` names."""
    module, _, function = name.partition(":")
    try:
        found: Loader = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"backbone {name}: {error}. Expected a package.module:loader that Python can import on every machine."
        ) from error
    return found
