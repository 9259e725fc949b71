"""Digests of rows: equal where two tables hold the same rows, in whatever order and files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

MODULUS = 1 << 256
BLOCK_VALUES = 1 << 18  # numbers that are spelt at once

COLUMNS = {
    "embeddings": ("utterance_id", "audio_sha256", "embedding"),
    "scores": ("utterance_id", "score", "p_spoof", "ood", "reject_reason", "head_id"),
    "failures": ("utterance_id", "error"),
}
"""What a row's digest is made of: what was found, not when, by whom or in which file."""


DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
POWERS = np.array([list(f"{power - 1023:+d}".encode().ljust(5, b"\0")) for power in range(2048)], np.uint8)
"""Spellings of a power of two by the biased exponent of a double; unused places are 0."""


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
    for row in zip(*(_texts(rows[column]) for column in COLUMNS[name]), strict=True):
        canonical = "\0".join((_exact(name), *row))
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


def _texts(column: pa.ChunkedArray) -> Iterator[str]:
    """Each value of a column, exactly; embeddings many at a time, since one by one they take longer than all else."""
    if not pa.types.is_fixed_size_list(column.type) or not pa.types.is_floating(column.type.value_type):
        yield from map(_exact, column.to_pylist())
        return
    dim = column.type.list_size
    for chunk in column.chunks:
        whole = chunk.drop_null()
        if whole.flatten().null_count or not dim:
            yield from map(_exact, chunk.to_pylist())
            continue
        vectors = whole.flatten().to_numpy().reshape(-1, dim)
        spelt = spelt_rows(vectors)
        for valid in chunk.is_valid().to_pylist():
            yield next(spelt) if valid else _exact(None)


def spelt_rows(vectors: npt.NDArray[np.floating]) -> Iterator[str]:
    """Numbers of each row as `float.hex` writes them, between commas.

    Parameters
    ----------
    vectors : array of shape (n, dim)
        float32 or float64.

    Examples
    --------
    >>> list(spelt_rows(np.array([[1.0, -0.75], [0.0, 1e-3]], np.float32)))
    ['0x1.0000000000000p+0,-0x1.8000000000000p-1', '0x0.0p+0,0x1.0624de0000000p-10']
    """
    n_rows = max(1, BLOCK_VALUES // vectors.shape[1])
    for start in range(0, len(vectors), n_rows):
        with np.errstate(invalid="ignore"):  # a NaN of a kind is a NaN
            block = np.ascontiguousarray(vectors[start : start + n_rows], dtype=np.float64)
        bits = block.view(np.uint64)
        exponent = (bits >> np.uint64(52)).astype(np.int64) & 0x7FF
        # sign, 0x1., 13 digits, p, sign of the exponent, its 1 to 4 digits, comma
        text = np.empty((*block.shape, 25), np.uint8)
        text[..., :5] = np.frombuffer(b"-0x1.", np.uint8)
        for digit in range(13):
            text[..., 5 + digit] = DIGITS[(bits >> np.uint64(48 - 4 * digit)).astype(np.int64) & 0xF]
        text[..., 18] = ord("p")
        text[..., 19:24] = POWERS[exponent]
        text[..., 24] = ord(",")
        keep = text != 0
        keep[..., 0] = np.signbit(block)
        keep[:, -1, 24] = False
        flat = text[keep].tobytes().decode("ascii")
        ends = np.cumsum(keep.sum(axis=(1, 2)))
        plain = np.all((exponent > 0) & (exponent < 0x7FF), axis=1)  # zero, subnormal, infinite: spelt otherwise
        at = 0
        for row, end, is_plain in zip(block, ends.tolist(), plain.tolist(), strict=True):
            yield flat[at:end] if is_plain else _exact(row.tolist())
            at = end


def _exact(value: object) -> str:
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, list):
        return ",".join(map(_exact, value))
    return repr(value)
