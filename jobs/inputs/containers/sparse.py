"""Sparse files of tars: stored without their holes, and read with zeros in place of them.

```
map       (4, 2) (9, 3)                 offset and size of each extent of data
stored    AABBB                         one extent behind another
content   ····AA···BBB···               of the real size that the header gives
```
"""

from __future__ import annotations

import itertools
from bisect import bisect_right

from jobs.inputs.containers.window import Readable
from jobs.storage import ReadOnlyFile

Extents = list[tuple[int, int]]


class SparseFile(ReadOnlyFile):
    """The content of a sparse file; a hole takes no more memory than the read that asks for it.

    Parameters
    ----------
    stored : file
        The extents' data.
    extents : list of (int, int)
        Offset and size of each, without a :func:`map_fault`.
    size : int
        Bytes of the content, holes included.

    Examples
    --------
    >>> import io
    >>> file = SparseFile(io.BytesIO(b"AABBB"), [(4, 2), (9, 3)], 15)
    >>> file.read().replace(b"\\0", b".").decode(), file.seek(5), file.read(5)
    ('....AA...BBB...', 5, b'A\\x00\\x00\\x00B')
    """

    def __init__(self, stored: Readable, extents: Extents, size: int) -> None:
        super().__init__()
        self._stored = stored
        self._n_bytes = size
        # an extent without data at the front, so that there is one before every offset, and one at the end
        self._extents = [(0, 0), *extents, (size, 0)]
        self._starts = [start for start, _ in self._extents]
        self._stored_starts = [0, *itertools.accumulate(size for _, size in self._extents)]

    def _read_at(self, offset: int, size: int) -> bytes:
        parts = []
        stop = self._n_bytes if size < 0 else min(offset + size, self._n_bytes)
        while offset < stop:
            index = bisect_right(self._starts, offset) - 1
            start, n_data = self._extents[index]
            if offset < start + n_data:
                self._stored.seek(self._stored_starts[index] + offset - start)
                parts.append(self._stored.read(min(start + n_data, stop) - offset))
            else:
                parts.append(bytes(min(self._starts[index + 1], stop) - offset))
            offset += len(parts[-1])
        return b"".join(parts)

    def _size(self) -> int:
        return self._n_bytes


def map_fault(extents: Extents, size: int) -> str | None:
    """Return why a map cannot be that of a file of ``size`` bytes, or None if it can.

    Examples
    --------
    >>> map_fault([(0, 4), (2, 4)], 10)
    'an extent at 2, before the end of the one before it, 4'
    >>> map_fault([(0, 4), (8, 2)], 10) is None
    True
    """
    end = 0
    for offset, n_data in extents:
        if n_data < 0 or offset < 0:
            return f"an extent of {n_data:,} bytes at {offset:,}"
        if offset < end:
            return f"an extent at {offset:,}, before the end of the one before it, {end:,}"
        end = offset + n_data
    return f"an extent that ends at {end:,} of {size:,} bytes" if end > size else None
