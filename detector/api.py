"""The Python API: one recording in, its verdict out, bit for bit as the distributed job computes it."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from detector.audio import Excerpt
from detector.backbones import Backbone, load_backbone
from detector.config import CHANNELS
from detector.decoders import Samples
from detector.embedding import embed_segments, join_segments
from detector.errors import ConfigError, UtteranceError
from detector.head import Head
from detector.head_checks import refuse_large
from detector.recording import Facts, Recording
from detector.schema import embeddings_schema
from detector.silence import heard


@dataclass(frozen=True)
class Verdict:
    """The judgement of one recording, with the names and units of the columns of `scores` (docs/data-contract.md)."""

    seconds: float
    score: float | None
    prior: float
    p_spoof: float | None
    label: str | None
    entropy_bits: float | None
    ood: float | None
    reject: bool
    reject_reason: str | None


class Detector:
    """A head with its encoder.

    Parameters
    ----------
    head : Head
    backbone : Backbone
        Loaded with the head's `embed_config`, from the checkpoint that the head was fitted on.

    Raises
    ------
    ConfigError
        If the encoder's embeddings do not have the length that the head expects.

    Examples
    --------
    >>> import soundfile
    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.zeros(16_000), 16_000, format="WAV")
    >>> Detector.load().score(file.getvalue()).reject_reason  # without a head, the starter
    'silent'
    """

    def __init__(self, head: Head, backbone: Backbone) -> None:
        if backbone.dim != len(head.weights):
            raise ConfigError(f"the head has {len(head.weights)} dimensions, the encoder gives {backbone.dim}.")
        self.head = head
        self._backbone = backbone

    @classmethod
    def load(
        cls,
        head: str | Path | None = None,
        checkpoint: str | None = None,
        *,
        device: str = "cpu",
        backbone: str | None = None,
    ) -> Detector:
        """Load a head file and the encoder that it was fitted on.

        Parameters
        ----------
        head : str, Path or None
            The starter head if None.
        checkpoint : str or None
            Local folder of the encoder; None for the built-in ones.
        device : str
            `cpu`, `cuda` or `cuda:1`.
        backbone : str or None
            Encoder of your own, `package.module:loader`: a head that names a loader is refused unless it is this one,
            because a head's file must not decide what code is run.

        Raises
        ------
        ConfigError
            If the head cannot be read, names another loader, or the checkpoint is not the one that it was fitted on.
        """
        from detector.checkpoint import recipe_of

        loaded = Head.starter() if head is None else _read(head, () if backbone is None else (backbone,))
        found = recipe_of(loaded.embed_config, checkpoint, loaded.model)
        if found.known_as(loaded.recipe) is None:
            raise ConfigError(
                f"{head}: fitted on {loaded.recipe}, but the encoder is {found.describe()}. "
                f"Give the same checkpoint, or fit the head again."
            )
        return cls(loaded, load_backbone(loaded.embed_config, checkpoint, device=device))

    def score(self, audio: bytes, prior: float | None = None, channel: int | None = None) -> Verdict:
        """Judge one recording.

        Parameters
        ----------
        audio : bytes
            The whole file, in any supported format.
        prior : float or None
            Share of spoof to assume, in (0, 1); the head's own if None.
        channel : int or None
            Counted from 0. If None, the mean of all channels, or the first if the head is for single channels.

        Returns
        -------
        Verdict
            `score` in nats, higher for bona fide.

        Raises
        ------
        UtteranceError
            If the bytes cannot be decoded, or the embedding is not finite.
        """
        config = self.head.embed_config
        if channel is None and config.channels != CHANNELS[0]:
            channel = 0
        recording = Recording(io.BytesIO(audio), config.segment_seconds, excerpt=Excerpt(channel=channel))
        segments = list(recording.segments())
        return self.judge(segments, recording.facts, prior, channel)

    def judge(
        self, segments: list[Samples], facts: Facts, prior: float | None = None, channel: int | None = None
    ) -> Verdict:
        """Judge one recording that was decoded elsewhere; otherwise as :meth:`score`.

        Parameters
        ----------
        segments : list of float32 arrays of shape (n_samples,)
            16 kHz mono, cut as the head's settings say.
        facts : Facts
        """
        config = self.head.embed_config
        embeddings, n_frames = embed_segments(self._backbone, list(heard(iter(segments), lambda: iter(segments))))
        embedding = join_segments(embeddings, n_frames, config.pooling)
        if embedding is not None and not np.isfinite(embedding).all():
            raise UtteranceError("nonfinite", "the encoder returned NaN or infinity")
        row = {
            "utterance_id": "",
            "uri": "",
            **asdict(facts),
            "channel": channel,
            "layer": config.layer,
            "embedding": embedding,
            "fingerprint": self.head.fingerprint,
            "run_id": "",
        }
        schema = embeddings_schema(self._backbone.dim)
        judged = self.head.judge(pa.Table.from_pylist([row], schema=schema), prior, "").to_pylist()[0]
        return Verdict(**{name: judged[name] for name in Verdict.__dataclass_fields__})


def _read(head: str | Path, loaders: tuple[str, ...]) -> Head:
    try:
        refuse_large(Path(head).stat().st_size, str(head))
        content = Path(head).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{head}: the head cannot be read: {error.strerror}. Expected a head.json, as `fit` writes it."
        ) from error
    return Head.from_json(content, str(head), loaders=loaders)
