"""Magic: the first bytes by which a file shows that it is audio, for files whose names say nothing.

Each container that a decoder may open has a test here. A test is strict, because its caller reads every file that
passes: text, images, archives, tables and model files must not. Streams without a header, such as MP3, must show two
frames of which the first says where the second begins.
"""

from __future__ import annotations

import re

from detector.layout.frames import is_chain

HEAD_BYTES = 4_096
"""First bytes that the tests look at: an MP2 frame has up to 1,728, four packets of a transport stream have 816."""

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
MOVIE = re.compile(rb"\0...(ftyp|moov....mvhd)|....mdat", re.DOTALL)
FILLERS = (b"free", b"skip", b"wide", b"uuid")  # boxes that may stand before it
SYNC = re.compile(rb"\xff[\xe2-\xff]|\x0b\x77")  # of MPEG audio and ADTS, of AC-3
BOX_BYTES = 8  # of a size and a name
FIRST_FRAMES = 2
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
        or _is_movie(head)
        or _is_transport_stream(head)
        or is_chain(head, 0, FIRST_FRAMES)
        or any(is_chain(head, sync.start(), CUT_FRAMES) for sync in SYNC.finditer(head))
    )


def _is_movie(head: bytes) -> bool:
    """Return True for the boxes of an MP4 or QuickTime that is no image."""
    at = 0
    while head[at + 4 : at + 8] in FILLERS and (n_bytes := int.from_bytes(head[at : at + 4], "big")) >= BOX_BYTES:
        at += n_bytes
    return MOVIE.match(head, at) is not None and head[at + 8 : at + 12] not in IMAGE_BRANDS


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
