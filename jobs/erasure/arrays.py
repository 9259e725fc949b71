"""Arrays of Arrow: the texts and bytes in them, however nested, and what their buffers hold that no row shows.

What was cut off, masked or set to null leaves its bytes behind: in a dictionary, before the first and behind the last
value, in the slot of a null, below a null of a struct.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

VIEW_BYTES = 16
INLINE_BYTES = 12  # of a text in its view; a longer one is in a buffer of texts


def holds_text(kind: pa.DataType) -> bool:
    """Return True for a type of texts or bytes, or of which a part is one."""
    if pa.types.is_dictionary(kind):
        return holds_text(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return holds_text(kind.storage_type)
    if _is_list_of_bytes(kind):
        return True
    if kind.num_fields:
        return any(holds_text(kind.field(number).type) for number in range(kind.num_fields))
    return _is_text(kind)


def is_string(kind: pa.DataType) -> bool:
    """Return True for a type of texts, also if they stand in a dictionary."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return _is(kind, "string", "large_string", "string_view")


def leaves(column: pa.Array) -> Iterator[pa.Array]:
    """Yield the arrays of text or bytes that are nested in an array, with all of their slots.

    Examples
    --------
    >>> masked = pa.StructArray.from_arrays([pa.array(["a.wav"])], ["id"], mask=pa.array([True]))
    >>> masked.to_pylist(), [leaf.to_pylist() for leaf in leaves(masked)]
    ([None], [['a.wav']])
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        yield from leaves(column.dictionary)
    elif isinstance(kind, pa.BaseExtensionType):
        yield from leaves(column.storage)
    elif _is_list_of_bytes(kind) or _is_text(kind):
        yield column
    elif pa.types.is_map(kind):
        yield from (*leaves(column.keys), *leaves(column.items))
    elif _is(kind, "struct", "union"):
        yield from (leaf for number in range(kind.num_fields) for leaf in leaves(column.field(number)))
    elif kind.num_fields:  # a list, or runs
        yield from leaves(column.values)


def values(leaf: pa.Array) -> list[str] | list[bytes]:
    """Return the values of an array from :func:`leaves`, each once."""
    if _is_list_of_bytes(leaf.type):
        return [bytes(each & 0xFF for each in value if each is not None) for value in leaf.drop_null().to_pylist()]
    if _is_view(leaf.type):  # of which Arrow drops no nulls
        leaf = leaf.cast(pa.large_string() if is_string(leaf.type) else pa.large_binary())
    return pc.unique(leaf.drop_null()).to_pylist()  # type: ignore[no-any-return]


def remains(leaf: pa.Array) -> Iterator[bytes]:
    """Yield what the buffers of an array from :func:`leaves` hold beside its values.

    Examples
    --------
    >>> texts = pa.array(["a.wav", "b.wav", "c.wav"])
    >>> nulls = pa.Array.from_buffers(texts.type, 3, [pa.py_buffer(bytes([0b110])), *texts.buffers()[1:]])
    >>> list(remains(texts[1:2])), list(remains(nulls))
    ([b'a.wav', b'c.wav'], [b'a.wav'])
    """
    if _is_list_of_bytes(leaf.type):
        found = _beside_lists(leaf)
    elif _is_view(leaf.type):
        found = _beside_views(leaf)
    else:
        found = _beside_texts(leaf)
    return (each for each in map(bytes, found) if each.strip(b"\0"))


def _beside_lists(leaf: pa.Array) -> Iterator[pa.Buffer]:
    n_shown = (pc.sum(pc.list_value_length(leaf)).as_py() or 0) - leaf.values.null_count
    if n_shown < len(leaf.values):
        yield leaf.values.buffers()[1]


def _beside_views(leaf: pa.Array) -> Iterator[pa.Buffer | memoryview]:
    _, views, *texts = leaf.buffers()
    if views is not None:
        slots = np.frombuffer(views, np.uint8).reshape(-1, VIEW_BYTES)[leaf.offset : leaf.offset + len(leaf)]
        yield slots[leaf.is_null().to_numpy(zero_copy_only=False)].ravel().data
    n_bytes = sum(len(each) for each in values(leaf.cast(pa.large_binary())) if len(each) > INLINE_BYTES)
    if n_bytes < sum(map(len, texts)):
        yield from texts


def _beside_texts(leaf: pa.Array) -> Iterator[memoryview]:
    _, *buffers = leaf.buffers()
    if buffers[-1] is None:
        return
    held, first, last = memoryview(buffers[-1]), leaf.offset, leaf.offset + len(leaf)
    if _is(leaf.type, "fixed_size_binary"):
        places = np.arange(last + 1) * leaf.type.byte_width
    else:
        width = np.int64 if _is(leaf.type, "large_string", "large_binary") else np.int32
        places = np.frombuffer(buffers[0] or b"", width) if len(leaf) else np.zeros(last + 1, width)
    yield from (held[: places[first]], held[places[last] :])
    is_null = leaf.is_null().to_numpy(zero_copy_only=False)
    for slot in first + np.flatnonzero(is_null & (np.diff(places[first : last + 1]) > 0)):
        yield held[places[slot] : places[slot + 1]]


def _is(kind: pa.DataType, *names: str) -> bool:
    return any(getattr(pa.types, f"is_{name}")(kind) for name in names)


def _is_view(kind: pa.DataType) -> bool:
    return _is(kind, "string_view", "binary_view")


def _is_list_of_bytes(kind: pa.DataType) -> bool:
    names = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")
    return _is(kind, *names) and kind.value_type in (pa.int8(), pa.uint8())


def _is_text(kind: pa.DataType) -> bool:
    names = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "fixed_size_binary")
    return _is(kind, *names)
