"""Containers: stored objects that hold many recordings. Each kind has a walker, which gives its members one by one.

```
CONTAINERS["tar"]      ─► walk(file, stored) ─► Member("a.flac", <its bytes, as a file>, 48_120)
CONTAINERS["zip"]                               Member("b.wav", UtteranceError("encrypted", …), 12_004)
CONTAINERS["parquet"]                           …
```

Nothing is ever unpacked onto a disk, and no walker holds more than a member or a page at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jobs.inputs.containers import parquet, tar, zipped
from jobs.inputs.containers.member import Member, name_fault, short
from jobs.storage import Stored, StoredFile

__all__ = ["CONTAINERS", "Container", "Member", "kind_of", "name_fault", "short"]


@dataclass(frozen=True)
class Container:
    """A kind of container.

    Parameters
    ----------
    suffixes : tuple of str
        Of names, in small letters.
    walk : callable
        Gives the members of a file that was opened for a stored object; raises
        :class:`~detector.errors.ShardError` where it is no such container, or stops being one.
    in_order : bool
        Whether it is read from front to back, so that the bytes can be held against the store's digest as they go by.
    all_audio : bool
        Whether every member is a recording, whatever its name.
    """

    suffixes: tuple[str, ...]
    walk: Callable[[StoredFile, Stored], Iterator[Member]]
    in_order: bool = True
    all_audio: bool = False


CONTAINERS = {
    "tar": Container((".tar",), tar.walk),
    "tar.gz": Container((".tar.gz", ".tgz"), tar.walk_gzip),
    "tar.zst": Container((".tar.zst", ".tzst"), tar.walk_zstd),
    "zip": Container((".zip",), zipped.walk, in_order=False),
    "parquet": Container((".parquet",), parquet.walk, all_audio=True),
}


def kind_of(uri: str) -> str | None:
    """The kind of container that a name is of; None where it is of none.

    Examples
    --------
    >>> kind_of("s3://archive/2026/0001.TAR.GZ"), kind_of("s3://archive/2026/call.flac")
    ('tar.gz', None)
    """
    name = uri.lower()
    return next((kind for kind, each in CONTAINERS.items() if name.endswith(each.suffixes)), None)
