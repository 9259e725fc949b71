"""Whisper's encoder without its 30 s of padding: a segment is computed at its own length.

The published model always hears 30 s, and a segment of 4 s is followed by 26 s of silence that every layer attends to.
Here, convolutions and attention see the segment's own frames alone, at the first positions of the published table: for
short speech about a tenth of the work. The frames differ from those of the published model, so that both ways have
their own fingerprint (:attr:`detector.config.EmbedConfig.context`).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput


class OwnLength(nn.Module):
    """Whisper's encoder for inputs of any length up to its number of positions.

    Parameters
    ----------
    encoder : transformers WhisperEncoder
        Its modules are used, and not changed.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.layers = encoder.layers

    def forward(self, input_features: Tensor, attention_mask: Tensor | None = None) -> BaseModelOutput:
        """Compute the frames of a batch.

        Parameters
        ----------
        input_features : float32 tensor of shape (n_segments, n_bands, n_windows)
            An even number of windows; 0 in the windows after the end of a segment.
        attention_mask : bool tensor of shape (n_segments, n_windows / 2), optional
            True for real frames; None if all are real.

        Returns
        -------
        BaseModelOutput
            `last_hidden_state` of shape (n_segments, n_windows / 2, dim).
        """
        encoder = self.encoder
        frames = functional.gelu(encoder.conv1(input_features))
        if attention_mask is not None:  # the second convolution must find zeros after the end, as in a single segment
            frames = frames * attention_mask.repeat_interleave(2, dim=1)[:, None]
        frames = functional.gelu(encoder.conv2(frames)).transpose(1, 2)
        frames = frames + encoder.embed_positions.weight[: frames.shape[1]]
        mask = None if attention_mask is None else attention_mask[:, None, None].expand(-1, 1, frames.shape[1], -1)
        for layer in encoder.layers:
            frames = layer(frames, mask)
        return BaseModelOutput(last_hidden_state=self.encoder.layer_norm(frames))
