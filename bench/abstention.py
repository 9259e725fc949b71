"""Figures of abstention, and what is the best reason to abstain: entropy, distance, or scores that move.

    python -m bench.abstention [--corpora ../shared/corpus] [--work build/abstention] [--eval]

Heads are fitted on the rows of bench/starter/rows.py: every row of `train` is judged by the model of its fold, which
learnt from no row of its system, source or speaker, with a calibration of the other folds. `--eval` judges `eval`, once
everything is settled. Recordings are embedded in this process, and what is in the work folder is not embedded again.
The tables are written to docs/results.md.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.dev_corpus import CORPUS, RESULTS
from bench.marked import write_between
from bench.perturbed import CHANGES, embeddings
from bench.starter import rows
from detector import metrics, novelty
from detector.calibration import CALIBRATORS, bounded, calibrate, score_bounds
from detector.groups import Groups, Names, groups_of
from detector.head import Head
from detector.logistic import Bools, Matrix
from detector.metrics import Floats, Trials, compare, selective
from detector.metrics.intervals import quantile_range, range_of_draws
from detector.metrics.resampling import N_DRAWS, SEED, draws, measure_draws, strata_of
from detector.rejection import called_spoof, entropy_bits, p_spoof
from detector.schema import BONAFIDE
from detector.training.config import TrainingConfig
from detector.training.crossfit import cross_fit
from detector.training.fitting import fit_head
from detector.training.nuisance import clean

BEGIN, END = "<!-- abstention: begin -->", "<!-- abstention: end -->"
AS_SHIPPED = TrainingConfig(c=0.01, standardise=True, nuisance_directions=15, target_risk=0.15)
PLAIN = replace(AS_SHIPPED, nuisance_directions=0)
WAYS = {
    "melstats": ("melstats", AS_SHIPPED),
    "starter": ("starter", AS_SHIPPED),
    "starter, no nuisance directions": ("starter", PLAIN),
}
RISKS = (0.01, 0.02, 0.05)
MOST_CHANGED = 40  # recordings of one system or source that are embedded after every change
ENTROPY = "entropy"


@dataclass(frozen=True)
class Listed:
    """The labelled recordings of a split, with what is known of each."""

    listed: list[rows.Row]

    @property
    def paths(self) -> list[str]:
        return [row["uri"] for row in self.listed]

    @cached_property
    def is_bonafide(self) -> Bools:
        return np.array([row["label"] == BONAFIDE for row in self.listed])

    @cached_property
    def names(self) -> dict[str, Names]:
        return {name: Names.of(row[name] for row in self.listed) for name in ("system", "speaker", "source")}

    @cached_property
    def cluster(self) -> np.ndarray:
        """System of a spoof row, source of a bona fide one."""
        return np.array([row["source" if row["label"] == BONAFIDE else "system"] for row in self.listed])

    def changed(self) -> list[int]:
        """Places of the recordings of `dev` that are embedded after every change."""
        seen: Counter[str] = Counter()
        found = []
        for place, row in enumerate(self.listed):
            if row["corpus"] == "dev":
                seen[self.cluster[place]] += 1
                found += [place] if seen[self.cluster[place]] <= MOST_CHANGED else []
        return found


@dataclass(frozen=True)
class Judged:
    """Scores in nats of the rows of a split by models that did not learn from their groups, and their `ood`.

    Parameters
    ----------
    score, ood : float64 arrays of shape (n,)
    moved : float64 array of shape (n_changes, n_changed)
        Scores of the changed recordings, in the order of :data:`bench.perturbed.CHANGES`, the first as they are.
    """

    score: Floats
    ood: Floats
    moved: Floats


def main(arguments: Sequence[str] | None = None) -> int:
    """Embed, fit on folds, judge, and write the tables; return 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.abstention", description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=Path, default=CORPUS.parent, help="folder of dev and more")
    parser.add_argument("--work", type=Path, default=Path("build/abstention"), help="folder for embeddings")
    parser.add_argument("--eval", action="store_true", help="judge `eval`, too")
    parser.add_argument("--no-write", action="store_true", help="print the tables, leave docs/results.md alone")
    known = parser.parse_args(arguments)
    train, judges = splits(known.corpora)
    on_folds = {name: judged_on_folds(train, judges, *way, known.work) for name, way in WAYS.items()}
    trials = {name: trials_of(train, each.score) for name, each in on_folds.items()}
    parts = [
        f"Folds of `train`: {rows.counts(train.listed)}.".split("; eval")[0] + ".",
        figures(trials),
        f"Reasons to abstain, on {len(train.changed())} recordings of `dev`, at most {MOST_CHANGED} of a system or "
        "source; AURC in %, and its difference from that of the entropy:",
        reasons(train, on_folds),
    ]
    if known.eval:
        parts += ["`eval`, looked at once:", figures(on_eval(train, judges, known.work))]
    text = "\n\n".join(parts)
    print(text)
    if not known.no_write:
        write_between(RESULTS, BEGIN, END, text)
    return 0


def splits(corpora: Path) -> tuple[Listed, Listed]:
    """The recordings of `train` and of `eval`."""
    used = rows.rows_of(corpora)
    return Listed([row for row in used if row["split"] == rows.TRAIN]), Listed(
        [row for row in used if row["split"] == rows.EVAL]
    )


def embedded(train: Listed, judges: Listed, backbone: str, work: Path) -> tuple[Floats, Floats]:
    """Embeddings of `train` and of `eval`, as the recordings are."""
    both = sorted([*train.listed, *judges.listed], key=lambda row: row["uri"])
    found = embeddings([row["uri"] for row in both], backbone, next(iter(CHANGES)), work / "all")
    place = {row["uri"]: number for number, row in enumerate(both)}
    return tuple(found[[place[path] for path in split.paths]] for split in (train, judges))  # type: ignore[return-value]


def judged_on_folds(train: Listed, judges: Listed, backbone: str, config: TrainingConfig, work: Path) -> Judged:
    """Judge every row of `train` by the model of its fold."""
    matrix, truth, changed = Matrix(embedded(train, judges, backbone, work)[0]), train.is_bonafide, train.changed()
    fold = groups_of(truth, train.names).folds(truth)
    cleaned = clean(matrix, truth, train.names["source"], config.nuisance_directions)
    facts, models, logits = cross_fit(cleaned or matrix, truth, fold, config)
    ood = novelty.learn(matrix, fold, facts.mean[-1], facts.scale[-1])[1]
    moved = [logits[changed]]
    for change in list(CHANGES)[1:]:
        others = Matrix(embeddings([train.paths[place] for place in changed], backbone, change, work / "changed"))
        moved.append(models.logits(replace(cleaned, rows=others) if cleaned else others, fold[changed]))
    all_moved, score, scores_moved = np.array(moved), np.empty(len(truth)), np.empty((len(moved), len(changed)))
    for number in np.unique(fold):
        here, of_changed = fold == number, fold[changed] == number
        numbers, bounds = calibrate(config.calibrator, logits[~here], truth[~here]), score_bounds(truth[~here])
        apply = CALIBRATORS[config.calibrator].apply
        score[here] = bounded(apply(numbers, logits[here]), bounds)
        scores_moved[:, of_changed] = bounded(apply(numbers, all_moved[:, of_changed].ravel()), bounds).reshape(
            len(moved), -1
        )
    return Judged(score, ood, scores_moved)


def on_eval(train: Listed, judges: Listed, work: Path) -> dict[str, Trials]:
    """Judge `eval` by heads that were fitted on all of `train`, and by the head that is part of the package."""
    found = {}
    for name, (backbone, config) in WAYS.items():
        learnt, judged = embedded(train, judges, backbone, work)
        groups: Groups = groups_of(train.is_bonafide, train.names)
        head = (
            Head.starter()
            if name == "starter"
            else fit_head(
                Matrix(learnt),
                train.is_bonafide,
                groups,
                config,
                recipe=Head.starter().recipe,  # the file of this head is never written
                model=backbone,
                sources=train.names["source"],
            )[0]
        )
        found[name] = trials_of(judges, head.scores(judged))
    return found


def trials_of(split: Listed, score: Floats, uncertainty: Floats | None = None) -> Trials:
    """Trials at a prior of one half, all of them kept."""
    entropy, wrong = entropy_bits(score, 0.5), called_spoof(score, 0.5) == split.is_bonafide
    sure = np.ones(len(score), dtype=bool)
    return Trials(
        score,
        ~split.is_bonafide,
        p_spoof(score, 0.5),
        entropy if uncertainty is None else uncertainty,
        wrong,
        sure,
        split.cluster,
    )


def figures(trials: dict[str, Trials]) -> str:
    """Table of the figures of abstention: a column for each head, with 95 % intervals over systems and sources."""
    lines = [f"| figure | {' | '.join(trials)} |", f"| --- {'| --- ' * len(trials)}|"]
    names = {
        "equal_error_rate": ("EER, %", 100.0, ".1f"),
        "cllr": ("Cllr, bits", 1.0, ".3f"),
        "risk_at_full_coverage": ("wrong without rejecting, %", 100.0, ".1f"),
        "area_under_risk_coverage": ("AURC, %", 100.0, ".1f"),
        "excess_area_under_risk_coverage": ("excess AURC, %", 100.0, ".1f"),
        "min_dcf": ("minDCF", 1.0, ".3f"),
        "act_dcf": ("actDCF", 1.0, ".3f"),
    }
    found = {name: (each.measure(), measure_draws([each], N_DRAWS, SEED)[0]) for name, each in trials.items()}
    for metric, (title, unit, form) in names.items():
        cells = []
        for name, (values, drawn) in found.items():
            ends = range_of_draws(metric, values[metric], drawn[metric], 0.95, trials[name].n_clusters)
            cells.append(_cell(values[metric], *ends, unit, form))
        lines.append(f"| {title} | {' | '.join(cells)} |")
    ratios = []
    for name, (values, drawn) in found.items():
        low, high = quantile_range(drawn["act_dcf"] / drawn["min_dcf"], 0.95, trials[name].n_clusters)
        ratios.append(_cell(values["act_dcf"] / values["min_dcf"], low, high, 1.0, ".2f"))
    lines.append(f"| actDCF / minDCF | {' | '.join(ratios)} |")
    for label, spoof in (("all", None), ("bona fide", False), ("spoof", True)):
        chosen = {name: each if spoof is None else each[each.is_spoof == spoof] for name, each in trials.items()}
        lines += [
            f"| kept at {risk:.0%} wrong, {label}, % | {' | '.join(_kept(each, risk) for each in chosen.values())} |"
            for risk in RISKS
        ]
    return "\n".join(lines)


def reasons(train: Listed, on_folds: dict[str, Judged]) -> str:
    """Table of the AURC of every reason to abstain, on the recordings that were changed."""
    some = Listed([train.listed[place] for place in train.changed()])
    tables = {name: _reasons(each, train.changed()) for name, each in on_folds.items()}
    lines = [f"| reason | {' | '.join(tables)} |", f"| --- {'| --- ' * len(tables)}|"]
    for reason in next(iter(tables.values())):
        cells = []
        for name, uncertainty in tables.items():
            score = on_folds[name].score[train.changed()]
            by_this, by_entropy = (trials_of(some, score, uncertainty[each]) for each in (reason, ENTROPY))
            area = 100 * metrics.area_under_risk_coverage(by_this.uncertainty, by_this.wrong)
            difference = compare(by_this, by_entropy)["area_under_risk_coverage"]
            ends = f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f}"
            cells.append(f"{area:.1f}" + (f"; {100 * difference.value:+.1f} ({ends})" if reason != ENTROPY else ""))
        lines.append(f"| {reason} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _reasons(judged: Judged, changed: list[int]) -> dict[str, Floats]:
    """Uncertainty of the changed recordings by every reason; higher is rejected first."""
    moved, ood = judged.moved, judged.ood[changed]
    entropy = entropy_bits(moved[0], 0.5)
    kinds = {"codec": ("Opus",), "gain": ("gain",), "crop": ("first", "last")}
    passes = {kind: [0, *(n for n, name in enumerate(CHANGES) if name.startswith(by))] for kind, by in kinds.items()}
    spread = {f"spread of scores: {kind}": _spread(moved, each) for kind, each in passes.items()}
    all_spread = _spread(moved, list(range(len(moved))))
    mean = np.mean([p_spoof(each, 0.5) for each in moved], axis=0)
    return {
        ENTROPY: entropy,
        "distance": ood,
        **spread,
        f"spread of scores: all, {len(moved)} passes": all_spread,
        f"entropy of the mean probability, {len(moved)} passes": _entropy(mean),
        "entropy and distance, mean rank": _rank(entropy) + _rank(ood),
        "entropy and spread, mean rank": _rank(entropy) + _rank(all_spread),
    }


def _spread(moved: Floats, passes: list[int]) -> Floats:
    return np.asarray(moved[passes].std(axis=0))


def _entropy(probability: Floats) -> Floats:
    return entropy_bits(np.log1p(-probability) - np.log(probability), 0.5)


def _rank(values: Floats) -> Floats:
    return np.asarray(np.searchsorted(np.sort(values), values) / len(values))


def _kept(trials: Trials, risk: float) -> str:
    value = selective.coverage_at_risk(trials.uncertainty, trials.wrong, risk)
    drawn = [
        selective.coverage_of_curve(counts.coverage, counts.risk, risk)
        for counts in draws(trials, strata_of([trials]), N_DRAWS, SEED)
    ]
    n_clusters = len(np.unique(trials.cluster_numbers)) if len(np.unique(trials.is_spoof)) == 1 else trials.n_clusters
    return _cell(value, *quantile_range(np.concatenate(drawn), 0.95, n_clusters), 100.0, ".1f")


def _cell(value: float, low: float, high: float, unit: float, form: str) -> str:
    return f"{unit * value:{form}} ({unit * low:{form}} to {unit * high:{form}})"


if __name__ == "__main__":
    sys.exit(main())
