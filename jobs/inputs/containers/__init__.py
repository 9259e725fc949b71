"""Containers: stored objects that hold many recordings. A reader for each kind yields the members one by one.

```
CONTAINERS["tar"]      ─► members(file, stored) ─► Member("a.flac", <its bytes, as a file>, 48_120)
CONTAINERS["zip"]                                  Member("b.wav", UtteranceError("encrypted", …), 12_004)
CONTAINERS["parquet"]                              …
```

Nothing is ever unpacked to disk, and a reader holds at most one member or page in memory.

To add a container: a module with a `members` function, a line in :data:`CONTAINERS`, and a case in `PACKED` of
tests/support/containers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from detector.errors import UtteranceError
from detector.magic import HEAD_BYTES, is_audio_content
from jobs.inputs.containers import parquet, tar, zipped
from jobs.inputs.containers.member import Member
from jobs.inputs.containers.names import shortened
from jobs.inputs.containers.window import Peeked
from jobs.inputs.suffixes import kind_of_name
from jobs.storage import Stored, StoredFile

__all__ = ["CONTAINERS", "Container", "Member", "container_kind", "shortened"]


@dataclass(frozen=True)
class Container:
    """A kind of container.

    Parameters
    ----------
    suffixes : tuple of str
        Endings of object names, in lower case.
    members : callable
        Yields the members of an opened object; raises :class:`~detector.errors.ShardError` if the object is not such a
        container, or is broken from some byte on.
    in_order : bool
        True if the object is read from front to back, so that its bytes can be checked against the store's digest
        while they are read.
    all_audio : bool
        True if every member is a recording, whatever its name.
    """

    suffixes: tuple[str, ...]
    members: Callable[[StoredFile, Stored], Iterator[Member]]
    in_order: bool = True
    all_audio: bool = False

    def recording(self, member: Member) -> Member | None:
        """Return a member as a recording to read, or None if it is passed over, when no list names the members.

        The first bytes of a member whose name does not decide are read here, and not again from the container.
        """
        kind = "audio" if self.all_audio else kind_of_name(member.name)
        if kind != "unknown":
            return member if kind == "audio" else None
        if isinstance(member.content, UtteranceError):
            return None
        try:
            content = Peeked(member.content, HEAD_BYTES)
        except UtteranceError:
            return member  # it is broken, and might be a recording
        return member._replace(content=cast(BinaryIO, content)) if is_audio_content(content.head) else None


CONTAINERS = {
    "tar": Container((".tar",), tar.members),
    "tar.gz": Container((".tar.gz", ".tgz"), tar.gzip_members),
    "tar.zst": Container((".tar.zst", ".tzst"), tar.zstd_members),
    "zip": Container((".zip",), zipped.members, in_order=False),
    "parquet": Container((".parquet",), parquet.members, all_audio=True),
}


def container_kind(uri: str) -> str | None:
    """Return the kind of container that a name's suffix stands for, or None if it is not a container's.

    Examples
    --------
    >>> container_kind("s3://archive/2026/0001.TAR.GZ"), container_kind("s3://archive/2026/call.flac")
    ('tar.gz', None)
    """
    name = uri.lower()
    return next((kind for kind, each in CONTAINERS.items() if name.endswith(each.suffixes)), None)
