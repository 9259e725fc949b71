"""A queue of recordings for one decoder process: it decodes the next while the caller looks at the one before."""

from __future__ import annotations

from collections import deque
from typing import BinaryIO

from detector.audio import WHOLE, Excerpt
from detector.decoders import MAX_SECONDS
from jobs.decoding import idle
from jobs.decoding.content import HashedContent
from jobs.decoding.process_handle import DecoderProcess
from jobs.decoding.recording import DecodedRecording


class DecodeQueue:
    """Recordings that are read in the order in which they were put.

    A recording that is not read to its end costs its process.

    Parameters
    ----------
    segment_seconds : float
        Length of a segment.
    max_seconds : float
        A longer recording is `too_long`.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> import soundfile
    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.full(40_000, 0.5), 16_000, format="WAV")
    >>> with DecodeQueue(segment_seconds=1.0) as queue:
    ...     recording = queue.put(file, "a tone")
    ...     print([len(segment) for segment in recording.segments()])
    [16000, 24000]
    >>> recording.facts.seconds, recording.facts.n_segments, round(recording.facts.rms_dbfs, 2)
    (2.5, 2, -6.02)
    """

    def __init__(self, segment_seconds: float, max_seconds: float = MAX_SECONDS) -> None:
        self.segment_seconds = segment_seconds
        self.max_seconds = max_seconds
        self._waiting: deque[DecodedRecording] = deque()
        self._process: DecoderProcess | None = None
        self._content: HashedContent | None = None

    def __enter__(self) -> DecodeQueue:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None and not self._waiting:
            idle.IDLE.append(self._process)
        else:
            self._end()

    def put(
        self, file: BinaryIO, name: str, excerpt: Excerpt = WHOLE, max_seconds: float = MAX_SECONDS
    ) -> DecodedRecording:
        """Add a recording.

        Parameters
        ----------
        file : binary file
            Seekable. A BytesIO is sent as a whole. Of any other file the decoder gets the bytes that it asks for while
            the segments are read, so that an error of the store is raised there. The same file put again is not hashed
            again.
        name : str
            The utterance, for the log and the text of :class:`jobs.errors.RunAgain`.
        excerpt : Excerpt
            The part to decode; the digest is that of the whole file.
        max_seconds : float
            A limit for this recording, if it is below that of the queue.
        """
        if self._waiting and not self._waiting[-1].is_held:
            raise RuntimeError("a recording that is not held in memory is read before the next is put")
        if self._content is None or self._content.file is not file:
            self._content = HashedContent(file, name)
        recording = DecodedRecording(self, self._content, name, excerpt, min(max_seconds, self.max_seconds))
        self._waiting.append(recording)
        if self._process is not None:
            self._process.send(*recording.request())
        if recording.is_held:
            self._content.sha256()  # now, while the decoder is at work
        return recording

    def process_for(self, recording: DecodedRecording) -> DecoderProcess:
        """Return the process that decodes a recording, which must be the first that waits."""
        if not self._waiting or self._waiting[0] is not recording:
            raise RuntimeError("recordings are read once, in the order in which they were put")
        return self._start(idle.take(self.segment_seconds)) if self._process is None else self._process

    def restart(self) -> DecoderProcess:
        """End the process, and send all recordings that wait to a new one."""
        self._end()
        return self._start(DecoderProcess(self.segment_seconds))

    def finish(self, recording: DecodedRecording) -> None:
        """Remove a recording; end the process if it is still at work on it."""
        self._waiting.remove(recording)
        if self._process is not None and self._process.is_busy:
            self._end()

    def _start(self, process: DecoderProcess) -> DecoderProcess:
        self._process = process
        for recording in self._waiting:
            process.send(*recording.request())
        return process

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
        self._process = None
