"""Certificates over groups: do they hold, and what do they cost?

    python -m bench.certificates [--draws 200] [--corpora ../shared/corpus] [--work build/abstention]

1. Systems and sources of a hierarchical model with known rates are drawn again and again: how often is a promise over
   groups broken, by a certificate over groups and by one over rows?
2. On the folds of `train` (bench/abstention.py), each system and source is left out in turn: a threshold is certified
   on the others, and the one that was left out is judged with it.

The tables are written to docs/results.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.abstention import WAYS, Judged, Listed, judged_on_folds, on_eval, splits
from bench.dev_corpus import CORPUS, RESULTS
from bench.marked import write_between
from detector.group_guarantee import STARTS, Kept, certify_over, groups_needed, searched, shown_at
from detector.guarantee import THRESHOLDS, Promise, certify
from detector.metrics import Floats
from detector.rejection import called_spoof, entropy_bits
from tests.support.hierarchical import Population

BEGIN, END = "<!-- certificates: begin -->", "<!-- certificates: end -->"
CONFIDENCE = 0.9
DRAWN = (
    (Population(0.5, 20, 2.0), 100, Promise(0.1, 0.1, CONFIDENCE, "both")),
    (Population(0.5, 20, 2.0), 60, Promise(0.15, 0.15, CONFIDENCE, "both")),
    (Population(1.0, 20, 4.0), 200, Promise(0.05, 0.05, CONFIDENCE, "both")),
    (Population(0.7, 60, 4.0), 60, Promise(0.05, 0.05, CONFIDENCE, "both", 0.8)),
)
LIMITS = (0.05, 0.1, 0.2)
RULES = {"rows": (None, False), "mean": (None, True), "80 % of groups": (0.8, True)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, leave out, and write the tables; return 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.certificates", description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200, help="resamplings of the groups [default: %(default)s]")
    parser.add_argument("--corpora", type=Path, default=CORPUS.parent, help="folder of dev and more")
    parser.add_argument("--work", type=Path, default=Path("build/abstention"), help="folder for embeddings")
    parser.add_argument("--eval", action="store_true", help="judge `eval` with the thresholds, too")
    parser.add_argument("--no-write", action="store_true", help="print the tables, leave docs/results.md alone")
    known = parser.parse_args(arguments)
    train, judges = splits(known.corpora)
    parts = [simulated(known.draws)]
    on_folds = {name: judged_on_folds(train, judges, *way, known.work) for name, way in WAYS.items()}
    for name, judged in on_folds.items():
        parts += [f"Head `{name}`:", left_out(train, judged)]
    if known.eval:
        of_eval = {name: each.score for name, each in on_eval(train, judges, known.work).items()}
        parts += ["`eval`, looked at once:", transferred(train, judges, on_folds, of_eval)]
    text = "\n\n".join(parts)
    print(text)
    if not known.no_write:
        write_between(RESULTS, BEGIN, END, text)
    return 0


def simulated(n_draws: int) -> str:
    """Table of the draws in which the promise is broken, and of the coverage: mean over the draws."""
    lines = [
        "| groups of a class, rows of each | rows apart, groups apart, classes apart | promise | broken: over groups | "
        "broken: over rows | nothing certified | kept: over groups | kept: over rows |",
        f"|{' --- |' * 8}",
    ]
    for population, n_groups, promise in DRAWN:
        rng, broken, coverage, nothing = np.random.default_rng(0), np.zeros(2, dtype=int), np.zeros(2), 0
        for _ in range(n_draws):
            score, is_bonafide, groups = population.draw(rng, n_groups)
            over_groups = certify_over(score, is_bonafide, groups, 0.5, promise).max_entropy_bits
            over_rows = certify(score, is_bonafide, 0.5, promise).max_entropy_bits
            nothing += over_groups is None
            for place, found in enumerate((over_groups, over_rows)):
                broken[place] += population.breaks(promise, found)
                kept = entropy_bits(score, 0.5) <= (-1.0 if found is None else found)
                coverage[place] += kept.mean() / n_draws
        of = "mean" if promise.quantile is None else f"{promise.quantile:.0%} of groups"
        cells = [
            f"{n_groups}, {population.rows}",
            f"1, {population.spread:g}, {population.distance:g}",
            f"{of}, {promise.limits['spoof']:g}",
            *(f"{each} of {n_draws}" for each in (*broken, nothing)),
            *(f"{100 * each:.0f} %" for each in coverage),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def transferred(train: Listed, judges: Listed, on_folds: dict[str, Judged], of_eval: dict[str, Floats]) -> str:
    """Table of every rule that the folds of `train` certify: what it does to the groups of `eval`."""
    lines = [
        "| head | class | limit | bound on | kept, % | wrong of these, % | mean of groups, % | above the limit |",
        f"|{' --- |' * 8}",
    ]
    for name, judged in on_folds.items():
        pairs = zip(counted(train, judged.score), counted(judges, of_eval[name]), strict=True)
        for (label, counts), (_, here) in pairs:
            for limit in LIMITS:
                for rule, (quantile, by_group) in RULES.items():
                    place = _place(counts, Promise(None, limit, CONFIDENCE, "systems", quantile), by_group=by_group)
                    if place is not None:
                        lines.append(f"| {name} | {label} | {limit:g} | {rule} | {_judged(here, place, limit)} |")
    return "\n".join(lines)


def _judged(counts: Kept, place: int, limit: float) -> str:
    at = counts.at(place)
    n_kept, n_wrong, rates = at.kept.sum(), at.wrong.sum(), at.rates[at.kept[:, 0] > 0, 0]
    if not n_kept:
        return "0.0 | – | – | –"
    shares = f"{100 * n_kept / counts.kept[:, -1].sum():.1f} | {100 * n_wrong / n_kept:.1f} | {100 * rates.mean():.1f}"
    return f"{shares} | {(rates > limit).sum()} of {len(rates)}"


def counted(split: Listed, score: Floats) -> list[tuple[str, Kept]]:
    """Kept and wrong rows of every source of bona fide speech, and of every system of spoof."""
    entropy, wrong = entropy_bits(score, 0.5), called_spoof(score, 0.5) == split.is_bonafide
    found = []
    for label, column, rows in (
        ("bona fide", "source", split.is_bonafide),
        ("spoof", "system", ~split.is_bonafide),
    ):
        counts = Kept.of(entropy, wrong, np.where(rows, split.names[column].code, -1).astype(np.int64))
        present = counts.kept[:, -1] > 0
        found.append((label, Kept(counts.kept[present], counts.wrong[present])))
    return found


def left_out(train: Listed, judged: Judged) -> str:
    """Table of the rules: what each keeps, and what it does to groups that were left out in turn."""
    lines = [
        "| class | limit | bound on | kept, % | groups left out in turn: mean rate, % | above the limit | worst, % |",
        f"|{' --- |' * 7}",
    ]
    for label, counts in counted(train, judged.score):
        for limit in LIMITS:
            for rule, (quantile, by_group) in RULES.items():
                promise = Promise(None, limit, CONFIDENCE, "systems", quantile)
                lines.append(f"| {label} | {limit:g} | {rule} | {_left_out(counts, promise, by_group=by_group)} |")
    return "\n".join(lines)


def _left_out(counts: Kept, promise: Promise, *, by_group: bool) -> str:
    """Cells of a rule: certified on all groups, and on all but one in turn."""
    limit, n_groups = promise.limits["spoof"], len(counts.kept)
    place = _place(counts, promise, by_group=by_group)
    if place is None:
        needed = groups_needed(promise, limit, 1.0 - (1.0 - CONFIDENCE) / len(STARTS)) if by_group else None
        cells = f"not certified with {n_groups} groups" + (f", {needed} without an error would be" if needed else "")
        return f"{cells} | – | – | –"
    kept = 100 * counts.kept[:, place].sum() / counts.kept[:, -1].sum()
    rates = []
    for group in range(n_groups):
        others = np.arange(n_groups) != group
        at = _place(Kept(counts.kept[others], counts.wrong[others]), promise, by_group=by_group)
        if at is not None and counts.kept[group, at]:
            rates.append(counts.wrong[group, at] / counts.kept[group, at])
    if not rates:
        return f"{kept:.1f} | nothing kept of any | – | –"
    above = sum(rate > limit for rate in rates)
    return f"{kept:.1f} | {100 * np.mean(rates):.1f} | {above} of {len(rates)} | {100 * max(rates):.0f}"


def _place(counts: Kept, promise: Promise, *, by_group: bool) -> int | None:
    confidence = 1.0 - (1.0 - CONFIDENCE) / len(STARTS)
    found = searched(shown_at(counts, promise, promise.limits["spoof"], confidence, by_group=by_group), promise)
    return None if found is None else int(np.flatnonzero(found == THRESHOLDS)[-1])


if __name__ == "__main__":
    sys.exit(main())
