"""Admission: which recordings of a shard are decoded, and how far, before its limits make rows of the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import BinaryIO

from detector.audio import SAMPLE_RATE, Excerpt
from detector.decoders import Samples
from detector.errors import UtteranceError
from detector.recording import Facts
from jobs.decoding.queue import DecodeQueue
from jobs.decoding.recording import DecodedRecording
from jobs.inputs.limits import NO_LIMITS, Allowance, Limits, SourceQuota


class Admission:
    """Puts the recordings of a shard into the queue of a decoder, each with as much audio as its limits leave to it.

    Recordings are counted in the order in which the shard is read, so the same ones are beyond a limit every time. A
    decoder begins a recording while the one before it is not counted yet; it is held to the limits once more when its
    own turn has come.

    Parameters
    ----------
    queue : DecodeQueue
    limits : Limits
    """

    def __init__(self, queue: DecodeQueue, limits: Limits) -> None:
        self._queue = queue
        self._limits = limits
        self._quota = SourceQuota(limits)
        self._allowance = limits.allowance_of(0)

    def begin_object(self, n_stored: int) -> None:
        """Begin a loose file or a container, which is stored in ``n_stored`` bytes."""
        self._allowance = self._limits.allowance_of(n_stored)

    @property
    def counts_sources(self) -> bool:
        """True if :meth:`refusal` holds only once all recordings before the next one are decoded."""
        return self._limits.has_quota

    def refusal(self, uri: str, member: str | None) -> UtteranceError | None:
        """Return the error of the next recording if nothing is left to it; else None."""
        return self._quota.refusal(uri, member) or (self._allowance.refusal() if self._allowance.is_spent else None)

    def put(self, file: BinaryIO, name: str, excerpt: Excerpt, uri: str, member: str | None) -> AdmittedRecording:
        """Queue a recording. An excerpt whose end a list states has the length of that, and takes no allowance."""
        allowance = self._allowance if excerpt.end is None else NO_LIMITS.allowance_of(0)
        recording = self._queue.put(file, name, excerpt, allowance.most_seconds)
        return AdmittedRecording(recording, allowance, self._quota, (uri, member))


class AdmittedRecording:
    """A recording that counts what is decoded of it, and ends where the allowance of its object does.

    It has the interface of :class:`jobs.decoding.recording.DecodedRecording`.
    """

    def __init__(
        self, recording: DecodedRecording, allowance: Allowance, quota: SourceQuota, place: tuple[str, str | None]
    ) -> None:
        self._recording = recording
        self._allowance = allowance
        self._quota = quota
        self._place = place

    @property
    def is_held(self) -> bool:
        """True if all its bytes are in memory."""
        return self._recording.is_held

    @property
    def facts(self) -> Facts:
        """The facts, once :meth:`heard` has been read to its end."""
        return self._recording.facts

    def heard(self) -> Iterator[Samples]:
        """Yield as :meth:`jobs.decoding.recording.DecodedRecording.heard`; raise `over_quota` where nothing is left."""
        n_heard, decoded = 0, 0.0
        try:
            with contextlib.closing(self._recording.heard()) as segments:
                for samples in segments:
                    n_heard += len(samples)
                    if n_heard > self._allowance.seconds * SAMPLE_RATE:
                        raise self._allowance.refusal(n_heard / SAMPLE_RATE)
                    yield samples
            decoded = self._recording.facts.seconds
        except UtteranceError as error:
            decoded = error.seconds or 0.0
            if error.error == "too_long" and self._recording.is_shortened:
                raise self._allowance.refusal(decoded) from error
            raise
        finally:
            self._allowance.take(n_heard / SAMPLE_RATE, decoded)
            self._quota.add(*self._place, decoded)
