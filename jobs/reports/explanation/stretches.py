"""Stretches of sound: the marked windows with a little around them, cut from one more reading of the recording."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import soundfile

from detector.audio import SAMPLE_RATE, Excerpt
from detector.decoders import Samples
from detector.errors import ConfigError, UtteranceError
from detector.overview import Overview
from jobs.decoding.queue import DecodeQueue
from jobs.inputs.recording_file import opened_recording
from jobs.scoring.marks import Window

MARGIN_SECONDS = 2.0  # before and behind a marked window
WHOLE_SECONDS = 120.0  # a recording up to this long is on the page as a whole
LONGEST_SECONDS = 30.0  # that are played of a window: where there are no frames it is a segment of the encoder
READ_SECONDS = 30.0


@dataclass(frozen=True)
class Stretch:
    """A stretch of a recording: its samples from one time on."""

    start_seconds: float
    samples: Samples

    @property
    def end_seconds(self) -> float:
        """Where it ends."""
        return self.start_seconds + len(self.samples) / SAMPLE_RATE

    def flac(self) -> bytes:
        """Return the samples as a file that browsers play: mono, 16 kHz, 16 bits."""
        file = io.BytesIO()
        soundfile.write(file, np.clip(self.samples, -1.0, 1.0), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        return file.getvalue()


def around(window: Window) -> tuple[float, float]:
    """Return the times of the stretch that is heard of a window.

    Examples
    --------
    >>> around(Window(10.0, 14.0, -3.0, 0.95)), around(Window(0.0, 60.0, -3.0, 0.95))
    ((8.0, 16.0), (-2.0, 32.0))
    """
    end = min(window.end_seconds, window.start_seconds + LONGEST_SECONDS)
    return window.start_seconds - MARGIN_SECONDS, end + MARGIN_SECONDS


def read_stretches(
    uri: str,
    times: Sequence[tuple[float, float]],
    excerpt: Excerpt,
    max_seconds: float,
    overview: Overview | None = None,
) -> list[Stretch]:
    """Read stretches of an excerpt, in their order; the overview, if there is one, gets all samples.

    Raises
    ------
    ConfigError
        If the recording cannot be decoded.
    """
    with opened_recording(uri) as file, DecodeQueue(READ_SECONDS, max_seconds) as queue:
        try:
            segments = queue.put(file, uri, excerpt).segments()
            return cut_stretches(segments if overview is None else _shown(segments, overview), times)
        except UtteranceError as error:
            raise ConfigError(f"{uri}: {error.error}: {error.message}.") from error


def _shown(segments: Iterable[Samples], overview: Overview) -> Iterator[Samples]:
    for segment in segments:
        overview.add(segment)
        yield segment


def cut_stretches(segments: Iterable[Samples], times: Sequence[tuple[float, float]]) -> list[Stretch]:
    """Cut stretches out of a stream of segments; what lies outside of the recording is left out.

    Examples
    --------
    >>> seconds = [np.full(16_000, number, np.float32) for number in range(3)]
    >>> stretches = cut_stretches(seconds, [(0.5, 1.5), (-2.0, 0.25)])
    >>> [(stretch.start_seconds, stretch.end_seconds, stretch.samples.mean()) for stretch in stretches]
    [(0.5, 1.5, np.float32(0.5)), (0.0, 0.25, np.float32(0.0))]
    """
    bounds = [(max(round(start * SAMPLE_RATE), 0), round(end * SAMPLE_RATE)) for start, end in times]
    parts: list[list[Samples]] = [[] for _ in bounds]
    n_before = 0
    for segment in segments:
        for found, (first, last) in zip(parts, bounds, strict=True):
            if first < n_before + len(segment) and last > n_before:
                found.append(segment[max(first - n_before, 0) : last - n_before].copy())
        n_before += len(segment)
    return [
        Stretch(first / SAMPLE_RATE, np.concatenate([np.zeros(0, np.float32), *found]))
        for (first, _), found in zip(bounds, parts, strict=True)
    ]
