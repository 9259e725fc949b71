"""AIFF, AU and CAF: what their headers claim, and where their samples end."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from detector.errors import UtteranceError
from detector.layout import channels, tags
from detector.layout.frames import two_rates
from detector.layout.spliced import read_at

CHUNKS = 1_000
LAYOUT_BYTES = 12 + 8 * channels.LABEL_BYTES  # of the channels, as far as it is looked at
UNKNOWN_BYTES = 0xFFFF_FFFF
DESCRIBED_BYTES = 32  # of a chunk `desc`
UNNAMED = "an AIFF with a chunk whose name is not printable, in which it looks for others"
COMMON_BYTES = 22  # of a chunk COMM with a compression
MAX_RATE_POWER = 100  # of two: above it, the rate of an AIFF is no number of Hz
AIFF_C_VERSION = bytes.fromhex("a2805140")
UNCOMPRESSED = (b"NONE", b"twos")  # which every player takes for what an AIFF holds
COMPRESSION_BYTES = {b"sowt": 2, b"in24": 3, b"in32": 4}  # of a sample, whatever bits stand beside the name
ALAC_RATE = 20  # offset in a cookie of ALAC
ALAC_WRAPPED_BYTES = 24  # before it, in what older programs wrote
ALAC_COOKIE_BYTES = ALAC_WRAPPED_BYTES + ALAC_RATE + 4


class Claim(NamedTuple):
    """What a header claims.

    `seconds` is None where it states a size only; then `share` is that size as a multiple of what the file has, or
    None. The recording ends before the byte `end`. `why_not` says why libsndfile may not open the file.
    """

    end: int
    seconds: float | None = None
    share: float | None = None
    why_not: str = ""


def aiff(file: BinaryIO, start: int, size: int) -> Claim:
    """Read an AIFF or AIFF-C file: chunks, the first of which give the number of frames and the rate.

    Raises
    ------
    UtteranceError
        `bad_header` if players read its samples in different ways.
    """
    end, seconds, is_sound, why_not = start + 12, None, False, ""
    form = read_at(file, start + 8, 4, size)
    for name, at, n_bytes in _chunks(file, end, size, ">4sI", any_name=True):
        is_named = tags.is_printable(name)
        if is_sound and (name == b"SSND" or not is_named):  # which no decoder reads
            break
        why_not = why_not if is_named else UNNAMED
        is_sound = is_sound or name == b"SSND"
        if name in (b"COMM", b"FVER"):
            content = read_at(file, at, min(n_bytes, COMMON_BYTES), size)
            if meanings := _two_meanings(form, name, content):
                message = f"an AIFF with {meanings}, which players read differently: convert it to WAV"
                raise UtteranceError("bad_header", message)
            seconds = _seconds(content) if name == b"COMM" else seconds
        if name == b"CHAN":
            why_not = why_not or _why_not(file, at, n_bytes, size)
        if at + n_bytes > size + 1 and name not in (b"SSND", b"ID3 "):
            break
        end = at + n_bytes + n_bytes % 2
    return Claim(min(end, size), seconds, why_not=why_not)


def _why_not(file: BinaryIO, at: int, n_bytes: int, size: int) -> str:
    layout = read_at(file, at, min(n_bytes, LAYOUT_BYTES), size)
    return "" if channels.are_mixed(layout) else channels.UNPLAYED


def _two_meanings(form: bytes, name: bytes, content: bytes) -> str:
    """Return what libsndfile and FFmpeg read differently in a chunk FVER or COMM of an AIFF, or nothing.

    FFmpeg heeds a compression in an AIFF-C of the one version that there is, and knows the size of a sample from it.
    libsndfile heeds it everywhere, and knows the size from the bits.
    """
    if name == b"FVER":
        return "" if content == AIFF_C_VERSION else f"the version {content.hex()} of AIFF-C"
    compression, bits = content[18:22], int.from_bytes(content[6:8], "big")
    if len(content) < COMMON_BYTES or (form != b"AIFC" and compression in UNCOMPRESSED):
        return ""
    if form != b"AIFC":
        return f"the compression {compression.decode('latin-1')!r}, as only an AIFF-C has"
    n_bytes = -(-bits // 8)
    is_clear = COMPRESSION_BYTES.get(compression, n_bytes) == n_bytes
    return "" if is_clear else f"the compression {compression.decode('latin-1')!r} of {bits:,} bits"


def _seconds(common: bytes) -> float | None:
    if len(common) < COMMON_BYTES - 4:
        return None
    n_frames, exponent, mantissa = struct.unpack(">2xI2xHQ", common[:18])  # the rate is a float of 80 bits
    power = (exponent & 0x7FFF) - 16_383 - 63
    rate = math.ldexp(mantissa, power) if power < MAX_RATE_POWER else 0.0
    return n_frames / rate if rate >= 1.0 else None


def au(file: BinaryIO, start: int, size: int) -> Claim:
    """Read an AU file: the offset of its samples, and their size."""
    file.seek(start)
    header = file.read(12)
    offset, n_bytes = struct.unpack(">4xII", header.ljust(12, b"\0"))
    return _sized(start + offset, None if n_bytes == UNKNOWN_BYTES else n_bytes, size)


def caf(file: BinaryIO, start: int, size: int) -> Claim:
    """Read a CAF file: chunks, one of which holds the samples, or packets of them, and may be of unknown size.

    libsndfile hears a part of packets whose number or length a header understates.

    Raises
    ------
    UtteranceError
        `bad_header` if packets of ALAC have another rate than the file, or samples of PCM other bytes than their bits
        need: Core Audio steps from one to the next, FFmpeg takes them for packed.
    """
    claim, codec, rate, why_not = Claim(size), b"", 0.0, ""
    for name, at, n_bytes in _chunks(file, start + 8, size, ">4sQ"):
        if name == b"desc":
            described = read_at(file, at, DESCRIBED_BYTES, size)
            rate, codec = struct.unpack(">d4s", described[:12].ljust(12, b"\0"))
            _refuse_unpacked(codec, described)
        elif name == b"kuki" and codec == b"alac":
            _refuse_other_rate(rate, read_at(file, at, ALAC_COOKIE_BYTES, size))
        elif name == b"chan":
            why_not = why_not or _why_not(file, at, n_bytes, size)
        if name == b"data" and claim.share is not None:  # which no decoder reads
            break
        if name == b"data":
            claim = _sized(at, None if n_bytes >> 63 else n_bytes, size)
        elif claim.share is not None and at + n_bytes <= size:
            claim = claim._replace(end=at + n_bytes)
    return claim._replace(why_not="packets of ALAC in a CAF" if codec == b"alac" else why_not)


def _refuse_unpacked(codec: bytes, described: bytes) -> None:
    """Raise if samples of PCM have other bytes between them than their own."""
    if codec != b"lpcm" or len(described) < DESCRIBED_BYTES:
        return
    packet_bytes, n_frames, n_channels, bits = struct.unpack(">16x4I", described)
    if packet_bytes != n_frames * n_channels * -(-bits // 8):
        message = f"a CAF of {n_channels:,} channels of {bits:,} bits in packets of {packet_bytes:,} bytes"
        raise UtteranceError("bad_header", f"{message}, which players read differently: convert it to WAV")


def _refuse_other_rate(stated: float, cookie: bytes) -> None:
    """Raise if packets of ALAC, as their cookie describes them, have another rate than the file states."""
    at = ALAC_RATE + (ALAC_WRAPPED_BYTES if cookie[4:8] == b"frma" else 0)
    rate = int.from_bytes(cookie[at : at + 4], "big")
    if rate not in (0, stated):
        raise two_rates(stated, rate)


def _sized(at: int, n_bytes: int | None, size: int) -> Claim:
    if n_bytes is None:
        return Claim(size)
    return Claim(min(size, at + n_bytes), None, n_bytes / max(1, min(n_bytes, size - at)))


def _chunks(
    file: BinaryIO, at: int, size: int, header: str, *, any_name: bool = False
) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, offset and stated size of each chunk, up to the first bytes that are none, as their name tells."""
    n_header = struct.calcsize(header)
    for _ in range(CHUNKS):
        content = read_at(file, at, n_header, size)
        if len(content) < n_header or not (any_name or tags.is_printable(content[:4])):
            return
        name, n_bytes = struct.unpack(header, content)
        if tags.is_magic(file, at, size):
            return
        yield name, at + n_header, n_bytes
        at += n_header + n_bytes + (n_bytes % 2 if header == ">4sI" else 0)
