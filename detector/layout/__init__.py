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
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from detector.errors import UtteranceError
from detector.layout import boxes, flac, linear, matroska, mpeg, ogg, riff, sphere, streams, tags, wave
from detector.layout.extent import Extent, next_recording
from detector.layout.frames import is_mpeg, two_rates
from detector.layout.place import BOTH, PYAV, SOUNDFILE, Layout, Place
from detector.layout.spliced import Range, read_at, spliced

__all__ = ["BOTH", "PYAV", "SOUNDFILE", "Layout", "Layouts", "layout_at"]

FLAC_OVERLAP_BYTES = 64 << 10  # more than libFLAC reads ahead

MOST_HIDDEN = 0.25  # of a piece of joined MPEG audio, as delay or padding
MAX_BEHIND_FRAMES = 1 << 11  # bytes behind MPEG audio in a WAV that are no other stream: as much as a frame

WAVES = "wav,w64,mp3"  # frames of MPEG audio in a WAV are read without it

UNKNOWN = "soundfile: a container that is not on the allow-list"

Bounds = Callable[[BinaryIO, int, int], Extent]


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
    place = Place(file, start, begin, size)
    if wave.is_wave(head):
        return replace(_wave(place, head), demuxers=WAVES)
    if head[:4] == flac.MAGIC:
        return replace(_flac(place), demuxers="flac")
    if is_mpeg(head):
        return replace(_mpeg(place), demuxers="mp3")
    if head[:4] == b"OggS":
        return replace(_ogg(place), demuxers="ogg")
    for is_kind, claim_of, demuxers in _LINEAR:
        if is_kind(head):
            claim = claim_of(file, begin, size)
            return place.bounded(
                place.end_with_tags(claim.end),
                decoders=(PYAV,) if claim.why_not else BOTH,
                why_not=f"soundfile: {claim.why_not}",
                demuxers=demuxers,
                claimed_seconds=claim.seconds,
                claimed_share=claim.share,
                is_linear=not claim.why_not,
            )
    for kinds, is_whole in ((_OF_PYAV, True), (_STREAMS, False)):
        head = head if is_whole else read_at(file, begin, streams.HEAD_BYTES, size)
        for is_kind, bound, demuxers in kinds:
            if is_kind(head):
                is_live = bound == boxes.asf and boxes.is_live(file, begin)
                layout = _of_pyav(place, bound(file, begin, size), is_whole=is_whole, is_live=is_live)
                return replace(layout, demuxers=demuxers)
    return _of_unknown(place)


def _ogg(place: Place) -> Layout:
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


def _of_pyav(place: Place, found: Extent, *, is_whole: bool, is_live: bool) -> Layout:
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


def _of_unknown(place: Place) -> Layout:
    """Return the layout of what FFmpeg may know; it ends with the stream that it is, if a stream begins nearby."""
    limit = place.begin + streams.HEAD_BYTES
    begin = tags.find_recording(place.file, place.begin + 1, place.size, before=min(limit, place.size))
    if begin is None or tags.is_magic(place.file, begin, place.size):
        return Layout(place.part(place.size), place.start, place.size, decoders=(PYAV,), why_not=UNKNOWN)
    stream = layout_at(place.file, begin, place.size)
    end = place.size if stream.end is None else stream.end
    known: dict[str, Any] = {"decoders": (PYAV,), "why_not": UNKNOWN, "demuxers": "", "skipped_samples": 0}
    return replace(stream, file=place.part(end), start=place.start, **known)


def _wave(place: Place, head: bytes) -> Layout:
    found = wave.read(place.file, place.begin, place.size, head)
    if found.is_mpeg and (frames := _mpeg_in_wave(place, found)) is not None:
        return frames
    if contradiction := found.contradiction():
        raise UtteranceError("bad_header", f"a WAV of {contradiction}: write it again with the right format")
    if coding := found.disguise(place.file):
        message = f"a WAV of PCM whose samples hold {coding}, which players play: store it as that, without this header"
        raise UtteranceError("bad_header", message)
    why_not = found.why_not()
    claim = found.seconds(found.claimed_bytes)
    share = None if found.claimed_bytes is None else found.claimed_bytes / max(1, found.n_bytes)
    file = place.untagged(found.end) if found.is_regular else spliced(place.file, found.header(), *found.samples)
    # FFmpeg takes the samples of a big-endian WAV for little-endian ones
    allowed = {SOUNDFILE: not why_not, PYAV: found.endian == "<"}
    return Layout(
        file,
        place.start,
        found.end,
        decoders=tuple(name for name in BOTH if allowed[name]),
        why_not=f"soundfile: {why_not}",
        claimed_seconds=claim,
        claimed_share=share,
        least_seconds=found.seconds(found.n_bytes),
    )


def _mpeg_in_wave(place: Place, found: wave.Wave) -> Layout | None:
    """Return the layout of frames of MPEG audio, without the WAV around them; None if they are more than one stream."""
    if not found.samples or not is_mpeg(read_at(place.file, found.samples[0].start, 4, place.size)):
        return None
    layout = _mpeg(Place(spliced(place.file, *found.samples), 0, 0, found.n_bytes))
    n_behind = found.n_bytes - (layout.end or 0)
    if n_behind > MAX_BEHIND_FRAMES:
        return None
    share = (found.claimed_bytes or 0) / found.n_bytes
    claim: dict[str, Any] = {"claimed_seconds": None, "claimed_share": share} if share > 1.0 else {}
    return replace(layout, start=place.start, end=found.end, reach=None, n_passed=layout.n_passed + n_behind, **claim)


def _flac_header(file: BinaryIO, start: int, size: int) -> tuple[int, bytes]:
    begin, _ = tags.after_id3(file, start, size)
    file.seek(begin)
    return begin, file.read(flac.HEADER_BYTES)


def _flac(place: Place) -> Layout:
    _, header = _flac_header(place.file, place.begin, place.size)
    info = flac.stream_info(header)
    facts: dict[str, Any] = {}
    if info is not None:
        found = flac.survey(place.file, place.begin, place.size, info)
        if found.other_rate is not None:
            raise two_rates(info.rate, found.other_rate)
        facts = {"claimed_seconds": info.n_samples / info.rate, "is_contested": found.n_samples != info.n_samples}
    if info is None or info.n_samples:
        if flac.names_channels(place.file, place.begin, place.size):
            facts |= {"decoders": (PYAV,), "why_not": "soundfile: does not read comments that name the channels"}
        return Layout(place.part(place.size), place.start, None, **facts)
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


def _mpeg(place: Place) -> Layout:
    stream = mpeg.walk(place.file, place.begin, place.size)
    if not stream.n_frames:  # a free bit rate, which is one rate
        return place.bounded(next_recording(place.file, place.begin + 1, place.size))
    if stream.is_read_twice:
        message = "frames of an MP3 begin with bits that others use, and players play them or leave them silent"
        raise UtteranceError("bad_header", f"{message}: write it again")
    end = place.end_with_tags(stream.end)
    is_stated = bool(stream.stated_frames)
    is_known = (stream.stated_frames or 0) >= stream.n_frames - 1 if is_stated else stream.n_bit_rates == 1
    if is_known and not _hides(place, stream, stream.n_padded):
        file = place.part(stream.end) if len(stream.runs) == 1 else place.runs(stream.runs)
        skipped, claimed = 0, stream.stated_seconds and stream.stated_seconds - stream.padded_seconds
    else:
        file, claimed = spliced(place.file, *stream.runs), stream.stated_seconds
        may_skip = stream.is_from_start and not _hides(place, stream, mpeg.ENCODER_DELAY)
        skipped = mpeg.ENCODER_DELAY if may_skip else 0
    return Layout(
        file,
        place.start,
        end,
        stream.reach,
        stream.n_passed,
        (PYAV,),
        "soundfile: gives silence for frames of MPEG audio that most players play",
        claimed_seconds=claimed,
        skipped_samples=skipped,
        is_cut=stream.is_cut,
    )


def _hides(place: Place, stream: mpeg.Stream, n_samples: int) -> bool:
    """Return True if so many samples are too large a part of MPEG audio that is joined behind another.

    Each piece may say that most of it is delay and padding, and players, which know the first piece alone, play it all.
    """
    return place.start > 0 and n_samples > MOST_HIDDEN * stream.n_samples


def _begins(*magics: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda head: head[at:].startswith(magics)


_LINEAR: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int, int], linear.Claim], str], ...] = (
    (lambda head: head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"), linear.aiff, "aiff"),
    (_begins(b".snd"), linear.au, "au"),
    (_begins(b"caff"), linear.caf, "caf"),
    (_begins(b"NIST_1A"), sphere.read, "nistsphere"),
)

_STREAMS: tuple[tuple[Callable[[bytes], bool], Bounds, str], ...] = (
    (streams.is_adts, streams.adts, "aac"),
    (streams.is_ac3, streams.ac3, "ac3,eac3"),
    (streams.is_transport, streams.transport, "mpegts"),
    (_begins(streams.PACK), streams.program, "mpeg"),
    (_begins(b"#!AMR"), streams.amr, "amr"),
    (_begins(b"FLV\x01"), streams.flv, "flv"),
)

_OF_PYAV: tuple[tuple[Callable[[bytes], bool], Bounds, str], ...] = (
    (_begins(*boxes.MP4_TYPES, at=4), boxes.mp4, "mov"),
    (_begins(matroska.EBML), matroska.matroska, "matroska"),
    (_begins(boxes.ASF_HEADER), boxes.asf, "asf"),
    (lambda head: head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"QLCM"), riff.riff, "avi,qcp"),
    (_begins(b"wvpk"), streams.wavpack, "wv"),
    (_begins(b"TTA1"), streams.tta, "tta"),
)
