"""The wire format between a worker and its decoder process: frames of four letters, a length and that many bytes.

```
worker                              decoder process
                          ◄──────── here    level            (it has decoded a tone, and is confined so far)
held  request, the file   ────────►  (request: a segment's seconds, and the excerpt)
  or
view  request, size       ────────►
                          ◄──────── read    offset, bytes    (of a viewed file, as often as a decoder likes)
data  bytes               ────────►
                          ◄──────── wave    float32 samples  (one segment, as many as there are)
                          ◄──────── done    facts    or
                          ◄──────── fail    error, message   (both as JSON; then the next file)
```

Never pickles: the bytes that a decoder reads may have taken it over, and loading a pickle runs code. This module is
loaded by both sides, so it imports nothing that the decoder process does without.
"""

from __future__ import annotations

import math
import struct

from detector.audio import Excerpt

FRAME = struct.Struct("<4sQ")  # kind, and bytes of content
REQUEST = struct.Struct("<ddddi")  # segment_seconds, max_seconds; start and end of the excerpt in s, its channel or -1
SIZE = struct.Struct("<Q")  # bytes of a viewed file
READ = struct.Struct("<QQ")  # offset, bytes
READ_BYTES = 1 << 20  # most bytes in one `data`
LEVEL_BYTES = 32  # most bytes in `here`
TEXT_BYTES = 64 << 10  # most bytes in one `done` or `fail`
MAX_MESSAGE = 1_000  # characters of an error that was not foreseen


def pack_request(segment_seconds: float, max_seconds: float, excerpt: Excerpt) -> bytes:
    """Pack what the decoder is to make of a file."""
    end = math.inf if excerpt.end is None else excerpt.end
    return REQUEST.pack(
        segment_seconds, max_seconds, excerpt.start, end, -1 if excerpt.channel is None else excerpt.channel
    )


def unpack_request(content: bytes) -> tuple[float, float, Excerpt]:
    """Return a segment's seconds, the most seconds of a recording, and the excerpt.

    Examples
    --------
    >>> unpack_request(pack_request(30.0, 600.0, Excerpt(1.5, None, 1)))
    (30.0, 600.0, Excerpt(start=1.5, end=None, channel=1))
    """
    segment_seconds, max_seconds, start, end, channel = REQUEST.unpack(content)
    return (
        segment_seconds,
        max_seconds,
        Excerpt(start, None if math.isinf(end) else end, None if channel < 0 else channel),
    )


def drop_written(parts: list[memoryview], n_bytes: int) -> None:
    """Remove the first ``n_bytes`` from ``parts``: `writev` may have written a part of them only.

    Examples
    --------
    >>> parts = [memoryview(b"head"), memoryview(b"content")]
    >>> drop_written(parts, 6)
    >>> [bytes(part) for part in parts]
    [b'ntent']
    """
    while parts and n_bytes >= len(parts[0]):
        n_bytes -= len(parts.pop(0))
    if n_bytes:
        parts[0] = parts[0][n_bytes:]
