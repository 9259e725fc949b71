"""Features: the input of an encoder, computed from samples on its device.

There are three kinds: the waveform itself, Kaldi's log-mel energies (w2v-BERT 2.0), and Whisper's log-mel spectrogram
(at a segment's own length, or of 30 s). Each uses the checkpoint's own settings (`preprocessor_config.json`), and tests
compare each with the extractor of transformers.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank, window_function

from detector.audio import SAMPLE_RATE
from detector.errors import ConfigError

EPSILON = 1e-7  # added to a variance, as in transformers' extractors


class Features(Protocol):
    """The conversion of samples to the input of a model."""

    min_samples: int
    max_samples: int | None
    padded_samples: int | None  # every segment is padded to this length; None: to the longest of its batch

    def n_frames(self, lengths: Tensor) -> Tensor:
        """Compute the number of encoder frames for numbers of samples: int64 tensor of the same shape."""

    def inputs(self, samples: Tensor, lengths: Tensor, is_padded: bool) -> dict[str, Tensor]:
        """Compute the arguments of the model, without making the host wait for the device.

        Parameters
        ----------
        samples : float32 tensor of shape (n_segments, n_samples)
            On the encoder's device, zero-padded to the longest segment.
        lengths : int64 tensor of shape (n_segments,)
            Real samples of each segment, on the same device.
        is_padded : bool
            True if any segment is shorter than the longest.
        """


class Waveform:
    """Samples as they are, or scaled to zero mean and unit variance per segment (`do_normalize`).

    Parameters
    ----------
    settings : dict
        The checkpoint's `preprocessor_config.json`.
    config : transformers configuration
        Has the kernels and strides of the convolutions.
    """

    max_samples: int | None = None
    padded_samples: int | None = None

    def __init__(self, settings: dict[str, Any], config: Any) -> None:
        if not isinstance(settings.get("do_normalize"), bool):
            raise ConfigError("preprocessor_config.json has no do_normalize; expected true or false.")
        self._normalises = settings["do_normalize"]
        self._convolutions = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        samples = 1
        for kernel, stride in reversed(self._convolutions):
            samples = (samples - 1) * stride + kernel
        self.min_samples = samples  # 400 for every known checkpoint

    def n_frames(self, lengths: Tensor) -> Tensor:
        """As :meth:`Features.n_frames`."""
        for kernel, stride in self._convolutions:
            lengths = (lengths - kernel) // stride + 1
        return lengths

    def inputs(self, samples: Tensor, lengths: Tensor, is_padded: bool) -> dict[str, Tensor]:
        """As :meth:`Features.inputs`; the mask is left out if there is no padding."""
        if self._normalises:
            samples = standardised(samples, lengths)
        inputs = {"input_values": samples}
        if is_padded:
            inputs["attention_mask"] = valid_of(lengths, samples.shape[1])
        return inputs


class Fbank:
    """Kaldi's log-mel energies, scaled to zero mean and unit variance per band, two frames of 10 ms stacked into one.

    References
    ----------
    transformers' SeamlessM4TFeatureExtractor, the published extractor of w2v-BERT 2.0.
    """

    max_samples: int | None = None
    padded_samples: int | None = None
    window_samples, hop_samples, n_fft = 25 * SAMPLE_RATE // 1000, 10 * SAMPLE_RATE // 1000, 512
    pre_emphasis, floor = 0.97, 1.192092955078125e-07

    def __init__(self, settings: dict[str, Any], config: Any) -> None:
        bands, self._stride = int(settings.get("num_mel_bins", 80)), int(settings.get("stride", 2))
        if bands * self._stride != config.feature_projection_input_dim:
            raise ConfigError(
                f"preprocessor_config.json gives {bands} bands × {self._stride} frames, the encoder takes "
                f"{config.feature_projection_input_dim}; it may belong to another checkpoint."
            )
        self.min_samples = self.window_samples + (max(self._stride, 2) - 1) * self.hop_samples
        filters = mel_filter_bank(
            num_frequency_bins=self.n_fft // 2 + 1,
            num_mel_filters=bands,
            min_frequency=20,
            max_frequency=SAMPLE_RATE // 2,
            sampling_rate=SAMPLE_RATE,
            norm=None,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
        self._filters = torch.from_numpy(filters).double()
        self._window = torch.from_numpy(window_function(self.window_samples, "povey", periodic=False)).double()

    def _n_windows(self, lengths: Tensor) -> Tensor:
        return (lengths - self.window_samples) // self.hop_samples + 1

    def n_frames(self, lengths: Tensor) -> Tensor:
        """As :meth:`Features.n_frames`."""
        n_frames: Tensor = self._n_windows(lengths) // self._stride
        return n_frames

    def inputs(self, samples: Tensor, lengths: Tensor, is_padded: bool) -> dict[str, Tensor]:
        """As :meth:`Features.inputs`."""
        windows = (samples.double() * 2**15).unfold(1, self.window_samples, self.hop_samples)
        windows = windows - windows.mean(-1, keepdim=True)
        before = functional.pad(windows[..., :-1], (1, 0))
        before[..., 0] = windows[..., 0]
        emphasised = (windows - self.pre_emphasis * before) * self._window.to(samples.device)
        power = torch.fft.rfft(emphasised, self.n_fft).abs() ** 2
        levels = (power @ self._filters.to(samples.device)).clamp(min=self.floor).log()
        n_windows = self._n_windows(lengths)[:, None, None]
        valid = valid_of(n_windows[:, 0, 0], levels.shape[1])[..., None]
        mean = (levels * valid).sum(1, keepdim=True) / n_windows
        variance = ((levels - mean).square() * valid).sum(1, keepdim=True) / (n_windows - 1)
        levels = (levels - mean) / (variance + EPSILON).sqrt()
        longest = levels.shape[1] // self._stride
        stacked = levels[:, : longest * self._stride].reshape(len(levels), longest, -1)
        valid = valid_of(self.n_frames(lengths), longest)
        inputs = {"input_features": (stacked * valid[..., None]).float()}
        if is_padded:
            inputs["attention_mask"] = valid
        return inputs


class LogMel:
    """Whisper's log-mel spectrogram of a segment at its own length.

    The last windows see silence after the segment's end, as they do in the published extractor; so a window depends
    neither on the length of the batch nor on a reflection of the end.

    References
    ----------
    Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022; transformers'
    WhisperFeatureExtractor.
    """

    padded_samples: int | None = None

    def __init__(self, settings: dict[str, Any], config: Any) -> None:
        self._n_fft, self._hop = settings.get("n_fft", 400), settings.get("hop_length", 160)
        self._n_samples = int(settings.get("chunk_length", 30)) * SAMPLE_RATE
        self.max_samples: int | None = self._n_samples
        bands = settings.get("feature_size", 80)
        if (bands, self._n_samples // self._hop) != (config.num_mel_bins, 2 * config.max_source_positions):
            raise ConfigError(
                f"preprocessor_config.json gives {bands} bands × {self._n_samples // self._hop} windows, the encoder "
                f"takes {config.num_mel_bins} × {2 * config.max_source_positions}; it may belong to another checkpoint."
            )
        if settings.get("dither") or settings.get("do_normalize"):
            raise ConfigError(
                "preprocessor_config.json asks for dither or do_normalize, which are not supported for Whisper."
            )
        self.min_samples = 2 * self._hop
        filters = mel_filter_bank(
            num_frequency_bins=1 + self._n_fft // 2,
            num_mel_filters=bands,
            min_frequency=0.0,
            max_frequency=8000.0,
            sampling_rate=SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        self._filters = torch.from_numpy(filters).float()

    def n_frames(self, lengths: Tensor) -> Tensor:
        """As :meth:`Features.n_frames`: complete frames of 20 ms, without those of the silence at the end."""
        n_frames: Tensor = lengths // (2 * self._hop)
        return n_frames

    def inputs(self, samples: Tensor, lengths: Tensor, is_padded: bool) -> dict[str, Tensor]:
        """As :meth:`Features.inputs`; two windows for each frame, 0 in those after the end of a segment."""
        n_frames = self.n_frames(lengths)
        longest = samples.shape[1] // (2 * self._hop)
        levels = self._levels(functional.pad(samples, (0, self._n_fft)))[..., : 2 * longest]
        valid = valid_of(2 * n_frames, 2 * longest)[:, None]
        loudest = levels.masked_fill(~valid, -torch.inf).amax((1, 2), keepdim=True)
        inputs = {"input_features": _compressed(levels, loudest) * valid}
        if is_padded:
            inputs["attention_mask"] = valid_of(n_frames, longest)
        return inputs

    def _levels(self, samples: Tensor) -> Tensor:
        """Log-mel energies of shape (n_segments, n_bands, n_samples // hop), powers of ten."""
        window = torch.hann_window(self._n_fft, device=samples.device)
        spectrum = torch.stft(samples, self._n_fft, self._hop, window=window, return_complex=True)
        power = (spectrum[..., :-1].abs() ** 2).contiguous()
        return (self._filters.to(samples.device).T @ power).clamp(min=1e-10).log10()


class PaddedLogMel(LogMel):
    """Whisper's log-mel spectrogram as published: always 30 s, a shorter segment is followed by silence."""

    def __init__(self, settings: dict[str, Any], config: Any) -> None:
        super().__init__(settings, config)
        self.padded_samples = self._n_samples

    def inputs(self, samples: Tensor, lengths: Tensor, is_padded: bool) -> dict[str, Tensor]:
        """As :meth:`Features.inputs`."""
        levels = self._levels(functional.pad(samples, (0, self._n_samples - samples.shape[1])))
        return {"input_features": _compressed(levels, levels.amax((1, 2), keepdim=True))}


def _compressed(levels: Tensor, loudest: Tensor) -> Tensor:
    """Limit levels to 80 dB below the loudest, and scale them as Whisper was trained."""
    return (torch.maximum(levels, loudest - 8.0) + 4.0) / 4.0


def standardised(samples: Tensor, lengths: Tensor) -> Tensor:
    """Scale each segment to zero mean and unit variance, with zeros after its end.

    Parameters
    ----------
    samples : float32 tensor of shape (n_segments, n_samples)
        Zero after the end of a segment.
    lengths : int64 tensor of shape (n_segments,)

    Returns
    -------
    float32 tensor of the same shape

    Examples
    --------
    >>> standardised(torch.tensor([[1.0, 3.0, 0.0]]), torch.tensor([2])).round(decimals=4) + 0.0
    tensor([[-1.,  1.,  0.]])
    """
    exact = samples.double()
    centred = (exact - exact.sum(1, keepdim=True) / lengths[:, None]) * valid_of(lengths, samples.shape[1])
    variance = centred.square().sum(1, keepdim=True) / lengths[:, None]
    return (centred / (variance + EPSILON).sqrt()).float()


def valid_of(lengths: Tensor, longest: int) -> Tensor:
    """Return a bool tensor of shape (n_segments, longest), True for samples or frames that are not padding."""
    return torch.arange(longest, device=lengths.device)[None] < lengths[:, None]
