"""Frames of streams without a header of their own: MPEG audio, AAC in ADTS, AC-3. Each states its size.

A single frame header is eleven or twelve set bits and little else, which any bytes may hold. A chain of frames, each of
which begins where the one before it ends, is no accident.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from detector.errors import UtteranceError

SYNC_BYTES = 8  # of a frame, within which its size is stated
MAX_FRAME_BYTES = 8_191  # of ADTS, whose size has 13 bits
MPEG1_KBPS = {  # ISO 11172-3, 2.4.2.3: by layer, for the indices 1 to 14
    1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
MPEG2_KBPS = {  # ISO 13818-3, for the lower sample rates
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MPEG_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version
AC3_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
AC3_RATES = (48_000, 44_100, 32_000)

Kind = tuple[int, ...]


def two_rates(stated: float, found: int) -> UtteranceError:
    """Return the error of a recording whose header states another rate than its frames, in Hz: players disagree."""
    message = f"its header states {stated:,g} Hz, its frames {found:,} Hz: write it again with the right one"
    return UtteranceError("bad_header", message)


def is_chain(content: bytes, start: int, n_frames: int) -> bool:
    """Return True if so many frames of one kind of stream follow one another from ``start`` on.

    Examples
    --------
    >>> frame = b"\\xff\\xfb\\x90\\xc0" + bytes(413)  # MPEG 1, layer III, 128 kbit/s, 44.1 kHz, mono
    >>> is_chain(frame * 3, 0, 3), is_chain(frame * 3, 0, 4), is_chain(frame * 3, 1, 2)
    (True, False, False)
    """
    return any(_is_chain_of(each, content, start, n_frames) for each in (_mpeg, _adts, _ac3))


def _is_chain_of(frame: Callable[[bytes], tuple[int, Kind]], content: bytes, at: int, n_frames: int) -> bool:
    first = None
    for _ in range(n_frames):
        n_bytes, kind = frame(content[at : at + SYNC_BYTES])
        if not n_bytes or kind != (first or kind):
            return False
        first = kind
        at += n_bytes
    return True


def is_mpeg(head: bytes) -> bool:
    """Return True for a frame of MPEG audio: eleven set bits, then a valid version, layer, bit rate and sample rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer, bit_rate, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer != 0 and bit_rate != 15 and rate != 3


@functools.cache
def mpeg_bytes(second: int, third: int) -> int:
    """Size of the frame of MPEG audio with these two bytes behind the first; 0 for none, or for a free bit rate."""
    if not is_mpeg(bytes([0xFF, second, third, 0])) or third >> 4 == 0:
        return 0
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    kbps = (MPEG1_KBPS if version == 3 else MPEG2_KBPS)[layer][(third >> 4) - 1]
    padding = third >> 1 & 1
    hertz = MPEG_RATES[version][third >> 2 & 3]
    if layer == 1:
        return (12_000 * kbps // hertz + padding) * 4
    return mpeg_samples(second) // 8 * 1_000 * kbps // hertz + padding


def mpeg_samples(second: int) -> int:
    """Samples of a frame of MPEG audio, by its second byte: the version and the layer."""
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    return 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1_152


def adts_bytes(head: bytes) -> int:
    """Size of the frame of ADTS that begins so; 0 for none."""
    return _adts(head)[0]


def ac3_bytes(head: bytes) -> int:
    """Size of the frame of AC-3 or E-AC-3 that begins so; 0 for none."""
    return _ac3(head)[0]


def _mpeg(head: bytes) -> tuple[int, Kind]:
    if len(head) < 4 or head[0] != 0xFF:
        return 0, ()
    return mpeg_bytes(head[1], head[2]), (head[1] & 0xFE, head[2] & 0x0C)  # version and layer, sample rate


def _adts(head: bytes) -> tuple[int, Kind]:
    """ISO 13818-7, 6.2."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0, ()
    n_bytes = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return n_bytes if n_bytes > 7 else 0, (head[1], head[2])


def _ac3(head: bytes) -> tuple[int, Kind]:
    """AC-3 and E-AC-3: ATSC A/52."""
    if len(head) < 6 or head[:2] != b"\x0b\x77":
        return 0, ()
    version, rate, size = head[5] >> 3, head[4] >> 6, head[4] & 63
    if 10 < version <= 16:
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1), (version, rate)
    if version > 10 or rate == 3 or size >= 2 * len(AC3_KBPS):
        return 0, ()
    words = 96_000 * AC3_KBPS[size // 2] // AC3_RATES[rate]
    return 2 * (words + (size & 1 if rate == 1 else 0)), (version, rate)
