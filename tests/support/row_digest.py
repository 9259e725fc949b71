"""Digests of rows by a second implementation: a plain loop over Python's own values."""

from __future__ import annotations

import hashlib
import math
import struct

import pyarrow as pa

from jobs.tables.row_digest import COLUMNS


def canonical(value: object) -> bytes:
    """The bytes of one value, as the docstring of `jobs.tables.row_digest` lists them."""
    if value is None:
        return b"n"
    if isinstance(value, str):
        return b"s" + struct.pack("<q", len(value.encode())) + value.encode()
    if isinstance(value, float):
        return b"f" + struct.pack("<d", math.nan if math.isnan(value) else value)
    assert isinstance(value, list)
    if any(number is None for number in value):
        return b"l" + struct.pack("<q", len(value)) + b"".join(map(canonical, value))
    numbers = (struct.pack("<d", math.nan if math.isnan(number) else number) for number in value)
    return b"v" + struct.pack("<q", len(value)) + b"".join(numbers)


def by_hand(name: str, rows: pa.Table) -> str:
    """The digest of all rows of a table, by a loop over them."""
    total = 0
    for row in rows.to_pylist():
        content = b"".join(map(canonical, [name, *(row[column] for column in COLUMNS[name])]))
        total += int(hashlib.sha256(content).hexdigest(), 16)
    return f"{total % 2**256:064x}"
