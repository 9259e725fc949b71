"""Footers of Parquet: where the columns of a file lie and what they claim, read before Arrow makes objects of them.

A column of a row group may be described in three bytes, of which Arrow makes 700: a footer that the limit on its length
allows could take gigabytes of the process that lists an archive. And where a footer contradicts itself, Arrow's objects
may end the process that looks at them, while reading the column is an error like others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from jobs.inputs.thrift import CompactReader

MAX_STRUCTS = 100_000
"""Of a footer: a row group has one, and some four for each of its columns."""
MAX_DEPTH = 16  # of structs; there are six

BOOLEANS, BYTE, INTEGERS, DOUBLE, BINARY, LISTS, MAP, STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 11, 12
"""Types of Thrift's compact protocol."""


REPEATED = 2
"""Repetition of a column that holds lists, or of a struct around it."""


class Column(NamedTuple):
    """A column in a row group, as a footer describes it.

    Parameters
    ----------
    first_page : int
        Offset of its first page.
    n_stored : int
        Bytes of its pages.
    n_values : int
    is_list : bool
    """

    first_page: int
    n_stored: int
    n_values: int
    is_list: bool


def columns_of(footer: bytes) -> list[Column]:
    """Return the columns of all row groups of a file, by its footer.

    Raises
    ------
    ValueError
        If it holds too many structs, is no footer, or contradicts itself.

    Examples
    --------
    >>> columns_of(bytes([0x19, 0xFC, 0x80, 0x80, 0x10, *bytes(1 << 18), 0]))  # a list of empty structs
    Traceback (most recent call last):
    ValueError: a footer of more than 100,000 structs, or 16 in one another
    """
    content = _Footer(footer, "a footer", "that breaks off").struct()
    try:
        are_lists = list(_are_lists(content[2]))
        chunks = [group.get(1, ()) for group in content.get(4, ())]
        if any(len(each) != len(are_lists) for each in chunks):
            raise ValueError("a row group with more columns than the file, or fewer")
        return [_column(chunk[3], is_list) for each in chunks for chunk, is_list in zip(each, are_lists, strict=True)]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"a footer that lacks what Parquet needs: {error!r}") from error


def _column(about: dict[int, Any], is_list: bool) -> Column:
    first_page, dictionary = about[9], about.get(11, 0)
    return Column(dictionary if 0 < dictionary < first_page else first_page, about[7], about[5], is_list)


def _are_lists(schema: list[dict[int, Any]]) -> Iterator[bool]:
    """Yield whether each leaf of the schema holds lists: it, or a struct around it, is repeated."""
    above = [(1, False)]  # how many elements of each struct are to come, and whether they are in a list
    for element in schema:
        while above and not above[-1][0]:
            above.pop()
        n_left, in_list = above.pop()
        above.append((n_left - 1, in_list))
        is_list = in_list or element.get(3) == REPEATED
        if n_children := element.get(5, 0):
            above.append((n_children, is_list))
        else:
            yield is_list


class _Footer(CompactReader):
    """Reads structs as fields by their number; texts, numbers with a point, maps and lists of numbers are not kept."""

    _n_structs = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Return the next struct."""
        self._n_structs += 1
        if self._n_structs > MAX_STRUCTS or depth > MAX_DEPTH:
            raise ValueError(f"a footer of more than {MAX_STRUCTS:,} structs, or {MAX_DEPTH} in one another")
        fields: dict[int, Any] = {}
        number = 0
        while (byte := self.byte()) & 0x0F:
            number = number + (byte >> 4) if byte >> 4 else self._integer()
            kind = byte & 0x0F
            if number in fields:
                raise ValueError(f"a footer with field {number} twice")
            fields[number] = kind == 1 if kind in BOOLEANS else self._value(kind, depth)
        return fields

    def _integer(self) -> int:
        number = self.varint()
        return number >> 1 ^ -(number & 1)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (*BOOLEANS, BYTE):
            self.position += 1
        elif kind in INTEGERS:
            return self._integer()
        elif kind == DOUBLE:
            self.position += 8
        elif kind == BINARY:
            n_bytes = self.varint()
            self.position += n_bytes
        elif kind in LISTS:
            head = self.byte()
            values = (self._value(head & 0x0F, depth) for _ in range(self.varint() if head >> 4 == 15 else head >> 4))
            return [each for each in values if isinstance(each, dict)]
        elif kind == MAP:
            n_pairs = self.varint()
            kinds = self.byte() if n_pairs else 0
            for _ in range(n_pairs):
                self._value(kinds >> 4, depth)
                self._value(kinds & 0x0F, depth)
        elif kind == STRUCT:
            return self.struct(depth + 1)
        else:
            raise ValueError(f"a footer with a field of type {kind}")
        return None
