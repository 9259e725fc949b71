"""Places: why a local path cannot be read or made as a folder, told before hours of work are done for it."""

from __future__ import annotations

import os
import posixpath

from detector.errors import ConfigError


class NotFolderError(ConfigError):
    """A file stands where a path needs a folder, or a folder where it needs a file."""


def check_local_folder(path: str) -> None:
    """Raise :class:`ConfigError` if a folder can be neither found nor made at a path.

    Examples
    --------
    >>> check_local_folder("/etc/passwd/tables")
    Traceback (most recent call last):
    jobs.storage.places.NotFolderError: /etc/passwd/tables: /etc/passwd is a file, not a folder. Name another place.
    """
    standing = _standing(path)
    if os.path.isfile(standing):
        raise not_a_folder(path)
    if standing != path and not os.access(standing, os.W_OK):
        raise ConfigError(
            f"{path}: does not exist and cannot be made, because {standing} may not be written to. Is a disk not "
            f"mounted there? Mount it, or name another place."
        )


def not_a_folder(path: str) -> NotFolderError:
    """Return the error of a path that leads through a file."""
    standing = _standing(path)
    place = "is" if standing == path else f"{standing} is"
    return NotFolderError(f"{path}: {place} a file, not a folder. Name another place.")


def _standing(path: str) -> str:
    """Return the longest beginning of a path that exists."""
    while not os.path.lexists(path) and path != posixpath.dirname(path):
        path = posixpath.dirname(path)
    return path
