"""PNG: pictures of a few colours as the bytes of a file, for pages that need no network."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

STOPS = ((13, 17, 33), (38, 62, 106), (36, 128, 142), (120, 198, 121), (253, 246, 178))
"""Colours from quiet to loud, dark to light, so that they can be told apart in grey, too."""


def palette() -> Pixels:
    """Return 256 colours along :data:`STOPS`: array of shape (256, 3).

    Examples
    --------
    >>> palette()[[0, 255]].tolist()
    [[13, 17, 33], [253, 246, 178]]
    """
    places = np.linspace(0, len(STOPS) - 1, 256)
    return np.stack([np.interp(places, range(len(STOPS)), each) for each in zip(*STOPS, strict=True)], 1).astype("u1")


def png(pixels: Pixels) -> bytes:
    """Return an image whose pixels are places in :func:`palette`.

    Parameters
    ----------
    pixels : uint8 array of shape (height, width)

    References
    ----------
    ISO/IEC 15948:2004, Portable Network Graphics.

    Examples
    --------
    >>> png(np.zeros((2, 3), np.uint8))[:8]
    b'\\x89PNG\\r\\n\\x1a\\n'
    """
    height, width = pixels.shape
    lines = np.pad(pixels, ((0, 0), (1, 0))).tobytes()  # each begins with 0: it is stored as it is
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits that choose a colour of the palette
    parts = ((b"IHDR", header), (b"PLTE", palette().tobytes()), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def data_url(content: bytes, media_type: str) -> str:
    """Return the address of bytes that a page holds itself."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
