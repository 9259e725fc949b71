"""URIs of objects: their one spelling, their parts, and those that are refused."""

from __future__ import annotations

import ipaddress
import os
import posixpath
import re
import socket

from detector.errors import ConfigError
from jobs.storage.names import path_of, uri_of

SIGNED = re.compile(
    r"[?&](X-Amz-(Signature|Credential|Security-Token)|X-Goog-Signature|Signature|sig|access_token)=", re.I
)


def scheme_of(uri: str) -> str:
    """Return the scheme of a URI, which names its kind of storage.

    Examples
    --------
    >>> scheme_of("s3://bucket/a.tar"), scheme_of("/data/a.tar")
    ('s3', 'file')
    """
    return uri.split("://", 1)[0] if "://" in uri else "file"


def normal(uri: str) -> str:
    """Return the one spelling of a URI that ids and plans are made of; :mod:`jobs.storage.names` says how paths are.

    Examples
    --------
    >>> normal("s3://bucket/a//b.tar")
    's3://bucket/a//b.tar'
    >>> normal("file:///data/../data/a.flac")
    '/data/a.flac'
    """
    scheme, place = scheme_of(uri), uri.partition("://")[2].partition("/")[0]
    if scheme == "file":
        return uri_of(os.path.abspath(path_of(uri.removeprefix("file://"))))
    if "@" in place or not re.fullmatch(r"arn:.*|(\[[^]]*\]|[^:]*)(:\d+)?", place):
        raise ConfigError(f"{scheme}://…: credentials in a URI; give them by environment, profile or role.")
    if SIGNED.search(uri):
        raise ConfigError(
            f"{scheme}://{place}/…: a signed URI; anyone who reads our tables would hold its key. Give access by role."
        )
    if scheme not in ("s3", "s3a"):
        refuse_metadata(place, uri)
    return uri


def real_folder(uri: str) -> str:
    """Return the place of a folder, with a slash at its end: one spelling, and on local disks without links.

    Examples
    --------
    >>> real_folder("s3://bucket/tables"), real_folder("/../etc/")
    ('s3://bucket/tables/', '/etc/')
    """
    uri = normal(uri)
    real = uri_of(os.path.realpath(path_of(uri))) if scheme_of(uri) == "file" else uri
    return f"{real.rstrip('/')}/"


def refuse_metadata(place: str, where: str) -> None:
    """Raise ConfigError if a host is a link-local address: there, a cloud's machines get their own credentials.

    A name that resolves to such an address is not detected.

    Examples
    --------
    >>> refuse_metadata("store.example:8333", "AWS_ENDPOINT_URL")
    """
    host = place.rpartition("@")[2]
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        # inet_aton also reads the spellings that clients accept, such as 0xa9.254.43518
        address = ipaddress.ip_address(host if ":" in host else socket.inet_aton(host))
    except (OSError, ValueError):
        return
    mapped = getattr(address, "ipv4_mapped", None) or address
    if mapped.is_link_local or host.lower().startswith("fd00:ec2:"):
        raise ConfigError(f"{where}: {host} is where a machine asks for its own credentials; nothing is read there.")


def key_of(uri: str) -> str:
    """Return a URI without its scheme and bucket: an `utterance_id` is made of it.

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
    """Return the last part of a URI."""
    return posixpath.basename(uri.rstrip("/"))
