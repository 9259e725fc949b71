"""Footers of Parquet that do not tell the truth."""

from __future__ import annotations

import io

import pyarrow.parquet as pq


def claiming(content: bytes, n_bytes: int) -> bytes:
    """Return a Parquet file of one column and one row group, whose footer says that it decompresses to ``n_bytes``."""
    group = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0)
    n_footer = int.from_bytes(content[-8:-4], "little")
    start = len(content) - 8 - n_footer
    footer = content[start:-8]
    for true in {group.total_byte_size, group.column(0).total_uncompressed_size}:
        old = _varint(2 * true)
        footer = footer.replace(old, _varint(2 * n_bytes, len(old)))
    return content[:start] + footer + content[-8:]


def _varint(number: int, length: int = 1) -> bytes:
    """Return a number as Thrift's compact protocol has it, in ``length`` bytes or more."""
    digits = bytearray()
    while number >= 0x80 or len(digits) < length - 1:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])
