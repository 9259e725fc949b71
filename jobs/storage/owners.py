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
    give(path, os.stat(above))


def give(path: str, like: os.stat_result) -> None:
    """Give what root has made the owner and the group of something else; done by others, it stays theirs."""
    if os.geteuid() == ROOT:
        with contextlib.suppress(PermissionError):  # on a file system of a network, root may be nobody
            os.chown(path, like.st_uid, like.st_gid, follow_symlinks=False)
