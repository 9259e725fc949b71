"""Permissions: who may read what this process writes on local disks. Embeddings are personal data: its user alone.

It is done by the umask, so it holds for whatever is written: folders, tables, drafts of both, logs of Ray.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from stat import S_IMODE

from jobs.storage.names import path_of
from jobs.storage.uris import normal, scheme_of

OTHERS = 0o077  # what group and others may do
OUTPUTS = (
    "_plans",
    "_commits",
    "embeddings",
    "scores",
    "segments",
    "failures",
    "runs",
    "_compacted",
    "report.html",
    "head.json",
)
"""Entries by which a folder is known as an output, or as a copy of one."""

_is_private = False


def is_private() -> bool:
    """Return True if this process writes for its user alone; its workers on other machines are told so."""
    return _is_private


def set_private() -> None:
    """Write for this process's user alone from now on: folders with mode 0700, files with 0600."""
    global _is_private
    _is_private = True
    os.umask(OTHERS)


@contextlib.contextmanager
def private_unless(place: str | None, *, shared: bool) -> Iterator[None]:
    """Write for this process's user alone within the block, unless others are meant to read.

    Parameters
    ----------
    place : str or None
        URI of what is written. An output that others may read already stays so: what is added to it gets the modes
        that the umask gives, as its other files have.
    shared : bool
        True if the user says that others may read.
    """
    global _is_private
    if shared or (place is not None and _is_open_output(place)):
        yield
        return
    before = os.umask(OTHERS), _is_private
    _is_private = True
    try:
        yield
    finally:
        os.umask(before[0])
        _is_private = before[1]


def _is_open_output(place: str) -> bool:
    """Return True for an output on a local disk that is there, and that others than its owner may use as a whole.

    The folder alone does not say so: one that was made before the first run has what the umask gave.
    """
    if scheme_of(place) != "file":
        return False
    path = path_of(normal(place))
    try:
        entries = set(OUTPUTS).intersection(os.listdir(path) if os.path.isdir(path) else ())
        return bool(entries) and all(map(_is_open, (path, *(os.path.join(path, name) for name in entries))))
    except OSError:
        return False


def _is_open(path: str) -> bool:
    """Return True for what others than its owner may use."""
    return bool(S_IMODE(os.stat(path).st_mode) & OTHERS)
