"""Importing: turn the facts that a corpus states about its recordings into the rows of a manifest, and check them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import pyarrow as pa

from detector.errors import ConfigError
from detector.schema import LABEL_COLUMNS, LABELS, MANIFEST
from jobs import storage
from jobs.inputs.corpora import CORPORA
from jobs.inputs.corpora.corpus import Corpus, Utterance
from jobs.inputs.corpora.tree import Tree
from jobs.inputs.lists import LIST_SUFFIXES
from jobs.inputs.parts import parts_table
from jobs.inputs.sources import folder_of
from jobs.inputs.utterance_ids import refuse_repeated, refuse_shared, utterance_id

SHOWN = 3
TRAINING_SPLITS = ("train", "dev")
NO_SPLIT = "no split"


@dataclass(frozen=True)
class Imported:
    """A corpus as a manifest.

    Parameters
    ----------
    table : pyarrow.Table
        Columns of :data:`detector.schema.MANIFEST`, sorted by `utterance_id`.
    parts : pyarrow.Table
        Columns of :data:`detector.schema.PARTS`; no rows if the corpus does not label parts.
    warnings : tuple of str
        Problems to know of before the corpus is used.
    """

    table: pa.Table
    parts: pa.Table
    warnings: tuple[str, ...]

    def summary(self) -> list[str]:
        """Return the number of recordings of each class, one line for each split."""
        counts = Counter(zip(self.table["split"].to_pylist(), self.table["label"].to_pylist(), strict=True))
        splits = sorted({split for split, _ in counts}, key=lambda split: (split is None, split))
        return [
            f"{split or NO_SPLIT}: {', '.join(f'{counts[split, label]} {label}' for label in LABELS)}"
            for split in splits
        ]


def import_corpus(
    name: str,
    inputs: Sequence[str],
    subsets: Sequence[str] = (),
    *,
    partial: bool = False,
    follow_links: str = storage.FOLLOW[0],
    relative: bool = False,
) -> Imported:
    """Read the files and tables of a corpus.

    Parameters
    ----------
    name : str
        A key of :data:`jobs.inputs.corpora.CORPORA`.
    inputs : sequence of str
        URIs of its folder or folders, and of the folder of its bona fide partner.
    subsets : sequence of str
        Its parts to take; all if empty. Recordings of no part, such as a partner's, are always taken.
    partial : bool
        Accept that recordings that the corpus lists are missing.
    follow_links : str
        Which links to folders are followed: one of :data:`jobs.storage.FOLLOW`.
    relative : bool
        Ids are relative to the input that a recording lies in, or to the folder of a table that is an input.

    Returns
    -------
    Imported

    Raises
    ------
    ConfigError
        If there is no such corpus or part, the layout is another one, or listed recordings are missing.
    SchemaError
        If a line of a table is malformed, or if two recordings have the same id.
    """
    if name not in CORPORA:
        raise ConfigError(f"corpus {name!r}; expected one of {', '.join(CORPORA)}.")
    corpus, tree = CORPORA[name], Tree(map(storage.normal, inputs), follow_links)
    utterances = list(corpus.read(tree))
    if not utterances:
        raise ConfigError(
            f"{', '.join(tree.uris)}: not the layout of {name}: none of its files was found. Expected {corpus.layout}, "
            f"in the given folder or below it: docs/corpora.md."
        )
    chosen = _chosen(name, corpus, utterances, subsets)
    there = [each for each in chosen if each.stored is not None]
    missing = [each for each in chosen if each.stored is None]
    if missing and not partial:
        raise ConfigError(
            f"{name}: {len(missing)} of {len(chosen)} listed recordings are missing, "
            f"{_some(each.where for each in missing)}. Complete the folder, select complete parts with --subset, or "
            f"leave them out with --allow-missing."
        )
    if not there:
        raise ConfigError(f"{name}: none of {len(chosen)} listed recordings exists, first {missing[0].where}.")
    table, parts = _tables(there, _roots(tree) if relative else ())
    refuse_shared(dict.fromkeys(zip(table["uri"].to_pylist(), table["utterance_id"].to_pylist(), strict=True)))
    refuse_repeated(table["utterance_id"], name)
    return Imported(table, parts, tuple(_warnings(name, corpus, tree, utterances, there, missing)))


def _chosen(name: str, corpus: Corpus, utterances: list[Utterance], subsets: Sequence[str]) -> list[Utterance]:
    """Return the utterances of the requested parts."""
    parts = sorted({each.subset for each in utterances if each.subset is not None})
    strange = [subset for subset in subsets if subset not in parts]
    if strange:
        raise ConfigError(f"{name} has no subset {', '.join(strange)} here; found {', '.join(parts) or 'no parts'}.")
    if corpus.versions and len(parts) > 1 and not subsets:
        raise ConfigError(
            f"{name}: {', '.join(parts)} are the same recordings in several versions. Choose one: --subset {parts[0]}."
        )
    return [each for each in utterances if not subsets or each.subset is None or each.subset in subsets]


def _roots(tree: Tree) -> list[str]:
    """Return the folders that relative ids are relative to."""
    return [folder_of(uri) if uri.lower().endswith(LIST_SUFFIXES) else f"{uri.rstrip('/')}/" for uri in tree.uris]


def _tables(utterances: list[Utterance], roots: Sequence[str]) -> tuple[pa.Table, pa.Table]:
    """Return the manifest and the labels of parts."""

    def root_of(uri: str) -> str:
        return min((root for root in roots if uri.startswith(root)), key=len, default="")

    ids = [
        utterance_id(each.stored.uri, None, each.excerpt, root_of(each.stored.uri))
        for each in utterances
        if each.stored is not None
    ]
    rows = [
        {
            "utterance_id": name,
            "uri": each.stored.uri,
            "bytes": each.stored.size,
            **{name: getattr(each, name) for name in LABEL_COLUMNS},
            **each.excerpt.cells(),
        }
        for name, each in zip(ids, utterances, strict=True)
        if each.stored is not None
    ]
    parts = parts_table((name, each.parts) for name, each in zip(ids, utterances, strict=True))
    return pa.Table.from_pylist(rows, schema=MANIFEST).sort_by("utterance_id"), parts


def _warnings(
    name: str, corpus: Corpus, tree: Tree, listed: list[Utterance], taken: list[Utterance], missing: list[Utterance]
) -> list[str]:
    """Return the problems that do not stop an import."""
    found = []
    if missing:
        found.append(
            f"{len(missing)} listed recordings are missing and left out, {_some(each.where for each in missing)}."
        )
    claimed = {each.stored.uri for each in listed if each.stored is not None}
    unlisted = [
        each.uri
        for each in tree.audio()
        if each.uri not in claimed and not (corpus.ignored is not None and corpus.ignored.search(each.uri))
    ]
    if unlisted:
        found.append(f"{len(unlisted)} audio files are not listed and were skipped, {_some(unlisted)}.")
    return [f"{name}: {text}" for text in (*found, *_of_classes(corpus, taken), *_of_speakers(taken))]


def _of_classes(corpus: Corpus, utterances: list[Utterance]) -> list[str]:
    """Return a warning for each split, or for the whole corpus, that has only one class."""
    labels = defaultdict(set)
    for each in utterances:
        labels[each.split].add(each.label)
    alone = {split: found for split, found in labels.items() if len(found) == 1}
    if len({each.label for each in utterances}) == 1:
        remedy = f" Give {corpus.partner} as a further --input." if corpus.partner else ""
        return [f"all recordings are {utterances[0].label}; an error rate and a head need both classes.{remedy}"]
    return [f"split {split or NO_SPLIT} has {' '.join(found)} recordings only." for split, found in alone.items()]


def _of_speakers(utterances: list[Utterance]) -> list[str]:
    """Return a warning for each pair of splits that share speakers, if one of them is used for training."""
    speakers: dict[str, set[str]] = defaultdict(set)
    for each in utterances:
        if each.split is not None and each.speaker is not None:
            speakers[each.split].add(each.speaker)
    splits = (*TRAINING_SPLITS, *sorted(speakers.keys() - set(TRAINING_SPLITS)))
    return [
        f"splits {first} and {second} share {len(shared)} speakers, {_some(sorted(shared))}: "
        f"figures of {second} are too good."
        for first, second in combinations(splits, 2)
        if first in TRAINING_SPLITS and (shared := speakers[first] & speakers[second])
    ]


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    return f"first {', '.join(shown[:SHOWN])}"
