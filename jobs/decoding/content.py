"""The content of an audio file, with its digest: computed by the worker, which need not believe the decoder."""

from __future__ import annotations

import hashlib
import os
from typing import BinaryIO

from jobs.decoding.faults import check
from jobs.decoding.wire import READ_BYTES
from jobs.errors import CorruptError


class HashedContent:
    """A seekable file, hashed while it is read, so that most bytes are read once.

    Parameters
    ----------
    file : binary file
    name : str
        The utterance, for errors.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.file = file
        self.size = file.seek(0, os.SEEK_END)
        self._name = name
        self._digest = hashlib.sha256()
        self._n_hashed = 0

    def sha256(self) -> str:
        """Return the digest of the whole file; read what has not been read yet."""
        while self._n_hashed < self.size:
            self.read(self._n_hashed, min(READ_BYTES, self.size - self._n_hashed))
        return self._digest.hexdigest()

    def read(self, offset: int, n_bytes: int) -> bytes:
        """Read bytes that the decoder asks for; those that continue the hashed part of the file are hashed.

        Raises
        ------
        DecoderError
            If the decoder asks for bytes outside the file.
        CorruptError
            If the file has fewer bytes there than its size says: a decoder would take that for the recording's end.
        """
        check(n_bytes <= READ_BYTES and offset + n_bytes <= self.size, f"a read of {n_bytes:,} B at {offset:,}")
        self.file.seek(offset)
        data = self.file.read(n_bytes)
        if len(data) != n_bytes:
            raise CorruptError(f"{self._name}: {len(data):,} B came from byte {offset:,} on, expected {n_bytes:,} B")
        if offset <= self._n_hashed < offset + n_bytes:
            self._digest.update(memoryview(data)[self._n_hashed - offset :])
            self._n_hashed = offset + n_bytes
        return data
