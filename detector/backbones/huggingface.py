"""wav2vec 2.0, XLS-R, HuBERT and WavLM encoders from a local checkpoint folder. The one module that knows torch.

What could make an embedding depend on its neighbours, and what is done here (method-and-data 1.8, measured):

- A group-norm front end normalises over time, padding included: it is never padded, only equal lengths share
  a pass.
- A layer-norm front end is padded with an attention mask, and only valid frames are pooled.
- Waveforms are normalised one by one, before padding.
- A CPU takes one segment at a time on one thread: the same bits in any company, batch size or process.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import torch
import transformers

from detector.audio import SAMPLE_RATE, Samples
from detector.config import LAST_LAYER, EmbedConfig
from detector.errors import ConfigError, DeviceError
from detector.pooling import POOLINGS

FAMILIES = ("wav2vec2", "hubert", "wavlm")
NORMALISE_EPSILON = 1e-7  # as in transformers' Wav2Vec2FeatureExtractor


class HuggingFace:
    """A frozen encoder, cut after the layer that is pooled.

    Parameters
    ----------
    config : EmbedConfig
    folder : str or None
        Checkpoint with `config.json`, `preprocessor_config.json` and safetensors weights.
    device : str
    batch_size : int
        Segments in one forward pass. Group-norm encoders fill it with equal lengths only.

    Raises
    ------
    ConfigError
        For another family, remote code, weights that are no safetensors or are not complete, a layer that the
        model does not have, another sample rate, a missing device.
    """

    def __init__(self, config: EmbedConfig, folder: str | None, device: str, batch_size: int) -> None:
        if folder is None:
            raise ConfigError("backbone huggingface needs a checkpoint: --model FOLDER, S3 prefix or hub name.")
        try:
            self._device = torch.device(device)
        except RuntimeError as error:
            raise ConfigError(f"device {device!r}; expected cpu, cuda or cuda:1, say.") from error
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise ConfigError(f"device {device}: torch sees no GPU here. Use --device cpu, or check the driver.")
        self._normalise = _preprocessing(Path(folder))
        self._model = _load(Path(folder), config.layer).to(device)
        self._pool = POOLINGS[config.pooling]
        self._batch_size = batch_size
        self._pads = self._model.config.feat_extract_norm == "layer"
        torch.backends.cudnn.allow_tf32 = False  # float32 means float32

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self._model.config.hidden_size)

    @property
    def device(self) -> str:
        """Where it computes, with the GPU's name."""
        if self._device.type == "cuda":
            return f"{self._device} ({torch.cuda.get_device_name(self._device)})"
        return str(self._device)

    @property
    def min_samples(self) -> int:
        """Receptive field of one frame: 400 samples for every known checkpoint."""
        samples = 1
        config = self._model.config
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def embed(self, segments: Sequence[Samples]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """As :meth:`detector.backbones.Backbone.embed`."""
        embeddings = np.empty((len(segments), self.dim), dtype=np.float32)
        n_frames = np.empty(len(segments), dtype=np.int64)
        for batch in self._batches([len(segment) for segment in segments]):
            embeddings[batch], n_frames[batch] = self._fitted([segments[index] for index in batch])
        return embeddings, n_frames

    def _fitted(self, segments: list[Samples]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """One forward pass, or two of half the size where the GPU's memory does not hold it."""
        try:
            return self._forward(segments)
        except torch.OutOfMemoryError as error:
            if len(segments) == 1:
                raise DeviceError(f"a segment of {len(segments[0]):,} samples does not fit: {error}") from error
        except torch.AcceleratorError as error:
            raise DeviceError(f"the GPU failed: {error}") from error
        torch.cuda.empty_cache()
        half = len(segments) // 2
        parts = [self._fitted(segments[:half]), self._fitted(segments[half:])]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """Yield indices that share a forward pass: neighbours in length, equal ones where padding would show."""
        by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
        groups = [by_length]
        if not self._pads:
            groups = [list(group) for _, group in itertools.groupby(by_length, key=lengths.__getitem__)]
        for group in groups:
            for start in range(0, len(group), self._batch_size):
                yield group[start : start + self._batch_size]

    def _forward(self, segments: list[Samples]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        lengths = torch.tensor([len(segment) for segment in segments])
        samples = torch.zeros(len(segments), int(lengths.max()))
        for row, segment in zip(samples, segments, strict=True):
            row[: len(segment)] = torch.from_numpy(_standardised(segment) if self._normalise else segment.copy())
        mask = torch.arange(samples.shape[1])[None] < lengths[:, None]
        n_frames = self._model._get_feat_extract_output_lengths(lengths)
        with torch.inference_mode(), _one_cpu_thread(self._device), warnings.catch_warnings():
            # WavLM's attention takes a float bias beside a boolean mask; torch will want one type some day
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask", UserWarning)
            frames = self._model(
                samples.to(self._device),
                attention_mask=None if bool(mask.all()) else mask.to(self._device),
            ).last_hidden_state
            valid = torch.arange(frames.shape[1])[None] < n_frames[:, None]
            pooled = self._pool(frames, valid.to(frames.device, frames.dtype))
        return pooled.cpu().numpy(), n_frames.numpy()


def _standardised(samples: Samples) -> Samples:
    """Zero mean, unit variance; what `do_normalize` of the checkpoint's preprocessor stands for."""
    centred = samples - samples.mean(dtype=np.float64)
    return (centred / np.sqrt(np.square(centred).mean(dtype=np.float64) + NORMALISE_EPSILON)).astype(np.float32)


@contextlib.contextmanager
def _one_cpu_thread(device: torch.device) -> Iterator[None]:
    """Compute on one thread: how a product is split over threads decides the last bits of its sums."""
    if device.type != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _preprocessing(folder: Path) -> bool:
    """Whether the checkpoint wants its waveforms standardised."""
    settings = _json(folder / "preprocessor_config.json")
    rate = settings.get("sampling_rate")
    if rate != SAMPLE_RATE:
        raise ConfigError(f"{folder}: the encoder wants {rate} Hz; only {SAMPLE_RATE} Hz encoders are supported.")
    if not isinstance(settings.get("do_normalize"), bool):
        raise ConfigError(f"{folder}/preprocessor_config.json does not say do_normalize; expected true or false.")
    return bool(settings["do_normalize"])


def _load(folder: Path, layer: int) -> Any:
    """Load a checkpoint such that its ``last_hidden_state`` is the hidden state ``layer`` of the whole model."""
    described = _json(folder / "config.json")
    family = described.get("model_type")
    if family not in FAMILIES or "auto_map" in described:
        raise ConfigError(
            f"{folder}/config.json: model_type {family!r}"
            f"{' with remote code (auto_map)' if 'auto_map' in described else ''}; "
            f"expected one of {', '.join(FAMILIES)}, without remote code."
        )
    if not list(folder.glob("*.safetensors")):
        raise ConfigError(f"{folder}: no *.safetensors. Convert the checkpoint offline; pickled weights run code.")
    if described.get("add_adapter"):
        raise ConfigError(f"{folder}: a model with an adapter on top is not supported; use its base encoder.")
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    n_layers = config.num_hidden_layers
    if layer > n_layers:
        raise ConfigError(f"{folder}: layer {layer} was asked for, but the model has {n_layers}.")
    if layer != LAST_LAYER:
        config.num_hidden_layers = layer
    model = _weights(folder, config)
    if layer != LAST_LAYER and getattr(config, "do_stable_layer_norm", False):
        # a pre-norm encoder normalises once more at its end; hidden_states[k] of the whole model is without
        model.encoder.layer_norm = torch.nn.Identity()
    return model.eval()


def _weights(folder: Path, config: Any) -> Any:
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # the layers cut off are "unexpected" to it, not to us
    transformers.logging.disable_progress_bar()
    try:
        model, report = transformers.AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise ConfigError(f"{folder}: the checkpoint cannot be loaded: {error}") from error
    finally:
        transformers.logging.set_verbosity(verbosity)
    missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})  # that one serves training only
    if missing:
        raise ConfigError(f"{folder}: weights are missing, for example {missing[0]}; they would be random.")
    return model


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing; a checkpoint folder needs it.") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: {type(content).__name__}; expected an object of settings.")
    return content
