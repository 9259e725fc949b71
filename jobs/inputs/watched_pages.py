"""Watched pages of Parquet: what each page claims to hold is counted as its bytes pass, before Arrow reads the page.

A page of a few thousand bytes may decompress to two gigabytes, or claim a thousand million values of one list, which
Arrow holds in memory before it returns the row. The footer is not compared with them by Arrow, so it is no help.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jobs.inputs.expansion import bomb, exceeds_ratio
from jobs.inputs.footers import Column
from jobs.inputs.thrift import INT, LISTS, MAP, SHORT, STRUCT, BreaksOffError, Fields, StructReader
from jobs.storage import ReadOnlyFile

LIST_VALUE_BYTES = 16  # of memory that Arrow takes for a value of a list, with its levels
SHORT_HEADER_BYTES = 4 << 10  # that hold most headers
MAX_HEADER_BYTES = 16 << 20  # Arrow's own limit: some writers repeat the smallest and the largest value
MAX_PAGES = 100_000  # of a column in a row group
MAX_DEPTH = 8  # of structs in a header; there are three
DECODED_BYTES, STORED_BYTES = (2, INT), (3, INT)  # fields of a page's header
KINDS = ((5, STRUCT), (8, STRUCT))  # what it says of a page of data, in version 1 and 2
N_VALUES = (1, INT)


class WatchedPages(ReadOnlyFile):
    """A Parquet file as Arrow reads it; a read raises ValueError if a page in it claims too much, or is no page.

    Arrow reads each column of a row group from front to back. Before :meth:`watch`, nothing is looked at.

    Parameters
    ----------
    file : file of bytes
    size : int
        Of the file.
    """

    def __init__(self, file: Any, size: int) -> None:
        super().__init__()
        self._file, self._n_bytes = file, size
        self._is_watching = False
        self._first_pages: dict[int, Column] = {}
        self._under_way: dict[int, _Chunk] = {}  # by the byte that is read next

    def watch(self, columns: Iterable[Column]) -> None:
        """Watch the columns of a file from now on; no other place of it may be read then."""
        self._is_watching = True
        self._first_pages |= {each.first_page: each for each in columns}

    def _read_at(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        content: bytes = self._file.read(size)
        if self._is_watching and content:
            chunk = self._chunk(offset)
            chunk.see(content, offset)
            self._under_way[offset + len(content)] = chunk
        return content

    def _chunk(self, offset: int) -> _Chunk:
        """Return the column whose bytes go on at an offset, or begin there."""
        if offset in self._first_pages:
            column = self._first_pages[offset]
            return _Chunk(offset, column.n_stored, column.n_values, column.is_list)
        if offset not in self._under_way:
            raise ValueError(f"byte {offset:,}: no page of a column begins here")
        return self._under_way.pop(offset)

    def _size(self) -> int:
        return self._n_bytes


@dataclass
class _Chunk:
    """A column in a row group: where its next page begins, and what its pages claimed so far."""

    next_page: int
    n_stored: int
    n_expected: int
    is_list: bool
    n_pages: int = 0
    n_values: int = 0
    n_decoded: int = 0
    before: bytearray = field(default_factory=bytearray)  # of a header that breaks off

    def see(self, content: bytes, offset: int) -> None:
        """Look at the headers of pages in bytes from an offset on, which follow those that were seen before."""
        view = memoryview(content)
        while self.n_values < self.n_expected and self.next_page < offset + len(content):
            unread = view[max(0, self.next_page - offset) :]
            header = self._header(unread)
            if header is None:
                self.before += unread
                return  # the rest of it comes with the next bytes
            self._count(header.fields)
            self.next_page += header.position + header.fields[STORED_BYTES]
            self.before.clear()

    def _header(self, unread: memoryview) -> _Header | None:
        """Return the next page's header; None if it breaks off."""
        n_bytes = SHORT_HEADER_BYTES
        while True:
            content = bytes(self.before + unread[:n_bytes])
            header = _Header(content, "a page's header", f"of more than {MAX_HEADER_BYTES:,} bytes")
            try:
                header.read()
            except BreaksOffError:
                if len(content) > MAX_HEADER_BYTES:
                    raise
                if n_bytes >= len(unread):
                    return None
                n_bytes *= 16
            else:
                return header

    def _count(self, fields: Fields) -> None:
        self.n_pages += 1
        claimed = [fields[kind].get(N_VALUES, 0) for kind in KINDS if kind in fields]
        n_stored, n_decoded = fields.get(STORED_BYTES, -1), fields.get(DECODED_BYTES, -1)
        if min(n_stored, n_decoded, *claimed) < 0 or self.n_pages > MAX_PAGES:
            raise ValueError(
                f"byte {self.next_page:,}: a page of {n_stored:,} bytes, {n_decoded:,} once read, with {claimed} "
                f"values, page {self.n_pages:,}"
            )
        self.n_values += sum(claimed)
        self.n_decoded += n_decoded
        n_bytes = max(self.n_decoded, LIST_VALUE_BYTES * self.n_values if self.is_list else 0)
        if exceeds_ratio(n_bytes, self.n_stored):
            raise ValueError(f"byte {self.next_page:,}: {bomb(n_bytes, self.n_stored)}")


class _Header(StructReader):
    """Reads a page's header; what none has is refused."""

    most_depth = MAX_DEPTH
    refused = frozenset({*LISTS, MAP})
    fields: Fields

    def read(self) -> None:
        """Read the header: `fields` has what it says, and `position` its length."""
        self.fields = self.struct()

    def _value(self, kind: int, depth: int) -> Any:
        value = super()._value(kind, depth)
        if kind in (SHORT, INT) and not -1 << 31 <= value < 1 << 31:  # Arrow would cut it
            raise ValueError("a page's header with a number of more than 32 bits")
        return value
