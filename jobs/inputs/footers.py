"""Footers of Parquet: where the columns of a file lie and what they claim, read before Arrow makes objects of them.

A column of a row group may be described in three bytes, of which Arrow makes 700: a footer that the limit on its length
allows could take gigabytes of the process that lists an archive. And where a footer contradicts itself, Arrow's objects
may end the process that looks at them, while reading the column is an error like others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from jobs.inputs.thrift import INT, LIST, LONG, STRUCT, Fields, StructReader

MAX_STRUCTS, MAX_VALUES = 100_000, 1_000_000
"""Of a footer: a row group has a struct, and some seven for each of its columns, with 45 values."""
MAX_WIDTH = 32 << 10
"""Bytes of each value of a column of one length, also of those that are null: an empty one takes as many to read."""
MAX_DEPTH = 16  # of structs and lists in one another; there are nine

SCHEMA, GROUPS = (2, LIST), (4, LIST)  # fields of a file's footer,
WIDTH, REPETITION, N_CHILDREN = (2, INT), (3, INT), (5, INT)  # of an element of its schema,
CHUNKS = (1, LIST)  # of a row group,
ABOUT = (3, STRUCT)  # of a column in one,
N_VALUES, N_STORED, FIRST_PAGE, DICTIONARY = (5, LONG), (7, LONG), (9, LONG), (11, LONG)  # and of what it says

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
    ValueError: a footer of more than 100,000 structs, 1,000,000 values, or 16 in one another
    """
    content = _Footer(footer, "a footer", "that breaks off").struct()
    try:
        are_lists = list(_are_lists(content[SCHEMA]))
        chunks = [group.get(CHUNKS, ()) for group in content.get(GROUPS, ())]
        if any(len(each) != len(are_lists) for each in chunks):
            raise ValueError("a row group with more columns than the file, or fewer")
        return [
            _column(chunk[ABOUT], is_list) for each in chunks for chunk, is_list in zip(each, are_lists, strict=True)
        ]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"a footer that lacks what Parquet needs: {error!r}") from error


def _column(about: Fields, is_list: bool) -> Column:
    first_page, dictionary = about[FIRST_PAGE], about.get(DICTIONARY, 0)
    return Column(dictionary if 0 < dictionary < first_page else first_page, about[N_STORED], about[N_VALUES], is_list)


def _are_lists(schema: list[Fields]) -> Iterator[bool]:
    """Yield whether each leaf of the schema holds lists: it, or a struct around it, is repeated."""
    above = [(1, False)]  # how many elements of each struct are to come, and whether they are in a list
    for element in schema:
        while above and not above[-1][0]:
            above.pop()
        if element.get(WIDTH, 0) > MAX_WIDTH:
            raise ValueError(f"a column of {element[WIDTH]:,} bytes a value; at most {MAX_WIDTH:,} are allowed")
        n_left, in_list = above.pop()
        above.append((n_left - 1, in_list))
        is_list = in_list or element.get(REPETITION) == REPEATED
        if n_children := element.get(N_CHILDREN, 0):
            above.append((n_children, is_list))
        else:
            yield is_list


class _Footer(StructReader):
    most_structs, most_values, most_depth = MAX_STRUCTS, MAX_VALUES, MAX_DEPTH
