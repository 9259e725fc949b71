"""Importing: what a corpus says of its recordings, checked, as rows of a manifest."""

from __future__ import annotations

import logging
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
from jobs.inputs.utterance_ids import refuse_repeated, utterance_id

log = logging.getLogger(__name__)

SHOWN = 3
LEARNT_FROM = ("train", "dev")
NO_SPLIT = "no split"


@dataclass(frozen=True)
class Imported:
    """A corpus as a manifest.

    Parameters
    ----------
    table : pyarrow.Table
        Columns of :data:`detector.schema.MANIFEST`, sorted by `utterance_id`.
    warnings : tuple of str
        What a person should know before they use it.
    """

    table: pa.Table
    warnings: tuple[str, ...]

    def summary(self) -> str:
        """Recordings of each class, a line a split."""
        counts = Counter(zip(self.table["split"].to_pylist(), self.table["label"].to_pylist(), strict=True))
        splits = sorted({split for split, _ in counts}, key=lambda split: (split is None, split))
        return "\n".join(
            f"{split or NO_SPLIT}: {', '.join(f'{counts[split, label]} {label}' for label in LABELS)}"
            for split in splits
        )


def import_corpus(name: str, inputs: Sequence[str], subsets: Sequence[str] = (), *, partial: bool = False) -> Imported:
    """Read a corpus's files and tables.

    Parameters
    ----------
    name : str
        A key of :data:`jobs.inputs.corpora.CORPORA`.
    inputs : sequence of str
        URIs of its folder or folders, and of its bona fide partner's.
    subsets : sequence of str
        Its parts to take; all where empty. What is of no part, as a partner is, is always taken.
    partial : bool
        Whether recordings that the corpus lists may be missing.

    Returns
    -------
    Imported

    Raises
    ------
    ConfigError
        Where there is no such corpus or part, the files lie otherwise, or listed ones are missing.
    SchemaError
        Where a line of a table is not what it must be.
    """
    if name not in CORPORA:
        raise ConfigError(f"corpus {name!r}; expected one of {', '.join(CORPORA)}.")
    corpus, tree = CORPORA[name], Tree(map(storage.normal, inputs))
    utterances = list(corpus.read(tree))
    if not utterances:
        raise ConfigError(
            f"{', '.join(tree.uris)}: this is not how {name} lies, nothing was found. Expected {corpus.layout}, in the "
            f"folder that is given or below it: docs/corpora.md."
        )
    chosen = _chosen(name, corpus, utterances, subsets)
    there = [each for each in chosen if each.stored is not None]
    missing = [each for each in chosen if each.stored is None]
    if missing and not partial:
        raise ConfigError(
            f"{name}: {len(missing)} of {len(chosen)} listed recordings are not there, "
            f"{_some(each.where for each in missing)}. Complete the folder, choose what is whole by --subset, or leave "
            f"them out by --allow-missing."
        )
    if not there:
        raise ConfigError(f"{name}: none of {len(chosen)} listed recordings is there, first {missing[0].where}.")
    table = _manifest(there)
    refuse_repeated(table["utterance_id"], name)
    return Imported(table, tuple(_warnings(name, corpus, tree, utterances, there, missing)))


def _chosen(name: str, corpus: Corpus, utterances: list[Utterance], subsets: Sequence[str]) -> list[Utterance]:
    """The utterances of the parts that are wished."""
    parts = sorted({each.subset for each in utterances if each.subset is not None})
    strange = [subset for subset in subsets if subset not in parts]
    if strange:
        raise ConfigError(f"{name} has no subset {', '.join(strange)} here; found {', '.join(parts) or 'no parts'}.")
    if corpus.versions and len(parts) > 1 and not subsets:
        raise ConfigError(
            f"{name}: {', '.join(parts)} are the same recordings in several versions. Choose one: --subset {parts[0]}."
        )
    return [each for each in utterances if not subsets or each.subset is None or each.subset in subsets]


def _manifest(utterances: list[Utterance]) -> pa.Table:
    rows = [
        {
            "utterance_id": utterance_id(each.stored.uri, None, each.excerpt),
            "uri": each.stored.uri,
            "bytes": each.stored.size,
            **{name: getattr(each, name) for name in LABEL_COLUMNS},
            **each.excerpt.cells(),
        }
        for each in utterances
        if each.stored is not None
    ]
    return pa.Table.from_pylist(rows, schema=MANIFEST).sort_by("utterance_id")


def _warnings(
    name: str, corpus: Corpus, tree: Tree, listed: list[Utterance], taken: list[Utterance], missing: list[Utterance]
) -> list[str]:
    """What is not as it should be, and yet no reason to stop."""
    found = []
    if missing:
        found.append(
            f"{len(missing)} listed recordings are not there and left out, {_some(each.where for each in missing)}."
        )
    claimed = {each.stored.uri for each in listed if each.stored is not None}
    strange = [
        each.uri
        for each in tree.audio()
        if each.uri not in claimed and not (corpus.ignored is not None and corpus.ignored.search(each.uri))
    ]
    if strange:
        found.append(f"{len(strange)} audio files are in no list and passed over, {_some(strange)}.")
    return [f"{name}: {text}" for text in (*found, *_of_classes(corpus, taken), *_of_speakers(taken))]


def _of_classes(corpus: Corpus, utterances: list[Utterance]) -> list[str]:
    """A sentence for each split, or for the whole, that has one class only."""
    labels = defaultdict(set)
    for each in utterances:
        labels[each.split].add(each.label)
    alone = {split: found for split, found in labels.items() if len(found) == 1}
    if len({each.label for each in utterances}) == 1:
        remedy = f" Give {corpus.partner} as a further --input." if corpus.partner else ""
        return [f"all recordings are {utterances[0].label}; an error rate, and a head, needs both classes.{remedy}"]
    return [f"split {split or NO_SPLIT} has {' '.join(found)} recordings only." for split, found in alone.items()]


def _of_speakers(utterances: list[Utterance]) -> list[str]:
    """A sentence for each two splits that share speakers, where one of them is learnt from."""
    speakers: dict[str, set[str]] = defaultdict(set)
    for each in utterances:
        if each.split is not None and each.speaker is not None:
            speakers[each.split].add(each.speaker)
    splits = (*LEARNT_FROM, *sorted(speakers.keys() - set(LEARNT_FROM)))
    return [
        f"splits {first} and {second} share {len(shared)} speakers, {_some(sorted(shared))}: {second} flatters."
        for first, second in combinations(splits, 2)
        if first in LEARNT_FROM and (shared := speakers[first] & speakers[second])
    ]


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    return f"first {', '.join(shown[:SHOWN])}"
