"""Try ways to keep a head from learning which source or synthesiser a recording is of, on folds that share none.

    bonafide embed --input LIST --backbone starter --output TABLES      # LIST names the files of `dev` and `more`
    python -m bench.nuisance --embeddings TABLES [--layer 2] [--corpora ../shared/corpus]

Rows are those of the starter's head (bench/starter/rows.py). No human source, recorded or copied, and no synthesiser or
way of copying is on both sides of a fold. A plain logistic regression of scikit-learn on standardised embeddings, both
classes of the same total weight; what a way needs to know is learnt on the training side of each fold, and each way
takes the C that is best for it. Differences from the plain head are paired, with 95 % intervals over sources and
systems. Prints a table for docs/results.md. Rows of `eval` are not read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression

from bench.dev_corpus import CORPUS
from bench.starter import rows
from detector.calibration import CALIBRATORS, calibrate
from detector.metrics import Floats
from detector.metrics.comparison import compare
from detector.metrics.likelihood import bits_lost, cllr
from detector.metrics.trials import Trials
from detector.rejection import entropy_bits
from detector.schema import BONAFIDE

N_FOLDS, N_DRAWS, N_ROUNDS = 5, 1_000, 3
ALL_C = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
Bools = npt.NDArray[np.bool_]
Strings = npt.NDArray[np.str_]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Way:
    """A way to fit.

    Parameters
    ----------
    name : str
    by : str
        Groups within a class whose means differ by nuisance alone: a key of :attr:`Corpus.of`, or `pair` for the means
        of recordings and their copies.
    out : int
        Take out so many directions, those in which the means differ most.
    shrink : float
        Divide each direction by ``sqrt(1 + shrink * variance of the means / its average)`` (Hatch, Kajarekar and
        Stolcke, Within-class covariance normalization, Interspeech 2006).
    balance : float
        A row weighs ``n ** -balance``, n being the rows of its source or system.
    worst : float
        Raise the weight of groups by ``exp(worst * their mean loss)``, three times (Sagawa et al., Distributionally
        robust neural networks for group shifts, ICLR 2020).
    """

    name: str
    by: str = ""
    out: int = 0
    shrink: float = 0.0
    balance: float = 0.0
    worst: float = 0.0


PLAIN = Way("plain")
WAYS = (
    Way("out: 5 directions of human sources", "source", out=5),
    Way("out: 15 (the starter's)", "source", out=15),
    Way("out: 15 of sources and systems", "group", out=15),
    Way("shrunk by human sources", "source", shrink=10.0),
    Way("shrunk by sources and systems", "group", shrink=10.0),
    Way("shrunk ten times as much", "group", shrink=100.0),
    Way("shrunk by speakers", "speaker", shrink=10.0),
    Way("shrunk by codec and rate", "stored", shrink=10.0),
    Way("shrunk by pairs", "pair", shrink=10.0),
    Way("groups balanced", balance=1.0),
    Way("groups balanced by half", balance=0.5),
    Way("shrunk by sources and systems, and balanced", "group", shrink=10.0, balance=1.0),
    Way("worst groups weigh more", worst=1.0),
)


@dataclass(frozen=True)
class Corpus:
    """Rows with their embeddings, and what is known of each.

    Parameters
    ----------
    features : float64 array of shape (n, dim)
    is_bonafide : bool array of shape (n,)
    of : dict of str to array of shape (n,)
        `system` and `speaker`; `copied`, the human source of a copy, and `place`, that or its own source;
        `stored`, codec and rate; `group`, the source of human rows and the system of others, and `source`, the same but
        empty for spoof rows.
    original : int array of shape (n,)
        Row that a copy was made of; -1 for others.
    """

    features: Floats
    is_bonafide: Bools
    of: dict[str, Strings]
    original: Indices


def main(arguments: Sequence[str] | None = None) -> int:
    """Try each way and print a table; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.nuisance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--embeddings", action="append", required=True, help="output of `embed`; repeatable")
    parser.add_argument("--layer", type=int, default=-1)
    parser.add_argument("--corpora", type=Path, default=CORPUS.parent, help="folder of dev and more")
    parser.add_argument("--way", action="append", help="a way to try, by name; repeatable [default: all]")
    known = parser.parse_args(arguments)
    corpus = read(known.embeddings, known.layer, known.corpora)
    print(f"| way | C | EER, % | Cllr, bits | change | by group | change |\n{'| --- ' * 7}|", flush=True)
    plain: Trials | None = None
    tried = [way for way in WAYS if known.way is None or way.name in known.way]
    for way in (PLAIN, *tried):
        c, logits = on_folds(way, corpus)
        own = trials_of(calibrated(logits, corpus.is_bonafide), corpus)
        plain = plain or own
        print(f"| {way.name} | {c:g} | {' | '.join(compared(own, plain))} |", flush=True)
    return 0


def read(outputs: Sequence[str], layer: int, corpora: Path) -> Corpus:
    """Read the embeddings of one layer, and join them with what is known of the recordings by their place."""
    vectors: dict[str, Floats] = {}
    for output in outputs:
        table = pq.read_table(Path(output) / "embeddings", columns=["uri", "layer", "embedding"])
        table = table.filter(pc.and_(pc.equal(table["layer"], layer), pc.is_valid(table["embedding"])))
        vectors |= dict(zip(table["uri"].to_pylist(), table["embedding"].to_numpy(), strict=True))
    found = [row for row in rows.rows_of(corpora) if row["uri"] in vectors and row["split"] == rows.TRAIN]
    is_bonafide = np.array([row["label"] == BONAFIDE for row in found])
    of = {name: np.array([row[name] for row in found]) for name in ("system", "speaker")}
    of["place"] = np.array([row["copied"] or row["source"] for row in found])
    of["copied"] = np.array([row["copied"] for row in found])
    of["stored"] = np.array([f"{row['codec']} {row['native_rate']}" for row in found])
    of["group"] = np.where(is_bonafide, of["place"], of["system"])
    of["source"] = np.where(is_bonafide, of["place"], "")
    of["speaker"] = np.where(of["speaker"] == "-", of["group"], of["speaker"])
    stems = {row["file"].rpartition(".")[0]: place for place, row in enumerate(found)}
    original = [stems.get(row["origin"].rpartition(".")[0], -1) if row["copied"] else -1 for row in found]
    features = np.stack([vectors[row["uri"]] for row in found]).astype(np.float64)
    return Corpus(features, is_bonafide, of, np.array(original))


def on_folds(way: Way, corpus: Corpus) -> tuple[float, Floats]:
    """Return the C that is best on the folds, and the logit of every row by a model of the other folds."""
    place, system = _folds(corpus.of["place"], 1), _folds(corpus.of["system"], 2)
    fold = np.where(corpus.is_bonafide, place, system)
    found = {c: np.empty(len(fold)) for c in ALL_C}
    for number in range(N_FOLDS):
        held, copies_of_held = fold == number, (corpus.of["copied"] != "") & (place == number)
        use = np.flatnonzero(~held & ~copies_of_held)
        for c, logits in fitted(way, corpus, use, np.flatnonzero(held)).items():
            found[c][held] = logits
    truth = corpus.is_bonafide

    def cost(c: float) -> float:
        score = calibrated(found[c], truth)
        return cllr(score[truth], score[~truth])

    best = min(ALL_C, key=cost)
    return best, found[best]


def calibrated(logits: Floats, is_bonafide: Bools) -> Floats:
    """Scores of logits, by an affine calibration on themselves, as :func:`detector.training.search.search` does."""
    return CALIBRATORS["affine"].apply(calibrate("affine", logits, is_bonafide), logits)


def fitted(way: Way, corpus: Corpus, use: Indices, judged: Indices) -> dict[float, Floats]:
    """Fit on the rows of ``use`` at each C, and return the logits of the rows of ``judged``."""
    mean, scale = corpus.features[use].mean(axis=0), corpus.features[use].std(axis=0)
    standard = (corpus.features - mean) / np.where(scale > 0, scale, 1.0)
    standard = (standard @ transform(way, corpus, standard, use)).astype(np.float32)  # half the time
    truth, (_, group) = corpus.is_bonafide[use], np.unique(corpus.of["group"][use], return_inverse=True)
    n_of_group = np.bincount(group)
    found = {}
    for c in ALL_C:
        model = LogisticRegression(C=c, max_iter=1_000, warm_start=True)
        of_group = n_of_group**-way.balance
        for _ in range(1 + N_ROUNDS * (way.worst > 0)):
            weights = of_group[group]
            for label in (True, False):
                weights[truth == label] *= len(truth) / 2 / weights[truth == label].sum()
            model.fit(standard[use], truth, weights)
            logits = model.decision_function(standard[use])
            loss = np.bincount(group, bits_lost(np.where(truth, logits, -logits))) / n_of_group
            of_group = of_group * np.exp(way.worst * loss)
        found[c] = model.decision_function(standard[judged])
    return found


def transform(way: Way, corpus: Corpus, standard: Floats, use: Indices) -> Floats:
    """Return the matrix that takes out or shrinks the nuisance of a way: float64 array of shape (dim, dim)."""
    whole = np.eye(standard.shape[1])
    if not way.by:
        return whole
    variances, directions = np.linalg.eigh(covariance(way.by, corpus, standard, use))
    if way.out:
        return np.asarray(whole - directions[:, -way.out :] @ directions[:, -way.out :].T)
    return np.asarray(directions / np.sqrt(1.0 + way.shrink * variances / variances.mean()) @ directions.T)


def covariance(by: str, corpus: Corpus, standard: Floats, use: Indices) -> Floats:
    """Covariance of the means of groups within a class, mean over the classes; or of the means of pairs."""
    if by == "pair":
        copies = use[np.isin(corpus.original[use], use)]
        return np.cov((standard[copies] + standard[corpus.original[copies]]) / 2.0, rowvar=False)
    found = []
    for label in (True, False):
        own = use[corpus.is_bonafide[use] == label]
        names, code = np.unique(corpus.of[by][own], return_inverse=True)
        if len(names) > 1:
            means = np.stack([standard[own[code == number]].mean(axis=0) for number in range(len(names))])
            found.append(np.cov(means, rowvar=False))
    return np.asarray(np.mean(found, axis=0))


def trials_of(score: Floats, corpus: Corpus) -> Trials:
    """Trials whose clusters are human sources and systems."""
    is_spoof, p_spoof = ~corpus.is_bonafide, 1.0 / (1.0 + np.exp(score))
    wrong = (p_spoof > 0.5) != is_spoof
    return Trials(score, is_spoof, p_spoof, entropy_bits(score, 0.5), wrong, np.ones_like(wrong), corpus.of["group"])


def compared(own: Trials, plain: Trials) -> list[str]:
    """Cells of a row: EER, Cllr and its change, Cllr with the same weight for each group and its change."""
    rate, cost = (own.measure()[name] for name in ("equal_error_rate", "cllr"))
    change = compare(own, plain)["cllr"]
    value, by_group = by_groups(own, plain)
    low, high = np.quantile(by_group[1:], (0.025, 0.975))
    cells = [f"{100 * rate:.1f}", f"{cost:.3f}", f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})"]
    return [*cells, f"{value:.3f}", f"{by_group[0]:+.3f} ({low:+.3f} to {high:+.3f})"]


def by_groups(own: Trials, plain: Trials) -> tuple[float, Floats]:
    """Cllr with the same weight for each group; and its change, of all groups and then of draws of them."""
    means = []
    for trials in (own, plain):
        loss = bits_lost(np.where(trials.is_spoof, -trials.score, trials.score))
        means.append(np.bincount(trials.cluster_numbers, loss) / np.bincount(trials.cluster_numbers))
    is_spoof = np.bincount(own.cluster_numbers, own.is_spoof) > 0
    rng = np.random.default_rng(0)
    value, change = 0.0, np.zeros(1 + N_DRAWS)
    for of_class in (np.flatnonzero(is_spoof), np.flatnonzero(~is_spoof)):
        drawn = np.vstack([of_class, rng.choice(of_class, size=(N_DRAWS, len(of_class)))])
        value += float(means[0][of_class].mean()) / 2.0
        change += (means[0] - means[1])[drawn].mean(axis=1) / 2.0
    return value, change


def _folds(names: Strings, seed: int) -> Indices:
    """Fold of each row, the same for equal names."""
    words, code = np.unique(names, return_inverse=True)
    return np.asarray(np.random.default_rng(seed).permutation(len(words)) % N_FOLDS)[code]


if __name__ == "__main__":
    sys.exit(main())
