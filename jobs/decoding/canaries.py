"""Canaries as this machine hears them: decoded in the confined process that decodes all recordings."""

from __future__ import annotations

import io
from functools import cache

import numpy as np

from detector.canaries import SEGMENT_SECONDS, Heard, contents
from detector.errors import UtteranceError
from jobs.decoding import idle
from jobs.decoding.queue import DecodeQueue
from jobs.decoding.recording import DecodedRecording

SAMPLES_OF_NONE = np.zeros(0, np.float32)


@cache
def hear(segment_seconds: float | None = None) -> dict[str, Heard]:
    """Decode all canaries, in order of their names, once in a process; it takes 0.1 s, and the start of a decoder.

    Parameters
    ----------
    segment_seconds : float, optional
        Of recordings that this process decodes next, with the same decoder; without it, the decoder ends.

    Examples
    --------
    >>> heard = hear()
    >>> heard["gsm610-8000.wav"].codec, len(heard["flac-48000.flac"].samples)
    ('wav/gsm610', 4800)
    """
    with DecodeQueue(segment_seconds or SEGMENT_SECONDS) as queue:
        recordings = {name: queue.put(io.BytesIO(content), name) for name, content in contents().items()}
        heard = {name: _heard(recording, name) for name, recording in recordings.items()}
    if segment_seconds is None:
        idle.end_all()
    return heard


def _heard(recording: DecodedRecording, name: str) -> Heard:
    try:
        samples = np.concatenate([SAMPLES_OF_NONE, *recording.segments()])
    except UtteranceError:
        return Heard(SAMPLES_OF_NONE, name, 0, "")
    facts = recording.facts
    return Heard(samples, facts.codec, facts.native_rate, facts.decoder)
