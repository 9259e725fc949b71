"""The encoder: one copy of a model, on one device, in one dtype; segments in, pooled layers out."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from detector.audio import Samples
from detector.backbones.families import Padding, fuse_attention, keep_padding_out
from detector.backbones.features import valid_of
from detector.backbones.loading import Loaded
from detector.backbones.threads import one_thread
from detector.pooling import Pooling


class Encoder:
    """A model whose layers are pooled as they are computed; no frames are kept.

    Parameters
    ----------
    loaded : Loaded
        Changed by this: an encoder has its model for itself.
    layers : tuple of int
        What to pool, in this order; none is beyond ``loaded.deepest``.
    pooling : Pooling
    device : torch.device
    dtype : torch.dtype
        What products and convolutions are computed in; sums of their results stay in float32 (autocast).
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
        self._padding = Padding()
        self._model = loaded.model.to(device)
        keep_padding_out(self._model, self._padding, self.features)
        if device.type == "cuda":
            fuse_attention(self._model)
        if dtype != torch.float32:
            _cast_products(self._model, dtype)
        blocks = loaded.family.layers(self._model)
        # what `last_hidden_state` is asked for as: a cut model's last layer, and Whisper's, or by its own name
        self._lasts = {loaded.deepest} | ({len(blocks)} if loaded.family.last_is_normed else set())
        for layer in set(layers) - self._lasts:
            self._tap(blocks, layer)

    def __call__(self, segments: Sequence[Samples]) -> tuple[Tensor, Tensor]:
        """One forward pass.

        Parameters
        ----------
        segments : sequence of float32 arrays of shape (n_samples,)

        Returns
        -------
        float32 tensor of shape (n_segments, n_layers * dim)
            On the device, perhaps not computed yet.
        int64 tensor of shape (n_segments,)
            Valid frames, on the CPU.
        """
        lengths = torch.tensor([len(segment) for segment in segments])
        n_frames = self.features.n_frames(lengths)
        is_padded = bool((lengths < lengths.max()).any())
        with (
            torch.inference_mode(),
            one_thread() if self._device.type == "cpu" else contextlib.nullcontext(),
            torch.autocast(self._device.type, self.dtype, enabled=self.dtype != torch.float32),
            warnings.catch_warnings(),
        ):
            # WavLM's attention takes a float bias beside a boolean mask; torch will want one type some day
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask", UserWarning)
            samples, here = self._upload(segments, lengths), self._sent(lengths)
            self._padding.lengths = here if is_padded else None
            self._valid = valid_of(self._sent(n_frames), int(n_frames.max())).float()
            inputs = self.features.inputs(samples, here, is_padded)
            last = self._pooling(self._model(**inputs).last_hidden_state)
            pooled, self._pooled = self._pooled, {}
        return torch.cat([last if layer in self._lasts else pooled[layer] for layer in self._layers], dim=1), n_frames

    def _upload(self, segments: Sequence[Samples], lengths: Tensor) -> Tensor:
        """Samples on the device, zeros behind the ends; from pinned memory, so that the host need not wait."""
        samples = torch.zeros(len(segments), int(lengths.max()), pin_memory=self._device.type == "cuda")
        for row, segment in zip(samples.numpy(), segments, strict=True):
            row[: len(segment)] = segment
        return self._sent(samples)

    def _sent(self, tensor: Tensor) -> Tensor:
        if self._device.type == "cuda" and not tensor.is_pinned():
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)

    def _tap(self, blocks: Any, layer: int) -> None:
        """Pool a layer's frames as they go by: layer 0 is what the first block takes."""
        if layer == 0:
            blocks[0].register_forward_pre_hook(lambda _block, inputs: self._take(layer, inputs[0]))
            return

        def take(_block: Any, _inputs: Any, output: Any) -> None:
            self._take(layer, output[0] if isinstance(output, tuple) else output)

        blocks[layer - 1].register_forward_hook(take)

    def _take(self, layer: int, frames: Tensor) -> None:
        self._pooled[layer] = self._pooling(frames)

    def _pooling(self, frames: Tensor) -> Tensor:
        # Whisper's frames go on behind the segment; elsewhere there are as many as the longest has
        pooled: Tensor = self._pool(frames[:, : self._valid.shape[1]].float(), self._valid)
        return pooled


def _cast_products(model: Any, dtype: torch.dtype) -> None:
    """Hold what is multiplied in ``dtype``: autocast would cast it anew in each pass."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv1d):
            module.to(dtype)
