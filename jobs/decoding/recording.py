"""A recording that a decoder process decodes; its caller iterates over the segments."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Generator, Iterator
from typing import Protocol

from detector.audio import SAMPLE_RATE, Excerpt
from detector.decoders import Samples
from detector.recording import MIN_SEGMENT_SAMPLES, Facts
from detector.silence import heard
from jobs.decoding import replies
from jobs.decoding.content import HashedContent
from jobs.decoding.faults import TRIES, DecoderError, check
from jobs.decoding.process_handle import DecoderProcess, report_work
from jobs.decoding.reads import Reads
from jobs.decoding.wire import READ, SIZE, TEXT_BYTES, pack_request

REPORT_SECONDS = 5.0

log = logging.getLogger(__name__)


class Queue(Protocol):
    """The queue of a recording: :class:`jobs.decoding.queue.DecodeQueue`."""

    segment_seconds: float
    max_seconds: float

    def process_for(self, recording: DecodedRecording) -> DecoderProcess:
        """Return the process that decodes a recording."""

    def restart(self) -> DecoderProcess:
        """Replace the process, and send it all recordings that wait."""

    def finish(self, recording: DecodedRecording) -> None:
        """Remove a recording that was read, or given up."""


class DecodedRecording:
    """A recording in a queue, with the interface of :class:`detector.recording.Recording`."""

    def __init__(self, queue: Queue, content: HashedContent, name: str, excerpt: Excerpt, max_seconds: float) -> None:
        self.is_held = isinstance(content.file, io.BytesIO)
        self._queue = queue
        self._content = content
        self._name = name
        self._excerpt = excerpt
        self._max_seconds = max_seconds
        self._n_yielded = 0
        self._facts: Facts | None = None

    @property
    def is_shortened(self) -> bool:
        """True if a limit of this recording is below that of all."""
        return self._max_seconds < self._queue.max_seconds

    @property
    def facts(self) -> Facts:
        """The facts, once :meth:`segments` has been read to its end."""
        if self._facts is None:
            raise RuntimeError("read segments() to the end before asking for facts")
        return self._facts

    def segments(self) -> Iterator[Samples]:
        """Yield float32 arrays of shape (n_samples,), 16 kHz mono.

        Raises
        ------
        UtteranceError
            As :func:`detector.audio.decode`; and `decoder_crash`, `decoder_timeout`, `too_large`.
        RunAgain
            If the decoder process was killed from outside or stalled, twice, or does not start.
        """
        process = self._queue.process_for(self)
        try:
            yield from self._decoded(process)
        finally:
            self._queue.finish(self)

    def heard(self) -> Generator[Samples]:
        """Yield as :meth:`segments`, or one empty array if all segments are silent: :func:`detector.silence.heard`."""
        process = self._queue.process_for(self)
        try:
            yield from heard(self._reported(self._decoded(process)), self._decoded_again)
        finally:
            self._queue.finish(self)

    def _reported(self, segments: Iterator[Samples]) -> Iterator[Samples]:
        """Pass segments on; hours of silence that give no piece are progress too."""
        reported = time.monotonic()
        for segment in segments:
            if time.monotonic() > reported + REPORT_SECONDS:
                reported = time.monotonic()
                report_work()
            yield segment

    def _decoded_again(self) -> Iterator[Samples]:
        """Yield all segments from the first on; the process that has come half-way is replaced."""
        self._n_yielded = 0
        yield from self._decoded(self._queue.restart())

    def _decoded(self, process: DecoderProcess) -> Iterator[Samples]:
        for tries_left in reversed(range(TRIES)):
            try:
                yield from self._decoded_by(process)
                break
            except DecoderError as error:
                log.warning("%s: %s; tries left: %d", self._name, error, tries_left)
                if not tries_left:
                    raise error.verdict(self._name) from error
                process = self._queue.restart()

    def request(self) -> tuple[bytes, ...]:
        """Return the frame that asks a decoder for this recording."""
        request = pack_request(self._queue.segment_seconds, self._max_seconds, self._excerpt)
        if isinstance(self._content.file, io.BytesIO):
            return b"held", request, self._content.file.getvalue()
        return b"view", request, SIZE.pack(self._content.size)

    def _decoded_by(self, process: DecoderProcess) -> Iterator[Samples]:
        """Yield the segments that a process sends; take its last reply, or raise it."""
        process.is_busy = True
        # what lies before is decoded, too
        process.begin(self._queue.segment_seconds + self._excerpt.start, self._content.size)
        reads = Reads(self._content)
        segment_samples = round(self._queue.segment_seconds * SAMPLE_RATE)
        n_segments, n_samples, is_last = 0, 0, False
        while True:
            kind, n_bytes = process.header()
            if kind == b"wave":
                samples = process.samples(n_bytes, segment_samples + MIN_SEGMENT_SAMPLES)
                process.allow_cpu(self._queue.segment_seconds)
                n_segments, n_samples = n_segments + 1, n_samples + len(samples)
                check(not is_last and n_samples <= (self._max_seconds + 1) * SAMPLE_RATE, "segments behind the last")
                check(n_segments == 1 or len(samples) >= MIN_SEGMENT_SAMPLES, f"a tail of {len(samples)} samples")
                is_last = len(samples) != segment_samples
                # a second try starts from the beginning; the same bytes give the same segments, so skip those
                if n_segments > self._n_yielded:
                    self._n_yielded = n_segments
                    yield samples
            elif kind == b"read":
                check(not self.is_held and not is_last and process.has_read_all, "a read that nobody waits for")
                process.send(b"data", reads.answer(process.content(n_bytes, READ.size)))
            else:
                reply = replies.parse(process.content(n_bytes, TEXT_BYTES))
                break
        if kind == b"done":
            self._facts = replies.facts_of(reply, self._content.sha256(), n_samples, n_segments)
            process.is_busy = reply.get("stays") is not True
            return
        failure = replies.failure_of(kind, reply)
        # what is decoded before an excerpt, and what was not sent any more, count too
        most = self._max_seconds + self._excerpt.start + 2 * self._queue.segment_seconds
        check(0.0 <= (failure.seconds or 0.0) <= most, f"seconds {failure.seconds!r}")
        if failure.error in ("decoder_crash", "too_large"):
            # perhaps an earlier recording broke the process, or filled its memory: a new one decides
            raise DecoderError(failure.error, failure.message)
        process.is_busy = reply.get("stays") is not True
        raise failure
