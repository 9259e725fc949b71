"""Decoding: the bytes of one recording to blocks of 16 kHz mono samples.

A file is cut into the recordings that it holds, one behind the other; of each, soundfile is tried first, then PyAV, and
one resampler serves both.

```
bytes ─► layout ─► soundfile ─┐ native blocks    mean of       soxr HQ
         of each   │ fails    ├─► 10 s each ──► channels ──► to 16 kHz ──► float32 blocks
         recording └► PyAV  ──┘
```
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import soxr

from detector.contested import refuse_two_sounds
from detector.decoders import DECODERS, MAX_SECONDS, AudioFormat, Block, Ledger, Mixer, Samples, too_long
from detector.errors import UtteranceError
from detector.layout import Layout, Layouts
from detector.layout.wave import UNCOUNTED_SECONDS
from detector.probing import refuse_hidden

SAMPLE_RATE = 16_000  # Hz, the rate that every supported encoder was trained on
NOISE_SAMPLES = 16_384  # looked at in each block
NOISE_MIN_SAMPLES = 1_000
NOISE_RMS = 0.4  # of full scale; noise over all of it has 0.58, speech below 0.3
NOISE_CORRELATION = 0.15  # of neighbouring samples; speech has above 0.5

UNHEARD_BYTES = 16 << 10
"""Bytes behind a recording that no decoder reads: remains of a download or of a disk's block, a page of text. A second
of MP3 at 128 kbit/s has as many."""
UNHEARD_SHARE = 0.01  # of a file, that may be damage within recordings or between them

END_SECONDS = 0.1  # an excerpt may extend this far beyond the end, because lists round their times


@dataclass(frozen=True, order=True)
class Excerpt:
    """The part of a recording to decode.

    Parameters
    ----------
    start : float
        Seconds from the beginning of the recording.
    end : float or None
        Seconds; None for the end of the recording.
    channel : int or None
        Counted from 0; None for the mean of all channels.
    """

    start: float = 0.0
    end: float | None = None
    channel: int | None = None

    def __str__(self) -> str:
        times = f"@{_short(self.start)}-{_short(self.end)}" if self._is_cut else ""
        return times + ("" if self.channel is None else f"/ch{self.channel}")

    def cells(self) -> dict[str, float | None]:
        """Columns `start`, `end` and `channel` of the tables: null where the excerpt sets no limit.

        Examples
        --------
        >>> Excerpt(0.0, 2.5).cells(), Excerpt(channel=1).cells()
        ({'start': 0.0, 'end': 2.5, 'channel': None}, {'start': None, 'end': None, 'channel': 1})
        """
        return {"start": self.start if self._is_cut else None, "end": self.end, "channel": self.channel}

    @property
    def _is_cut(self) -> bool:
        return (self.start, self.end) != (0.0, None)


WHOLE = Excerpt()


def _short(seconds: float | None) -> str:
    """Write seconds with all digits but without a trailing `.0`.

    Examples
    --------
    >>> _short(10_000.25), _short(3.0), _short(None)
    ('10000.25', '3', 'end')
    """
    return "end" if seconds is None else repr(seconds).removesuffix(".0")


def decode(file: BinaryIO, excerpt: Excerpt = WHOLE) -> tuple[AudioFormat, Iterator[Samples]]:
    """Decode one recording, block by block.

    Parameters
    ----------
    file : binary file
        Seekable, at any position. Only its bytes are used: no file that they name is ever opened.
    excerpt : Excerpt
        Part to return. Decoding starts at the beginning of the recording, so that every codec gives the same samples
        as for the whole, and stops at the end of the excerpt.

    Returns
    -------
    AudioFormat
        As the decoder reports it.
    iterator of float32 arrays of shape (n_samples,)
        16 kHz mono in [-1, 1], which the resampler may exceed a little, at most about 10 s each.

    Raises
    ------
    UtteranceError
        On the call or during iteration: `empty`, `not_audio`, `bad_header`, `too_long`, `truncated`, `decode_error`,
        `nonfinite_audio`, `out_of_range`.
    MemoryError
        If a decoder needs more memory than this process may use.

    Examples
    --------
    >>> import io, soundfile
    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.zeros((8_000, 2)), 8_000, format="WAV")
    >>> stored, blocks = decode(file)
    >>> stored.native_rate, stored.channels, sum(len(block) for block in blocks)
    (8000, 2, 16000)
    """
    stored, native, _ = decode_native(file, excerpt)
    return stored, resample(native)


def decode_native(
    file: BinaryIO, excerpt: Excerpt = WHOLE, max_seconds: float = MAX_SECONDS
) -> tuple[AudioFormat, Iterator[Block], Ledger]:
    """Decode one recording at its stored rates; otherwise as :func:`decode`.

    Parameters
    ----------
    max_seconds : float
        A recording, or an excerpt of one, is `too_long` as soon as more than this is decoded.

    Returns
    -------
    AudioFormat
        Of the first recording, if several are joined.
    iterator of Block
        Where the rate changes within the file, the blocks have different rates.
    Ledger
        Complete once the iterator is at its end.
    """
    parts = _Parts(file, excerpt.channel)
    stored, first = parts.first()
    blocks = parts.blocks(first)
    if "pcm" in stored.codec:
        blocks = _not_noise(blocks)
    return stored, _told(_limited(_between(blocks, excerpt), max_seconds), parts.ledger), parts.ledger


class _Parts:
    """The recordings that are joined in one file, opened one after another."""

    def __init__(self, file: BinaryIO, channel: int | None) -> None:
        self.ledger = Ledger()
        self._mixer = Mixer(channel, self.ledger)
        self._file = file
        self._layouts = Layouts(file)
        self._recordings = iter(self._layouts)
        self._layout: Layout | None = None

    def first(self) -> tuple[AudioFormat, Iterator[Block]]:
        """Open the first recording that has samples."""
        empty = UtteranceError("empty", "0 bytes")
        for layout in self._recordings:
            if self._layout is None:
                refuse_hidden(self._file, layout)
            self._layout = layout
            try:
                return self._opened(layout)
            except UtteranceError as error:
                if error.error != "empty":
                    raise
                empty = error
        raise empty

    def blocks(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Yield ``blocks``, which are those of the first recording, and those of all that follow."""
        while self._layout is not None:
            layout, seconds, n_known = self._layout, 0.0, self._layouts.trailing_bytes
            for block in blocks:
                seconds += len(block.samples) / block.rate
                yield block
            self._layout = next(self._recordings, None)
            self.ledger.trailing_bytes = self._layouts.trailing_bytes
            self.ledger.is_cut |= layout.is_cut
            n_behind = self.ledger.trailing_bytes - n_known - layout.n_passed
            _refuse_uncounted(layout, seconds, n_behind)
            _refuse_unheard(layout, n_behind, self.ledger.trailing_bytes, self._layouts.size)
            if self._layout is not None:
                blocks = self._following(self._layout)

    def _following(self, layout: Layout) -> Iterator[Block]:
        try:
            return self._opened(layout)[1]
        except UtteranceError as error:
            if error.error == "empty":  # what it holds is not heard
                self._layouts.trailing_bytes += max(0, (layout.end or 0) - layout.start)
                return iter(())
            message = f"another recording begins at byte {layout.start:,} and cannot be read: {error}"
            raise UtteranceError("trailing_data", message) from error

    def _opened(self, layout: Layout) -> tuple[AudioFormat, Iterator[Block]]:
        """Open a recording with the first decoder that reads a block of it."""
        if layout.is_contested:
            refuse_two_sounds(layout)
        findings: list[UtteranceError] = []
        for name, opened in DECODERS.items():
            try:
                n_claims = len(self.ledger.claims)
                stored, blocks = opened(layout, self._mixer)
                first = next(blocks, None)
            except UtteranceError as error:
                if error.error in ("bad_header", "too_long", "truncated", "nonfinite_audio", "out_of_range"):
                    raise
                del self.ledger.claims[n_claims:]
                findings.append(error)
                continue
            if first is not None:
                self._layouts.decoder = name
                return stored, itertools.chain([first], blocks)
            del self.ledger.claims[n_claims:]
            findings.append(UtteranceError("empty", "a header, but no samples"))
        layout.file.seek(0)
        if not layout.file.read(1):
            raise UtteranceError("empty", "0 bytes")
        # the error of the decoder that got farthest describes the file best
        kinds = [each.error for each in findings]
        farthest = next(kind for kind in ("decode_error", "empty", "not_audio") if kind in kinds)
        raise UtteranceError(farthest, "; ".join(each.message for each in findings))


def _refuse_uncounted(layout: Layout, seconds: float, n_bytes: int) -> None:
    """Raise for bytes behind the samples that would be more of them, if the header counted them."""
    if layout.is_linear and seconds and layout.end is not None:
        uncounted = n_bytes * seconds / (layout.end - layout.start)
        if uncounted > UNCOUNTED_SECONDS:
            message = (
                f"{n_bytes:,} bytes behind the {seconds:,.2f} s that the header counts: {uncounted:,.2f} s if they are "
                f"samples. Its size is wrong: write it again."
            )
            raise UtteranceError("trailing_data", message, seconds, seconds)


def _refuse_unheard(layout: Layout, n_behind: int, n_all: int, size: int) -> None:
    """Raise for bytes that no decoder was given, or none understands: what we do not hear, a player might."""
    if n_behind > UNHEARD_BYTES or n_all > max(UNHEARD_BYTES, UNHEARD_SHARE * size):
        where = f"behind the recording at byte {layout.start:,}" if n_behind > UNHEARD_BYTES else "around recordings"
        message = (
            f"{max(n_behind, n_all):,} bytes {where} are no sound that is known, nor tags, nor padding, and at most "
            f"{UNHEARD_BYTES:,} are left unheard. Cut them off, or store them apart."
        )
        raise UtteranceError("trailing_data", message)


def _between(blocks: Iterator[Block], excerpt: Excerpt) -> Iterator[Block]:
    """Pass on the samples of an excerpt, and request no block after its end."""
    before, n_samples, rate = 0.0, 0, 0  # seconds at earlier rates; samples at this one
    first, last = 0, None
    for block in blocks:
        if block.rate != rate:
            before, n_samples, rate = before + (n_samples / rate if rate else 0.0), 0, block.rate
            first = round((excerpt.start - before) * rate)
            last = None if excerpt.end is None else round((excerpt.end - before) * rate)
        part = block.samples[max(0, first - n_samples) : None if last is None else max(0, last - n_samples)]
        n_samples += len(block.samples)
        if len(part):
            yield Block(part, rate)
        if last is not None and n_samples >= last:
            return
    is_short = last is not None and n_samples < last - END_SECONDS * rate
    if is_short or n_samples <= first > 0:
        seconds = before + n_samples / max(1, rate)
        raise UtteranceError("out_of_range", f"{str(excerpt).partition('/')[0]} of {seconds:,.3f} s")


def _limited(blocks: Iterator[Block], max_seconds: float = MAX_SECONDS) -> Iterator[Block]:
    """Pass blocks on; refuse the first that is not finite or exceeds the length limit."""
    seconds = 0.0
    for block in blocks:
        seconds += len(block.samples) / block.rate
        if seconds > max_seconds:
            raise too_long(max_seconds)
        if not np.isfinite(block.samples).all():
            raise UtteranceError("nonfinite_audio", f"NaN or infinity before second {seconds:.1f}")
        yield block


def _not_noise(blocks: Iterator[Block]) -> Iterator[Block]:
    """Pass blocks on; at the end, refuse white noise at full scale.

    Samples whose bytes are in another order, or that are no samples, sound like this; a recording does not. The first
    second or so of each block is looked at.
    """
    energy = neighbours = 0.0
    n_samples = 0
    for block in blocks:
        looked_at = block.samples[:NOISE_SAMPLES]
        n_samples += len(looked_at)
        energy += float(np.dot(looked_at, looked_at))
        neighbours += float(np.dot(looked_at[1:], looked_at[:-1]))
        yield block
    if (
        n_samples > NOISE_MIN_SAMPLES
        and energy > NOISE_RMS**2 * n_samples
        and abs(neighbours) < NOISE_CORRELATION * energy
    ):
        raise UtteranceError(
            "bad_header",
            f"white noise at full scale ({10 * math.log10(energy / n_samples):.1f} dB) under a header that states PCM: "
            f"the samples have another byte order or format than it says",
        )


def _told(blocks: Iterator[Block], ledger: Ledger) -> Iterator[Block]:
    """Pass blocks on; an error on the way says how much was decoded, and how much the headers claim."""
    seconds = 0.0
    try:
        for block in blocks:
            seconds += len(block.samples) / block.rate
            yield block
    except UtteranceError as error:
        error.seconds = seconds if error.seconds is None else error.seconds
        error.seconds_claimed = ledger.seconds_claimed if error.seconds_claimed is None else error.seconds_claimed
        raise


def resample(blocks: Iterable[Block]) -> Iterator[Samples]:
    """Resample mono blocks to 16 kHz, each by its own rate; blocks at 16 kHz are passed on unchanged."""
    for rate, same in itertools.groupby(blocks, key=lambda block: block.rate):
        if rate == SAMPLE_RATE:
            yield from (block.samples for block in same)
            continue
        stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        for block in same:
            yield stream.resample_chunk(block.samples)
        yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
