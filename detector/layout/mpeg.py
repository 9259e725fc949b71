"""MPEG audio, layers I to III: a walk from frame header to frame header, which no length in a header can mislead.

An MP3 has no header of its own. A first frame without sound may state the length (Xing, LAME, VBRI); where there is
none, decoders guess from the bit rate of the first frame. libsndfile stops where the guess ends.
"""

from __future__ import annotations

import functools
import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from detector.layout import tags
from detector.layout.extent import Extent, extent, search
from detector.layout.frames import MPEG_RATES, is_mpeg, mpeg_bytes, mpeg_samples
from detector.layout.reservoir import Reservoir
from detector.layout.spliced import Range, read_at

READ_BYTES = 1 << 20
NEAR_BYTES = 1 << 14  # within which a frame behind damage has a neighbour; four bytes alone may be an accident
HEAD_BYTES = 64  # of a frame; its length is stated within
LENGTH_NAMES = (b"Xing", b"Info", b"VBRI")
ENCODER_DELAY = 529 + 576  # samples of layer III: any decoder's, and that of LAME and of FFmpeg
LAME_BYTES, LAME_PADDING = 24, 21  # of what programs write behind a length, and where their delay and padding stand


@dataclass(frozen=True)
class Stream:
    """Consecutive frames of one version, layer, sample rate and number of channels.

    Parameters
    ----------
    first : int
        Offset of the first frame with sound.
    end : int
        Offset of the first byte that belongs to no frame of the stream.
    n_frames : int
        Frames, without the one that states the length.
    n_bit_rates : int
        Number of different bit rates.
    stated_frames : int or None
        Frames that the first one states, 0 if it states no number; None if there is no such frame.
    stated_seconds : float or None
        Their duration.
    n_samples, n_padded : int
        Samples of these frames; how many of them the first frame says are the encoder's delay or padding.
    padded_seconds : float
        The duration of the latter.
    is_cut : bool
        True if the last frame is not whole.
    is_from_start : bool
        True if the first frame of layer III needs no bits of a frame before it, as an encoder's first does.
    is_read_twice : bool
        True if many frames of layer III begin with bits that others use (:mod:`detector.layout.reservoir`).
    runs : tuple of Range
        Frames in a row.
    n_passed : int
        Bytes between them that are neither tags nor padding.
    reach : int or None
        Offset at which the next recording begins, or the file ends; None if that is not known.
    """

    first: int
    end: int
    n_frames: int
    n_bit_rates: int
    stated_frames: int | None
    stated_seconds: float | None
    n_samples: int
    n_padded: int
    padded_seconds: float
    is_cut: bool
    is_from_start: bool
    is_read_twice: bool
    runs: tuple[Range, ...]
    n_passed: int
    reach: int | None


def walk(file: BinaryIO, start: int, size: int) -> Stream:
    """Walk along the frames from ``start``, at most up to ``size``, to one of another kind or one that states a length.

    Other bytes between frames are passed over, as players do; tags end a stream.

    Examples
    --------
    >>> import io
    >>> silence = (b"\\xff\\xfb\\x90\\xc0" + bytes(413)) * 3  # MPEG 1, layer III, 128 kbit/s, 44.1 kHz, mono
    >>> stream = walk(io.BytesIO(silence), 0, len(silence))
    >>> stream.n_frames, stream.end, stream.stated_frames
    (3, 1251, None)
    >>> walk(io.BytesIO(silence + b"?" + silence), 0, 2 * 1251 + 1).runs
    (Range(start=0, end=1251), Range(start=1252, end=2503))
    """
    head = read_at(file, start, HEAD_BYTES, size)
    stated = _stated_frames(head)
    first = start if stated is None else start + mpeg_bytes(head[1], head[2])
    frames = _Frames(_kind(head), first)
    is_sized = stated is not None or mpeg_bytes(head[1], head[2]) > 0  # frames of a free bit rate state no size
    found = extent(file, first, size, frames, frames.resume) if is_sized else Extent(first)
    behind = read_at(file, first, HEAD_BYTES, size)
    n_padded = _stated_padding(read_at(file, start, first - start, size))
    return Stream(
        first,
        min(found.end, size),
        frames.n_frames,
        len(frames.bit_rates),
        stated,
        stated * _seconds(head) if stated else None,
        frames.n_frames * mpeg_samples(head[1]) if frames.n_frames else 0,
        n_padded,
        n_padded / mpeg_samples(head[1]) * _seconds(head) if n_padded else 0.0,
        found.end > size,
        _is_layer3(behind) and not _borrowed_bytes(behind),
        _is_layer3(behind) and frames.reservoir.is_read_twice,
        found.runs,
        found.n_passed,
        found.reach,
    )


class _Frames:
    """A walk along the frames of one stream."""

    def __init__(self, kind: tuple[int, int, bool], first: int) -> None:
        self.n_frames = 0
        self.bit_rates: set[int] = set()
        self.reservoir = Reservoir(is_mpeg1=kind[0] >> 3 & 3 == 3, is_mono=kind[2])
        self._kind = kind
        self._first = first

    def __call__(self, file: BinaryIO, at: int, size: int) -> int:
        """Return where the frames in a row end that begin at ``at``."""
        if at > self._first and self._is_another(file, at, size):
            return at
        n_read = NEAR_BYTES
        while at + 4 <= size:
            block = read_at(file, at, n_read, size)
            n_read = READ_BYTES
            starts, n_bytes = _walk_block(block, self._kind, self.bit_rates)
            self.reservoir.add(block, starts, n_bytes)
            self.n_frames += len(starts)
            at += n_bytes
            if n_bytes <= len(block) - 4:
                break
        return at

    def resume(self, file: BinaryIO, at: int, size: int) -> int:
        """Return where a frame of the stream begins from ``at`` on, if another one or the end follows it nearby."""
        is_frame = _sync(self._kind).match(read_at(file, at, HEAD_BYTES, size)) is not None
        is_here = is_frame or self._is_another(file, at, size)
        return at if is_here else search(file, at, size, NEAR_BYTES, self._next_frame)

    def _next_frame(self, block: bytes) -> int:
        sync = _sync(self._kind)
        for frame in sync.finditer(block):
            end = frame.start() + mpeg_bytes(block[frame.start() + 1], block[frame.start() + 2])
            if sync.search(block, end, end + NEAR_BYTES) or end == len(block):
                return frame.start()
        return -1

    def _is_another(self, file: BinaryIO, at: int, size: int) -> bool:
        """Return True if another stream begins at ``at``: behind tags, or with a frame that states its length.

        A frame behind them that needs bits of one before them goes on with this stream, and would be silent without.
        """
        first = tags.after_tags(file, at, size)
        head = read_at(file, first, HEAD_BYTES, size)
        if _stated_frames(head) is not None:
            first += mpeg_bytes(head[1], head[2])
        if first == at:
            return False
        head = read_at(file, first, HEAD_BYTES, size)
        return not is_mpeg(head) or _kind(head) != self._kind or not _borrowed_bytes(head)


@functools.cache
def _sync(kind: tuple[int, int, bool]) -> re.Pattern[bytes]:
    """First four bytes of the frames of a kind."""
    second, rate, is_mono = kind
    thirds = bytes(each for each in range(256) if each & 0x0C == rate and mpeg_bytes(second, each))
    seconds, fourths = re.escape(bytes([second, second | 1])), b"\xc0-\xff" if is_mono else b"\0-\xbf"
    return re.compile(b"\xff[%s][%s][%s]" % (seconds, re.escape(thirds), fourths), re.DOTALL)


def _walk_block(block: bytes, kind: tuple[int, int, bool], bit_rates: set[int]) -> tuple[list[int], int]:
    """Return the offsets of the frames of one kind that a block begins with, and their bytes; note their bit rates."""
    second, rate, is_mono = kind
    may_state = any(name in block for name in LENGTH_NAMES)
    at, starts = 0, list[int]()
    while at + 4 <= len(block):
        third = block[at + 2]
        n_bytes = mpeg_bytes(block[at + 1], third) if block[at] == 0xFF else 0
        if not n_bytes or block[at + 1] & 0xFE != second or third & 0x0C != rate or (block[at + 3] > 191) != is_mono:
            break
        if may_state and starts and _stated_frames(block[at : at + HEAD_BYTES]) is not None:
            break
        bit_rates.add(third & 0xF0)
        starts.append(at)
        at += n_bytes
    return starts, at


def _kind(head: bytes) -> tuple[int, int, bool]:
    """What is equal in all frames of a stream: version and layer, sample rate, and whether it is mono."""
    return head[1] & 0xFE, head[2] & 0x0C, head[3] > 191


def _seconds(head: bytes) -> float:
    """Duration of a frame."""
    return mpeg_samples(head[1]) / MPEG_RATES[head[1] >> 3 & 3][head[2] >> 2 & 3]


def _stated_frames(head: bytes) -> int | None:
    """Frames that the first frame states (Xing, LAME: `Info`; Fraunhofer: `VBRI`), 0 for no number; else None.

    A frame with sound is none, whatever it holds: players play it.
    """
    if not is_mpeg(head):
        return None
    is_mono, is_mpeg1 = head[3] >> 6 == 3, head[1] >> 3 & 3 == 3
    at = 4 + (17 if is_mono == is_mpeg1 else 32 if is_mpeg1 else 9)  # after the side information
    if any(head[4 if head[1] & 1 else 6 : at]):  # after a checksum
        return None
    if head[at : at + 4] in LENGTH_NAMES[:2] and len(head) >= at + 12:
        flags, n_frames = struct.unpack_from(">II", head, at + 4)
        return int(n_frames) if flags & 1 else 0
    if head[36:40] == b"VBRI" and len(head) >= 54:
        return int(struct.unpack_from(">I", head, 50)[0])
    return None


def _stated_padding(frame: bytes) -> int:
    """Samples that a first frame with a length says are delay or padding, as LAME and FFmpeg write it."""
    at = max(frame.find(name) for name in LENGTH_NAMES[:2])
    if at < 0 or len(frame) < at + 8:
        return 0
    (flags,) = struct.unpack_from(">I", frame, at + 4)
    at += 8 + sum(n_bytes for bit, n_bytes in enumerate((4, 4, 100, 4)) if flags >> bit & 1)
    if len(frame) < at + LAME_BYTES:
        return 0
    both = int.from_bytes(frame[at + LAME_PADDING : at + LAME_BYTES], "big")
    return (both >> 12) + (both & 0xFFF)


def _borrowed_bytes(head: bytes) -> int:
    """How many bytes of earlier frames a frame needs; layers I and II need none."""
    if len(head) < 8 or not _is_layer3(head):
        return 0
    begin = 4 if head[1] & 1 else 6  # after a checksum
    return head[begin] << 1 | head[begin + 1] >> 7 if head[1] >> 3 & 3 == 3 else head[begin]


def _is_layer3(head: bytes) -> bool:
    """Return True for a frame of layer III."""
    return is_mpeg(head) and head[1] >> 1 & 3 == 1
