"""Owners: what root writes into somebody's folder belongs to that user, who has to go on with it.

Outputs are private to their user (:mod:`jobs.storage.permissions`). If an administrator ran `erase` as root, and its
plans and markers were root's, every later night of that user would be refused.
"""

from __future__ import annotations

import contextlib
import os
import posixpath

ROOT = 0


def make_folders(path: str) -> None:
    """Make a folder, and those above it that are missing.

    Raises
    ------
    OSError
    """
    if os.path.isdir(path):
        return
    above = posixpath.dirname(path) or "."
    make_folders(above)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return  # another process was faster
    with contextlib.suppress(OSError):  # it was replaced meanwhile, by who owns the folder above
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            give(held, os.stat(above))
        finally:
            os.close(held)


def give(held: int, like: os.stat_result) -> None:
    """Give what root has made, and holds open, the owner and group of something else; what others made stays theirs."""
    if os.geteuid() == ROOT:
        with contextlib.suppress(PermissionError):  # on a file system of a network, root may be nobody
            os.fchown(held, like.st_uid, like.st_gid)
