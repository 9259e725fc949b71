"""Utterance ids: the rule that makes them from a recording's location, and the checks that they are unique."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from detector.audio import WHOLE, Excerpt
from detector.errors import ConfigError, SchemaError
from jobs import storage
from jobs.inputs.containers import shortened


def utterance_id(uri: str, member: str | None, excerpt: Excerpt = WHOLE) -> str:
    """Return the id that the contract's rule gives to a recording, or to an excerpt of it.

    Examples
    --------
    >>> utterance_id("s3://archive/2026/0001.tar", "call/a.flac")
    '2026/0001.tar#call/a.flac'
    >>> utterance_id("s3://archive/2026/call.flac", None, Excerpt(12.5, 20.0, 1))
    '2026/call.flac@12.5-20/ch1'
    """
    return storage.key_of(uri) + ("" if member is None else f"#{shortened(member)}") + str(excerpt)


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

    Ids leave out the bucket, so objects with the same key in two buckets cannot share a table.
    """
    owners: dict[str, str] = {}
    for uri, name in ids:
        if name in owners:
            raise ConfigError(
                f"{owners[name]} and {uri} share the utterance id {name!r}; score them in separate outputs."
            )
        owners[name] = uri
