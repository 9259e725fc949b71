"""Sniffing: the first bytes of a file decide which decoder may open it, and state how much it claims to hold.

libsndfile opens about thirty containers. Most of them come from samplers, laboratories and home computers; nobody
archives speech in them, and most of libsndfile's vulnerabilities were found in their parsers. Its containers are
therefore an allow-list by first bytes, and FFmpeg's are an allow-list by name (:data:`DEMUXERS`).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

HEAD_BYTES = 66  # includes the format tag of a W64 file
ID3_TAGS = 8  # consecutive tags
CHUNKS = 1_000  # of a RIFF file, before the samples
SCAN_BYTES = 1 << 20
INFO_SLACK_BYTES = 64 << 10  # tags at the end of an MP3, with a small picture
UNKNOWN_BYTES = 0x7FFF_0000  # sizes from here to 4 GiB are placeholders of programs that write to a pipe
W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
PLAIN_TAGS = (1, 3, 6, 7)  # WAVE_FORMAT_PCM, _IEEE_FLOAT, _ALAW, _MULAW
ADPCM_TAGS = {2: (7, 2), 0x11: (4, 1)}  # Microsoft, IMA: header bytes per channel, samples in the header
NEXT_PAGE, NEXT_LINK = re.compile(rb"OggS\0[^\x02]"), re.compile(rb"OggS\0\x02")  # RFC 3533: version 0, header type

DEMUXERS = (
    "aac ac3 aiff amr amrnb amrwb asf au avi caf eac3 flac flv matroska mov mp3 mpeg mpegts nistsphere ogg qcp tta w64 "
    "wav wv"
).split()
"""FFmpeg's names of the containers that may be opened: audio, and film with audio. No playlists, no scripts."""

EXACT = ("flac", "asf", "flv", "matroska", "mov", "wv")
"""Containers whose header states their length; for the others FFmpeg guesses."""


@dataclass(frozen=True)
class Sniffed:
    """Properties of a file that its first bytes reveal.

    Parameters
    ----------
    soundfile : bool
        True if libsndfile may open the file.
    why_not : str
        Reason for a refusal, for a person.
    claimed_bytes : int or None
        Size of the samples that a RIFF header claims; None if it claims none, or has a placeholder.
    present_bytes : int
        Size of the samples that the file has.
    """

    soundfile: bool
    why_not: str = ""
    claimed_bytes: int | None = None
    present_bytes: int = 0


def sniff(file: BinaryIO) -> Sniffed:
    """Inspect the first bytes of a file.

    Parameters
    ----------
    file : binary file
        Seekable, at any position; its position changes.

    Examples
    --------
    >>> import io
    >>> sniff(io.BytesIO(b"MATLAB 5.0 MAT-file")).soundfile, sniff(io.BytesIO(b"fLaC")).soundfile
    (False, True)
    """
    size = file.seek(0, os.SEEK_END)
    start, head = _after_tags(file, size)
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return _wave(file, start, size, is_64=head[:4] == b"RF64")
    if head[:4] == b"OggS":
        return Sniffed(False, "an Ogg file of several chained streams") if _is_chained(file, start) else Sniffed(True)
    if head[:16] == W64:
        (tag,) = struct.unpack_from("<H", head.ljust(HEAD_BYTES, b"\0"), 64)
        return Sniffed(tag in PLAIN_TAGS, "" if tag in PLAIN_TAGS else f"a W64 file of format {tag:#x}")
    if (claimed := _info_bytes(head)) is not None and start + claimed + INFO_SLACK_BYTES < size:
        return Sniffed(False, f"an MP3 that continues after the {claimed:,} bytes that its header states")
    known = head[:4] in (b"fLaC", b".snd", b"caff") or head[:7] == b"NIST_1A" or _is_aiff(head) or _is_mpeg(head)
    return Sniffed(known, "" if known else "a container that is not on the allow-list")


def _after_tags(file: BinaryIO, size: int) -> tuple[int, bytes]:
    """Offset of the first byte after ID3v2 tags, and the bytes there; libsndfile skips the tags, too."""
    start = 0
    for _ in range(ID3_TAGS):
        file.seek(start)
        head = file.read(HEAD_BYTES)
        if head[:3] != b"ID3" or len(head) < 10:
            return start, head
        # the size is four times seven bits; bit 4 of the flags announces a footer of 10 bytes
        start += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        start += 10 if head[5] & 0x10 else 0
        if start >= size:
            break
    return start, b""


def _is_aiff(head: bytes) -> bool:
    return head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC")


def _is_mpeg(head: bytes) -> bool:
    """Return True for a frame of MPEG audio: eleven set bits, then a valid version, layer, bit rate and sample rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer, bit_rate, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer != 0 and bit_rate != 15 and rate != 3


def _info_bytes(head: bytes) -> int | None:
    """Size of the stream that the first frame of an MP3 states (Xing, LAME), or None.

    libsndfile stops there, whatever follows: of concatenated MP3s it would read only the first.
    """
    if not _is_mpeg(head):
        return None
    is_mono, is_mpeg1 = head[3] >> 6 == 3, head[1] >> 3 & 3 == 3
    at = 4 + (17 if is_mono == is_mpeg1 else 32 if is_mpeg1 else 9)  # after the side information
    if head[at : at + 4] not in (b"Xing", b"Info") or len(head) < at + 16:
        return None
    (flags,) = struct.unpack_from(">I", head, at + 4)
    has_frames, has_bytes = flags & 1, flags & 2
    return int(struct.unpack_from(">I", head, at + 8 + 4 * has_frames)[0]) if has_bytes else None


def _wave(file: BinaryIO, start: int, size: int, *, is_64: bool) -> Sniffed:
    for name, at, n_bytes in _chunks(file, start + 12, size):
        if name == b"fmt ":
            file.seek(at)
            if not _is_sound_format(file.read(20).ljust(20, b"\0")):
                return Sniffed(False, "a WAV whose block size is impossible")
        elif name == b"data":
            unknown = is_64 or n_bytes == 0 or n_bytes >= UNKNOWN_BYTES
            return Sniffed(True, "", None if unknown else n_bytes, max(0, min(n_bytes, size - at)))
    return Sniffed(True)


def _chunks(file: BinaryIO, at: int, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset and stated size of each chunk."""
    for _ in range(CHUNKS):
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            return
        name, n_bytes = struct.unpack("<4sI", header)
        yield name, at + 8, n_bytes
        at += 8 + n_bytes + n_bytes % 2
        if at >= size:
            return


def _is_sound_format(chunk: bytes) -> bool:
    """Return True unless ADPCM blocks claim more samples than their bytes can hold, which overflowed decoders."""
    tag, channels, _, _, block_bytes, _, _, block_samples = struct.unpack("<HHIIHHHH", chunk)
    if tag not in ADPCM_TAGS:
        return True
    header_bytes, header_samples = ADPCM_TAGS[tag]
    room = block_bytes - header_bytes * channels
    return bool(channels > 0 and room > 0 and block_samples <= 2 * room // channels + header_samples)


def _is_chained(file: BinaryIO, start: int) -> bool:
    """Return True if another stream follows the first; libsndfile would silently stop before it."""
    past_headers = False
    file.seek(start)
    tail = b""
    while block := file.read(SCAN_BYTES):
        block = tail + block
        at = 0
        if not past_headers and (page := NEXT_PAGE.search(block)):
            past_headers, at = True, page.end()
        if past_headers and NEXT_LINK.search(block, at):
            return True
        tail = block[-5:]
    return False
