"""Packed content: what lies in archives and compressed files, told by their first bytes and opened within limits.

```
backup.tgz   gzip ─► tar ─► scores.parquet        a table
                       └──► logs.zip ─► a.csv     text
```

Nothing is written to a disk. Content that is damaged, encrypted or beyond a limit raises an error: what it holds is not
known.
"""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from detector.errors import SchemaError
from jobs.erasure import avro

MAX_BYTES = 1 << 30
"""Bytes that one object may unpack to, all its members and all levels together."""
MAX_MEMBERS = 100_000
MAX_DEPTH = 5

UNPACK_ERRORS = (
    *(zlib.error, lzma.LZMAError, EOFError, tarfile.TarError),
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError),  # of a zip: the last one says that it is encrypted
)

STREAMS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lzma.LZMADecompressor,
}
ARROW_STREAMS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}

HEADER_BYTES = 1024  # of a gzip: it may hold the name of the file
TAR_HEADER = 512
TAR_CHECKSUM = slice(148, 156)


class Unpacker:
    """Unpacks one object, and counts what it unpacks to.

    Examples
    --------
    >>> import gzip
    >>> header, leaf = Unpacker().leaves("a.csv.gz", gzip.compress(b"id"))
    >>> leaf
    ('a.csv.gz', b'id')
    """

    def __init__(self) -> None:
        self._bytes_left = MAX_BYTES
        self._members_left = MAX_MEMBERS

    def leaves(self, name: str, content: bytes, depth: int = 0) -> Iterator[tuple[str, bytes]]:
        """Yield what is not packed itself, each with its path; and beside it what headers say, as text.

        Raises
        ------
        SchemaError
            If there is more of it than the limits allow.
        """
        members = self._members(content)
        if members is None:
            yield name, content
            return
        if depth == MAX_DEPTH:
            raise SchemaError(f"{name}: is packed more than {MAX_DEPTH} times")
        for member, inner in members:
            self._members_left -= 1
            if self._members_left < 0:
                raise SchemaError(f"{name}: has more than {MAX_MEMBERS:,} members")
            yield from self.leaves(f"{name}/{member}" if member else name, inner, depth + 1)

    def _members(self, content: bytes) -> Iterator[tuple[str, bytes]] | None:
        """Return name and content of each member, the name empty in a compressed file; None if it is not packed."""
        for magic, decompressor in STREAMS.items():
            if content.startswith(magic):
                return iter(
                    [("", _as_text(content[:HEADER_BYTES])), ("", self._decompress(content, magic, decompressor))]
                )
        for magic, codec in ARROW_STREAMS.items():
            if content.startswith(magic):
                return iter([("", self._read(pa.CompressedInputStream(pa.BufferReader(content), codec)))])
        if content.startswith(avro.MAGIC):
            return self._of_avro(content)
        if zipfile.is_zipfile(io.BytesIO(content)) and not content.startswith(b"PAR1"):
            return self._of_zip(content)
        return self._of_tar(content) if is_tar(content) else None

    def _spend(self, n_bytes: int) -> None:
        self._bytes_left -= n_bytes
        if self._bytes_left < 0:
            raise SchemaError(f"unpacks to more than {MAX_BYTES:,} bytes")

    def _read(self, file: Any) -> bytes:
        content = bytes(file.read(self._bytes_left + 1))
        self._spend(len(content))
        return content

    def _decompress(self, content: bytes, magic: bytes, decompressor: Callable[[], Any]) -> bytes:
        """Decompress a file of one or several streams, and nothing behind them."""
        parts, rest = [], content
        while rest:
            if not rest.startswith(magic):
                raise SchemaError(f"has {len(rest):,} bytes behind its last compressed stream")
            stream = decompressor()
            part = stream.decompress(rest, self._bytes_left + 1)
            self._spend(len(part))
            parts.append(part)
            if not stream.eof:
                raise EOFError("ends within a compressed stream")
            rest = stream.unused_data.lstrip(b"\0")  # padding
        return b"".join(parts)

    def _of_avro(self, content: bytes) -> Iterator[tuple[str, bytes]]:
        for block in avro.blocks(content):
            self._spend(len(block))
            yield "", _as_text(block)

    def _of_zip(self, content: bytes) -> Iterator[tuple[str, bytes]]:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            before = min((member.header_offset for member in archive.infolist()), default=0)
            yield "", _as_text(content[:before])  # of a zip that extracts itself
            yield "", _as_text(archive.comment)
            for member in archive.infolist():
                yield "", _as_text(member.comment)
                with archive.open(member) as file:
                    yield member.filename, self._read(file)

    def _of_tar(self, content: bytes) -> Iterator[tuple[str, bytes]]:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                yield (
                    "",
                    "\n".join(["", member.linkname, *member.pax_headers.values()]).encode(errors="surrogateescape"),
                )
                file = archive.extractfile(member) if member.isreg() else None
                yield member.name, b"" if file is None else self._read(file)
            if content[archive.offset :].strip(b"\0"):
                raise SchemaError("has bytes behind the end of the tar, or a damaged header in it")


def _as_text(content: bytes) -> bytes:
    """Return bytes as lines of text, which begin with no magic bytes: names in headers end with NUL."""
    return b"\n" + content.decode("latin-1").replace("\0", "\n").encode()


def is_tar(content: bytes) -> bool:
    """Return True if content begins with the header of a tar: its checksum is right. Old tars have no magic."""
    header = content[:TAR_HEADER]
    if len(header) < TAR_HEADER or not header.strip(b"\0"):
        return False
    try:
        claimed = int(header[TAR_CHECKSUM].strip(b" \0"), 8)
    except ValueError:
        return False
    return claimed == sum(header) - sum(header[TAR_CHECKSUM]) + 8 * ord(" ")
