"""Outputs with a few nights, their compacted copies, and the rows that both hold."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from detector.config import EmbedConfig, Recipe
from jobs import storage
from tests.support.nightly_runs import drawn, head, night, recordings
from tests.support.tables import commit, plan, table

Run = Callable[..., tuple[int, str, str]]


TABLES = ("embeddings", "scores", "failures")


LAYERS = tuple(Recipe(EmbedConfig(backbone="huggingface", layer=layer), "drawn", "00") for layer in (3, 6, 9))


TINY = 0.001  # MiB: an object for each shard


in_a_folder = pytest.mark.parametrize("root", ["folder"], indirect=True)
in_a_bucket_if_long = pytest.mark.parametrize(
    "root", ["folder", pytest.param("s3", marks=pytest.mark.long)], indirect=True
)


def tars(*numbers: int, rows: int = 12) -> dict[str, Any]:
    uris = [f"s3://archive/2026/{number:02d}.tar" for number in numbers]
    return {uri: recordings(drawn(rows, seed=number)[0], uri) for number, uri in zip(numbers, uris, strict=True)}


def nights(output: str, *dates: str) -> None:
    """On each date four new shards of twelve recordings, one of which could not be read."""
    uri = f"{output}.head.json"
    storage.write_bytes(uri, head().to_json().encode())
    for number, date in enumerate(dates):
        shards = tars(*range(4 * number, 4 * number + 4))
        night(output, shards, {f"broken{number}.flac": "truncated"}, date=date, head_uri=uri, pages=False)


def held(output: str) -> dict[str, pa.Table]:
    """All rows of each table, in the order of their objects."""
    found = {}
    for name in TABLES:
        objects = [stored.uri for stored in storage.listing(f"{output}/{name}") or []]
        parts = [pq.read_table(io.BytesIO(storage.read_bytes(uri)), partitioning=None) for uri in objects]
        whole = pa.concat_tables(part.replace_schema_metadata() for part in parts) if parts else None
        if whole:
            found[name] = whole
    return found


def assert_same(output: str, copy: str) -> None:
    """Check with another engine that an output and its copy hold the same rows."""
    ours, theirs = held(output), held(copy)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].schema == theirs[name].schema
        with duckdb.connect() as connection:
            connection.register("ours", ours[name])
            connection.register("theirs", theirs[name])
            for more in ("FROM ours EXCEPT ALL FROM theirs", "FROM theirs EXCEPT ALL FROM ours"):
                assert connection.sql(more).fetchall() == [], name


def etags(folder: str) -> dict[str, str]:
    return {stored.uri: stored.etag for stored in storage.listing(folder) or []}


def objects(copy: str) -> dict[str, str]:
    return {uri: etag for uri, etag in etags(copy).items() if uri.endswith(".parquet")}


def shards(output: str, n_failures: int = 1, **states: str) -> None:
    """Plan shards, and commit those that are not."""
    done = table(output).done()
    for each in plan(output, **states).current.values():
        if each.name not in done:
            commit(output, each, 3, n_failures)


def each_once(rows: pa.Table) -> bool:
    return len(rows["utterance_id"].unique()) == len(rows)


def catalog_at(uri: str) -> SqlCatalog:
    """The Iceberg catalog in a database; it finds objects where this process does."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    return SqlCatalog("bonafide", uri=uri, **({"s3.endpoint": endpoint} if endpoint else {}))
