"""manifest: list an archive, and what is known of it, as one Parquet table."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pyarrow as pa

from detector.audio import WHOLE
from detector.errors import ConfigError, SchemaError, ShardError
from detector.schema import LABEL_COLUMNS, MANIFEST
from jobs import storage
from jobs.config import LABELS_HELP
from jobs.inputs import archive
from jobs.inputs.archive import Pick, Shard
from jobs.inputs.config import CORPORA, InputConfig
from jobs.inputs.containers import CONTAINERS
from jobs.inputs.corpora.importing import import_corpus
from jobs.inputs.lists import read_labels, refuse_repeated
from jobs.storage import Stored
from jobs.tables.parquet import parquet_bytes
from jobs.telemetry.progress import progress

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings(InputConfig):
    """List an archive or a known corpus: one row a recording, with labels where a table of them is given."""

    output: Annotated[str, "Parquet manifest to write"]
    labels: Annotated[str | None, LABELS_HELP] = None
    corpus: Annotated[
        str | None, f"--input is a corpus that brings its labels, unpacked (docs/corpora.md): {', '.join(CORPORA)}"
    ] = None
    subset: Annotated[tuple[str, ...], "parts of the corpus to take: splits, versions, …; repeatable"] = ()
    allow_missing: Annotated[bool, "leave out recordings that the corpus lists and that are not there"] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.corpus is not None and (self.manifest is not None or self.labels is not None):
            raise ConfigError(f"--corpus {self.corpus}: takes --input, and brings its labels; leave out the others.")
        if self.corpus is None and (self.subset or self.allow_missing):
            raise ConfigError("--subset and --allow-missing are about a --corpus; name it.")


def run(settings: Settings) -> int:
    """Write the manifest, and say what is in it; return the exit code."""
    if settings.corpus is not None:
        return _of_corpus(settings, settings.corpus)
    found = archive.find(settings)
    rows: list[dict[str, Any]] = []
    shards = found.shards()
    with progress("manifest", len(shards)) as shown:
        for shard in shards:
            before = len(rows)
            rows.extend(_rows(shard))
            shown.shard(len(rows) - before)
    if not rows:
        raise ConfigError(
            f"{', '.join(settings.input) or settings.manifest}: no audio found in {len(shards)} shard(s)."
        )
    table = pa.Table.from_pylist(rows, schema=MANIFEST)
    refuse_repeated(table["utterance_id"], ", ".join(settings.input))
    if settings.labels is not None:
        table = _labelled(table, storage.normal(settings.labels))
    uri = storage.normal(settings.output)
    storage.write_bytes(uri, parquet_bytes(table))
    n_labelled = len(table) - table["label"].null_count
    print(f"{len(table)} recordings in {len(shards)} shards, {n_labelled} with a label\nmanifest: {uri}")
    return 0


def _of_corpus(settings: Settings, name: str) -> int:
    imported = import_corpus(name, settings.input, settings.subset, partial=settings.allow_missing)
    refuse_repeated(imported.table["utterance_id"], name)
    uri = storage.normal(settings.output)
    storage.write_bytes(uri, parquet_bytes(imported.table))
    for warning in imported.warnings:
        log.warning("%s", warning)
    print(f"{len(imported.table)} recordings of {name}\n{imported.summary()}\nmanifest: {uri}")
    return 0


def _rows(shard: Shard) -> Iterator[dict[str, Any]]:
    picks = shard.picks()
    if shard.kind == "files":
        for source in shard.sources:
            for pick in (picks or {})[source.uri]:
                yield _row(pick, source, None, source.size)
        return
    source = shard.sources[0]
    container = CONTAINERS[shard.kind]
    seen: set[str] = set()
    with storage.opened(source) as file:
        try:
            for member, _, size in container.walk(file, source):
                if picks is not None:
                    found = picks.get(member, ())
                else:
                    is_audio = container.all_audio or archive.is_audio(member)
                    found = ((archive.utterance_id(source.uri, member), WHOLE),) if is_audio else ()
                for pick in found:
                    yield _row(pick, source, member, size)
                seen.add(member)
        except ShardError as error:
            raise SchemaError(
                f"{source.uri}: {error}. `embed` keeps what can be read; a manifest must be whole."
            ) from (error)
    missing = sorted((picks or {}).keys() - seen)
    if missing:
        raise SchemaError(f"{source.uri}: {len(missing)} listed member(s) are not there, first {missing[0]!r}.")


def _row(pick: Pick, source: Stored, member: str | None, n_bytes: int) -> dict[str, Any]:
    name, excerpt = pick
    return {"utterance_id": name, "uri": source.uri, "member": member, "bytes": n_bytes, **excerpt.cells()}


def _labelled(table: pa.Table, uri: str) -> pa.Table:
    labels = read_labels(uri)
    known = set(table["utterance_id"].to_pylist())
    strange = [name for name in labels["utterance_id"].to_pylist() if name not in known]
    if len(strange) == len(labels):
        raise SchemaError(
            f"{uri}: none of {len(labels)} labelled ids is in the archive, first {strange[:1]}. "
            f"Ids there look like {table['utterance_id'][0].as_py()!r}."
        )
    if strange:
        log.warning("%s: %d of %d labelled ids are not in the archive", uri, len(strange), len(labels))
    joined = table.drop_columns(list(LABEL_COLUMNS)).join(labels, "utterance_id", join_type="left outer")
    return joined.select(MANIFEST.names).sort_by("utterance_id").cast(MANIFEST)
