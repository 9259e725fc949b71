"""Digests of rows: equal if two tables hold the same rows, in any order and any number of files.

The digest of a row is the SHA-256 of its bytes. Every value begins with a letter for its kind, and values of varying
length have their length before them, so that no two rows have the same bytes:

```
n                             null
s  length  UTF-8              text
f  float64                    a number
v  length  float64 …          a vector
l  length  value …            a vector in which a value is null
r  length  UTF-8              any other value, as Python's repr writes it
```

Lengths are 64-bit and numbers are float64, both little-endian. So float32 and float64 columns with the same numbers
have the same digest. Every NaN counts as the same one, whatever its bits; 0.0 and -0.0 differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

MODULUS = 1 << 256
BLOCK_ROWS = 256  # that are converted at once: 2 MB of vectors of 1,024 numbers

COLUMNS = {
    "embeddings": ("utterance_id", "audio_sha256", "embedding"),
    "scores": ("utterance_id", "score", "p_spoof", "ood", "reject_reason", "head_id"),
    "segments": ("utterance_id", "segment", "score", "p_spoof", "reject_reason", "head_id"),
    "failures": ("utterance_id", "error"),
}
"""Columns that a row's digest is made of: what was found, but not when, by which run or in which file."""


def rows_digest(name: str, rows: pa.Table) -> str:
    """Return the sum modulo 2^256 of the SHA-256 of every row, as 64 hexadecimal digits.

    Every bit of a number counts. Digests of parts of a table can be added by :func:`add`.

    Parameters
    ----------
    name : str
        Of the table; it is a part of every row's bytes.
    rows : pa.Table

    Examples
    --------
    >>> rows = pa.table({"utterance_id": ["a", "b"], "error": ["empty", "missing"]})
    >>> rows_digest("failures", rows) == rows_digest("failures", rows.take([1, 0]))
    True
    """
    total = 0
    start = _value_bytes(name)
    for row in zip(*(_column_bytes(rows[column]) for column in COLUMNS[name]), strict=True):
        total += int.from_bytes(hashlib.sha256(b"".join((start, *row))).digest(), "big")
    return f"{total % MODULUS:064x}"


def add(digests: Iterable[str]) -> str:
    """Return the digest of all rows, given the digests of parts.

    Examples
    --------
    >>> add(["01", "02"])[-2:]
    '03'
    """
    return f"{sum(int(digest, 16) for digest in digests) % MODULUS:064x}"


def _column_bytes(column: pa.ChunkedArray) -> Iterator[bytes]:
    """Yield the bytes of each value; in blocks, as converting numbers one by one takes longer than all else."""
    kind = column.type
    is_vector = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind)
    convert: Callable[[pa.Array], Iterator[bytes]] = _values_bytes
    if pa.types.is_floating(kind):
        convert = _numbers_bytes
    elif is_vector and pa.types.is_floating(kind.value_type):
        convert = _vectors_bytes
    for chunk in column.chunks:
        for start in range(0, len(chunk), BLOCK_ROWS):
            yield from convert(chunk.slice(start, BLOCK_ROWS))


def _values_bytes(values: pa.Array) -> Iterator[bytes]:
    yield from map(_value_bytes, values.to_pylist())


def _numbers_bytes(numbers: pa.Array) -> Iterator[bytes]:
    content = _float_bytes(numbers.to_numpy(zero_copy_only=False))  # a null is NaN there
    for place, is_valid in enumerate(numbers.is_valid().to_pylist()):
        yield b"f" + content[8 * place : 8 * place + 8] if is_valid else b"n"


def _vectors_bytes(vectors: pa.Array) -> Iterator[bytes]:
    numbers = vectors.drop_null().flatten()
    if numbers.null_count:
        yield from map(_value_bytes, vectors.to_pylist())
        return
    content = _float_bytes(numbers.to_numpy(zero_copy_only=False))
    start = 0
    for length in pc.list_value_length(vectors).to_pylist():
        if length is None:
            yield b"n"
        else:
            yield b"v" + _length_bytes(length) + content[start : start + 8 * length]
            start += 8 * length


def _float_bytes(numbers: npt.NDArray[np.floating]) -> bytes:
    """Return numbers as float64, with one and the same bits for every NaN."""
    with np.errstate(invalid="ignore"):  # the conversion of a signalling NaN
        doubles = numbers.astype("<f8")  # a copy
    doubles[np.isnan(doubles)] = np.nan
    return doubles.tobytes()


def _value_bytes(value: object) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, float):
        return b"f" + _float_bytes(np.array([value]))
    if isinstance(value, list):
        if all(isinstance(each, float) for each in value):
            return b"v" + _length_bytes(len(value)) + _float_bytes(np.array(value, dtype=np.float64))
        return b"l" + _length_bytes(len(value)) + b"".join(map(_value_bytes, value))
    kind, text = (b"s", value.encode()) if isinstance(value, str) else (b"r", repr(value).encode())
    return kind + _length_bytes(len(text)) + text


def _length_bytes(length: int) -> bytes:
    return length.to_bytes(8, "little")
