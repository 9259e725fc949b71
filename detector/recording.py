"""A recording: its segments, read once from front to back, and then its facts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from detector.audio import SAMPLE_RATE, WHOLE, Excerpt, decode_native, resample
from detector.decoders import MAX_SECONDS, Samples
from detector.errors import UtteranceError
from detector.level import Levels, Meter
from detector.provenance import Provenance, provenance

MIN_SEGMENT_SAMPLES = 1 * SAMPLE_RATE  # 16,000 samples, 1 s: a shorter tail joins the segment before it
SILENCE_FLOOR_DBFS = -120.0
TRUNCATED_SECONDS = 0.1  # below what the header claims; rounding and the delays of codecs stay under it
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Facts(Levels, Provenance):
    """Facts of a recording that was read to its end: the columns that a decoder fills.

    `seconds` counts decoded samples, never what a header claims. :data:`detector.schema.DECODED` has the meaning and
    unit of every column; the levels and the provenance are inherited.
    """

    audio_sha256: str
    seconds: float
    native_rate: int
    channels: int
    codec: str
    decoder: str
    rms_dbfs: float
    seconds_claimed: float | None
    truncated: bool
    trailing_bytes: int
    channels_cancel: bool
    n_segments: int


class Recording:
    """Cut one recording into segments without ever holding all of its samples in memory.

    Parameters
    ----------
    file : binary file
        Seekable. It is read twice: once for its SHA-256, once to decode.
    segment_seconds : float
        Length of a segment. A recording of up to this length plus 1 s is one segment; a longer one is cut at
        multiples of it, and a tail under 1 s stays with the segment before it.
    audio_sha256 : str, optional
        Digest of the file, if the caller has computed it; then the file is read once.
    excerpt : Excerpt
        Part to decode; the digest is always that of the whole file.
    max_seconds : float
        A longer recording is `too_long`, as soon as so much is decoded.

    Examples
    --------
    >>> import io, soundfile
    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.full(40_000, 0.5), 16_000, format="WAV")
    >>> recording = Recording(file, segment_seconds=1.0)
    >>> [len(segment) for segment in recording.segments()]
    [16000, 24000]
    >>> recording.facts.seconds, recording.facts.n_segments, round(recording.facts.rms_dbfs, 2)
    (2.5, 2, -6.02)
    """

    def __init__(
        self,
        file: BinaryIO,
        segment_seconds: float,
        audio_sha256: str | None = None,
        excerpt: Excerpt = WHOLE,
        max_seconds: float = MAX_SECONDS,
    ) -> None:
        self._file = file
        self._excerpt = excerpt
        self._max_seconds = max_seconds
        self._audio_sha256 = audio_sha256
        self._segment_samples = round(segment_seconds * SAMPLE_RATE)
        self._facts: Facts | None = None

    @property
    def facts(self) -> Facts:
        """The facts, which are known once `segments` has been read to its end."""
        if self._facts is None:
            raise RuntimeError("facts are not known yet: read segments() to the end first")
        return self._facts

    def segments(self) -> Iterator[Samples]:
        """Yield float32 arrays of shape (n_samples,), 16 kHz mono.

        Raises
        ------
        UtteranceError
            As :func:`detector.audio.decode`.
        """
        digest = _sha256(self._file) if self._audio_sha256 is None else self._audio_sha256
        origin = provenance(self._file)
        stored, native, ledger = decode_native(self._file, self._excerpt, self._max_seconds)
        meter = Meter()
        blocks = resample(meter.native(native))
        n_samples, energy, n_segments = 0, 0.0, 0
        for segment in cut(blocks, self._segment_samples):
            n_samples += len(segment)
            energy += float(np.square(segment, dtype=np.float64).sum())
            n_segments += 1
            meter.add(segment)
            yield segment
        if n_samples == 0:
            raise UtteranceError("empty", "a header, but no samples")
        rms = math.sqrt(energy / n_samples)
        seconds, claimed = n_samples / SAMPLE_RATE, ledger.seconds_claimed
        is_whole = (self._excerpt.start, self._excerpt.end) == (WHOLE.start, WHOLE.end)
        self._facts = Facts(
            audio_sha256=digest,
            seconds=seconds,
            native_rate=stored.native_rate,
            channels=stored.channels,
            codec=stored.codec,
            decoder=stored.decoder,
            rms_dbfs=max(SILENCE_FLOOR_DBFS, 20.0 * math.log10(rms)) if rms > 0 else SILENCE_FLOOR_DBFS,
            seconds_claimed=claimed,
            truncated=ledger.is_cut or (is_whole and seconds < (claimed or 0.0) - TRUNCATED_SECONDS),
            trailing_bytes=ledger.trailing_bytes + ledger.unknown_bytes,
            channels_cancel=ledger.channels_cancel,
            n_segments=n_segments,
            **vars(origin),
            **vars(meter.levels),
        )


def cut(blocks: Iterable[Samples], segment_samples: int) -> Iterator[Samples]:
    """Cut a stream of blocks at multiples of ``segment_samples``; the last segment keeps a tail under 1 s.

    ```
    blocks     |----10 s----|----10 s----|--3.4 s-|
    segments   |--4 s--|--4 s--|--4 s--|--4 s--|--4 s--|--3.4 s--|
    ```

    Examples
    --------
    >>> blocks = [np.zeros(100_000, np.float32), np.zeros(30_000, np.float32)]
    >>> [len(segment) for segment in cut(blocks, 4 * SAMPLE_RATE)]
    [64000, 66000]
    """
    held: list[Samples] = []
    n_held = 0
    for block in blocks:
        held.append(block)
        n_held += len(block)
        # yield a full segment only if the rest is long enough for a segment of its own
        if n_held >= segment_samples + MIN_SEGMENT_SAMPLES:
            samples = np.concatenate(held)
            while len(samples) >= segment_samples + MIN_SEGMENT_SAMPLES:
                yield samples[:segment_samples]
                samples = samples[segment_samples:]
            held, n_held = [samples], len(samples)
    if n_held:
        yield np.concatenate(held)


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while data := file.read(READ_BYTES):
        digest.update(data)
    return digest.hexdigest()
