"""The dev corpus beside the checkout, `../shared/corpus/dev`: real human and synthetic speech, never committed."""

from __future__ import annotations

import csv
import shutil
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain, islice, zip_longest
from pathlib import Path

from detector.schema import BONAFIDE, LABELS
from tests.support import ROOT

CORPUS = ROOT.parent / "shared" / "corpus" / "dev"
COLUMNS = ("label", "split", "system", "speaker", "source")
N_TRAINING, N_NEW = 120, 24  # of each class

Row = dict[str, str]


def write_corpus(folder: Path) -> None:
    """Copy recordings to train on and new ones to score, and write the labels of both, as a user may have them.

    They are some of every system and of every source of human speech; no system, source and speaker is in both parts.
    """
    rows = _rows()
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["utterance_id", *COLUMNS], extrasaction="ignore")
        table.writeheader()
        for part, split, n in (("training", "train", N_TRAINING), ("new", "eval", N_NEW)):
            for row in chain.from_iterable(_some(rows, split, label, n) for label in LABELS):
                place = folder / part / row["file"]
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(CORPUS / row["file"], place)
                table.writerow(row | {"utterance_id": row["file"]})


def one_recording() -> bytes:
    """Return a recording of human speech that is in neither part of :func:`write_corpus`."""
    *_, last = _some(_rows(), "eval", BONAFIDE, N_NEW + 1)
    return (CORPUS / last["file"]).read_bytes()


def _rows() -> list[Row]:
    with (CORPUS / "metadata.csv").open(newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["file"])


def _some(rows: Iterable[Row], split: str, label: str, n: int) -> Iterable[Row]:
    """Return the first recordings of a part, by turns of each system, or of each source of human speech."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if (row["split"], row["label"]) == (split, label):
            groups[row["source" if label == BONAFIDE else "system"]].append(row)
    by_turns = chain.from_iterable(zip_longest(*groups.values()))
    return islice(filter(None, by_turns), n)
