"""Corpora with a CSV table, or a similar one, that states what each of their files is."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from detector.errors import SchemaError
from detector.schema import BONAFIDE, LABEL_COLUMNS, LABELS, SPOOF
from jobs import storage
from jobs.inputs.corpora.corpus import Utterance
from jobs.inputs.corpora.lines import fields, known, meaning, records
from jobs.inputs.corpora.tree import Tree
from jobs.inputs.lists import LIST_SUFFIXES, read_entries
from jobs.inputs.table_files import missing_column, read_table

SPLITS_SPOOFCELEB = {"train": "train", "development": "dev", "evaluation": "eval"}
AUDIO_OF_FAKEAVCELEB = {
    "RealVideo-RealAudio": BONAFIDE,
    "FakeVideo-RealAudio": BONAFIDE,
    "RealVideo-FakeAudio": SPOOF,
    "FakeVideo-FakeAudio": SPOOF,
}
READERS_OF_M_AILABS = re.compile("/by_book/(?:female|male)/([^/]+)/")
M_AILABS = re.compile("/by_book/")


def in_the_wild(tree: Tree) -> Iterator[Utterance]:
    """In-the-Wild."""
    table = tree.table("meta.csv")
    if table is None:
        return
    files = tree.beside(table)
    for where, row in records(table, ("file", "speaker", "label")):
        yield Utterance(
            stored=files.get(row["file"]),
            where=f"{where}: {row['file']}",
            label=meaning(row["label"], {"bona-fide": BONAFIDE, "bonafide": BONAFIDE, "spoof": SPOOF}, where),
            speaker=known(row["speaker"]),
            source="in-the-wild",
            language="en",
        )


def spoofceleb(tree: Tree) -> Iterator[Utterance]:
    """SpoofCeleb; `a00` is the bona fide part."""
    for name, split in SPLITS_SPOOFCELEB.items():
        table = tree.table(f"metadata/{name}.csv")
        if table is None:
            continue
        for where, row in records(table, ("file", "speaker", "attack")):
            if not re.fullmatch(r"a\d\d", row["attack"]):
                raise SchemaError(f"{where}: attack {row['attack']!r}; expected a00 (bona fide) to a99.")
            is_bonafide = row["attack"] == "a00"
            yield Utterance(
                stored=tree.at(f"flac/{name}/{row['file']}"),
                where=f"{where}: {row['file']}",
                label=BONAFIDE if is_bonafide else SPOOF,
                split=split,
                system=None if is_bonafide else row["attack"],
                speaker=known(row["speaker"]),
                source="voxceleb1",
            )


def fakeavceleb(tree: Tree) -> Iterator[Utterance]:
    """FakeAVCeleb, labelled by its sound: a video in which only the face is fake is bona fide speech."""
    table = tree.table("meta_data.csv")
    if table is None:
        return
    for where, row in records(table, ("source", "method", "type", "path", "")):
        # the unnamed column is the folder; `path` is the file in it
        path = posixpath.join(row[""].partition("/")[2], row["path"])
        label = meaning(row["type"], AUDIO_OF_FAKEAVCELEB, where, "type")
        yield Utterance(
            stored=tree.at(path),
            where=f"{where}: {path}",
            label=label,
            system="rtvc" if label == SPOOF else None,  # `method` is about the picture; one tool made all the voices
            speaker=known(row["source"]),
            source="voxceleb2",
            language="en",
            part=row["type"],
        )


def mlaad(tree: Tree) -> Iterator[Utterance]:
    """MLAAD, and those recordings of M-AILABS, if it is given, too, that MLAAD names as its originals."""
    originals: dict[str, str] = {}
    for table in tree.tables(r"fake/[^/]+/[^/]+/meta\.csv"):
        files, language = tree.beside(table), table.uri.split("/")[-3]
        for where, row in records(table, ("path", "original_file", "model_name"), "|"):
            # by file name, because some versions name a folder of the wrong language
            name = posixpath.basename(row["path"])
            yield Utterance(
                stored=files.get(name),
                where=f"{where}: {name}",
                label=SPOOF,
                system=known(row["model_name"]),
                source="m-ailabs",
                language=language,
                part=language,
            )
            if known(row["original_file"]) is not None:
                originals.setdefault(row["original_file"].removeprefix("./"), where)
    if any(M_AILABS.search(stored.uri) for stored in tree.audio()):
        for path, where in originals.items():
            reader, language = READERS_OF_M_AILABS.search(path), path.partition("_")[0]
            yield Utterance(
                stored=tree.at(path),
                where=f"{where}: {path}",
                label=BONAFIDE,
                speaker=None if reader is None else reader[1],
                source="m-ailabs",
                language=language,
                part=language,
            )


def ai4t(tree: Tree) -> Iterator[Utterance]:
    """AI4T: videos in pieces of 10 s; the video is the source."""
    table = tree.table(r"ai4trust_segm_systems\.csv")
    if table is None:
        return
    for where, row in fields(table, ("path", "label"), "|"):
        path = row["path"].removeprefix("./")
        yield Utterance(
            stored=tree.at(path),
            where=f"{where}: {path}",
            label=meaning(row["label"], {label: label for label in LABELS}, where),
            source=posixpath.splitext(path)[0].rpartition("_")[0],
        )


def table(tree: Tree) -> Iterator[Utterance]:
    """The user's own list: CSV, JSONL or Parquet with `uri`, `label`, and any other columns of a manifest."""
    for uri in tree.uris:
        if not uri.lower().endswith(LIST_SUFFIXES):
            continue
        rows = read_table(uri)
        if "label" not in rows.column_names:
            raise missing_column(uri, "label", rows.column_names)
        facts = rows.select([name for name in LABEL_COLUMNS if name in rows.column_names]).to_pylist()
        for entry, row in zip(read_entries(uri), facts, strict=True):
            if entry.member is not None:
                raise SchemaError(
                    f"{entry.where}: a member of a container. Use `manifest --input {uri}` with --labels."
                )
            stated: dict[str, Any] = {name: None if value is None else known(str(value)) for name, value in row.items()}
            label = meaning(stated.pop("label") or "", {each: each for each in LABELS}, entry.where)
            yield Utterance(
                stored=storage.stat(entry.uri),
                where=f"{entry.where}: {entry.uri}",
                label=label,
                excerpt=entry.excerpt,
                **stated,
            )
