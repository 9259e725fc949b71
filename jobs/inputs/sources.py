"""Sources: the part of an archive that a recording comes from, by its place."""

from __future__ import annotations

from collections.abc import Iterable

from jobs import storage


def archive_roots(inputs: Iterable[str]) -> tuple[str, ...]:
    """Return the folders that inputs name, each with a trailing slash, the longest first.

    Examples
    --------
    >>> archive_roots(["s3://archive/2026/", "s3://archive/*/calls/*.flac"])
    ('s3://archive/2026/', 's3://archive/')
    """
    roots = set()
    for each in inputs:
        uri = storage.normal(each)
        prefix = uri[: min((uri.find(sign) for sign in "*?[" if sign in uri), default=len(uri))]
        roots.add(f"{uri.rstrip('/')}/" if prefix == uri else prefix[: prefix.rfind("/") + 1])
    return tuple(sorted(roots, key=len, reverse=True))


def folder_of(uri: str) -> str:
    """Return the folder of an object, with a slash at its end.

    Examples
    --------
    >>> folder_of("s3://archive/2026/a.flac")
    's3://archive/2026/'
    """
    return uri[: uri.rfind("/") + 1]


def source_of(uri: str, member: str | None, roots: tuple[str, ...]) -> str:
    """Return the source of a recording, which is compared with the labels' column `source`.

    It is the first folder below the archive's root; if there is none, the first folder inside the container; if there
    is none either, the folder that holds the object.

    Examples
    --------
    >>> roots = ("s3://archive/2026/",)
    >>> source_of("s3://archive/2026/radio/0001.tar", "x/a.flac", roots)
    'radio'
    >>> source_of("s3://archive/2026/0001.tar", "calls/a.flac", roots)
    'calls'
    >>> source_of("s3://archive/2026/a.flac", None, roots)
    '2026'
    """
    root = next((root for root in roots if uri.startswith(root)), None)
    folders = [] if root is None else [name for name in uri[len(root) :].split("/")[:-1] if name]
    inside = [name for name in (member or "").split("/")[:-1] if name not in ("", ".", "..")]
    return (folders or inside or [storage.name_of(uri.rpartition("/")[0]) or "/"])[0]
