"""Families: how encoders of different designs are cut, tapped and shielded from padding.

| family | input | modules that padding would affect | norm after the last layer |
| --- | --- | --- | --- |
| wav2vec 2.0 and relatives | samples | a group norm over time, if there is one | in pre-norm models |
| data2vec-audio | samples | the second to fifth positional convolution | no |
| w2v-BERT 2.0 | log-mel energies | none | no |
| Whisper's encoder, own length | log-mel spectrogram | its convolutions (`detector.backbones.whisper`) | yes |
| Whisper's encoder, padded | log-mel spectrogram of 30 s | none: its input is always 30 s | yes |

Relatives of wav2vec 2.0: XLS-R, XLSR-53 and MMS, which have its `model_type`; HuBERT, WavLM and UniSpeech-SAT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from detector.backbones.features import Fbank, Features, LogMel, PaddedLogMel, Waveform, valid_of
from detector.backbones.threads import one_thread
from detector.backbones.whisper import OwnLength
from detector.config import PADDED, WHISPER


@dataclass(frozen=True)
class Family:
    """How to handle the checkpoints of one `model_type`.

    Parameters
    ----------
    features : callable
        Takes the preprocessor settings and configuration of a checkpoint, returns its :class:`Features`.
    n_layers : str
        Name of the configuration field that holds the number of layers.
    encoder : callable
        Takes the loaded model, returns the module that is called with the features.
    layers : callable
        Takes that module, returns its list of layers.
    norm_after : callable
        Takes that module, returns the one whose `layer_norm` follows the last layer, or None if there is none.
    last_is_normed : bool
        True if the published `hidden_states[n_layers]` is taken after that norm.
    """

    features: Callable[[dict[str, Any], Any], Features]
    n_layers: str = "num_hidden_layers"
    encoder: Callable[[Any], Any] = lambda model: model
    layers: Callable[[Any], Any] = lambda model: model.encoder.layers
    norm_after: Callable[[Any], Any] = lambda _model: None
    last_is_normed: bool = False


def _stable(model: Any) -> Any:
    return model.encoder if getattr(model.config, "do_stable_layer_norm", False) else None


FAMILIES = {
    "wav2vec2": Family(Waveform, norm_after=_stable),
    "hubert": Family(Waveform, norm_after=_stable),
    "wavlm": Family(Waveform, norm_after=_stable),
    "unispeech-sat": Family(Waveform, norm_after=_stable),
    "data2vec-audio": Family(Waveform),
    "wav2vec2-bert": Family(Fbank),
    WHISPER: Family(
        LogMel,
        n_layers="encoder_layers",
        encoder=lambda model: OwnLength(model.get_encoder()),
        layers=lambda own: own.layers,
        norm_after=lambda own: own.encoder,
        last_is_normed=True,
    ),
}
WHISPER_PADDED = replace(
    FAMILIES[WHISPER],
    features=PaddedLogMel,
    encoder=lambda model: model.get_encoder(),
    norm_after=lambda encoder: encoder,
)


def family_of(model_type: str, context: str | None) -> Family:
    """Return the family of a `model_type` of `FAMILIES`, for a context as in :class:`detector.config.EmbedConfig`."""
    return WHISPER_PADDED if (model_type, context) == (WHISPER, PADDED) else FAMILIES[model_type]


@dataclass
class Padding:
    """Real samples of each row while a padded batch is computed; None if nothing is padded."""

    lengths: Tensor | None = None


class MaskedGroupNorm(nn.Module):
    """The group norm over time of a front end, restricted to real frames.

    It is the only module of the front end that padding would affect.

    Parameters
    ----------
    norm : torch.nn.GroupNorm
        With one group per channel.
    conv : torch.nn.Conv1d
        The convolution before it.
    padding : Padding
    """

    def __init__(self, norm: nn.GroupNorm, conv: nn.Conv1d, padding: Padding) -> None:
        super().__init__()
        self.norm = norm
        self._kernel, self._stride = conv.kernel_size[0], conv.stride[0]
        self._padding = padding

    def forward(self, frames: Tensor) -> Tensor:
        """Normalise a tensor of shape (n_segments, channels, n_frames)."""
        if self._padding.lengths is None:
            normed: Tensor = self.norm(frames)
            return normed
        n_frames = ((self._padding.lengths - self._kernel) // self._stride + 1)[:, None, None]
        valid = valid_of(n_frames[:, 0, 0], frames.shape[2])[:, None]
        exact = frames.float()
        mean = (exact * valid).sum(2, keepdim=True) / n_frames
        variance = ((exact - mean).square() * valid).sum(2, keepdim=True) / n_frames
        scaled = (exact - mean) * (variance + self.norm.eps).rsqrt()
        return scaled * self.norm.weight[:, None] + self.norm.bias[:, None]


def keep_padding_out(model: Any, padding: Padding, features: Features) -> None:
    """Shield the modules of ``model`` from padding that the attention mask does not hide."""
    front = getattr(model, "feature_extractor", None)
    for layer in getattr(front, "conv_layers", []):
        if isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm):
            layer.layer_norm = MaskedGroupNorm(layer.layer_norm, layer.conv, padding)

    def hide(_module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if padding.lengths is None:
            return None
        valid = valid_of(features.n_frames(padding.lengths), inputs[0].shape[2])[:, None]
        return (inputs[0] * valid, *inputs[1:])

    positions = getattr(getattr(model, "encoder", None), "pos_conv_embed", None)
    for layer in getattr(positions, "layers", []):  # data2vec-audio has several in a row
        layer.register_forward_pre_hook(hide)


def fuse_attention(model: Any) -> None:
    """Let WavLM's attention run as one fused product; by default it also computes weights that nothing reads.

    Other families are fused already (torch's scaled_dot_product_attention). Fusing changes the rounding, so it is not
    used on a CPU, where the bits of the published model are kept.
    """
    layers: list[Any] = [module for module in model.modules() if isinstance(module, WavLMAttention)]
    for module in layers:
        module.torch_multi_head_self_attention = partial(_attend, module)


def _attend(module: Any, frames: Tensor, valid: Tensor | None, bias: Tensor) -> tuple[Tensor, None]:
    """Attention of a WavLMAttention: `bias` of shape (n_segments * n_heads, n_frames, n_frames) joins the scores."""
    n_segments, n_frames, dim = frames.shape
    shape = (n_segments, n_frames, module.num_heads, module.head_dim)
    query, key, value = (
        project(frames).view(shape).transpose(1, 2) for project in (module.q_proj, module.k_proj, module.v_proj)
    )
    mask = bias.view(n_segments, module.num_heads, n_frames, n_frames).to(query.dtype)
    if valid is not None:
        mask = mask.masked_fill(~valid.bool()[:, None, None], float("-inf"))
    attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return module.out_proj(attended.transpose(1, 2).reshape(n_segments, n_frames, dim)), None


def settle(model: Any) -> None:
    """Compute the weights behind a weight norm once; a model would otherwise compute them in every pass."""
    with one_thread():
        for module in model.modules():
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
