"""Layout of audio files: where a recording lies in a file, what its header claims, and what stands behind it.

Headers err: they guess, they are stale, and files are joined and cut. A decoder that believes them hears a part, and
does not say so. The first bytes decide which decoder may open a file; its structure decides where the recording ends.

```
a.mp3 + b.mp3          ──► [ID3 | frames of a][Info | frames of b]   two recordings, heard one after the other
a WAV with a stale size ─► [RIFF | data: 1 s][10 s that no chunk explains]   one, under a header that counts all
```

libsndfile opens about thirty containers. Most of them come from samplers, laboratories and home computers; nobody
archives speech in them, and most of libsndfile's vulnerabilities were found in their parsers. Its containers are
therefore an allow-list by first bytes, and FFmpeg's are an allow-list by name (:mod:`detector.decoders`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, NamedTuple

from detector.errors import UtteranceError
from detector.layout import boxes, flac, linear, matroska, mpeg, ogg, riff, streams, tags, wave
from detector.layout.extent import Extent, next_recording
from detector.layout.frames import is_mpeg
from detector.layout.spliced import Range, read_at, spliced

__all__ = ["BOTH", "PYAV", "SOUNDFILE", "Layout", "Layouts", "layout_at"]

SOUNDFILE, PYAV = "soundfile", "pyav"
BOTH = (SOUNDFILE, PYAV)
FLAC_OVERLAP_BYTES = 64 << 10  # more than libFLAC reads ahead

UNKNOWN = "soundfile: a container that is not on the allow-list"

Bounds = Callable[[BinaryIO, int, int], Extent]


@dataclass(frozen=True)
class Layout:
    """One recording in a file.

    Parameters
    ----------
    file : binary file
        What a decoder reads: the file itself, or a part of it under a header that is right.
    start : int
        Offset of the recording, with the tags before it.
    end : int or None
        Offset of the first byte behind it; None for a FLAC, which ends where libsndfile stops to read.
    reach : int or None
        Offset at which the next recording begins, or the file ends; None if that is not known yet.
    n_passed : int
        Bytes within it that are neither of it nor tags nor padding.
    decoders : tuple of str
        Those that may open it, in the order in which they are tried.
    why_not : str
        Why libsndfile may not, for a person.
    claimed_seconds : float or None
        Length that the header states, if it does so without a decoder's help.
    least_seconds : float or None
        Length that its units add up to, but for what an encoder may have padded: if libsndfile finds less, it was
        misled by what the file states.
    claimed_share : float or None
        Else the length that the header states, as a multiple of what a decoder finds.
    is_paged : bool
        True for Ogg, whose pages state how long it is, which its packets may contradict.
    is_linear : bool
        True if samples are stored one by one up to the end, so that bytes behind it are likely to be more of them.
    skipped_samples : int
        Samples at the beginning that are the delay of the codec, or were heard before.
    is_cut : bool
        True if the file breaks off, as its structure tells, whatever length it states.
    is_live : bool
        True if the length in the header means nothing.
    """

    file: BinaryIO
    start: int
    end: int | None
    reach: int | None = None
    n_passed: int = 0
    decoders: tuple[str, ...] = BOTH
    why_not: str = ""
    claimed_seconds: float | None = None
    least_seconds: float | None = None
    is_paged: bool = False
    claimed_share: float | None = None
    is_linear: bool = False
    skipped_samples: int = 0
    is_cut: bool = False
    is_live: bool = False


class Layouts:
    """The recordings of a file, one after another; the next is looked for once the one before it is decoded.

    Examples
    --------
    >>> import io, numpy, soundfile
    >>> file = io.BytesIO()
    >>> soundfile.write(file, numpy.zeros(16_000), 16_000, format="WAV")
    >>> layouts = Layouts(io.BytesIO(file.getvalue() * 2 + b"left over"))
    >>> [(each.start, each.end) for each in layouts], layouts.trailing_bytes
    ([(0, 32044), (32044, 64088)], 9)
    """

    def __init__(self, file: BinaryIO) -> None:
        self.trailing_bytes = 0
        """Bytes behind the recordings, or between them, that are neither tags nor padding."""
        self.decoder = ""
        """The decoder that has read the recording before, which the caller sets."""
        self.size = file.seek(0, os.SEEK_END)
        self._file = file

    def __iter__(self) -> Iterator[Layout]:
        layout: Layout | None = layout_at(self._file, 0, self.size)
        while layout is not None:
            yield layout
            self.trailing_bytes += layout.n_passed
            # a header may state an end that lies before its own beginning
            end = None if layout.end is None else max(layout.end, layout.start + 1)
            layout = self._after_flac(layout) if end is None else self._after(end, reach=layout.reach)

    def _after(self, end: int, searched_from: int | None = None, reach: int | None = None) -> Layout | None:
        """Return the recording behind the byte ``end``; look for it from an earlier byte on, if one is given."""
        if end >= self.size:
            return None
        first = tags.after_tags(self._file, end, self.size)
        if first - end > tags.ID3V1_BYTES and tags.find_recording(self._file, end, first) is not None:
            first, reach = end, None  # sound that is dressed up as a tag, which players do not take for one
        if reach is None:
            reach = next_recording(self._file, first if searched_from is None else searched_from, self.size)
        earliest = max(0, end - FLAC_OVERLAP_BYTES) if searched_from is None else searched_from
        self.trailing_bytes += tags.foreign_bytes(self._file, first, reach, min(first, earliest))
        if reach >= self.size:
            return None
        has_id3 = tags.after_id3(self._file, end, self.size)[0] == reach
        return layout_at(self._file, end if has_id3 else reach, self.size)

    def _after_flac(self, layout: Layout) -> Layout | None:
        """Return the FLAC behind another, or the frames that its header does not count."""
        if self.decoder != SOUNDFILE:
            self._refuse_another(layout)
            return None  # FFmpeg has read all frames that there are
        stopped = layout.start + layout.file.tell()
        header_at, header = _flac_header(self._file, layout.start, self.size)
        first = max(header_at + flac.HEADER_BYTES, stopped - FLAC_OVERLAP_BYTES)
        joined = boxes.next_magic(self._file, first - len(flac.FIRST), self.size, flac.FIRST)
        frame = self._uncounted(first, joined, header)
        nearest = joined if frame is None else frame.start
        if nearest == self.size <= stopped:
            return None
        if frame is not None and tags.find_recording(self._file, first, self.size, before=nearest) is None:
            return _flac_frames(self._file, frame.start, self.size, header, frame.n_counted)
        return self._after(stopped, searched_from=first)

    def _uncounted(self, start: int, end: int, header: bytes) -> flac.Frame | None:
        """Return the frame with the first sample that a FLAC header does not count."""
        info = flac.stream_info(header)
        if info is None:
            return None
        for offset, block in tags.blocks(self._file, start, end, flac.HEADER_BYTES):
            if (frame := flac.find_uncounted(block, info)) is not None:
                return frame._replace(start=offset + frame.start)
        return None

    def _refuse_another(self, layout: Layout) -> None:
        """Raise if a recording of another kind lies among the frames of a FLAC that FFmpeg has read."""
        at = layout.start
        while (at := next_recording(self._file, at + len(flac.FIRST), self.size)) < self.size:
            if read_at(self._file, at, len(flac.FIRST), self.size) != flac.FIRST:
                message = f"another recording begins at byte {at:,}, behind a FLAC that only FFmpeg reads: split them"
                raise UtteranceError("trailing_data", message)


def layout_at(file: BinaryIO, start: int, size: int) -> Layout:
    """Return the layout of the recording that begins at ``start``, in a file of ``size`` bytes."""
    begin, head = tags.after_id3(file, start, size)
    place = _Place(file, start, begin, size)
    if wave.is_wave(head):
        return _wave(place, head)
    if head[:4] == flac.MAGIC:
        return _flac(place)
    if is_mpeg(head):
        return _mpeg(place)
    if head[:4] == b"OggS":
        return _ogg(place)
    for is_kind, claim_of in _LINEAR:
        if is_kind(head):
            claim = claim_of(file, begin, size)
            return place.bounded(
                place.end_with_tags(claim.end),
                decoders=(PYAV,) if claim.why_not else BOTH,
                why_not=f"soundfile: {claim.why_not}",
                claimed_seconds=claim.seconds,
                claimed_share=claim.share,
                is_linear=not claim.why_not,
            )
    for kinds, is_whole in ((_OF_PYAV, True), (_STREAMS, False)):
        head = head if is_whole else read_at(file, begin, streams.HEAD_BYTES, size)
        for is_kind, bound in kinds:
            if is_kind(head):
                is_live = bound == boxes.asf and boxes.is_live(file, begin)
                return _of_pyav(place, bound(file, begin, size), is_whole=is_whole, is_live=is_live)
    return _of_unknown(place)


class _Place(NamedTuple):
    """A place in a file at which a recording begins: with its tags, and without them."""

    file: BinaryIO
    start: int
    begin: int
    size: int

    def part(self, end: int) -> BinaryIO:
        """Return the file up to a byte, or the file itself if that is all of it."""
        return self.file if (self.start, end) == (0, self.size) else spliced(self.file, Range(self.start, end))

    def runs(self, runs: Sequence[Range]) -> BinaryIO:
        """Return the file up to the end of the last of some runs, without what is between them."""
        return (
            self.part(runs[0].end) if len(runs) == 1 else spliced(self.file, Range(self.start, runs[0].end), *runs[1:])
        )

    def bounded(self, end: int, **facts) -> Layout:  # type: ignore[no-untyped-def]
        """Return the layout of a recording that ends before a byte."""
        return Layout(self.part(end), self.start, end, **facts)

    def end_with_tags(self, end: int) -> int:
        """Return the file's size if only tags follow ``end``, else ``end``."""
        return self.size if end < self.size and tags.before_tags(self.file, end, self.size) == end else end


def _ogg(place: _Place) -> Layout:
    found, why_not = ogg.link(place.file, place.begin, place.size)
    end = place.end_with_tags(min(place.size, found.end))
    return place.bounded(
        end,
        reach=found.reach,
        n_passed=found.n_passed,
        is_cut=found.is_cut,
        decoders=(PYAV,) if why_not else BOTH,
        why_not=f"soundfile: {why_not}",
        is_paged=not why_not,
    )


def _of_pyav(place: _Place, found: Extent, *, is_whole: bool, is_live: bool) -> Layout:
    """Return the layout of a recording that FFmpeg reads: up to the next one, or only its units."""
    reach = found.end if found.reach is None else found.reach
    return Layout(
        place.part(min(reach, place.size)) if is_whole else place.runs(found.runs),
        place.start,
        min(found.end, place.size),
        found.reach,
        found.n_passed,
        (PYAV,),
        UNKNOWN,
        is_cut=(found.is_cut or found.end > place.size) and not is_live,
        is_live=is_live,
    )


def _of_unknown(place: _Place) -> Layout:
    """Return the layout of what FFmpeg may know; it ends with the stream that it is, if a stream begins nearby."""
    limit = place.begin + streams.HEAD_BYTES
    begin = tags.find_recording(place.file, place.begin + 1, place.size, before=min(limit, place.size))
    if begin is None or tags.is_magic(place.file, begin, place.size):
        return place.bounded(place.size, decoders=(PYAV,), why_not=UNKNOWN)
    stream = layout_at(place.file, begin, place.size)
    end = place.size if stream.end is None else stream.end
    return replace(
        stream, file=place.part(end), start=place.start, decoders=(PYAV,), why_not=UNKNOWN, skipped_samples=0
    )


def _wave(place: _Place, head: bytes) -> Layout:
    found = wave.read(place.file, place.begin, place.size, head)
    why_not = found.why_not()
    share = None if found.claimed_bytes is None else found.claimed_bytes / max(1, found.n_bytes)
    file = place.part(found.end) if found.is_regular else spliced(place.file, found.header(), *found.samples)
    # FFmpeg takes the samples of a big-endian WAV for little-endian ones
    allowed = {SOUNDFILE: not why_not, PYAV: found.endian == "<"}
    decoders = tuple(name for name in BOTH if allowed[name])
    return Layout(file, place.start, found.end, decoders=decoders, why_not=f"soundfile: {why_not}", claimed_share=share)


def _flac_header(file: BinaryIO, start: int, size: int) -> tuple[int, bytes]:
    begin, _ = tags.after_id3(file, start, size)
    file.seek(begin)
    return begin, file.read(flac.HEADER_BYTES)


def _flac(place: _Place) -> Layout:
    _, header = _flac_header(place.file, place.begin, place.size)
    info = flac.stream_info(header)
    if info is not None and (rate := flac.other_rate(place.file, place.begin, place.size, info)):
        message = f"its header states {info.rate:,} Hz, its frames {rate:,} Hz: write it again with the right one"
        raise UtteranceError("bad_header", message)
    if info is None or info.n_samples:
        seconds = info.n_samples / info.rate if info else None
        return Layout(place.part(place.size), place.start, None, claimed_seconds=seconds)
    reach = next_recording(place.file, place.begin + flac.HEADER_BYTES, place.size)
    end = flac.frames_end(place.file, place.begin, reach, header)
    why_not = "soundfile: the header does not state the length"
    return Layout(place.part(reach), place.start, end, reach, decoders=(PYAV,), why_not=why_not)


def _flac_frames(file: BinaryIO, start: int, size: int, header: bytes, n_counted: int) -> Layout:
    """Return frames of a FLAC, up to the next recording, under its header; it counts samples of the first."""
    reach = next_recording(file, start, size)
    content = spliced(file, flac.uncounted(header), Range(start, reach))
    end = flac.frames_end(file, start, reach, header)
    return Layout(content, start, end, reach, decoders=(PYAV,), claimed_seconds=0.0, skipped_samples=n_counted)


def _mpeg(place: _Place) -> Layout:
    stream = mpeg.walk(place.file, place.begin, place.size)
    if not stream.n_frames:  # a free bit rate, which is one rate
        return place.bounded(next_recording(place.file, place.begin + 1, place.size))
    end = place.end_with_tags(stream.end)
    facts: dict[str, Any] = {"reach": stream.reach, "n_passed": stream.n_passed, "is_cut": stream.is_cut}
    is_stated = bool(stream.stated_frames)
    if (stream.stated_frames or 0) >= stream.n_frames - 1 if is_stated else stream.n_bit_rates == 1:
        share = 1.0 if is_stated else None  # of what libsndfile knows, without the delays
        file = place.part(end) if len(stream.runs) == 1 else place.runs(stream.runs)
        return Layout(file, place.start, end, claimed_share=share, least_seconds=stream.least_seconds, **facts)
    return Layout(
        spliced(place.file, *stream.runs),
        place.start,
        end,
        decoders=(PYAV,),
        why_not="soundfile: an MP3 whose first frame does not state its length",
        claimed_seconds=stream.stated_seconds,
        skipped_samples=mpeg.ENCODER_DELAY if stream.is_from_start else 0,
        **facts,
    )


def _begins(*magics: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda head: head[at:].startswith(magics)


_LINEAR: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int, int], linear.Claim]], ...] = (
    (lambda head: head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"), linear.aiff),
    (_begins(b".snd"), linear.au),
    (_begins(b"caff"), linear.caf),
    (_begins(b"NIST_1A"), linear.sphere),
)

_STREAMS: tuple[tuple[Callable[[bytes], bool], Bounds], ...] = (
    (streams.is_adts, streams.adts),
    (streams.is_ac3, streams.ac3),
    (streams.is_transport, streams.transport),
    (_begins(streams.PACK), streams.program),
    (_begins(b"#!AMR"), streams.amr),
    (_begins(b"FLV\x01"), streams.flv),
)

_OF_PYAV: tuple[tuple[Callable[[bytes], bool], Bounds], ...] = (
    (_begins(*boxes.MP4_TYPES, at=4), boxes.mp4),
    (_begins(matroska.EBML), matroska.matroska),
    (_begins(boxes.ASF_HEADER), boxes.asf),
    (lambda head: head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"QLCM"), riff.riff),
    (_begins(b"wvpk"), streams.wavpack),
    (_begins(b"TTA1"), streams.tta),
)
