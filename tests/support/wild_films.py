"""Films whose sound is stored in a wild order: sample by sample, in the middle and at the end by turns."""

from __future__ import annotations

import struct

RATE = 4_000


def box(kind: bytes, *parts: bytes) -> bytes:
    """Return a box of ISO base media (ISO/IEC 14496-12)."""
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def wild_film(n_samples: int, n_bytes: int) -> bytes:
    """Return a QuickTime of ``n_samples`` PCM samples of a byte, each a chunk of its own, in ``n_bytes`` of content."""
    head = box(b"ftyp", b"qt  ", bytes(4), b"qt  ")
    start = len(head) + len(_moov(n_samples, 0, 0)) + 8
    return head + _moov(n_samples, start + n_bytes // 2, start + n_bytes - 1) + box(b"mdat", bytes(n_bytes))


def _moov(n_samples: int, first: int, last: int) -> bytes:
    numbers = struct.Struct(">I").pack
    entry = bytes(6) + struct.pack(">H8xHHHHI", 1, 1, 8, 0, 0, RATE << 16)
    tables = box(
        b"stbl",
        box(b"stsd", struct.pack(">II", 0, 1), box(b"raw ", entry)),
        box(b"stts", struct.pack(">IIII", 0, 1, n_samples, 1)),
        box(b"stsc", struct.pack(">IIIII", 0, 1, 1, 1, 1)),
        box(b"stsz", struct.pack(">III", 0, 1, n_samples)),
        box(b"stco", struct.pack(">II", 0, n_samples), (numbers(first) + numbers(last)) * (n_samples // 2)),
    )
    media = box(
        b"mdia",
        box(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, RATE, n_samples, 0, 0)),
        box(b"hdlr", bytes(4), b"mhlrsoun", bytes(13)),
        box(
            b"minf",
            box(b"smhd", bytes(8)),
            box(b"dinf", box(b"dref", struct.pack(">II", 0, 1), box(b"url ", numbers(1)))),
            tables,
        ),
    )
    matrix = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    track = box(b"tkhd", struct.pack(">6I", 7, 0, 0, 1, 0, n_samples), bytes(16), matrix, bytes(8))
    whole = box(b"mvhd", struct.pack(">5IIH10x", 0, 0, 0, RATE, n_samples, 1 << 16, 256), matrix, bytes(24), numbers(2))
    return box(b"moov", whole, box(b"trak", track, media))
