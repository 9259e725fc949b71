"""Utterance ids: the rule that makes them from a recording's location, and the checks that they are unique."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from detector.audio import WHOLE, Excerpt
from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.inputs.containers import shortened
from jobs.inputs.id_spelling import container_in_id, name_in_id, spelt_in_id


def utterance_id(uri: str, member: str | None, excerpt: Excerpt = WHOLE, root: str = "") -> str:
    """Return the id that the contract's rule gives to a recording, or to an excerpt of it.

    Parameters
    ----------
    uri : str
    member : str or None
    excerpt : Excerpt
    root : str
        Folder that the id is relative to, with a slash at its end; empty for an absolute id, that is the whole key. An
        object that is not below it has an absolute id.

    Examples
    --------
    >>> utterance_id("s3://archive/2026/0001.tar", "call/a.flac", root="s3://archive/2026/")
    '0001.tar#call/a.flac'
    >>> utterance_id("s3://archive/2026/0001.tar", "call/a.flac")
    '2026/0001.tar#call/a.flac'
    >>> utterance_id("s3://archive/2026/call.flac", None, Excerpt(12.5, 20.0, 1))
    '2026/call.flac@12.5-20/ch1'
    """
    below = uri.removeprefix(root)
    place = below if below and below != uri else storage.key_of(uri)
    if member is None:
        return spelt_in_id(place) + str(excerpt)
    return container_in_id(uri, place) + spelt_in_id(shortened(member)) + str(excerpt)


def root_of(uri: str, name: str) -> str | None:
    """Return the folder that the id of a file is relative to, empty for an absolute id; None if it is another name.

    Examples
    --------
    >>> root_of("s3://archive/2026/a.flac", "a.flac"), root_of("s3://archive/a.flac", "a.flac"), root_of("/a.flac", "x")
    ('s3://archive/2026/', '', None)
    """
    name = name_in_id(name)
    if name == storage.key_of(uri):
        return ""
    return uri.removesuffix(name) if uri.endswith(f"/{name}") else None


def ways_out(uri: str, other: str, name: str) -> str:
    """Return what a user can do where two recordings or containers would have one id, to give the first another one.

    Examples
    --------
    >>> ways_out("s3://archive/b/x.flac", "s3://archive/a/x.flac", "x.flac")
    'Give s3://archive/ as --input, keep whole paths by --ids absolute in a new --output, or use separate outputs.'
    >>> ways_out("s3://archive-b/x.flac", "s3://archive-a/x.flac", "x.flac")
    'Use separate outputs.'
    """
    ways = ["use separate outputs"]
    if storage.key_of(uri) != storage.key_of(other):
        ways.insert(0, "keep whole paths by --ids absolute in a new --output")
    if folder := _folder_of_both(uri, other, name):
        ways.insert(0, f"give {folder} as --input")
    said = f"{', '.join(ways[:-1])}, or {ways[-1]}." if ways[1:] else f"{ways[0]}."
    return said[0].upper() + said[1:]


def _folder_of_both(uri: str, other: str, name: str) -> str:
    """Return a folder that both are in and below which the first is not called like this; empty if there is none."""
    folder = posixpath.commonprefix([uri, other])
    while folder := folder[: folder.rfind("/") + 1]:
        if not storage.key_of(folder).strip("/") and (folder.endswith("://") or "://" not in folder):
            return ""  # all of a disk, or of a store
        if utterance_id(uri, None, root=folder) != name:
            return folder
        folder = folder[:-1]
    return ""


def refuse_repeated(ids: pa.ChunkedArray, where: str) -> None:
    """Raise :class:`SchemaError` if a column of ids holds one more than once."""
    values, counts = pc.value_counts(ids).flatten()
    repeated = values.filter(pc.greater(counts, 1)).to_pylist()
    if repeated:
        raise SchemaError(
            f"{where}: {len(repeated)} utterance id(s) occur more than once, first {repeated[0]!r}. "
            f"Ids are unique: drop or rename the repeats."
        )


def refuse_shared(ids: Iterable[tuple[str, str]]) -> None:
    """Raise :class:`ConfigError` if two objects, each given as (URI, id), have the same id.

    Ids leave out the bucket and, where they are relative, the folder of an `--input`, so objects with the same key in
    two buckets, or the same path in two inputs, cannot share a table.
    """
    owners: dict[str, str] = {}
    for uri, name in ids:
        if name in owners:
            ways = ways_out(uri, owners[name], name)
            raise ConfigError(f"{owners[name]} and {uri} share the utterance id {name!r}. {ways}")
        owners[name] = uri
