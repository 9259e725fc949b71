"""Helpers for the product's storage: reset its clients, remove an object."""

from __future__ import annotations

import fsspec
import s3fs

from jobs import storage


def forget_clients() -> None:
    """Drop cached clients, so that the next request to S3 reads the environment again."""
    storage._store.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()


def remove(uri: str) -> None:
    """Delete one object."""
    fs, path = fsspec.url_to_fs(uri)
    fs.rm(path)
