"""Outputs to erase from: reading and damaging their objects."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.dataset

from jobs import storage
from jobs.tables.parquet import parquet_bytes
from tests.support.tables import KEY

TAR = "s3://archive/2026/radio/0001.tar"
TAR_KEY = "2026/radio/0001.tar"
VICTIM = "2026/radio/0001.tar#0003.flac"


def everything(output: str) -> dict[str, bytes]:
    """All objects of an output by URI."""
    return {stored.uri: storage.read_bytes(stored.uri) for stored in storage.listing(output) or []}


def rows(output: str, name: str) -> dict[str, dict[str, Any]]:
    """Rows of a table by utterance id."""
    uris = [each for each in everything(output) if f"/{name}/" in each and each.endswith(".parquet")]
    found = pa.concat_tables([pa.parquet.read_table(pa.BufferReader(storage.read_bytes(uri))) for uri in uris])
    return {row["utterance_id"]: row for row in found.to_pylist()}


def row(name: str) -> dict[str, Any]:
    """A row of `embeddings`."""
    same = {"uri": "u", "audio_sha256": "ab", "seconds": 1.0, "native_rate": 8_000, "channels": 1, "codec": "c"}
    same |= {"decoder": "d", "rms_dbfs": -20.0, "layer": 1, "fingerprint": KEY, "run_id": "run", "embedding": [0.5]}
    return same | {"utterance_id": name}


def write_damaged(uri: str, **columns: Any) -> None:
    """Change the first row of a table, and keep its footer."""
    rows = pa.parquet.read_table(pa.BufferReader(storage.read_bytes(uri)))
    about = rows.schema.metadata
    for name, value in columns.items():
        values = [value, *rows[name].to_pylist()[1:]]
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), [values])
    storage.write_bytes(uri, parquet_bytes(rows, about))


def first_object(output: str, name: str) -> str:
    """The URI of one object of a table."""
    return next(uri for uri in everything(output) if f"/{name}/" in uri and uri.endswith(".parquet"))
