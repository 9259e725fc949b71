"""manifest: list an archive, and what is known of it, as one Parquet table."""

from __future__ import annotations

import logging
import posixpath
from dataclasses import dataclass
from typing import Annotated

from detector.errors import ConfigError
from jobs import storage
from jobs.config import LABELS_HELP, MATCH, MATCH_HELP, SHARED_HELP, check_match
from jobs.inputs.config import CORPORA, DEFAULT_IDS, RELATIVE, InputConfig
from jobs.telemetry.names import say

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings(InputConfig):
    """List an archive or a known corpus: one row for each recording, with labels if a table of them is given."""

    output: Annotated[str, "manifest to write, .parquet"]
    shared: Annotated[bool, SHARED_HELP] = False
    labels: Annotated[str | None, LABELS_HELP] = None
    match: Annotated[str, MATCH_HELP] = MATCH[0]
    corpus: Annotated[
        str | None, f"--input is an unpacked corpus with labels of its own (docs/corpora.md): {', '.join(CORPORA)}"
    ] = None
    subset: Annotated[tuple[str, ...], "parts of the corpus to take: splits, versions, …; repeatable"] = ()
    parts: Annotated[
        str | None, "table of labelled parts to write, of a corpus of partial spoofs: .parquet or .csv", "what to write"
    ] = None
    allow_missing: Annotated[bool, "leave out recordings that the corpus lists but that are missing"] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_match(self.match)
        if self.output.lower().endswith((".csv", ".jsonl")):
            raise ConfigError(
                f"output {self.output!r}; expected a name that ends in .parquet: a manifest is Parquet, and is read "
                f"by its name."
            )
        if self.corpus is not None and (self.manifest is not None or self.labels is not None):
            raise ConfigError(f"--corpus {self.corpus}: takes --input, and has labels of its own; drop the others.")
        if self.corpus is None and (self.subset or self.allow_missing or self.parts is not None):
            raise ConfigError("--subset, --allow-missing and --parts need a --corpus; name one.")


def run(settings: Settings) -> int:
    """Write the manifest and print a summary of it; return the exit code."""
    from jobs.inputs.corpora.importing import import_corpus  # only now: --help needs none of it
    from jobs.inputs.manifest import add_labels, list_recordings
    from jobs.inputs.parts import write_parts
    from jobs.inputs.results import write_result
    from jobs.tables.parquet import parquet_bytes

    uri = storage.normal(settings.output)
    storage.check_folder(posixpath.dirname(uri))
    if settings.corpus is not None:
        imported = import_corpus(
            settings.corpus,
            settings.input,
            settings.subset,
            partial=settings.allow_missing,
            follow_links=settings.follow_links,
            relative=(settings.ids or DEFAULT_IDS) == RELATIVE,
        )
        if settings.parts is not None:
            if not len(imported.parts):
                raise ConfigError(f"--parts {settings.parts}: {settings.corpus} does not label parts; drop --parts.")
            write_parts(storage.normal(settings.parts), imported.parts)
        write_result(uri, parquet_bytes(imported.table))
        for warning in imported.warnings:
            log.warning("%s", warning)
        say(f"{len(imported.table)} recordings of {settings.corpus}", *imported.summary(), f"manifest: {uri}")
        if len(imported.parts):
            say(f"{len(imported.parts)} labelled parts: {settings.parts or 'not written; name a table with --parts'}")
        return 0
    table, n_shards = list_recordings(settings)
    if settings.labels is not None:
        table = add_labels(table, storage.normal(settings.labels), settings.match)
    write_result(uri, parquet_bytes(table))
    n_labelled = len(table) - table["label"].null_count
    say(f"{len(table)} recordings in {n_shards} shards, {n_labelled} with a label", f"manifest: {uri}")
    return 0
