"""Avro object container files, such as the manifests of Iceberg: their header and their blocks, decompressed.

Reference: Apache Avro 1.12 Specification, Object Container Files.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

from detector.errors import SchemaError
from jobs.erasure.parts import Budget, Kind, Part
from jobs.erasure.streams import inflate, stream_parts

MAGIC = b"Obj\x01"
SYNC_BYTES = 16
MAX_LONG_BYTES = 10

CODECS: dict[bytes, Callable[[bytes, Budget], bytes]] = {
    b"null": lambda data, _: data,
    b"deflate": inflate,
    b"zstandard": lambda data, budget: b"".join(part.content for part in stream_parts(data, budget) or ()),
}


def avro_parts(content: bytes, budget: Budget) -> Iterator[Part]:
    """Yield the header of a file, and each block of its rows as plain Avro.

    Raises
    ------
    SchemaError
        If it is damaged, or compressed by another method.

    Examples
    --------
    >>> header = MAGIC + b"\\x02" + b"\\x14avro.codec" + b"\\x08null" + b"\\x00" + bytes(SYNC_BYTES)
    >>> [part.content for part in avro_parts(header + b"\\x02" + b"\\x06abc" + bytes(SYNC_BYTES), Budget())][1:]
    [b'abc']
    """
    file = io.BytesIO(content)
    file.seek(len(MAGIC))
    codec = b"null"
    while n_entries := _long(file):
        if n_entries < 0:
            _long(file)  # the size of the entries, which follows a negative count
        for _ in range(abs(n_entries)):
            key, value = _bytes(file), _bytes(file)
            codec = value if key == b"avro.codec" else codec
    if codec not in CODECS:
        raise SchemaError(f"an Avro file that is compressed by {codec!r}")
    sync = file.read(SYNC_BYTES)
    yield Part("", content[: file.tell()], Kind.FIELDS)
    while file.tell() < len(content):
        _long(file)
        yield Part("", CODECS[codec](_bytes(file), budget), Kind.FIELDS)
        if file.read(SYNC_BYTES) != sync:
            raise SchemaError("an Avro file that is damaged")


def _long(file: io.BytesIO) -> int:
    """Read a number: seven bits a byte, the lowest first, its sign in the lowest bit."""
    value = 0
    for place in range(MAX_LONG_BYTES):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << 7 * place
        if byte[0] < 0x80:
            return value >> 1 ^ -(value & 1)
    raise SchemaError("an Avro file that ends within a number")


def long_bytes(value: int) -> bytes:
    """Return a number of at least 0 as Avro writes it, such as before a text of that length.

    Examples
    --------
    >>> long_bytes(4), long_bytes(64)
    (b'\\x08', b'\\x80\\x01')
    """
    value <<= 1
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _bytes(file: io.BytesIO) -> bytes:
    n_bytes = _long(file)
    value = file.read(max(0, n_bytes))
    if len(value) != n_bytes:
        raise SchemaError("an Avro file that ends within a value")
    return value
