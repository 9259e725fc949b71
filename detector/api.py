"""The Python API: recordings in, their verdicts out, bit for bit as the distributed job computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from detector.audio import SAMPLE_RATE, Excerpt
from detector.audio_file import Audio, opened
from detector.backbones import BATCH_SECONDS, Backbone, load_backbone
from detector.config import CHANNELS, joined
from detector.decoders import Samples
from detector.embedding import embed_segments, join_layers
from detector.errors import ConfigError, UtteranceError
from detector.head import Head
from detector.head_checks import refuse_large
from detector.recording import Facts, Recording
from detector.schema import SPOOF, embeddings_schema
from detector.silence import heard

Embedded = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""Vectors of segments, of shape (n_segments, dim), and the number of frames in each."""

ACCEPTED, UNDECIDED = "bona fide", "undecided"


@dataclass(frozen=True)
class Verdict:
    """The judgement of one recording, with the names and units of the columns of `scores` (docs/data-contract.md).

    Examples
    --------
    >>> print(Verdict(4.0, 3.5, 0.5, 0.029, "bonafide", 0.19, 0.2, False, None))
    bona fide, p_spoof 0.03
    >>> print(Verdict(4.0, 0.1, 0.5, 0.476, "bonafide", 0.99, 0.2, True, "uncertain"))
    undecided (uncertain), p_spoof 0.48
    >>> print(Verdict(0.1, None, 0.5, None, None, None, None, True, "too_short"))
    undecided (too_short)
    """

    seconds: float
    score: float | None
    prior: float
    p_spoof: float | None
    label: str | None
    entropy_bits: float | None
    ood: float | None
    reject: bool
    reject_reason: str | None
    contains_score: float | None = None
    nearest_system: str | None = None
    system_similarity: float | None = None

    @property
    def decision(self) -> str:
        """`bona fide`, `spoof`, or `undecided` where the head abstains."""
        if self.reject:
            return UNDECIDED
        return SPOOF if self.label == SPOOF else ACCEPTED

    @property
    def probability(self) -> str:
        """`p_spoof` in two digits, never rounded to a certainty that no head has; empty if there is none.

        Examples
        --------
        >>> [Verdict(4.0, 0.0, 0.5, p, None, 0.0, 0.0, False, None).probability for p in (0.001, 0.029, 0.998)]
        ['<0.01', '0.03', '>0.99']
        """
        if self.p_spoof is None:
            return ""
        digits = f"{self.p_spoof:.2f}"
        return {"0.00": "<0.01", "1.00": ">0.99"}.get(digits, digits)

    def __str__(self) -> str:
        reason = f" ({self.reject_reason})" if self.reject else ""
        return f"{self.decision}{reason}" + (f", p_spoof {self.probability}" if self.probability else "")


class Heard(Protocol):
    """A recording that is decoded elsewhere, such as in a process of its own."""

    @property
    def facts(self) -> Facts:
        """The facts, once :meth:`heard` has been read to its end."""

    def heard(self) -> Iterator[Samples]:
        """Yield its segments as :func:`detector.silence.heard` does."""


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
    >>> detector = Detector.load()  # without a head, the starter
    >>> print(detector.score(np.zeros(16_000), rate=16_000))
    undecided (silent)
    """

    def __init__(self, head: Head, backbone: Backbone) -> None:
        dim = backbone.dim * len(backbone.layers)
        if head.layers != tuple(backbone.layers):
            raise ConfigError(f"the head is for layers {head.layers}, the encoder gives {tuple(backbone.layers)}.")
        if dim != len(head.weights):
            raise ConfigError(f"the head has {len(head.weights)} dimensions, the encoder gives {dim}.")
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
        from detector.checkpoint import recipes_of

        loaded = Head.starter() if head is None else _read(head, () if backbone is None else (backbone,))
        found = joined(
            [each.describe() for each in recipes_of(loaded.embed_config, loaded.layers, checkpoint, loaded.model)]
        )
        if not loaded.judges(found):
            raise ConfigError(
                f"{head}: fitted on {loaded.recipe}, but the encoder is {found}. "
                f"Give the same checkpoint, or fit the head again."
            )
        return cls(loaded, load_backbone(loaded.embed_config, checkpoint, device=device, layers=loaded.layers))

    def score(
        self, audio: Audio, prior: float | None = None, channel: int | None = None, *, rate: int | None = None
    ) -> Verdict:
        """Judge one recording.

        It is decoded in this process: for files of strangers, `bonafide check` uses a confined one.

        Parameters
        ----------
        audio : str, Path, bytes, binary file or array
            A path; a whole file as bytes or as an open file, in any supported format; or samples, floats in -1 to 1 of
            shape (n_samples,) or (n_samples, n_channels).
        prior : float or None
            Share of spoof to assume, in (0, 1); the head's own if None.
        channel : int or None
            Counted from 0. If None, the mean of all channels, or the first if the head is for single channels.
        rate : int or None
            Sample rate of an array, in Hz; for an array only.

        Returns
        -------
        Verdict
            `score` in nats, higher for bona fide.

        Raises
        ------
        UtteranceError
            If it cannot be decoded, or the embedding is not finite.
        OSError
            If the path cannot be read.
        TypeError, ValueError
            As :func:`detector.audio_file.opened`.
        """
        channel = self.channel_of(channel)
        with opened(audio, rate) as file:
            recording = Recording(file, self.head.embed_config.segment_seconds, excerpt=Excerpt(channel=channel))
            embedding = self._joined(*self._embedded(heard(recording.segments(), recording.segments)))
        return self.judge_embedding(embedding, recording.facts, prior, channel)

    def score_many(
        self,
        recordings: Iterable[Audio],
        prior: float | None = None,
        channel: int | None = None,
        *,
        rate: int | None = None,
        progress: Callable[[int, int | None], object] | None = None,
    ) -> Iterator[Verdict | UtteranceError]:
        """Judge recordings one after the other, each as :meth:`score` does.

        One that cannot be decoded does not end the others: its error stands in its place.

        Parameters
        ----------
        recordings : iterable
            Each as for :meth:`score`. The next is taken when its turn comes.
        progress : callable, optional
            Called after each recording with the number that is done, and the number of all: None if `recordings` has
            no length. For a bar of tqdm, wrap what this returns.

        Yields
        ------
        Verdict or UtteranceError
            In the order of `recordings`.

        Examples
        --------
        >>> files = [np.zeros((16_000, 2)), b"<html>404</html>"]
        >>> for verdict in Detector.load().score_many(files[:1], rate=16_000, progress=print):
        ...     print(verdict)
        1 1
        undecided (silent)
        >>> [error] = Detector.load().score_many(files[1:])
        >>> error.error
        'not_audio'
        """
        n = len(recordings) if isinstance(recordings, Sized) else None
        for done, audio in enumerate(recordings, start=1):
            verdict: Verdict | UtteranceError
            try:
                verdict = self.score(audio, prior, channel, rate=rate)
            except UtteranceError as error:
                verdict = error
            if progress is not None:
                progress(done, n)
            yield verdict

    def judge(
        self, segments: Iterable[Samples], facts: Facts, prior: float | None = None, channel: int | None = None
    ) -> Verdict:
        """Judge one recording that was decoded elsewhere; otherwise as :meth:`score`.

        Parameters
        ----------
        segments : iterable of float32 arrays of shape (n_samples,)
            16 kHz mono, cut as the head's settings say.
        facts : Facts
        """
        return self.judge_embedding(self._joined(*self.embed(segments)), facts, prior, channel)

    def embed(self, segments: Iterable[Samples]) -> Embedded:
        """Embed the segments of one recording, as :meth:`judge` does.

        Returns
        -------
        embeddings, n_frames
            As of :func:`detector.embedding.embed_segments`; of a recording that is silent as a whole, those of a single
            segment without a frame.
        """
        held = list(segments)
        return self._embedded(heard(iter(held), lambda: iter(held)))

    def judge_embedding(
        self,
        embedding: npt.NDArray[np.float32] | None,
        facts: Facts,
        prior: float | None = None,
        channel: int | None = None,
    ) -> Verdict:
        """Judge one recording by its embedding; otherwise as :meth:`judge`.

        Parameters
        ----------
        embedding : float32 array of shape (dim,), or None
            What :func:`detector.embedding.join_segments` makes of :meth:`embed` by the head's pooling; None for a
            recording without a frame.
        """
        if embedding is not None and not np.isfinite(embedding).all():
            raise UtteranceError("nonfinite", "the encoder returned NaN or infinity")
        row = {
            "utterance_id": "",
            "uri": "",
            **asdict(facts),
            "channel": channel,
            "layer": self.head.embed_config.layer,
            "embedding": embedding,
            "fingerprint": self.head.fingerprint,
            "run_id": "",
        }
        schema = embeddings_schema(len(self.head.weights))
        judged = self.head.judge(pa.Table.from_pylist([row], schema=schema), prior, "").to_pylist()[0]
        return Verdict(**{name: judged[name] for name in Verdict.__dataclass_fields__})

    def judge_heard(self, recording: Heard, prior: float | None = None, channel: int | None = None) -> Verdict:
        """Judge one recording while it is decoded elsewhere, without ever holding all of it; as :meth:`judge`."""
        embedding = self._joined(*self._embedded(recording.heard()))
        return self.judge_embedding(embedding, recording.facts, prior, channel)

    def channel_of(self, channel: int | None = None) -> int | None:
        """Return the channel to decode: the one that is asked for, else what the head is for; None for the mean."""
        return 0 if channel is None and self.head.embed_config.channels != CHANNELS[0] else channel

    def _embedded(self, segments: Iterator[Samples]) -> Embedded:
        """Embed segments while they are decoded, a batch at a time."""
        parts = [embed_segments(self._backbone, batch) for batch in _batches(segments)]
        if not parts:
            return np.zeros((0, self._backbone.dim), np.float32), np.zeros(0, np.int64)
        embeddings, n_frames = zip(*parts, strict=True)
        return np.concatenate(embeddings), np.concatenate(n_frames)

    def _joined(
        self, embeddings: npt.NDArray[np.float32], n_frames: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32] | None:
        return join_layers(embeddings, n_frames, self.head.embed_config.pooling, len(self.head.layers))


def _batches(segments: Iterator[Samples]) -> Iterator[list[Samples]]:
    batch: list[Samples] = []
    n_samples = 0
    for segment in segments:
        batch.append(segment)
        n_samples += len(segment)
        if n_samples >= BATCH_SECONDS * SAMPLE_RATE:
            yield batch
            batch, n_samples = [], 0
    if batch:
        yield batch


def _read(head: str | Path, loaders: tuple[str, ...]) -> Head:
    try:
        refuse_large(Path(head).stat().st_size, str(head))
        content = Path(head).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{head}: the head cannot be read: {error.strerror}. Expected a head.json, as `fit` writes it."
        ) from error
    return Head.from_json(content, str(head), loaders=loaders)
