"""Corpora of partial spoofs: genuine speech with synthetic parts in it, and the times of those parts."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from detector.errors import SchemaError
from detector.schema import BONAFIDE, LABELS, SPOOF
from jobs import storage
from jobs.inputs.corpora.corpus import Utterance
from jobs.inputs.corpora.lines import REMEDY, SHOWN, fields, known, lines, meaning
from jobs.inputs.corpora.segment_labels import segment_labels
from jobs.inputs.corpora.tree import Tree
from jobs.inputs.parts import OVERLAP_SECONDS, Part, joined
from jobs.storage import Stored

WORDS = {label: label for label in LABELS}
COLUMNS_PARTIALSPOOF = ("speaker", "utterance", "-", "attack", "label")
SEGMENT_LABELS = re.compile(r"_seglab_(\d+(?:\.\d+)?)\.npy$")
TIMED = re.compile(
    r"(?P<name>\S+)\s+[\d.]+\s+(?P<label>bonafide|spoof)(?P<parts>(?:\s+[\d.]+-[\d.]+-(?:bonafide|spoof))+)"
)
EXPECTED = "NAME SECONDS LABEL, and START-END-LABEL for each part, where a label is bonafide or spoof"
SPLITS_HAD = {"train": "train", "dev": "dev", "test": "eval"}
COLUMNS_HAD = ("utterance", "parts", "label")
WORDS_HAD = {"T": BONAFIDE, "F": SPOOF}
PART = re.compile(r"([\d.]+)-([\d.]+)-(\w+)")
LLAMA = re.compile(r"(?:(?:dev|test)\d*-(?P<system>.+?)-(?:full|partial)[^_]*|[^_]+)_(?P<speaker>\d+)_")
LONGEST_NAME = 255  # of a file; the pattern takes the cube of a name's length

Parts = tuple[Part, ...]


def partialspoof(tree: Tree) -> Iterator[Utterance]:
    """PartialSpoof: the protocol, and labels of cells of 0.01 s or the finest that are there, or of timed parts."""
    for split in ("train", "dev", "eval"):
        protocol = tree.table(re.escape(f"PartialSpoof.LA.cm.{split}.trl.txt"))
        if protocol is None:
            continue
        files = tree.inside(f"{split}/con_wav", f"wav/{split}")
        parts = _parts_of_partialspoof(tree, split)
        for where, line in fields(protocol, COLUMNS_PARTIALSPOOF):
            name = f"{line['utterance']}.wav"
            label = meaning(line["label"], WORDS, where)
            yield Utterance(
                stored=files.get(name),
                where=f"{where}: {name}",
                label=label,
                split=split,
                system=None if label == BONAFIDE else known(line["attack"]),
                speaker=known(line["speaker"]),
                source="vctk",
                language="en",
                parts=_agreed(parts.get(line["utterance"], ()), label, f"{where}: {name}"),
            )


def had(tree: Tree) -> Iterator[Utterance]:
    """HAD, half-truth audio detection; speech of AISHELL-3."""
    for name_of_split, split in SPLITS_HAD.items():
        protocol = tree.table(f"HAD_{name_of_split}_label\\.txt")
        if protocol is None:
            continue
        top = f"HAD_{name_of_split}"
        files = tree.inside(*(f"{top}/{end}" for end in ("conbine", name_of_split, f"{name_of_split}/conbine")))
        for where, line in fields(protocol, COLUMNS_HAD):
            name = f"{line['utterance']}.wav"
            label = meaning(line["label"], {"1": BONAFIDE, "0": SPOOF}, where)
            yield Utterance(
                stored=files.get(name),
                where=f"{where}: {name}",
                label=label,
                split=split,
                source="aishell3",
                language="zh",
                parts=_agreed(_parts(line["parts"].split("/"), WORDS_HAD, where), label, f"{where}: {name}"),
            )


def llama_partial_spoof(tree: Tree) -> Iterator[Utterance]:
    """LlamaPartialSpoof; speech of LibriTTS, and six systems."""
    for table in tree.tables(r"label_R01TTS\.0\.[ab]\.txt"):
        folder = table.uri.rpartition("/")[2].removeprefix("label_").removesuffix(".txt")
        files = tree.inside(folder)
        for where, utterance, label, parts in _timed(table):
            name, about = f"{utterance}.wav", LLAMA.match(utterance[:LONGEST_NAME])
            yield Utterance(
                stored=files.get(name),
                where=f"{where}: {name}",
                label=label,
                system=about["system"] if about is not None and label == SPOOF else None,
                speaker=None if about is None else about["speaker"],
                source="libritts",
                language="en",
                part=folder,
                parts=_agreed(parts, label, f"{where}: {name}"),
            )


def _parts_of_partialspoof(tree: Tree, split: str) -> Mapping[str, Parts]:
    """Return parts by utterance: of the list of times if there is one, else of the finest segment labels."""
    timed = tree.table(f"label_PartialSpoof_{split}\\.txt")
    if timed is not None:
        return {utterance: parts for _, utterance, _, parts in _timed(timed)}
    found = {
        float(match[1]): stored
        for stored in tree.tables(rf"segment_labels/{split}{SEGMENT_LABELS.pattern}")
        if (match := SEGMENT_LABELS.search(stored.uri)) is not None and float(match[1]) > 0.0
    }
    if not found:
        return {}
    seconds, stored = min(found.items())
    labels = segment_labels(storage.read_bytes(stored.uri), stored.uri)
    return {utterance: parts_of_cells(is_spoof, seconds) for utterance, is_spoof in labels.items()}


def parts_of_cells(is_spoof: npt.NDArray[np.bool_], seconds: float) -> Parts:
    """Return the runs of equal labels among cells of so many seconds.

    Examples
    --------
    >>> parts_of_cells(np.array([False, True, True]), 0.16)[1]
    Part(start_seconds=0.16, end_seconds=0.48, label='spoof')
    """
    edges = [0, *(np.flatnonzero(np.diff(is_spoof)) + 1).tolist(), len(is_spoof)]
    return tuple(
        Part(round(start * seconds, 6), round(end * seconds, 6), SPOOF if is_spoof[start] else BONAFIDE)
        for start, end in itertools.pairwise(edges)
        if start < end
    )


def _timed(table: Stored) -> Iterator[tuple[str, str, str, Parts]]:
    """Yield place, utterance, label and parts of a table of the form of LlamaPartialSpoof."""
    for where, line in lines(table):
        found = TIMED.fullmatch(line)
        if found is None:
            raise SchemaError(f"{where}: {line[:SHOWN]!r}; expected {EXPECTED}. {REMEDY}")
        yield where, found["name"], found["label"], _parts(found["parts"].split(), WORDS, where)


def _parts(texts: list[str], words: Mapping[str, str], where: str) -> Parts:
    """Read `START-END-LABEL`s; one without length labels nothing, and is left out."""
    parts: list[Part] = []
    for text in texts:
        found = PART.fullmatch(text)
        try:
            start, end = (float(found[1]), float(found[2])) if found is not None else (1.0, 0.0)
        except ValueError:
            start, end = 1.0, 0.0
        if found is None or start > end:
            raise SchemaError(f"{where}: part {text[:SHOWN]!r}; expected START-END-LABEL, in seconds. {REMEDY}")
        if start < end:
            parts.append(Part(start, end, meaning(found[3], words, where)))
    parts.sort()
    for first, second in itertools.pairwise(parts):
        if second.start_seconds < first.end_seconds - OVERLAP_SECONDS and first.label != second.label:
            raise SchemaError(f"{where}: {first} and {second} overlap; expected one label at a time. {REMEDY}")
    return tuple(joined(parts))


def _agreed(parts: Parts, label: str, where: str) -> Parts:
    """Return parts of a recording, whose label must agree: genuine speech has no spoof part."""
    if label == BONAFIDE and any(part.label == SPOOF for part in parts):
        raise SchemaError(
            f"{where}: bonafide in its protocol, with a spoof part in its segment labels; expected 1 for bona fide and "
            f"0 for spoof. {REMEDY}"
        )
    return parts
