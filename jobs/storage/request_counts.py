"""Request counts: how many requests this process has sent to S3, by what a store charges for."""

from __future__ import annotations

import threading
from collections import Counter

PUT, GET, LIST = KINDS = ("put", "get", "list")
"""Kinds of requests: writes, reads (HEAD, too) and listings. Deletions are free, and not counted."""

_KIND_OF = {"head_object": GET, "list_objects_v2": LIST, "list_multipart_uploads": LIST}
_counts: Counter[str] = Counter()
_lock = threading.Lock()


def count_request(kind: str) -> None:
    """Count a request that is being sent; each attempt counts, as each is charged for."""
    with _lock:
        _counts[kind] += 1


def kind_of(operation: str) -> str | None:
    """Return the kind of an operation by its name in botocore; None if it is free.

    Examples
    --------
    >>> kind_of("list_objects_v2"), kind_of("delete_object")
    ('list', None)
    """
    return _KIND_OF.get(operation)


def request_counts() -> dict[str, int]:
    """Return the number of requests of each kind so far; local disks and stores of other kinds are not counted."""
    with _lock:
        return {kind: _counts[kind] for kind in KINDS}
