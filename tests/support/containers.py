"""The same recordings packed in every kind of container, and what reading them yields."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs import storage
from jobs.inputs.containers import container_kind
from jobs.inputs.containers.decompressed import zstd
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import Portion, Shard
from tests.support.audio import encoded, tone

SEGMENT_SECONDS = 30.0


FLAC, OTHER = encoded(tone(1.0)), encoded(tone(1.5, seed=1))


MEMBERS = {"a.flac": FLAC, "notes.txt": b"hi", "b.flac": OTHER}


Members = dict[str, bytes]


Outcome = dict[str, Any]


def tarred(members: Members) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as packed:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zipped(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file.getvalue()


def in_parquet(members: Members, row_group_size: int = 2, **options: Any) -> bytes:
    """As `datasets` writes it; only what is audio, since there every row is."""
    rows = [{"bytes": content, "path": name} for name, content in members.items() if name.endswith((".flac", ".wav"))]
    file = io.BytesIO()
    table = pa.table({"audio": rows, "text": ["words"] * len(rows)})
    pq.write_table(table, file, row_group_size=row_group_size, **options)
    return file.getvalue()


def in_lists(members: Members) -> bytes:
    """As other tools write it: byte by byte, in a struct in a struct."""
    names = [name for name in members if name.endswith((".flac", ".wav"))]
    offsets = np.cumsum([0, *(len(members[name]) for name in names)], dtype=np.int32)
    numbers = np.frombuffer(b"".join(members[name] for name in names), np.uint8)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(numbers))
    audio = pa.StructArray.from_arrays([pa.array(names), lists], ["path", "bytes"])
    file = io.BytesIO()
    pq.write_table(pa.table({"sample": pa.StructArray.from_arrays([audio], ["audio"])}), file, row_group_size=2)
    return file.getvalue()


PACKED: dict[str, Callable[[Members], bytes]] = {
    "0.tar": tarred,
    "0.tar.gz": lambda members: gzip.compress(tarred(members)),
    "0.tgz": lambda members: b"".join(gzip.compress(part) for part in (tarred(members)[:700], tarred(members)[700:])),
    "0.tar.zst": lambda members: zstd.compress(tarred(members)),
    "0.tzst": lambda members: b"".join(zstd.compress(part) for part in (tarred(members)[:700], tarred(members)[700:])),
    "0.zip": zipped,
    "0.ZIP": lambda members: zipped(members, zipfile.ZIP_STORED),
    "0.parquet": in_parquet,
    "0.PARQUET": in_lists,
}


def shard_of(path: Path, names: tuple[tuple[str, str], ...] | None = None) -> Shard:
    stored, kind = storage.stat(str(path)), container_kind(str(path))
    assert stored is not None
    assert kind is not None
    return Shard(kind, (stored,), names)


def read(shard: Shard) -> tuple[list[Outcome], dict[int, bytes]]:
    rows = list(read_shard(Portion(shard), SEGMENT_SECONDS))
    outcomes = [row["outcome"] for row in rows if "outcome" in row]
    assert (rows[-1]["shard_id"], rows[-1]["n_utterances"]) == (shard.shard_id, len(outcomes))
    samples: dict[int, bytes] = {}
    for row in rows:
        if "samples" in row:
            samples[row["ordinal"]] = samples.get(row["ordinal"], b"") + row["samples"]
    return outcomes, samples


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def errors(path: Path) -> list[tuple[str | None, str | None]]:
    return [(each["member"], each.get("error")) for each in read(shard_of(path))[0]]
