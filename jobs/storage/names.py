"""What storage speaks of: URIs, what stands at them, and what may be found instead."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import posixpath
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from detector.errors import ConfigError
from jobs.errors import SourceChangedError, StorageError

ABSENT = ""  # an expectation: nothing stands there yet


@dataclass(frozen=True, order=True)
class Stored:
    """One stored object: where, how many bytes, and a tag that changes with its content."""

    uri: str
    size: int
    etag: str


@dataclass(frozen=True)
class Found:
    """What stands at a place instead of what was expected; where content is None, nothing does."""

    content: bytes | None
    etag: str


class NotFoundError(ConfigError):
    """There is no such object, folder or bucket."""


SIGNED = re.compile(
    r"[?&](X-Amz-(Signature|Credential|Security-Token)|X-Goog-Signature|Signature|sig|access_token)=", re.I
)


def scheme_of(uri: str) -> str:
    """What kind of storage a URI is about.

    Examples
    --------
    >>> scheme_of("s3://bucket/a.tar"), scheme_of("/data/a.tar")
    ('s3', 'file')
    """
    return uri.split("://", 1)[0] if "://" in uri else "file"


def normal(uri: str) -> str:
    """The one spelling of a URI that ids and plans are made of.

    Examples
    --------
    >>> normal("s3://bucket/a//b.tar")
    's3://bucket/a//b.tar'
    >>> normal("file:///data/../data/a.flac")
    '/data/a.flac'
    """
    scheme, place = scheme_of(uri), uri.partition("://")[2].partition("/")[0]
    if scheme == "file":
        return os.path.abspath(uri.removeprefix("file://"))
    if "@" in place or not re.fullmatch(r"arn:.*|(\[[^]]*\]|[^:]*)(:\d+)?", place):
        raise ConfigError(f"{scheme}://…: credentials in a URI; give them by environment, profile or role.")
    if SIGNED.search(uri):
        raise ConfigError(
            f"{scheme}://{place}/…: a signed URI; who reads our tables would hold its key. Give access by role."
        )
    if scheme not in ("s3", "s3a"):
        refuse_metadata(place, uri)
    return uri


def refuse_metadata(place: str, where: str) -> None:
    """Raise where a host is a link-local address: that is where a cloud's machines ask who they are.

    A name that only resolves to one is not found out.

    Examples
    --------
    >>> refuse_metadata("store.example:8333", "AWS_ENDPOINT_URL")
    """
    host = place.rpartition("@")[2]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host if ":" in host else socket.inet_aton(host))  # 0xa9.254.43518 is one, too
    except (OSError, ValueError):
        return
    mapped = getattr(address, "ipv4_mapped", None) or address
    if mapped.is_link_local or host.lower().startswith("fd00:ec2:"):
        raise ConfigError(f"{where}: {host} is where a machine asks for its own credentials; nothing is read there.")


def key_of(uri: str) -> str:
    """A URI without its scheme and bucket: what `utterance_id` is made of.

    Examples
    --------
    >>> key_of("s3://bucket/shards/0001.tar"), key_of("/data/a.flac")
    ('shards/0001.tar', '/data/a.flac')
    """
    return uri.partition("://")[2].partition("/")[2] if "://" in uri else uri


def join(folder: str, *names: str) -> str:
    """Join a folder's URI and names below it."""
    return posixpath.join(folder, *names)


def name_of(uri: str) -> str:
    """The last part of a URI."""
    return posixpath.basename(uri.rstrip("/"))


@contextlib.contextmanager
def named(uri: str) -> Iterator[None]:
    """Give the operating system's troubles the class that says what to do, and the URI that they are about."""
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise NotFoundError(f"{uri}: not found ({error}). Check the spelling.") from error
    except PermissionError as error:
        raise StorageError(f"{uri}: permission denied ({error}). Check who may read and write there.") from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "no space left. Make room there" if full else "the store gave up. Check the disk"
        raise StorageError(f"{uri}: {remedy}, then run the same command again ({error}).") from error


def changed(planned: Stored, now: Stored | None) -> SourceChangedError:
    """What to say where ``planned`` is not what stands there ``now``."""
    found = "it is gone" if now is None else f"it has {now.size} bytes and tag {now.etag}"
    return SourceChangedError(
        f"{planned.uri}: changed since the plan was made: {planned.size} bytes and tag {planned.etag} were planned, "
        f"now {found}. Run the same command again to plan anew."
    )
