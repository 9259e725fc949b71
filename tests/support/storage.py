"""The product's storage clients, as tests need to reset them, and an object removed."""

from __future__ import annotations

import fsspec
import s3fs

from jobs import storage


def forget_clients() -> None:
    """Let the next request to S3 read the environment anew."""
    storage._store.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()


def remove(uri: str) -> None:
    """Delete one object."""
    fs, path = fsspec.url_to_fs(uri)
    fs.rm(path)
