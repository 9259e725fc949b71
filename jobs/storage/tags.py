"""Tags of local files: what changes with their content, as an ETag does in a store of objects.

```
a file of an output                 18f2c3a1b2c3d4e5                     when its content was modified (mtime)
a source of an archive              18f2c3a1b2c3d4e5+18f2c3a1c0000000    and when the file was changed (ctime)
a source in a plan of before        18f2c3a1b2c3d4e5                     as a file of an output, by an earlier release
the same, as it is compared         18f2c3a1b2c3d4e5@2026-11-30          and the date of the plan
```

Whoever writes a file sets its mtime as they like, and `cp -p`, `rsync -t` and `sftp -p` do. Nobody sets a ctime: the
system gives it whenever content, mode, owner, links or times of a file change. So a source that is replaced by another
one of the same size and mtime has another tag. In an output, which no stranger writes, a ctime would only tell that the
output was copied.

A tag of an earlier release knows no ctime. Such a source is as it was planned while size and mtime are the same, and
its ctime is not later than the date of the plan.
"""

from __future__ import annotations

import datetime
import os
import re
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from jobs.storage.objects import Stored
from jobs.storage.uris import scheme_of

FORMER = re.compile(r"-?[0-9a-f]+")
NANOSECONDS = 1_000_000_000


def tag_of(found: os.stat_result, *, as_source: bool = False) -> str:
    """Return a file's tag: times to the nanosecond."""
    modified = f"{found.st_mtime_ns:x}"
    return f"{modified}+{found.st_ctime_ns:x}" if as_source else modified


class SourceTag(NamedTuple):
    """The tag of a local source: its mtime, its ctime in nanoseconds since 1970, and the date of a plan without it."""

    modified: str
    changed: int | None = None
    date: str = ""

    @property
    def end(self) -> int:
        """When that date ends, in nanoseconds since 1970: a file that is changed then or later is another one."""
        return _end_of(self.date)


def source_tag(stored: Stored) -> SourceTag | None:
    """Return the tag of a local source; None for any other object, and for one that is not there or may not be read.

    Examples
    --------
    >>> source_tag(Stored("/a.wav", 9, "1f+2a")), source_tag(Stored("/a.wav", 9, "1f@2026-11-30"))
    (SourceTag(modified='1f', changed=42, date=''), SourceTag(modified='1f', changed=None, date='2026-11-30'))
    >>> source_tag(Stored("/a.wav", 9, "1f")), source_tag(Stored("s3://bucket/a.wav", 9, "1f+2a"))
    (SourceTag(modified='1f', changed=None, date=''), None)
    """
    if scheme_of(stored.uri) != "file":
        return None
    modified, changed, date = *stored.etag.partition("+")[::2], ""
    if not changed:
        modified, _, date = stored.etag.partition("@")
    if not FORMER.fullmatch(modified):
        return None
    return SourceTag(modified, int(changed, 16) if changed else None, date)


def without_ctime(stored: Stored) -> Stored:
    """Return a local source with the tag that plans of earlier releases have; any other object as it is."""
    tag = source_tag(stored)
    return stored if tag is None or tag.modified == stored.etag else replace(stored, etag=tag.modified)


def dated(stored: Stored, date: str) -> Stored:
    """Return a local source whose tag knows no ctime with the date of its plan; any other object as it is.

    Examples
    --------
    >>> dated(Stored("/a.wav", 9, "1f"), "2026-11-30").etag, dated(Stored("/a.wav", 9, "1f+2a"), "2026-11-30").etag
    ('1f@2026-11-30', '1f+2a')
    """
    tag = source_tag(stored)
    is_former = tag is not None and tag.changed is None and not tag.date
    return replace(stored, etag=f"{stored.etag}@{date}") if is_former else stored


def is_same(planned: Stored, now: Stored) -> bool:
    """Return True if a source is as it was planned.

    Examples
    --------
    >>> before, after = (Stored("/a.wav", 9, f"1f+{hour * 3_600_000_000_000:x}") for hour in (23, 24))  # of a first day
    >>> planned = Stored("/a.wav", 9, "1f@1970-01-01")
    >>> is_same(planned, before), is_same(planned, after), is_same(before, after)
    (True, False, False)
    """
    if planned == now:
        return True
    was, tag = source_tag(planned), source_tag(now)
    if was is None or tag is None or not was.date or without_ctime(planned) != without_ctime(now):
        return False
    return tag.changed is None or tag.changed < was.end


@lru_cache(maxsize=1_000)
def _end_of(date: str) -> int:
    """Return when a day ends, UTC, in nanoseconds since 1970."""
    day = datetime.datetime.fromisoformat(date).replace(tzinfo=datetime.UTC) + datetime.timedelta(days=1)
    return int(day.timestamp()) * NANOSECONDS
