"""Audio columns: which column of a table holds the recordings, and in which form.

```
audio: binary                                             the bytes of a file; also large, view, fixed size, dictionary
audio: list<uint8>                                        the same, byte by byte
audio: struct<bytes: …, path: string>                     the same, and its name
audio: struct<array: list<float>, sampling_rate: int64>   samples, as `datasets` decodes them; a list for each channel
```

A column may be nested in structs to any depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa

from detector.errors import SchemaError
from detector.windows import COLUMNS

NAME = "audio"
OURS = frozenset({"embedding", *COLUMNS})  # nested columns of our own tables
MAX_DIGEST_BYTES = 64  # of a fixed size: digests and UUIDs are no recordings
MAX_SHOWN = 8  # columns in a message
MAX_SHOWN_LETTERS = 80  # of each; longer ones are only counted

Place = tuple[str, ...]


class Column(NamedTuple):
    """The leaf columns of the recordings, and their type.

    `path` and `rate` are None if there are none; with a rate, the content is samples, and else the bytes of files.
    """

    place: Place
    content: Place
    kind: pa.DataType
    path: Place | None = None
    rate: Place | None = None

    @property
    def is_plain(self) -> bool:
        """True if the column stands in the table itself, as bytes or as a struct of them."""
        is_bytes = pa.types.is_binary(self.kind) or pa.types.is_large_binary(self.kind)
        return len(self.place) == 1 and bool(is_bytes)


def audio_column(schema: pa.Schema) -> Column | None:
    """Return the column that holds recordings: the one called `audio`, or the only one that could.

    Plain bytes come before other forms: a table of recordings may have a mask or a digest beside them.

    Raises
    ------
    SchemaError
        If several columns could hold them, and none is called `audio`.

    Examples
    --------
    >>> column = audio_column(pa.schema({"data": pa.struct({"audio": pa.binary(), "text": pa.string()})}))
    >>> column.content, column.path
    (('data', 'audio'), None)
    >>> audio_column(pa.schema({"uri": pa.string()})) is None
    True
    """
    columns = list(_columns(schema))
    for choice in (
        [column for column in columns if column.place == (NAME,)],
        [column for column in columns if column.place[-1] == NAME],
        [column for column in columns if column.is_plain],
        columns,
    ):
        if len(choice) == 1:
            return choice[0]
        if choice:
            names = ", ".join(sorted(".".join(column.place) for column in choice))
            raise SchemaError(f"columns {names} hold bytes; call the one with recordings `{NAME}`.")
    return None


def unread(schema: pa.Schema) -> str:
    """Return the columns of a table that holds no recordings, or nothing if that is no surprise.

    Lists, labels and our own tables have a column `uri` or `utterance_id`, and no others that could be audio.

    Examples
    --------
    >>> unread(pa.schema({"utterance_id": pa.string(), "label": pa.string()}))
    ''
    >>> unread(pa.schema({"audio": pa.list_(pa.int64()), "text": pa.string()}))
    'audio: list<item: int64>, text: string'
    """
    is_known = not {"uri", "utterance_id"}.isdisjoint(schema.names)
    return "" if is_known and not any(map(_might_hold_audio, schema)) else columns_of(schema)


def columns_of(schema: pa.Schema) -> str:
    """Return names and types of the columns of a table, as far as a message has room."""
    shown = [each for each in map(_described, list(schema)[:MAX_SHOWN]) if len(each) <= MAX_SHOWN_LETTERS]
    more = [f"{len(schema) - len(shown)} more"] if len(schema) > len(shown) else []
    return ", ".join(shown + more)


def _described(field: pa.Field) -> str:
    """Name and type of a column: no name in it is cut, for it may be a recording's, and the message is stored."""
    text = f"{field.name}: {field.type}"
    return text if len(text) <= MAX_SHOWN_LETTERS else f"{field.name}: {str(field.type).partition('<')[0]}<…>"


def _columns(schema: pa.Schema) -> Iterator[Column]:
    pending: list[tuple[Place, pa.Field]] = [((), field) for field in schema]
    for outer, field in pending:
        place = (*outer, field.name)
        if holds_bytes(field.type):
            yield Column(place, place, field.type)
        elif pa.types.is_struct(field.type):
            column = _of_struct(place, list(field.type))
            if column is None:
                pending += [(place, each) for each in field.type]
            else:
                yield column
    table = _of_struct((), list(schema))
    if table is not None and table.rate is not None:
        yield table._replace(place=table.content)


def _of_struct(place: Place, fields: list[pa.Field]) -> Column | None:
    kinds = {field.name: field.type for field in fields}
    path = (*place, "path") if _is_text(kinds.get("path", pa.null())) else None
    if holds_bytes(kinds.get("bytes", pa.null())):
        return Column(place, (*place, "bytes"), kinds["bytes"], path)
    rate = kinds.get("sampling_rate", pa.null())
    if _holds_samples(kinds.get("array", pa.null())) and (pa.types.is_integer(rate) or pa.types.is_floating(rate)):
        return Column(place, (*place, "array"), kinds["array"], path, (*place, "sampling_rate"))
    return None


def holds_bytes(kind: pa.DataType) -> bool:
    """Return True if each value of this type may be the bytes of a file."""
    if pa.types.is_dictionary(kind):
        return holds_bytes(kind.value_type)
    if pa.types.is_fixed_size_binary(kind):
        return bool(kind.byte_width > MAX_DIGEST_BYTES)
    if is_list(kind):
        return bool(pa.types.is_uint8(kind.value_type) or pa.types.is_int8(kind.value_type))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Return True for lists of every kind."""
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _holds_samples(kind: pa.DataType) -> bool:
    if not is_list(kind):
        return False
    value = kind.value_type.value_type if is_list(kind.value_type) else kind.value_type
    return bool(pa.types.is_floating(value) or pa.types.is_int16(value))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _might_hold_audio(field: pa.Field) -> bool:
    return field.name not in OURS and (pa.types.is_nested(field.type) or holds_bytes(field.type))
