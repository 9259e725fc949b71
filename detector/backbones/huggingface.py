"""Encoders of transformers' families, loaded from a local checkpoint folder.

An embedding must not depend on the other segments of its batch. Three measures ensure this:

- The attention mask hides padding; modules that ignore the mask are shielded from padding
  (:mod:`detector.backbones.families`). Only valid frames are pooled.
- Each waveform is normalised over its own samples.
- A CPU computes one segment at a time on one thread, so that its bits do not depend on batch or process.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from detector.audio import SAMPLE_RATE
from detector.backbones import CountFrames, WithCells
from detector.backbones.batching import batches
from detector.backbones.encoder import Encoder, Pooled
from detector.backbones.loading import load
from detector.config import EmbedConfig
from detector.decoders import Samples
from detector.errors import ConfigError, DeviceError
from detector.pooling import POOLINGS
from detector.recording import MIN_SEGMENT_SAMPLES

MAX_DRIFT = 0.03  # relative distance from the float32 embeddings of the canaries; bfloat16 itself rounds by up to 0.004
CANARY_SECONDS = (1.0, 2.5, 4.0, 4.0)

log = logging.getLogger(__name__)


class HuggingFace:
    """A frozen encoder, cut after the deepest layer that is pooled.

    Parameters
    ----------
    config : EmbedConfig
    folder : str or None
        Checkpoint folder with `config.json`, `preprocessor_config.json` and safetensors weights.
    device : str
    batch_seconds : float
        Audio in one forward pass, padding included; 0 for one segment at a time.
    layers : tuple of int, optional
        Layers to pool, instead of `config.layer`.

    Raises
    ------
    ConfigError
        If :func:`detector.backbones.loading.load` refuses the checkpoint, the device is missing, segments are too
        long for the encoder, or the dtype's embeddings are too far from those in float32.
    """

    def __init__(
        self,
        config: EmbedConfig,
        folder: str | None,
        device: str,
        batch_seconds: float,
        layers: tuple[int, ...] | None = None,
    ) -> None:
        if folder is None:
            raise ConfigError("backbone huggingface needs a checkpoint: --model FOLDER, S3 prefix or hub name.")
        self.layers = layers or (config.layer,)
        self._device = _device(device)
        pooling = POOLINGS[config.pooling]
        loaded = load(Path(folder), self.layers, config.context)
        _refuse_long_segments(config, loaded.features.max_samples, folder)
        self.dim = pooling.width * loaded.dim
        self.min_samples = loaded.features.min_samples
        self._budget = batch_seconds * SAMPLE_RATE
        self._features = loaded.features
        dtype = getattr(torch, config.dtype)
        torch.backends.cudnn.allow_tf32 = False  # TF32 would round float32 products to 10 bits
        self._exact: Encoder | None = None
        if dtype != torch.float32:
            self._exact = Encoder(copy.deepcopy(loaded), self.layers, pooling, self._device, torch.float32)
        self._encoder = Encoder(loaded, self.layers, pooling, self._device, dtype)
        if self._exact is not None:
            self._refuse_drift(config.dtype)

    @property
    def device(self) -> str:
        """Device for people to read, with the name of the GPU."""
        if self._device.type == "cuda":
            return f"{self._device} ({torch.cuda.get_device_name(self._device)})"
        return str(self._device)

    def embed(self, segments: Sequence[Samples]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """As :meth:`detector.backbones.Backbone.embed`."""
        embeddings, n_frames, _, _ = self.embed_cells(segments, _no_cells)
        return embeddings, n_frames

    def embed_cells(self, segments: Sequence[Samples], cells_of: CountFrames) -> WithCells:
        """As :meth:`detector.backbones.CellBackbone.embed_cells`."""
        found = self._embedded(self._encoder, segments, cells_of)
        overflown = [row for row, each in enumerate(found.embeddings) if not np.isfinite(each).all()]
        if self._exact is not None and overflown:
            log.warning(
                "%d segment(s) were not finite in %s; they are embedded again in float32",
                len(overflown),
                self._encoder.dtype,
            )
            segments = [segments[row] for row in overflown]
            again = self._embedded(self._exact, segments, lambda number, n: cells_of(overflown[number], n))
            found.embeddings[overflown] = again.embeddings
            for row, cells in zip(overflown, again.cells, strict=True):
                found.cells[row] = cells
        return found

    def _embedded(self, encoder: Encoder, segments: Sequence[Samples], cells_of: CountFrames) -> WithCells:
        """Embed all batches; results are fetched last, so that a GPU computes while the host prepares more."""
        embeddings = np.empty((len(segments), len(self.layers) * self.dim), dtype=np.float32)
        n_frames = np.empty(len(segments), dtype=np.int64)
        found = WithCells(embeddings, n_frames, [embeddings[:0]] * len(segments), [n_frames[:0]] * len(segments))
        costs = [self._features.padded_samples or len(segment) for segment in segments]
        results = [
            (batch, self._fitted(encoder, [segments[index] for index in batch], _of_batch(cells_of, batch)))
            for batch in batches(costs, self._budget)
        ]
        for batch, pooled in results:
            try:
                embeddings[batch], cells = pooled.segments.cpu().numpy(), pooled.cells.cpu().numpy()
            except torch.AcceleratorError as error:
                raise DeviceError(f"the GPU failed: {error}") from error
            n_frames[batch] = pooled.n_frames.numpy()
            for row, counts in zip(batch, pooled.cell_frames, strict=True):
                found.cell_frames[row] = counts
                found.cells[row] = np.zeros((len(counts), embeddings.shape[1]), dtype=np.float32)
                n_here = np.count_nonzero(counts)
                found.cells[row][counts > 0], cells = cells[:n_here], cells[n_here:]
        return found

    def _fitted(self, encoder: Encoder, segments: list[Samples], cells_of: CountFrames) -> Pooled:
        """Run one forward pass, or two of half the size if the GPU runs out of memory."""
        try:
            return encoder(segments, cells_of)
        except torch.OutOfMemoryError as error:
            if len(segments) == 1:
                raise DeviceError(
                    f"a segment of {len(segments[0]):,} samples does not fit into the GPU's memory: {error}"
                ) from error
        except torch.AcceleratorError as error:
            raise DeviceError(f"the GPU failed: {error}") from error
        torch.cuda.empty_cache()
        half = len(segments) // 2
        first = self._fitted(encoder, segments[:half], cells_of)
        second = self._fitted(encoder, segments[half:], lambda number, n: cells_of(number + half, n))
        return Pooled(
            torch.cat([first.segments, second.segments]),
            torch.cat([first.n_frames, second.n_frames]),
            torch.cat([first.cells, second.cells]),
            first.cell_frames + second.cell_frames,
        )

    def _refuse_drift(self, dtype: str) -> None:
        """Refuse a dtype whose embeddings of the canaries are too far from float32, as those of speech would be."""
        drift = self.drift(canaries())
        if not drift <= MAX_DRIFT:  # written so that NaN is refused, too
            raise ConfigError(
                f"dtype {dtype}: embeddings of test signals differ from those in float32 by {drift:.1%}; at most "
                f"{MAX_DRIFT:.0%} is allowed. Use --dtype float32, or bfloat16 instead of float16."
            )
        log.info("dtype %s: embeddings of test signals differ from those in float32 by %.2f %%", dtype, 100 * drift)

    def drift(self, segments: Sequence[Samples]) -> float:
        """Compute the largest relative distance from the float32 embedding over segments and layers; 0 for float32."""
        if self._exact is None:
            return 0.0
        shape = (len(segments), len(self.layers), self.dim)
        encoders = (self._encoder, self._exact)
        found, exact = (self._embedded(each, segments, _no_cells).embeddings.reshape(shape) for each in encoders)
        return float((np.linalg.norm(found - exact, axis=2) / np.linalg.norm(exact, axis=2)).max())


def _no_cells(_number: int, _n_frames: int) -> npt.NDArray[np.int64]:
    return np.zeros(0, np.int64)


def _of_batch(cells_of: CountFrames, batch: list[int]) -> CountFrames:
    return lambda number, n_frames: cells_of(batch[number], n_frames)


def canaries() -> list[Samples]:
    """Make the test signals: a gliding voice-like buzz in noise, at the levels of speech, the same on every call.

    Examples
    --------
    >>> [len(signal) / 16_000 for signal in canaries()]
    [1.0, 2.5, 4.0, 4.0]
    """
    rng = np.random.default_rng(0)
    signals = []
    for level, seconds in enumerate(CANARY_SECONDS):
        time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        phase = 2 * np.pi * (110.0 * time + 30.0 * np.sin(2 * np.pi * time))
        buzz = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 20))
        loudness = 0.2 * 0.3**level * (1.0 + np.sin(2 * np.pi * 4.0 * time))
        signals.append((loudness * buzz + 0.001 * rng.normal(size=len(time))).astype(np.float32))
    return signals


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r}; expected cpu, cuda, or a numbered one such as cuda:1.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name}: torch finds no GPU on this machine. Use --device cpu, or check the driver.")
    return device


def _refuse_long_segments(config: EmbedConfig, max_samples: int | None, folder: str) -> None:
    if max_samples is None:
        return
    longest = (max_samples - MIN_SEGMENT_SAMPLES) / SAMPLE_RATE  # a shorter tail joins the segment before it
    if config.segment_seconds > longest:
        raise ConfigError(
            f"{folder}: the encoder takes {max_samples / SAMPLE_RATE:g} s at most, and a segment of "
            f"{config.segment_seconds:g} s may be 1 s longer. Use --segment-seconds {longest:g} or less."
        )
