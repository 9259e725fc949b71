"""Measure calibration that travels: what adapts scores to an archive without its labels, with and without.

    python -m bench.travel --embeddings OUTPUT [--embeddings OUTPUT …] --labels FILE [--layer 2] [--c 0.01] [--eval]

Each outer fold of `train` is an archive: it shares no source, system or speaker with the rows that the head, its
calibration and whatever is tried are learnt from. Of an archive, the embeddings and what is measured of the recordings
are known, never the labels.

```
training rows ─► grouped folds ─► held-out logits ─┬─► calibration ────────► score without
                                                   └─► what is tried ─► + ─► score with
archive, unlabelled ───────────────────────────────────────────────────┘
```

Prints a table of the paired difference, with less without, with 95 % intervals over sources and systems; `--thin`
keeps that share of the archive's spoof rows. `--eval` judges the split `eval` instead, by heads of all of `train`.
Changes no page of docs/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from detector import metrics
from detector.calibration import balanced, bounded, linear, score_bounds
from detector.groups import Codes, Groups, Names, groups_of
from detector.logistic import Bools, Matrix
from detector.metrics import Floats, Trials
from detector.prior import estimated_prior, prior_interval
from detector.rejection import called_spoof, entropy_bits, p_spoof
from detector.training.config import TrainingConfig
from detector.training.crossfit import cross_fit
from jobs.inputs.labels import label_tables
from jobs.tables.ledger import Ledger
from jobs.tables.recipes import recipes_in

QUALITY = ("seconds", "rms_dbfs", "speech_share", "clipped_share")
SHOWN = ("cllr", "equal_error_rate", "expected_calibration_error", "brier_score", "risk_at_full_coverage")
NEIGHBOURS = 100  # rows of a cohort
EM_STEPS = 200
N_DRAWS = 1_000
N_BINS = 20
Texts = npt.NDArray[np.str_]


@dataclass(frozen=True)
class Set:
    """Rows with what is known of each.

    Parameters
    ----------
    embeddings : float64 array of shape (n, dim)
    quality : float64 array of shape (n, 4)
        Columns of :data:`QUALITY`.
    is_bonafide : bool array of shape (n,)
    names : dict of str to array of shape (n,)
        `system`, `speaker`, `source` and `split`.
    """

    embeddings: Floats
    quality: Floats
    is_bonafide: Bools
    names: dict[str, Texts]

    def __getitem__(self, rows: Bools) -> Set:
        names = {name: column[rows] for name, column in self.names.items()}
        return Set(self.embeddings[rows], self.quality[rows], self.is_bonafide[rows], names)

    @property
    def groups(self) -> Groups:
        return groups_of(
            self.is_bonafide, {name: Names.of(self.names[name]) for name in ("system", "speaker", "source")}
        )

    @property
    def cluster(self) -> Texts:
        """Source of a human recording, system of a synthetic one."""
        return np.where(self.is_bonafide, self.names["source"], self.names["system"])


@dataclass(frozen=True)
class Known:
    """What is known before labels of an archive are: training rows with held-out logits, and the archive's logits."""

    training: Set
    fold: Codes
    held_out: Floats
    archive: Set  # whose labels nothing but :func:`trials` reads
    logits: Floats
    config: TrainingConfig

    @property
    def truth(self) -> Bools:
        return self.training.is_bonafide

    def calibrated(self, held_out: Floats, logits: Floats) -> Floats:
        """Scores of logits by the calibration of held-out ones."""
        slope, offset = linear(held_out[:, None], self.truth)  # not `calibrate`, which refuses a slope below zero
        return bounded(slope * logits + offset, score_bounds(self.truth))


Way = Callable[[Known], tuple[Floats, float]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.travel", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--embeddings", action="append", required=True, help="output of `embed`; repeatable")
    parser.add_argument("--labels", action="append", required=True, help="labels; repeatable")
    parser.add_argument("--layer", type=int, help="of the outputs' tables [default: the only one]")
    parser.add_argument("--c", type=float, default=0.01, help="of standardised embeddings [%(default)s]")
    parser.add_argument("--thin", type=float, default=1.0, help="share of the archive's spoof rows to keep [all]")
    parser.add_argument("--eval", action="store_true", help="judge `eval`; look once")
    known = parser.parse_args(arguments)
    rows = read(known.embeddings, known.labels, known.layer)
    config = TrainingConfig(c=known.c, standardise=True)
    archives = list(left_out(rows, config, known.thin, on_eval=known.eval))
    n = sum(len(each.logits) for each in archives)
    print(
        f"{len(archives)} archive(s), {n} rows, {sum(each.archive.is_bonafide.sum() for each in archives)} bona fide\n"
    )
    print(table(archives))
    print(f"\n{shares(archives)}")
    return 0


def read(outputs: Sequence[str], labels: Sequence[str], layer: int | None) -> Set:
    """Read the labelled rows of a layer's tables."""
    known = {row["utterance_id"]: row for uri in labels for part in label_tables(uri) for row in part.to_pylist()}
    parts = []
    for output in outputs:
        keys = [key for key, recipe in recipes_in(output).items() if layer in (None, recipe["layer"])]
        ledger = Ledger(output, "embeddings", keys[0])
        parts += [ledger.read(marker, "embeddings") for marker in ledger.committed()]
    rows = pa.concat_tables(parts)
    rows = rows.filter(rows["embedding"].is_valid())
    rows = rows.filter(pa.array([each in known for each in rows["utterance_id"].to_pylist()]))
    facts = [known[each] for each in rows["utterance_id"].to_pylist()]
    embeddings = np.stack(rows["embedding"].combine_chunks().to_numpy(zero_copy_only=False)).astype(np.float64)
    quality = np.column_stack([rows[name].to_numpy() for name in QUALITY])
    names = {name: np.array([each[name] or "-" for each in facts]) for name in ("system", "speaker", "source", "split")}
    return Set(embeddings, quality, np.array([each["label"] == "bonafide" for each in facts]), names)


def left_out(rows: Set, config: TrainingConfig, thin: float, *, on_eval: bool) -> list[Known]:
    """Fit a head for each archive on the rows that share nothing with it."""
    train = rows[rows.names["split"] == "train"]
    if on_eval:
        return [fitted(train, thinned(rows[rows.names["split"] == "eval"], thin), config)]
    outer = train.groups.folds(train.is_bonafide)
    return [fitted(train[outer != fold], thinned(train[outer == fold], thin), config) for fold in np.unique(outer)]


def thinned(rows: Set, share: float) -> Set:
    """Keep a share of the spoof rows, drawn alike every time."""
    return rows[rows.is_bonafide | (np.random.default_rng(0).random(len(rows.is_bonafide)) < share)]


def fitted(training: Set, archive: Set, config: TrainingConfig) -> Known:
    """Fit the model, and compute its logits: held-out ones of the training rows, and the archive's."""
    fold = training.groups.folds(training.is_bonafide)
    _, models, held_out = cross_fit(Matrix(training.embeddings), training.is_bonafide, fold, config)
    last = np.full(len(archive.is_bonafide), len(models.bias) - 1)
    return Known(training, fold, held_out, archive, models.logits(Matrix(archive.embeddings), last), config)


def without(known: Known) -> tuple[Floats, float]:
    """The score as `fit` calibrates it."""
    return known.calibrated(known.held_out, known.logits), 0.5


def prior(known: Known) -> tuple[Floats, float]:
    """The same score, and the share of spoof that maximises the likelihood of the archive's scores."""
    score, _ = without(known)
    return score, estimated_prior(np.ones(len(score), dtype=np.int64), score)


def _offset(known: Known, training: Floats, archive: Floats) -> tuple[Floats, float]:
    centre, scale = training.mean(axis=0), np.maximum(training.std(axis=0), 1e-9)
    numbers = np.array(linear(np.column_stack([known.held_out, (training - centre) / scale]), known.truth))
    score = np.column_stack([known.logits, (archive - centre) / scale]) @ numbers[:-1] + numbers[-1]
    return bounded(score, score_bounds(known.truth)), 0.5


def quality(known: Known) -> tuple[Floats, float]:
    """An offset by length, level, share of speech and of clipping of each recording, learnt beside the calibration."""
    return _offset(known, known.training.quality, known.archive.quality)


def quality_of_source(known: Known) -> tuple[Floats, float]:
    """The same offset by the mean of each source."""
    return _offset(known, *(_by_source(rows.quality, rows.names["source"]) for rows in (known.training, known.archive)))


def _by_source(values: Floats, source: Texts) -> Floats:
    _, code = np.unique(source, return_inverse=True)
    sums = np.zeros((code.max() + 1, values.shape[1]))
    np.add.at(sums, code, values)
    return np.asarray((sums / np.bincount(code)[:, None])[code])


def cohort(known: Known) -> tuple[Floats, float]:
    """Logits less the mean of the nearest bona fide training rows' held-out ones, over their deviation.

    References
    ----------
    Adaptive normalisation: Sturim and Reynolds, Speaker adaptive cohort selection for Tnorm, ICASSP 2005.
    """
    centre, scale = known.training.embeddings.mean(axis=0), known.training.embeddings.std(axis=0)
    training, archive = ((each.embeddings - centre) / scale for each in (known.training, known.archive))
    held_out = np.empty(len(training))
    for fold in np.unique(known.fold):  # as for the archive, no row of a cohort shares a group with the row
        mine = known.fold == fold
        others = ~mine & known.truth
        held_out[mine] = _normalised(training[mine], known.held_out[mine], training[others], known.held_out[others])
    logits = _normalised(archive, known.logits, training[known.truth], known.held_out[known.truth])
    return known.calibrated(held_out, logits), 0.5


def _normalised(rows: Floats, logits: Floats, cohort: Floats, its_logits: Floats) -> Floats:
    distances = (rows**2).sum(axis=1)[:, None] - 2.0 * rows @ cohort.T + (cohort**2).sum(axis=1)
    nearest = its_logits[np.argpartition(distances, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]]
    return np.asarray((logits - nearest.mean(axis=1)) / nearest.std(axis=1))


def moments(known: Known) -> tuple[Floats, float]:
    """Logits of the archive at the mean and deviation that held-out ones have, classes weighted alike."""
    weights = balanced(known.truth)
    mean = np.average(known.held_out, weights=weights)
    deviation = np.sqrt(np.average((known.held_out - mean) ** 2, weights=weights))
    moved = (known.logits - known.logits.mean()) / known.logits.std() * deviation + mean
    return known.calibrated(known.held_out, moved), 0.5


def two_normals(known: Known) -> tuple[Floats, float]:
    """Scores by two normal distributions of one variance, fitted to the archive's logits alone.

    References
    ----------
    Brummer and Garcia-Romero, Generative modelling for unsupervised score calibration, ICASSP 2014.
    """
    logits, share = known.logits, 0.5
    means = [known.held_out[each].mean() for each in (known.truth, ~known.truth)]
    variance = np.mean([known.held_out[each].var() for each in (known.truth, ~known.truth)])
    for _ in range(EM_STEPS):
        slope, offset = (means[0] - means[1]) / variance, (means[1] ** 2 - means[0] ** 2) / (2.0 * variance)
        spoof = p_spoof(slope * logits + offset, share)
        share = float(np.clip(spoof.mean(), 1e-3, 1 - 1e-3))
        means = [np.average(logits, weights=1.0 - spoof), np.average(logits, weights=spoof)]
        variance = np.mean((1.0 - spoof) * (logits - means[0]) ** 2 + spoof * (logits - means[1]) ** 2)
    return bounded(slope * logits + offset, score_bounds(known.truth)), 0.5


def centred(known: Known) -> tuple[Floats, float]:
    """Embeddings of the archive moved to the mean of the training rows, classes weighted alike."""
    _, models, _ = cross_fit(Matrix(known.training.embeddings), known.truth, known.fold, known.config)
    mean = np.average(known.training.embeddings, axis=0, weights=balanced(known.truth))
    rows = known.archive.embeddings - known.archive.embeddings.mean(axis=0) + mean
    logits = models.logits(Matrix(rows), np.full(len(rows), len(models.bias) - 1))
    return known.calibrated(known.held_out, logits), 0.5


WAYS: dict[str, Way] = {
    "prior by EM": prior,
    "offset by quality measures": quality,
    "the same, means of sources": quality_of_source,
    "cohort of the nearest bona fide training rows": cohort,
    "mean and deviation of the archive's logits": moments,
    "two normals fitted to the archive's logits": two_normals,
    "mean of the archive's embeddings": centred,
}


def trials(archives: Sequence[Known], way: Way) -> Trials:
    """The archives' rows as judged in one way."""
    found = [way(known) for known in archives]
    score = np.concatenate([each for each, _ in found])
    truth = np.concatenate([known.archive.is_bonafide for known in archives])
    wrong = np.concatenate([called_spoof(each, share) for each, share in found]) == truth
    chance = np.concatenate([p_spoof(each, share) for each, share in found])
    uncertainty = np.concatenate([entropy_bits(each, share) for each, share in found])
    cluster = np.concatenate([known.archive.cluster for known in archives])
    return Trials(score, ~truth, chance, uncertainty, wrong, np.ones_like(wrong), cluster)


def table(archives: Sequence[Known]) -> str:
    """Format the figures without, and the differences with each way, as Markdown."""
    base = trials(archives, without)
    of_base = metrics.intervals(base, N_DRAWS)
    lines = ["| way | Cllr | EER | ECE | Brier | wrong |", "|" + " --- |" * 6]
    cells = [f"{of_base[name].value:.3f} ({of_base[name].low:.3f} to {of_base[name].high:.3f})" for name in SHOWN]
    lines.append(f"| without | {' | '.join(cells)} |")
    for name, way in WAYS.items():
        found = metrics.compare(trials(archives, way), base, N_DRAWS)
        cells = [f"{found[each].value:+.3f} ({found[each].low:+.3f} to {found[each].high:+.3f})" for each in SHOWN]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(line.replace(" (nan to nan)", "").replace(" (+nan to +nan)", "") for line in lines)


def shares(archives: Sequence[Known]) -> str:
    """Format the estimated share of spoof of each archive with its interval, beside the truth."""
    lines = ["| archive | rows | share of spoof | by EM, with its interval |", "|" + " --- |" * 4]
    for number, known in enumerate(archives):
        held_out, (score, _) = known.calibrated(known.held_out, known.held_out), without(known)
        edges = np.quantile(held_out, np.arange(1, N_BINS) / N_BINS)

        def counts(values: Floats, edges: Floats = edges) -> npt.NDArray[np.int64]:
            return np.bincount(np.searchsorted(edges, values), minlength=N_BINS)

        of_class = counts(held_out[known.truth]), counts(held_out[~known.truth])
        middle = np.array([_middle(held_out, edges, place) for place in range(N_BINS)])
        found = estimated_prior(counts(score), middle)
        low, high = prior_interval(counts(score), middle, of_class)
        lines.append(
            f"| {number} | {len(score)} | {1 - known.archive.is_bonafide.mean():.2f} "
            f"| {found:.2f} ({low:.2f} to {high:.2f}) |"
        )
    return "\n".join(lines)


def _middle(held_out: Floats, edges: Floats, place: int) -> float:
    inside = held_out[np.searchsorted(edges, held_out) == place]
    return float(inside.mean()) if len(inside) else float(edges[min(place, len(edges) - 1)])


if __name__ == "__main__":
    sys.exit(main())
