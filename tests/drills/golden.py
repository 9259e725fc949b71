"""An archive in the store, and its expected rows, computed by a plain loop."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from detector.backbones import load_backbone
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.embedding import embed_segments, join_segments
from detector.errors import UtteranceError
from detector.head import Head
from detector.recording import Recording
from detector.schema import FAILURES, embeddings_schema
from tests.drills.store import key_of


@dataclass(repr=False)
class Archive:
    """Tars, or loose files, below a prefix of the store, and their expected rows."""

    uri: str
    tars: dict[str, bytes]
    golden: Golden

    @property
    def n_shards(self) -> int:
        return len(self.tars)

    def at(self, name: str) -> str:
        """Return the URI of a tar."""
        return f"{self.uri}{name}"


@dataclass(repr=False)
class Golden:
    """Expected rows without a history, from a plain loop over detector.*: no Ray, no store, no processes."""

    embeddings: pa.Table
    failures: pa.Table

    def scores(self, head: Head) -> pa.Table:
        """Return the expected rows of `scores`."""
        return head.judge(self.embeddings, None, "").drop_columns(["run_id"])


def golden(uri: str, tars: dict[str, bytes], **what: Any) -> Golden:
    """Embed tars one recording after the other; ``what`` are fields of :class:`detector.config.EmbedConfig`."""
    config = EmbedConfig(**{"backbone": "melstats", **what})
    recipe = recipe_of(config, None)
    backbone = load_backbone(config, None, device="cpu")
    embeddings, failures = [], []
    for row, data in _recordings(uri, tars):
        try:
            embeddings.append(row | _embedded(data, backbone, config) | {"fingerprint": recipe.fingerprint})
        except UtteranceError as error:
            stage = "read" if not data else "decode"
            found = {"stage": stage, **vars(error), "bytes": len(data)}
            failures.append(row | found | {"attempts": 1})
    schema = embeddings_schema(backbone.dim)
    return Golden(_table(embeddings, schema), _table(failures, FAILURES))


def _recordings(uri: str, objects: dict[str, bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield every recording of an archive, with the columns that locate it."""
    for name, content in sorted(objects.items()):
        where = f"{uri}{name}"
        if not name.endswith(".tar"):
            yield {"utterance_id": name, "uri": where, "member": None}, content
            continue
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for info in archive:
                row = {"utterance_id": f"{name}#{info.name}", "uri": where, "member": info.name}
                yield row, archive.extractfile(info).read()


def _embedded(data: bytes, backbone: Any, config: EmbedConfig) -> dict[str, Any]:
    recording = Recording(io.BytesIO(data), config.segment_seconds)
    embedding = join_segments(*embed_segments(backbone, list(recording.segments())))
    facts = {name: value for name, value in asdict(recording.facts).items() if name != "n_segments"}
    return facts | {"layer": config.layer, "embedding": embedding}


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema.remove(schema.get_field_index("run_id")))


def with_failure(archive: Archive, shard: int, number: int, n_bytes: int | None = None, **found: Any) -> Archive:
    """Return the archive with one recording as a failure, ``found`` in its row; pass it to ``lab.allow``, too."""
    mine = re.compile(rf"{shard:04d}\.tar#{number:02d}\.")
    right = archive.golden
    (row,) = (row for row in right.embeddings.to_pylist() if mine.match(row["utterance_id"]))
    data = next(data for where, data in _recordings(archive.uri, archive.tars) if mine.match(where["utterance_id"]))
    where = {name: row[name] for name in ("utterance_id", "uri", "member")}
    decoded = {name: row[name] for name in ("seconds", "seconds_claimed")} if found["stage"] == "embed" else {}
    failure = {"attempts": 1, "bytes": n_bytes or len(data), **where, **decoded, **found}
    kept = right.embeddings.filter(pc.not_equal(right.embeddings["utterance_id"], row["utterance_id"]))
    return replace(archive, golden=Golden(kept, _table([*right.failures.to_pylist(), failure], FAILURES)))


def put_archive(store: Any, uri: str, tars: dict[str, bytes]) -> Archive:
    """Store tars, or loose files, under a prefix."""
    store.pipe({key_of(f"{uri}{name}"): content for name, content in tars.items()})
    return Archive(uri, tars, golden(uri, tars))
