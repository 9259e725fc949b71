"""Manifest: an archive as one table, a row for each recording, with labels where they are known."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from detector.errors import ConfigError, SchemaError, ShardError
from detector.schema import LABEL_COLUMNS, MANIFEST
from jobs import storage
from jobs.inputs import archive
from jobs.inputs.config import DEFAULT_IDS, RELATIVE, InputConfig
from jobs.inputs.containers import CONTAINERS
from jobs.inputs.labels import read_labels
from jobs.inputs.passed_over import PassedOver
from jobs.inputs.shards import Selection, Shard
from jobs.inputs.suffix_matches import match_by_suffix, rename, suggestion
from jobs.inputs.utterance_ids import refuse_repeated, refuse_shared
from jobs.storage import Stored
from jobs.telemetry.progress import progress

log = logging.getLogger(__name__)


def list_recordings(config: InputConfig) -> tuple[pa.Table, int]:
    """Return a manifest of everything that ``config`` names, without labels, and the number of its shards.

    Raises
    ------
    ConfigError
        If an input does not exist, or if there is no recording.
    SchemaError
        If a container is broken, a listed member is missing, or two recordings have the same id.
    """
    found = archive.find(config, relative=(config.ids or DEFAULT_IDS) == RELATIVE)
    refuse_shared(found.ids())
    found.passed_over.report("objects")
    shards = found.shards()
    rows: list[dict[str, Any]] = []
    passed_over = PassedOver()
    with progress("manifest", len(shards)) as bar:
        for shard in shards:
            n_before = len(rows)
            rows.extend(_rows(shard, passed_over))
            bar.shard(len(rows) - n_before)
    passed_over.report("members of containers")
    where = ", ".join(config.input)
    if not rows:
        raise ConfigError(f"{where or config.manifest}: no audio found in {len(shards)} shard(s).")
    table = pa.Table.from_pylist(rows, schema=MANIFEST)
    refuse_repeated(table["utterance_id"], where)
    return table, len(shards)


def _rows(shard: Shard, passed_over: PassedOver) -> Iterator[dict[str, Any]]:
    selections = shard.selections()
    if shard.kind == "files":
        for source in shard.sources:
            for selection in (selections or {})[source.uri]:
                yield _row(selection, source, None, source.size)
    elif shard.sources[0].is_absent:  # named by a list; what the list says of it is kept
        for member, named in shard.named_members():
            yield from (_row(selection, shard.sources[0], member, 0) for selection in named)
    else:
        yield from _rows_of_container(shard, selections, passed_over)


def _rows_of_container(
    shard: Shard, listed: dict[str, tuple[Selection, ...]] | None, passed_over: PassedOver
) -> Iterator[dict[str, Any]]:
    source, container = shard.sources[0], CONTAINERS[shard.kind]
    seen: set[str] = set()
    with storage.opened(source) as file:
        try:
            for member in container.members(file, source):
                selections: tuple[Selection, ...] = ()
                if listed is not None:
                    selections = listed.get(member.name, ())
                elif container.recording(member) is not None:
                    selections = (Selection(shard.id_of(member.name)),)
                else:
                    passed_over.add(member.name, storage.key_of(source.uri))
                for selection in selections:
                    yield _row(selection, source, member.name, member.size)
                seen.add(member.name)
        except ShardError as error:
            raise SchemaError(
                f"{source.uri}: {error}. `embed` keeps what can be read; a manifest must be whole."
            ) from error
    missing = sorted((listed or {}).keys() - seen)
    if missing:
        raise SchemaError(f"{source.uri}: {len(missing)} listed member(s) are missing, first {missing[0]!r}.")


def _row(selection: Selection, source: Stored, member: str | None, n_bytes: int) -> dict[str, Any]:
    name, excerpt = selection
    return {"utterance_id": name, "uri": source.uri, "member": member, "bytes": n_bytes, **excerpt.cells()}


def add_labels(table: pa.Table, uri: str, match: str = "exact") -> pa.Table:
    """Return a manifest with the labels of a table, null for recordings that the table does not name.

    Raises
    ------
    SchemaError
        If the labels cannot be read, or if none of them belongs to a recording of the manifest.
    """
    labels = read_labels(uri)
    names = table["utterance_id"].to_pylist()
    if match == "suffix":
        labels = rename(labels, match_by_suffix(labels["utterance_id"].to_pylist(), names, uri))
    recordings = set(names)
    strangers = [name for name in labels["utterance_id"].to_pylist() if name not in recordings]
    if len(strangers) == len(labels):
        raise SchemaError(
            f"{uri}: none of {len(labels)} labelled ids is in the archive, first {strangers[:1]}. "
            f"Ids in the archive look like {names[0]!r}.{suggestion(strangers, names)}"
        )
    if strangers:
        log.warning("%s: %d of %d labelled ids are not in the archive", uri, len(strangers), len(labels))
    joined = table.drop_columns(list(LABEL_COLUMNS)).join(labels, "utterance_id", join_type="left outer")
    return joined.select(MANIFEST.names).sort_by("utterance_id").cast(MANIFEST)
