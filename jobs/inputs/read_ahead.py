"""Read-ahead: small files of a shard come from their store while those before them are decoded.

A request takes a store 30 to 80 ms, and a decoder has a file of 200 kB after 10 ms: one by one, it would wait.
"""

from __future__ import annotations

import contextlib
import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from jobs import storage
from jobs.storage import Stored, StoredFile

FILES_AHEAD = 16
BYTES_AHEAD = 16 << 20  # of all files that are ahead


class ReadAhead:
    """Opens files in their order; inside the block, as many as fit are read ahead.

    Files on local disks, and files that alone are too large, are opened when it is their turn.

    Parameters
    ----------
    sources : iterable of Stored
    """

    def __init__(self, sources: Iterable[Stored]) -> None:
        self._waiting = deque(each for each in sources if _is_ahead(each))
        self._reading: dict[str, Future[bytes]] = {}
        self._n_bytes = 0

    def __enter__(self) -> ReadAhead:
        self._threads = ThreadPoolExecutor(FILES_AHEAD, "read ahead")  # which begins a thread when there is work
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    @contextlib.contextmanager
    def opened(self, source: Stored) -> Iterator[StoredFile]:
        """Open a file whose every byte is read and verified; raise as :func:`jobs.storage.opened` and its file do."""
        self._begin()
        reading = self._reading.pop(source.uri, None)
        if reading is None:
            with storage.opened(source, whole=True) as file:
                yield file
            return
        try:
            content = reading.result()
        finally:
            self._n_bytes -= source.size
            self._begin()
        yield StoredFile(io.BytesIO(content), source.uri)

    def _begin(self) -> None:
        """Begin to read as many files as fit."""
        while self._waiting and len(self._reading) < FILES_AHEAD:
            if self._n_bytes + self._waiting[0].size > BYTES_AHEAD:
                return
            source = self._waiting.popleft()
            self._n_bytes += source.size
            self._reading[source.uri] = self._threads.submit(_content, source)


def _is_ahead(source: Stored) -> bool:
    return not source.is_absent and source.size <= BYTES_AHEAD and storage.scheme_of(source.uri) != "file"


def _content(source: Stored) -> bytes:
    with storage.opened(source, whole=True) as file:
        content = file.read()
        file.verify()
    return content
