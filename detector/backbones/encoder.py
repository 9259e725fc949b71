"""The encoder: one copy of a model on one device and in one dtype, which turns segments into pooled layers."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from detector.backbones.families import Padding, fuse_attention, keep_padding_out
from detector.backbones.features import valid_of
from detector.backbones.loading import Loaded
from detector.backbones.threads import one_thread
from detector.decoders import Samples
from detector.pooling import Pooling, parts_of_frames


class Pooled(NamedTuple):
    """The result of one forward pass.

    Parameters
    ----------
    segments : float32 tensor of shape (n_segments, n_layers * dim)
        On the device; a GPU may still be computing it.
    n_frames : int64 tensor of shape (n_segments,)
        Valid frames, on the CPU.
    cells : float32 tensor of shape (n_cells, n_layers * dim)
        Of the cells that have a frame, in the order of the segments; on the device.
    cell_frames : list of int64 arrays
        For each segment: frames in each of its cells.
    """

    segments: Tensor
    n_frames: Tensor
    cells: Tensor
    cell_frames: list[npt.NDArray[np.int64]]


class Encoder:
    """A model whose layers are pooled during the forward pass, so that no frames are kept.

    Parameters
    ----------
    loaded : Loaded
        Modified: an encoder needs a model of its own.
    layers : tuple of int
        Layers to pool, in this order; none is deeper than ``loaded.deepest``.
    pooling : Pooling
    device : torch.device
    dtype : torch.dtype
        Type of products and convolutions; sums of their results stay in float32 (autocast).
    """

    def __init__(
        self, loaded: Loaded, layers: tuple[int, ...], pooling: Pooling, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.features = loaded.features
        self._layers = layers
        self._device = device
        self.dtype = dtype
        self._pool = pooling
        self._pooled: dict[int, Tensor] = {}
        self._valid = torch.empty(0)
        self._places = torch.empty(0, 0, dtype=torch.int64)  # of the frames of cells, as `parts_of_frames` numbers them
        self._padding = Padding()
        self._model = loaded.model.to(device)
        keep_padding_out(self._model, self._padding, self.features)
        if device.type == "cuda":
            fuse_attention(self._model)
        if dtype != torch.float32:
            _cast_products(self._model, dtype)
        blocks = loaded.family.layers(self._model)
        # layer numbers for which `last_hidden_state` is the answer: the last one of a cut model, and Whisper's last
        self._lasts = {loaded.deepest} | ({len(blocks)} if loaded.family.last_is_normed else set())
        for layer in set(layers) - self._lasts:
            self._tap(blocks, layer)

    def __call__(
        self,
        segments: Sequence[Samples],
        cells_of: Callable[[int, int], npt.NDArray[np.int64]] = lambda _number, _n_frames: np.zeros(0, np.int64),
    ) -> Pooled:
        """Run one forward pass.

        Parameters
        ----------
        segments : sequence of float32 arrays of shape (n_samples,)
        cells_of : callable
            :data:`detector.backbones.CountFrames`, by the place of a segment in this pass [default: no cells].
        """
        lengths = torch.tensor([len(segment) for segment in segments])
        n_frames = self.features.n_frames(lengths)
        is_padded = bool((lengths < lengths.max()).any())
        cell_frames = [cells_of(number, n) for number, n in enumerate(n_frames.tolist())]
        with (
            torch.inference_mode(),
            one_thread() if self._device.type == "cpu" else contextlib.nullcontext(),
            torch.autocast(self._device.type, self.dtype, enabled=self.dtype != torch.float32),
            warnings.catch_warnings(),
        ):
            # WavLM's attention passes a float bias and a boolean mask; torch warns that it will require one type
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask", UserWarning)
            samples, here = self._upload(segments, lengths), self._sent(lengths)
            self._padding.lengths = here if is_padded else None
            self._valid = valid_of(self._sent(n_frames), int(n_frames.max())).float()
            self._places = self._sent(torch.from_numpy(parts_of_frames(cell_frames, self._valid.shape[1])))
            inputs = self.features.inputs(samples, here, is_padded)
            last = self._pooling(self._model(**inputs).last_hidden_state)
            pooled, self._pooled = self._pooled, {}
        rows = torch.cat([last if layer in self._lasts else pooled[layer] for layer in self._layers], dim=1)
        return Pooled(rows[: len(segments)], n_frames, rows[len(segments) :], cell_frames)

    def _upload(self, segments: Sequence[Samples], lengths: Tensor) -> Tensor:
        """Copy samples to the device, zero-padded; from pinned memory, so that the host does not wait."""
        samples = torch.zeros(len(segments), int(lengths.max()), pin_memory=self._device.type == "cuda")
        for row, segment in zip(samples.numpy(), segments, strict=True):
            row[: len(segment)] = segment
        return self._sent(samples)

    def _sent(self, tensor: Tensor) -> Tensor:
        if self._device.type == "cuda" and not tensor.is_pinned():
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)

    def _tap(self, blocks: Any, layer: int) -> None:
        """Pool the frames of a layer during the forward pass; layer 0 is the input of the first block."""
        if layer == 0:
            blocks[0].register_forward_pre_hook(lambda _block, inputs: self._take(layer, inputs[0]))
            return

        def take(_block: Any, _inputs: Any, output: Any) -> None:
            self._take(layer, output[0] if isinstance(output, tuple) else output)

        blocks[layer - 1].register_forward_hook(take)

    def _take(self, layer: int, frames: Tensor) -> None:
        self._pooled[layer] = self._pooling(frames)

    def _pooling(self, frames: Tensor) -> Tensor:
        """Pool segments, and below them cells, on the device."""
        # Whisper always gives frames for 30 s; the other families give as many as the longest segment has
        frames = frames[:, : self._valid.shape[1]].float()
        pooled: Tensor = self._pool(frames, self._valid)
        if not len(self._places):
            return pooled
        # a place of -1 takes the last frame of all, which does not count
        cells = frames.reshape(-1, frames.shape[2])[self._places]
        return torch.cat([pooled, self._pool(cells, (self._places >= 0).float())])


def _cast_products(model: Any, dtype: torch.dtype) -> None:
    """Convert the weights of products to ``dtype`` once: autocast would convert them in every pass."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv1d):
            module.to(dtype)
