"""The explanation of one verdict: scores by window, what each frame adds, thresholds, and the nearest training rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt

from detector.api import Detector, Verdict
from detector.audio import SAMPLE_RATE, WHOLE, Excerpt
from detector.backbones import Backbone, CellBackbone, load_backbone
from detector.contributions import FrameLogits, frame_logits, no_exact_sum
from detector.decoders import Samples
from detector.embedding import embed_frames, embed_segments, join_layers
from detector.errors import ConfigError, UtteranceError
from detector.head import Head
from detector.overview import Overview
from detector.rejection import entropy_bits, log_odds, p_spoof
from jobs import storage
from jobs.config import ModelConfig, extract_config
from jobs.decoding import confinement
from jobs.decoding.queue import DecodeQueue
from jobs.inputs.checkpoint import local_folder
from jobs.inputs.recording_file import opened_recording
from jobs.scoring.config import ExplainConfig
from jobs.scoring.heads import read_head, recipes_for
from jobs.scoring.marks import Window, frame_windows, most_suspicious, windows_of
from jobs.scoring.nearest_rows import nearest_rows
from jobs.tables.heads import file_of, named_or_file
from jobs.telemetry.names import clock, say

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Explanation:
    """What is known of a head's verdict on one recording.

    Parameters
    ----------
    name : str
        Of the recording, as it was given.
    head : Head
    verdict : Verdict
    windows : tuple of Window
        In the order of time; none if the recording has no score.
    frames : FrameLogits or None
        What each frame adds; None where ``without_frames`` says why.
    without_frames : str or None
    overview : Overview or None
        None if no audio was read.
    excerpt : Excerpt
        The part of the recording that was judged.
    uri, member : str or None
        The stored object, and the name inside it if it is a container; None if the verdict is not a stored one.
    """

    name: str
    head: Head
    verdict: Verdict
    windows: tuple[Window, ...]
    frames: FrameLogits | None = None
    without_frames: str | None = None
    overview: Overview | None = None
    excerpt: Excerpt = WHOLE
    uri: str | None = None
    member: str | None = None

    @property
    def marked(self) -> list[Window]:
        """The windows to listen to, in the order of time."""
        return sorted(most_suspicious(self.windows))


def explain(settings: ExplainConfig) -> Explanation:
    """Print the explanation, and return it."""
    if settings.uri is None:
        raise ConfigError("no recording is given; only a stored verdict (--utterance) can be explained without one.")
    head, head_uri = head_of(settings)
    folder = local_folder(extract_config(settings, ModelConfig))
    recipes_for(head, folder, head.model, head_uri)
    backbone = load_backbone(head.embed_config, folder, layers=head.layers)
    detector = Detector(head, backbone)
    channel = detector.channel_of(settings.channel)
    confinement.set_mode(settings.confinement)
    listened = _Listened(head, backbone)
    queue = DecodeQueue(head.embed_config.segment_seconds, settings.max_seconds)
    with opened_recording(settings.uri) as file, queue:
        recording = queue.put(file, settings.uri, Excerpt(channel=channel))
        try:
            for segment in recording.heard():
                listened.add(segment)
            verdict = detector.judge_embedding(listened.embedding, recording.facts, settings.prior, channel)
        except UtteranceError as error:
            raise ConfigError(f"{settings.uri}: {error.error}: {error.message}.") from error
    windows = listened.windows(verdict.prior) if verdict.score is not None else ()
    explanation = Explanation(
        settings.uri,
        head,
        verdict,
        tuple(windows),
        listened.frames,
        listened.without_frames,
        listened.overview,
        Excerpt(channel=channel),
    )
    say_verdict(explanation)
    if verdict.score is not None:
        say(*listened.lines(verdict.prior), "")
        say_marked(explanation)
        say("", *nearest_rows(head, listened.embedding, settings, head_uri))
    return explanation


def head_of(settings: ExplainConfig) -> tuple[Head, str]:
    """Return the head that the settings name, and the URI of its file."""
    named = named_or_file([storage.normal(settings.output)], settings.head) if settings.output else None
    uri = file_of(named) if named else settings.head
    head = read_head(uri, settings.require_signature, settings.backbone)
    if named and head.head_id != named.head_id:
        raise ConfigError(
            f"{uri}: is head {head.head_id} now, and {named.name} is {named.head_id}. Put that back, or give the path "
            f"of a head's file."
        )
    return head, uri


@dataclass
class _Listened:
    """What is kept of a recording while it is read: vectors by segment, logits by frame, the overview; no samples."""

    head: Head
    backbone: Backbone
    overview: Overview = field(default_factory=Overview)
    frames: FrameLogits | None = None
    without_frames: str | None = None
    _ends: list[float] = field(default_factory=lambda: [0.0])
    _vectors: list[Vectors] = field(default_factory=list)
    _n_frames: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.without_frames = no_exact_sum(self.head)
        if self.without_frames is None and not hasattr(self.backbone, "embed_cells"):
            self.without_frames = "its encoder has no embed_cells (docs/extending.md), so only segments are shown"
        if self.without_frames is None:
            self.frames = FrameLogits()

    def add(self, segment: Samples) -> None:
        """Encode a segment."""
        self.overview.add(segment)
        start, end = self._ends[-1], self._ends[-1] + len(segment) / SAMPLE_RATE
        if self.frames is not None:
            vector, frames = embed_frames(cast(CellBackbone, self.backbone), segment)
            self.frames.add(frame_logits(self.head, frames), start, end)
            n_frames = len(frames)
        else:
            vectors, counts = embed_segments(self.backbone, [segment])
            vector, n_frames = vectors[0], int(counts[0])
        self._ends.append(end)
        self._vectors.append(vector)
        self._n_frames.append(n_frames)

    @property
    def embedding(self) -> Vectors | None:
        """The embedding of the recording; None if it has no frame."""
        if not self._vectors:
            return None
        n_frames = np.array(self._n_frames, np.int64)
        return join_layers(np.stack(self._vectors), n_frames, self.head.embed_config.pooling, len(self.backbone.layers))

    def windows(self, prior: float) -> Iterable[Window]:
        """Return windows from the frames, or else the encoder's segments."""
        if self.frames is not None:
            return frame_windows(self.head, self.frames, self._ends[-1], prior)
        times = [each for each, n in zip(self._times(), self._n_frames, strict=True) if n]
        rows = [vector for vector, n in zip(self._vectors, self._n_frames, strict=True) if n]
        return windows_of(times, self.head.scores(np.stack(rows).astype(np.float64)), prior)

    def lines(self, prior: float) -> Iterator[str]:
        """Yield a line for each segment of the encoder."""
        yield "  from      to     score   p_spoof   entropy       ood"
        for (start, end), vector, n in zip(self._times(), self._vectors, self._n_frames, strict=True):
            yield f"{start:6.1f}  {end:6.1f}" + (_numbers(self.head, vector, prior) if n else "  too short for a frame")

    def _times(self) -> list[tuple[float, float]]:
        return list(zip(self._ends[:-1], self._ends[1:], strict=True))


def say_verdict(explanation: Explanation) -> None:
    """Print the verdict and what it follows from."""
    head, verdict = explanation.head, explanation.verdict
    say(
        f"{explanation.name}: {verdict.seconds:.2f} s",
        f"head {head.head_id} ({head.model}), prior {verdict.prior:g} spoof",
        "",
    )
    if verdict.score is None:
        say(f"no score: {verdict.reject_reason}")
        return
    say(*(f"{name:14} {value:>12}   {about}".rstrip() for name, value, about in verdict_rows(head, verdict)), "")


def verdict_rows(head: Head, verdict: Verdict) -> list[tuple[str, str, str]]:
    """Return the quantities of a verdict that has a score: name, value, and the threshold that it is held against."""
    low, high = head.reject_band(verdict.prior)
    rows = [
        ("score", f"{verdict.score:.3f} nats", f"spoof is under {log_odds(verdict.prior):.2f}"),
        ("p_spoof", f"{verdict.p_spoof:.4f}", f"label {verdict.label}"),
        (
            "entropy",
            f"{verdict.entropy_bits:.3f} bits",
            f"uncertain is above {head.max_entropy_bits:.3f}: scores from {low:.2f} to {high:.2f}",
        ),
        ("ood", f"{verdict.ood:.3f}", f"out of distribution is above {head.max_ood:g}"),
        ("reject", verdict.reject_reason or "no", ""),
    ]
    threshold = f"a spoofed part is under {log_odds(verdict.prior):.2f}"
    if verdict.contains_score is not None:
        rows.append(("contains_score", f"{verdict.contains_score:.3f} nats", threshold))
    elif head.contains_rule:
        rows.append(("contains_score", "none", "the head's rule needs stored windows: --segments, then --utterance"))
    if head.systems is not None and verdict.nearest_system is not None:
        measure = f"{head.systems.similarity} similarity {verdict.system_similarity:.3f}"
        rows.append(("nearest_system", verdict.nearest_system, f"{measure}; named is above {head.systems.threshold:g}"))
    return rows


def say_marked(explanation: Explanation) -> None:
    """Print what to listen to first, and why there are no contributions of frames if there are none."""
    if not explanation.windows:
        say("no windows are stored; embed with --segments, or give the recording without --utterance")
        return
    say("to listen to first:")
    for window in explanation.marked:
        times = f"{clock(window.start_seconds)} to {clock(window.end_seconds)}"
        say(f"{times:>24}   score {window.score:.3f}, p_spoof {window.p_spoof:.4f}")
    frames = explanation.frames
    if frames is not None:
        say(f"contributions of {frames.n_frames} frames sum to the logit, {frames.logit:.6f}")
    else:
        say(f"no contributions of frames: {explanation.without_frames}")


def _numbers(head: Head, embedding: Vectors, prior: float) -> str:
    row = embedding[None].astype(np.float64)
    score, ood = head.scores(row), head.ood(row)
    if not np.isfinite([score, ood]).all():
        return "  out_of_distribution"
    values = (score, p_spoof(score, prior), entropy_bits(score, prior), ood)
    return "".join(f"{value[0]:10.3f}" for value in values)
