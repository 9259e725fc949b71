"""Measure other ways to fit the starter's head: each on the same folds of `train`, on `eval` and on `pages`.

    python -m bench.starter.tried [--corpora ../shared/corpus] [--work build/starter]

A plain logistic regression of scikit-learn with C = 0.01 on standardised means of the starter's frames, unless a line
says otherwise. Folds are of `train` alone: no human source, no text-to-speech system and no way of copying is on both
sides. `tts` is the EER of held-out text-to-speech against held-out human sources, `pairs` that of copies, made in ways
that were held out, against the recordings of held-out sources that they are copies of. The tables are written to
docs/starter.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression

from bench.dev_corpus import CORPUS
from bench.marked import write_between
from bench.reproduce import bonafide
from bench.starter import rows
from bench.starter.figures import Judged, by_page
from bench.starter.head import LFCC_FLAGS, PAGE
from detector.metrics import Floats, equal_error_rate, intervals
from detector.metrics.trials import Trials
from detector.schema import BONAFIDE

BEGIN, END = "<!-- tried: begin -->", "<!-- tried: end -->"
N_FOLDS = 5
TRAINING = (rows.TRAIN, rows.MORE_COPIES)
C = 0.01
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.str_]


@dataclass(frozen=True)
class Corpus:
    """All rows with their embeddings, and what is known of each.

    Parameters
    ----------
    features : dict of str to float64 array of shape (n, dim)
    of : dict of str to array of shape (n,)
        Columns of bench/starter/rows.py; `kind` is human, tts or copy, `place` the human source, also of a copy.
    origin : int array of shape (n,)
        Row of the recording that a copy was made of; -1 for others.
    """

    features: dict[str, Floats]
    of: dict[str, Rows]
    origin: npt.NDArray[np.int64]

    @property
    def is_bonafide(self) -> Bools:
        return np.asarray(self.of["label"] == BONAFIDE)

    @property
    def is_copy(self) -> Bools:
        return np.asarray(self.of["kind"] == "copy")


@dataclass(frozen=True)
class Trial:
    """A way to fit a head: which rows, with which weights, on which features, and what is taken out or added."""

    name: str
    copies: float = 0.0
    text_to_speech: bool = True
    more_speech: bool = True
    features: tuple[str, ...] = ("layer 2",)
    c: float = C
    nuisance: int = 0
    differences: float = 0.0
    weight: float = 1.0
    fused: str = ""


TRIALS = (
    Trial("`dev` alone", more_speech=False, text_to_speech=False),
    Trial("and human speech of `more`", text_to_speech=False),
    Trial("and text-to-speech of `more`: **the plain head**"),
    Trial("C = 0.001", c=0.001),
    Trial("C = 0.1", c=0.1),
    Trial("layer 0", features=("layer 0",)),
    Trial("layer 1", features=("layer 1",)),
    Trial("layers 1 and 2 side by side", features=("layer 1", "layer 2")),
    Trial("deviations as well as means", features=("layer 2, mean+std",)),
    Trial("LFCC statistics alone", features=("LFCC",)),
    Trial("LFCC statistics, fused late (mean of the logits)", fused="LFCC"),
    Trial("differences, copy less original, as spoof rows of weight 0.1", differences=0.1),
    Trial("the same, weight 1", differences=1.0),
    Trial("5 nuisance directions", nuisance=5),
    Trial("15", nuisance=15),
    Trial("30", nuisance=30),
    Trial("15, and differences of weight 1", nuisance=15, differences=1.0),
    Trial("all copies as spoof", copies=1.0),
    Trial("all copies as spoof, weight 0.05", copies=1.0, weight=0.05),
    Trial("a tenth of the copies as spoof", copies=rows.SHARE_OF_COPIES),
    Trial("all copies, 15 nuisance directions", copies=1.0, nuisance=15),
    Trial("a twentieth of the copies, 15 nuisance directions", copies=0.05, nuisance=15),
    Trial("a tenth of the copies, 15 nuisance directions: **the starter**", copies=rows.SHARE_OF_COPIES, nuisance=15),
    Trial("a third of the copies, 15 nuisance directions", copies=1 / 3, nuisance=15),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Embed what is missing, try each, and write the table; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.starter.tried", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpora", type=Path, default=CORPUS.parent, help="folder of dev, more and pages")
    parser.add_argument("--work", type=Path, default=Path("build/starter"), help="folder for tables")
    parser.add_argument("--no-write", action="store_true", help="print the table, leave docs/starter.md alone")
    known = parser.parse_args(arguments)
    corpus = embedded(known.corpora, known.work / "tried")
    lines = [
        "| rows and features | folds: tts | folds: pairs | `eval` | `pages` | mean of the pages |",
        "| --- " * 6 + "|",
    ]
    for trial in TRIALS:
        lines.append(line(trial, corpus))
        print(lines[-1], flush=True)
    if not known.no_write:
        write_between(PAGE, BEGIN, END, "\n".join(lines))
    return 0


def embedded(corpora: Path, work: Path) -> Corpus:
    """Embed all rows, copies that the head leaves out included, by layers, with deviations, and as LFCC statistics."""
    work.mkdir(parents=True, exist_ok=True)
    found = [row for row in rows.rows_of(corpora) if row["split"] != rows.UNUSED]
    listed = rows.write(found, work / "rows.csv")
    ids = [row["file"] for row in found]
    features = {}
    for output, flags, names in (
        ("layers", ("--backbone", "starter", "--layers", "0,1,-1"), {0: "layer 0", 1: "layer 1", -1: "layer 2"}),
        ("deviations", ("--backbone", "starter", "--pooling", "mean+std"), {-1: "layer 2, mean+std"}),
        ("lfcc", LFCC_FLAGS, {-1: "LFCC"}),
    ):
        bonafide("embed", "--input", str(listed), *flags, "--output", str(work / output))
        for layer, name in names.items():
            features[name] = _read(work / output, layer, ids)
    place = {each: index for index, each in enumerate(ids)}
    return Corpus(features, _facts(found), np.array([place.get(row.get("origin", ""), -1) for row in found]))


def _read(output: Path, layer: int, ids: list[str]) -> Floats:
    """Embeddings of a layer in the order of ids: float64 array of shape (n, dim)."""
    table = pq.read_table(output / "embeddings", columns=["utterance_id", "layer", "embedding"])
    rows_of_layer = table.filter(pc.equal(table["layer"], layer))
    place = {each: index for index, each in enumerate(rows_of_layer["utterance_id"].to_pylist())}
    stacked = np.stack(rows_of_layer["embedding"].to_numpy())
    return np.asarray(stacked[[place[each] for each in ids]], dtype=np.float64)


def _facts(found: list[rows.Row]) -> dict[str, Rows]:
    kinds = ["copy" if row["copied"] else "human" if row["label"] == BONAFIDE else "tts" for row in found]
    places = [row["copied"] or row["source"] for row in found]
    names = ("file", "label", "system", "source", "split", "page", "corpus", "speaker")
    of_each = {name: np.array([row.get(name, "-") for row in found]) for name in names}
    return {"kind": np.array(kinds), "place": np.array(places), **of_each}


def line(trial: Trial, corpus: Corpus) -> str:
    """A row of the table."""
    text_to_speech, pairs = on_folds(trial, corpus)
    judge = fitted(trial, corpus, used(trial, corpus))
    cells = []
    for use in (rows.EVAL, rows.PAGES):
        here = np.flatnonzero(corpus.of["split"] == use)
        trials = trials_of(judge(here), corpus, here)
        found = intervals(trials)["equal_error_rate"]
        cells.append(f"{100 * found.value:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})")
    value, low, high = by_page(Judged(rows.PAGES, {"": trials}, {"page": corpus.of["page"][here]}), "")
    cells.append(f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})")
    return f"| {trial.name} | {text_to_speech:.1f} | {pairs:.1f} | {' | '.join(cells)} |"


def used(trial: Trial, corpus: Corpus) -> Bools:
    """The rows that a trial is fitted on."""
    of, train = corpus.of, np.isin(corpus.of["split"], TRAINING)
    picked = np.array([rows.share_of(name) < trial.copies for name in of["file"].tolist()])
    kinds = (of["corpus"] == "dev") | (of["kind"] == "human") & trial.more_speech
    kinds |= (of["kind"] == "tts") & trial.text_to_speech
    kinds |= corpus.is_copy & picked
    return np.asarray(train & kinds)


def on_folds(trial: Trial, corpus: Corpus) -> tuple[float, float]:
    """EER in percent of held-out text-to-speech, and of held-out copies, mean over the folds for the latter."""
    of, wanted = corpus.of, used(trial, corpus)
    train = np.isin(of["split"], TRAINING)
    human, system = _folds(of["place"], 1), _folds(of["system"], 2)
    fold = np.where(of["kind"] == "tts", system, human)
    scores = np.full(len(fold), np.nan)
    rates = []
    for number in range(N_FOLDS):
        held = train & (fold == number)
        held_ways = corpus.is_copy & (system == number)
        judge = fitted(trial, corpus, wanted & ~held & ~held_ways)
        scores[held] = judge(np.flatnonzero(held))
        pair = held & held_ways
        originals = held & corpus.is_bonafide & (of["corpus"] == "more")
        rates.append(equal_error_rate(scores[originals], scores[pair]))
    text_to_speech = equal_error_rate(scores[train & corpus.is_bonafide], scores[train & (of["kind"] == "tts")])
    return 100 * text_to_speech, 100 * float(np.mean(rates))


def fitted(trial: Trial, corpus: Corpus, use: Bools) -> Callable[[npt.NDArray[np.int64]], Floats]:
    """Fit on the rows of ``use``; return a function from rows to logits."""
    own = _model(trial, corpus, use, np.concatenate([corpus.features[name] for name in trial.features], axis=1))
    if not trial.fused:
        return own
    other = _model(trial, corpus, use, corpus.features[trial.fused])
    return lambda which: (own(which) + other(which)) / 2


def _model(trial: Trial, corpus: Corpus, use: Bools, features: Floats) -> Callable[[npt.NDArray[np.int64]], Floats]:
    mean, scale = features[use].mean(axis=0), features[use].std(axis=0)
    keep = np.eye(features.shape[1]) - _nuisance(trial, corpus, use, (features - mean) / scale)
    cleaned = (features - mean) / scale @ keep
    truth = corpus.is_bonafide[use]
    weights = np.where(corpus.is_copy[use], trial.weight, 1.0)
    for label in (True, False):
        weights[truth == label] *= len(truth) / 2 / weights[truth == label].sum()
    design, labels = np.column_stack([cleaned[use], np.full(len(truth), 10.0)]), truth
    if trial.differences:
        pairs = _copies_of(corpus, use)
        between = np.column_stack([cleaned[pairs] - cleaned[corpus.origin[pairs]], np.zeros(len(pairs))])
        design = np.concatenate([design, between, -between])  # each way round, so that they ask for no intercept
        labels = np.concatenate([labels, np.zeros(len(pairs), bool), np.ones(len(pairs), bool)])
        weights = np.concatenate([weights, np.full(2 * len(pairs), trial.differences / 2)])
    model = LogisticRegression(C=trial.c, max_iter=2000, fit_intercept=False).fit(design, labels, weights)
    (found,) = model.coef_
    return lambda which: cleaned[which] @ found[:-1] + 10.0 * found[-1]


def _copies_of(corpus: Corpus, use: Bools) -> npt.NDArray[np.int64]:
    """Copies whose original is among the rows of ``use``."""
    known = corpus.is_copy & (corpus.origin >= 0)
    return np.flatnonzero(known & use[corpus.origin])


def _nuisance(trial: Trial, corpus: Corpus, use: Bools, standardised: Floats) -> Floats:
    """Projection on the directions in which the sources of bona fide rows differ most."""
    if not trial.nuisance:
        return np.zeros((standardised.shape[1],) * 2)
    own = use & corpus.is_bonafide
    sources = corpus.of["source"]
    means = np.stack([standardised[own & (sources == name)].mean(axis=0) for name in np.unique(sources[own])])
    directions = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)[2][: trial.nuisance]
    return np.asarray(directions.T @ directions)


def _folds(names: Rows, seed: int) -> npt.NDArray[np.int64]:
    """Fold of each name, the same for equal names."""
    words, code = np.unique(names, return_inverse=True)
    return np.asarray(np.random.default_rng(seed).permutation(len(words)) % N_FOLDS)[code]


def trials_of(logits: Floats, corpus: Corpus, here: npt.NDArray[np.int64]) -> Trials:
    """Trials of logits, as if they were scores: only their order counts here."""
    is_spoof = ~corpus.is_bonafide[here]
    cluster = np.where(is_spoof, corpus.of["system"][here], corpus.of["speaker"][here])
    cluster = np.where(cluster == "-", corpus.of["source"][here], cluster)
    wrong = (logits > 0) == is_spoof
    return Trials(logits, is_spoof, 1 / (1 + np.exp(logits)), -np.abs(logits), wrong, np.ones_like(wrong), cluster)


if __name__ == "__main__":
    sys.exit(main())
