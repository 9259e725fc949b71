"""Results: files that a command writes where its user says. An older result is replaced, a recording never is."""

from __future__ import annotations

import re

from detector.errors import ConfigError, SchemaError
from detector.magic import HEAD_BYTES, is_audio_content
from jobs import storage
from jobs.inputs.containers import parquet

PACKED = re.compile(rb"PK\x03\x04|\x1f\x8b|BZh|\xfd7zXZ\0|\x28\xb5\x2f\xfd|.{257}ustar|PAR1", re.DOTALL)
"""First bytes of zip, gzip, bzip2, xz, Zstandard, tar and Parquet."""


def write_result(uri: str, content: bytes) -> None:
    """Write a file that the user named.

    Raises
    ------
    ConfigError
        If a recording, or an archive of some, stands there.
    """
    refuse_recordings(uri)
    storage.write_bytes(uri, content)


def refuse_recordings(uri: str) -> None:
    """Refuse to replace recordings, or what may hold some, by a result.

    Raises
    ------
    ConfigError
        If the object that stands there is one.
    """
    stored = storage.stat(uri)
    if stored is None or not stored.size:
        return
    head = storage.first_bytes(stored, HEAD_BYTES)
    is_table = head.startswith(b"PAR1") and not _holds_recordings(stored)
    if is_audio_content(head) or (PACKED.match(head) and not is_table):
        raise ConfigError(f"{uri}: recordings are stored there, and would be replaced. Give the result another name.")


def _holds_recordings(stored: storage.Stored) -> bool:
    try:
        return parquet.content_of(stored).kind == "audio"
    except SchemaError:
        return True
