"""Digests of rows: equal where two tables hold the same rows, in whatever order and files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pyarrow as pa

MODULUS = 1 << 256

COLUMNS = {
    "embeddings": ("utterance_id", "audio_sha256", "embedding"),
    "scores": ("utterance_id", "score", "p_spoof", "ood", "reject_reason", "head_id"),
    "failures": ("utterance_id", "error"),
}
"""What a row's digest is made of: what was found, not when, by whom or in which file."""


def rows_digest(name: str, rows: pa.Table) -> str:
    """Sum modulo 2^256 of the SHA-256 of every row, as 64 hexadecimal digits.

    Numbers count with all of their bits. Sums of parts can be added by :func:`add`.

    Examples
    --------
    >>> rows = pa.table({"utterance_id": ["a", "b"], "error": ["empty", "missing"]})
    >>> rows_digest("failures", rows) == rows_digest("failures", rows.take([1, 0]))
    True
    """
    total = 0
    for row in rows.select(COLUMNS[name]).to_pylist():
        canonical = "\0".join(_exact(value) for value in (name, *row.values()))
        total += int.from_bytes(hashlib.sha256(canonical.encode()).digest(), "big")
    return f"{total % MODULUS:064x}"


def add(digests: Iterable[str]) -> str:
    """Digest of all rows from the digests of parts.

    Examples
    --------
    >>> add(["01", "02"])[-2:]
    '03'
    """
    return f"{sum(int(digest, 16) for digest in digests) % MODULUS:064x}"


def _exact(value: object) -> str:
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, list):
        return ",".join(map(_exact, value))
    return repr(value)
