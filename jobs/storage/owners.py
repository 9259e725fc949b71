"""Owners: what root writes into somebody's folder belongs to that user, who has to go on with it.

Outputs are private to their user (:mod:`jobs.storage.permissions`). If an administrator ran `erase` as root, and its
plans and markers were root's, every later night of that user would be refused. Who owns a folder may also put links in
the place of what is in it, at any moment, so `erase` and `gc` do as root only what that user may do.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import pwd
from collections.abc import Iterator

from detector.errors import ConfigError
from jobs.storage.names import path_of
from jobs.storage.uris import scheme_of

ROOT = 0


@contextlib.contextmanager
def as_owner(uri: str) -> Iterator[None]:
    """Have the rights of the user whose a local folder is, meanwhile, if this is root; else change nothing.

    Load all that is needed before: modules may lie where that user may not read.

    Raises
    ------
    ConfigError
        If a part of its path, with links followed or not, is of another user but root, who could lead root elsewhere;
        or if this root may not give up its rights.
    OSError
        If a part of the path may not be looked at.
    """
    found = _owner_of(path_of(uri)) if os.geteuid() == ROOT and scheme_of(uri) == "file" else None
    if found is None:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    try:
        os.setgroups(_groups_of(found))
        os.setegid(found.st_gid)
        os.seteuid(found.st_uid)
    except PermissionError as error:  # as in a container without the capabilities
        raise ConfigError(
            f"{uri}: is of {_name_of(found)}, whose rights this root may not take. Run the same command as that user."
        ) from error
    try:
        yield
    finally:
        os.seteuid(ROOT)
        os.setegid(group)
        os.setgroups(groups)


def _owner_of(path: str) -> os.stat_result | None:
    """Return the folder's status if it is not root's; raise ConfigError if others own a part of its path."""
    own: os.stat_result | None = None
    users: dict[int, tuple[str, os.stat_result]] = {}
    for whole in (os.path.abspath(path), os.path.realpath(path)):
        parts = whole.split(os.sep)
        for end in range(2, len(parts) + 1):
            with contextlib.suppress(FileNotFoundError):
                part = os.sep.join(parts[:end])
                own = os.lstat(part)
                users.setdefault(own.st_uid, (part, own))
    users.pop(ROOT, None)
    for part, found in users.values():
        if own is not None and found.st_uid != own.st_uid:
            raise ConfigError(_refusal(path, own, part, found))
    return own if users else None


def _refusal(path: str, own: os.stat_result, part: str, found: os.stat_result) -> str:
    whose = _name_of(found)
    is_root_s = own.st_uid == ROOT
    remedy = f"Move it into a folder of root, or give it away: `chown -R {whose} {path}`"
    return (
        f"{path}: is of {_name_of(own)}, and lies in {part}, which is of {whose}, who could put a link in its place, "
        f"so root does nothing there. {remedy if is_root_s else f'Run the same command as {_name_of(own)}'}."
    )


def _name_of(found: os.stat_result) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(found.st_uid).pw_name
    return f"uid {found.st_uid}"


def _groups_of(found: os.stat_result) -> list[int]:
    with contextlib.suppress(KeyError):  # a user without an entry, as in a container
        return os.getgrouplist(pwd.getpwuid(found.st_uid).pw_name, found.st_gid)
    return [found.st_gid]


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
