"""Magic: the first bytes by which a file shows that it is audio, for files whose names say nothing.

Each container that a decoder may open has a test here. A test is strict, because its caller reads every file that
passes: text, images, archives, tables and model files must not. Streams without a header, such as MP3, must show two
frames of which the first says where the second begins.
"""

from __future__ import annotations

import re

HEAD_BYTES = 4_096
"""First bytes that the tests look at: an MP2 frame has up to 1,728, four packets of a transport stream have 816."""

MPEG1_KBPS = {  # ISO 11172-3, table of bit rates by layer; index 0 is free format
    1: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
MPEG2_KBPS = {  # ISO 13818-3, for the lower sample rates
    1: (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MPEG_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version
AC3_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
AC3_RATES = (48_000, 44_100, 32_000)
IMAGE_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis", b"crx ")
"""Brands of images that share their box structure with MP4."""

PREFIXES = re.compile(
    rb"fLaC|OggS\0|\.snd\0\0|caff\0\x01|NIST_1A\n|wvpk|TTA[12]|FLV\x01|#!AMR(-WB|_MC1\.0|-WB_MC1\.0)?\n"
    rb"|(RIFF|RF64|RIFX|BW64)....(WAVE|AVI |QLCM)|FORM....(AIFF|AIFC)"
    rb"|riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"  # W64
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c"  # ASF
    rb"|\0\0\x01\xba[\x20-\x2f\x40-\x7f]"  # pack header of an MPEG program stream
    rb"|ID3[\x02-\x04][^\xff].[\0-\x7f]{4}",
    re.DOTALL,
)
MATROSKA = re.compile(rb"\x1a\x45\xdf\xa3.{0,64}?\x42\x82.(webm|matroska)", re.DOTALL)  # its document type
MOVIE = re.compile(rb"\0...(ftyp|moov....mvhd|wide....mdat)|....mdat", re.DOTALL)
SYNC = re.compile(rb"\xff[\xe2-\xff]|\x0b\x77")  # of MPEG audio and ADTS, of AC-3
CUT_FRAMES = 3  # to find behind the rest of a frame, where a stream was cut


def is_audio_content(head: bytes) -> bool:
    """Return True if a file with these first bytes is a container of audio, or of film with audio.

    Parameters
    ----------
    head : bytes
        The first :data:`HEAD_BYTES` of a file, or all of a shorter one.

    Examples
    --------
    >>> is_audio_content(b"RIFF\\x24\\0\\0\\0WAVEfmt "), is_audio_content(b"RIFF\\x24\\0\\0\\0WEBPVP8 ")
    (True, False)
    """
    return (
        PREFIXES.match(head) is not None
        or MATROSKA.match(head) is not None
        or (MOVIE.match(head) is not None and head[8:12] not in IMAGE_BRANDS)
        or _is_transport_stream(head)
        or any(_are_frames(head, sync.start()) for sync in SYNC.finditer(head))
    )


def _is_transport_stream(head: bytes) -> bool:
    """Return True for four packets of 188 bytes: alone, after a time code, or before parity bytes."""
    return any(
        len(head) > start + 3 * packet + 3
        and all(
            head[at] == 0x47 and head[at + 3] >> 4 & 3  # a packet has a payload, an adaptation field, or both
            for at in range(start, start + 4 * packet, packet)
        )
        for start, packet in ((0, 188), (4, 192), (0, 204))
    )


def _are_frames(head: bytes, start: int) -> bool:
    """Return True if frames of one stream follow each other: two from the first byte on, or three from elsewhere."""
    for n_bytes in (_mpeg_bytes, _adts_bytes, _ac3_bytes):
        at, found, stream = start, 0, head[start + 1 : start + 2]
        while (size := n_bytes(head[at : at + 8])) and head[at + 1 : at + 2] == stream:
            at, found = at + size, found + 1
            if found == (CUT_FRAMES if start else 2):
                return True
    return False


def _mpeg_bytes(frame: bytes) -> int:
    """Return the size of a frame of MPEG audio, layer 1 to 3; one of free format states none."""
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        return 0
    version, layer = frame[1] >> 3 & 3, 4 - (frame[1] >> 1 & 3)
    bit_rate, rate, padding = frame[2] >> 4, frame[2] >> 2 & 3, frame[2] >> 1 & 1
    if version == 1 or layer == 4 or bit_rate in (0, 15) or rate == 3:
        return 0
    kbps, hertz = (MPEG1_KBPS if version == 3 else MPEG2_KBPS)[layer][bit_rate], MPEG_RATES[version][rate]
    if layer == 1:
        return (12_000 * kbps // hertz + padding) * 4
    samples = 576 if layer == 3 and version != 3 else 1_152
    return samples // 8 * 1_000 * kbps // hertz + padding


def _adts_bytes(frame: bytes) -> int:
    """Return the size of a frame of AAC in ADTS."""
    if len(frame) < 6 or frame[0] != 0xFF or frame[1] & 0xF6 != 0xF0 or frame[2] >> 2 & 15 > 12:
        return 0
    size = (frame[3] & 3) << 11 | frame[4] << 3 | frame[5] >> 5
    return size if size > 7 else 0


def _ac3_bytes(frame: bytes) -> int:
    """Return the size of a frame of AC-3 or E-AC-3 (ATSC A/52)."""
    if len(frame) < 6 or frame[:2] != b"\x0b\x77":
        return 0
    version, rate, size = frame[5] >> 3, frame[4] >> 6, frame[4] & 63
    if 10 < version <= 16:
        return 2 * (((frame[2] & 7) << 8 | frame[3]) + 1)
    if version > 10 or rate == 3 or size >= 2 * len(AC3_KBPS):
        return 0
    words = 96_000 * AC3_KBPS[size // 2] // AC3_RATES[rate]
    return 2 * (words + (size & 1 if rate == 1 else 0))
