"""The rows of the starter's head: which recordings are fitted on, and which judge.

`dev` brings `train` and `eval`. `more` brings human speech and text-to-speech for training, and recordings that were
taken apart and put together again ("copies"), of which a tenth is used (docs/starter.md says why). `pages` judges.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

from detector.schema import BONAFIDE

TRAIN, EVAL, PAGES = "train", "eval", "pages"
MORE_COPIES, UNUSED = "copies", "unused"  # copies that only bench/starter/tried.py uses; rows that no command uses
COLUMNS = ("uri", "utterance_id", "label", "split", "system", "speaker", "source", "language", "page")
COPY = "copy:"
SHARE_OF_COPIES = 0.1
NOT_FREE = ("non-commercial", "(repository)")  # licences that a head which is given away should not rest on
LEFT_OUT = {
    "hifigan-lj-tflite",  # its weights state no licence
    "hifigan-lj-tflite-int8",
    "griffin-lim-mel80",  # `eval` has a Griffin-Lim of its own
}

Row = dict[str, str]


def rows_of(corpora: Path) -> list[Row]:
    """All rows of `dev`, `more` and `pages` below a folder.

    Their `split` is that of this module, `corpus` says where they are from, and `copied` names the human source of a
    copy.
    """
    return [
        {**row, "corpus": name, "uri": str((corpora / name / row["file"]).absolute()), "split": _split(name, row)}
        | _spoken_by(row)
        for name in ("dev", "more", "pages")
        for row in read(corpora / name / "metadata.csv")
    ]


def write(rows: list[Row], path: Path) -> Path:
    """Write rows as a list for `embed`, which is also a table of labels; return its path."""
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, extrasaction="ignore", restval="-")
        table.writeheader()
        table.writerows(row | {"utterance_id": row["file"]} for row in rows)
    return path


def read(path: Path) -> list[Row]:
    """Read a table of rows."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _split(corpus: str, row: Row) -> str:
    if corpus == "dev":
        return row["split"]
    if corpus == "pages":
        return PAGES
    if any(word in row["licence"] for word in NOT_FREE) or row["system"] in LEFT_OUT:
        return UNUSED
    is_left_out = row["source"].startswith(COPY) and share_of(row["file"]) >= SHARE_OF_COPIES
    return MORE_COPIES if is_left_out else TRAIN


def _spoken_by(row: Row) -> Row:
    """Speaker and source of a row; those of a copy are left open, so that copies are grouped by system alone."""
    if row["source"].startswith(COPY):
        return {"speaker": "-", "source": "-", "copied": row["source"].removeprefix(COPY)}
    return {"copied": "", **{name: row.get(name) or "-" for name in ("speaker", "source")}}


def share_of(name: str) -> float:
    """A number in [0, 1) drawn from a file's name, the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32


def counts(rows: list[Row]) -> str:
    """Say how many rows of each class, and of how many sources and systems, a split has."""
    lines = []
    for split in (TRAIN, EVAL, PAGES):
        human = [row for row in rows if row["split"] == split and row["label"] == BONAFIDE]
        spoof = [row for row in rows if row["split"] == split and row["label"] != BONAFIDE]
        sources, systems = len({row["source"] for row in human}), len({row["system"] for row in spoof})
        lines.append(f"{split}: {len(human)} bona fide of {sources} sources, {len(spoof)} spoof of {systems} systems")
    return "; ".join(lines)
