"""Page headers of Parquet: how many values the pages of a column claim to hold, counted before Arrow reads any.

A page of a hundred bytes may claim a thousand million values of one list, which Arrow holds in memory before it returns
the row. The footer's count is none of the page's: Arrow does not compare them.
"""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq

from jobs.inputs.containers.window import Readable
from jobs.inputs.thrift import CompactReader

MAX_HEADER_BYTES = 4 << 10  # of a column of numbers, whose statistics are short
BREAKS_OFF = f"that breaks off, or of more than {MAX_HEADER_BYTES:,} bytes"
MAX_PAGES = 100_000  # of a column in a row group
MAX_DEPTH = 8  # of structs in a header; there are three
PADDING_BYTES = 100  # that Arrow may read beyond a column of a writer that forgot some (PARQUET-816)
INT, STRUCT = 5, 12  # types of Thrift's compact protocol
STORED_BYTES = (3, INT)  # a field of a page's header
KINDS = ((5, STRUCT), (8, STRUCT))  # what it says of a page of data, in version 1 and 2
N_VALUES = (1, INT)

Fields = dict[tuple[int, int], Any]


def n_claimed_values(file: Readable, column: pq.ColumnChunkMetaData) -> int:
    """Return the sum of what all pages of a column in a row group claim, nulls and empty lists included.

    Raises
    ------
    ValueError
        If the pages do not follow one another from the column's first byte to its last.
    """
    start = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < start:
        start = column.dictionary_page_offset
    end = start + column.total_compressed_size
    n_pages = n_values = 0
    while start < end or (n_values < column.num_values and start < end + PADDING_BYTES):
        n_pages += 1
        file.seek(start)
        header = _Header(file.read(MAX_HEADER_BYTES), "a page's header", BREAKS_OFF)
        fields = header.struct()
        claimed = [fields[kind].get(N_VALUES, 0) for kind in KINDS if kind in fields]
        n_stored = fields.get(STORED_BYTES, -1)
        if n_stored < 0 or min(claimed, default=0) < 0 or n_pages > MAX_PAGES:
            raise ValueError(f"byte {start:,}: a page of {n_stored:,} bytes with {claimed} values, page {n_pages:,}")
        n_values += sum(claimed)
        start += header.position + n_stored
    return n_values


class _Header(CompactReader):
    """Reads a struct of Thrift's compact protocol; what a page's header never has is refused."""

    def struct(self, depth: int = 0) -> Fields:
        """Return the next struct's fields by their number and type, in case a type is not the one expected."""
        fields: Fields = {}
        number = 0
        while (byte := self.byte()) & 0x0F:
            number = number + (byte >> 4) if byte >> 4 else self._integer()
            key = number, byte & 0x0F
            if key in fields or depth > MAX_DEPTH or not 0 < number < 1 << 15:
                raise ValueError("a page's header repeats a field, or is nested too deep")
            fields[key] = self._value(key[1], depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind in (4, INT):
            return self._integer()
        if kind == STRUCT:
            return self.struct(depth + 1)
        match kind:
            case 3:
                self.position += 1
            case 6:
                self.varint()
            case 7:
                self.position += 8
            case 8:
                n_bytes = self.varint()
                self.position += n_bytes
            case _:
                raise ValueError(f"a page's header with a field of type {kind}")
        return None

    def _integer(self) -> int:
        number = self.varint()
        if number >= 1 << 32:  # Arrow would cut it
            raise ValueError("a page's header with a number of more than 32 bits")
        return number >> 1 ^ -(number & 1)
