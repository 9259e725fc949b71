"""Findings about one head, and about two: figures, curves, groups and checks."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.stats import binom

from detector import metrics
from detector.errors import ConfigError
from detector.metrics import Floats, Trials
from detector.metrics.selective import RELIABILITY_GRID
from detector.schema import BONAFIDE, SPOOF, UNKNOWN
from jobs.reports.evaluation.trials import to_trials

CURVE_POINTS = 400
HISTOGRAM_BINS = 40
ENTROPY_BINS = 10
SEED = 42
FEW_CLUSTERS = 20
BROKEN_BELOW = 0.05
CHECK_LEVEL = 0.999  # one of a thousand sound reports fails a check by chance

DURATIONS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, math.inf)  # s
DIMENSIONS = ("system", "source", "speaker", "language", "transmission", "duration", "native_rate", "codec")
"""Columns that the trials are grouped by, if the tables have them."""


def head_findings(rows: pa.Table, n_draws: int) -> dict[str, Any]:
    """Measure the trials of one head.

    Parameters
    ----------
    rows : pyarrow.Table
        Columns of `scores`, and `truth`, `system`, `source`, `speaker`, `language`, `transmission`; `native_rate` and
        `codec` where known.
    n_draws : int
        For the intervals.

    Returns
    -------
    dict
        `counts`, `headline` (a `value`, `low` and `high` for each metric), `curves`, `groups`, `checks`, `warnings`.

    Raises
    ------
    ConfigError
        Where the scored trials are all of one class.
    """
    trials = to_trials(rows)
    truth = trials.is_spoof[trials.scored]
    if truth.all() or not truth.any():
        raise ConfigError(
            f"{len(truth)} labelled scores are all of one class; an error rate needs bonafide and spoof rows."
        )
    counts = _counts(trials)
    headline = {name: asdict(each) for name, each in metrics.intervals(trials, n_draws).items()}
    said, scored = trials.p_spoof[trials.scored], trials.score[trials.scored]
    for name, metric in (
        ("equal_mass_calibration_error", metrics.equal_mass_calibration_error),
        ("debiased_calibration_error", metrics.debiased_calibration_error),
    ):
        headline[name] = {"value": metric(said, truth), "low": math.nan, "high": math.nan}
    checks = [_random_scores_land_at_half(scored, truth), _direction(headline["equal_error_rate"], counts)]
    return {
        "head_id": rows["head_id"][0].as_py(),
        "prior": rows["prior"][0].as_py(),
        "counts": counts,
        "headline": headline,
        "curves": _curves(trials),
        "groups": {name: groups for name in DIMENSIONS if (groups := _groups(rows, trials, name))},
        "checks": checks,
        "warnings": [check["text"] for check in checks if not check["passed"]] + _warnings(counts),
    }


def compare_heads(first: pa.Table, second: pa.Table, n_draws: int) -> dict[str, Any]:
    """Return the metrics of the second head minus those of the first, on the same draws of the same trials."""
    compared = metrics.compare(to_trials(second), to_trials(first), n_draws)
    return {name: asdict(each) for name, each in compared.items()}


def exceeded_limits(head: dict[str, Any]) -> list[str]:
    """Return a warning for each class whose error rate among the kept rows exceeds the head's certificate.

    So many errors or more would be seen in fewer than one of twenty such samples, were the promise kept.
    """
    certificate, sentences = head["certificate"] or {}, []
    for name, errors in ((BONAFIDE, "false alarms"), (SPOOF, "missed spoof")):
        counts, limit = head["counts"]["of_class"][name], certificate.get(name, {}).get("limit")
        if not certificate.get("certified") or limit is None:
            continue
        if "groups" in certificate[name]:
            sentences += _exceeded_over_groups(errors, counts, certificate[name])
            continue
        if binom.sf(counts["kept_wrong"] - 1, counts["kept"], limit) < BROKEN_BELOW:
            sentences.append(
                f"it was certified for at most {limit:.2%} {errors} among the kept, and here are "
                f"{counts['kept_wrong']} of {counts['kept']}: these recordings are not like those of its certificate."
            )
    return sentences


def _exceeded_over_groups(errors: str, counts: dict[str, Any], bound: dict[str, Any]) -> list[str]:
    """Return a warning if the error rate is above a limit that was certified over groups.

    Rows of one group are alike, so that no count of rows says how rare this is.
    """
    if counts["kept_wrong"] <= bound["limit"] * counts["kept"]:
        return []
    return [
        f"it was certified over {bound['groups_kept']} {bound['over']} for at most "
        f"{bound['limit']:.2%} {errors} among the kept, and here are {counts['kept_wrong']} of {counts['kept']}: few "
        f"systems or sources may do this by chance; many say that these are not like those of its certificate."
    ]


def _counts(trials: Trials) -> dict[str, Any]:
    scored, truth, kept = trials.scored, trials.is_spoof, trials.kept
    return {
        "bonafide": int((scored & ~truth).sum()),
        "spoof": int((scored & truth).sum()),
        "unscored": int((~scored).sum()),
        "kept": int(kept.sum()),
        "kept_wrong": int((kept & trials.wrong).sum()),
        "of_class": {
            name: {"kept": int((kept & rows).sum()), "kept_wrong": int((kept & rows & trials.wrong).sum())}
            for name, rows in ((BONAFIDE, ~truth), (SPOOF, truth))
        },
        "bonafide_clusters": len(np.unique(trials.cluster[scored & ~truth])),
        "spoof_clusters": len(np.unique(trials.cluster[scored & truth])),
    }


def _curves(trials: Trials) -> dict[str, Any]:
    scored = trials.scored
    score, truth, wrong = trials.score[scored], trials.is_spoof[scored], trials.wrong[scored]
    entropy = trials.uncertainty[scored]
    _, p_miss, p_fa = metrics.error_rates(score[~truth], score[truth])
    coverage, risk = metrics.risk_coverage(entropy, wrong)
    kept, accuracy = metrics.accuracy_over_kept(entropy, wrong)
    said, seen, n_said = metrics.reliability_diagram(trials.p_spoof[scored], truth)
    bounded = np.clip(score, *np.quantile(score, [0.001, 0.999]))  # one extreme score would flatten the picture
    edges = np.histogram_bin_edges(bounded, HISTOGRAM_BINS)
    bins = np.minimum((entropy * ENTROPY_BINS).astype(int), ENTROPY_BINS - 1)
    return {
        "det": _thinned({"p_fa": p_fa, "p_miss": p_miss}, metrics.probit),
        "roc": _thinned({"p_fa": p_fa, "p_miss": p_miss}, np.asarray),
        "risk_coverage": _thinned({"coverage": coverage, "risk": risk}, np.asarray),
        "accuracy_over_kept": {
            "reliability": RELIABILITY_GRID.tolist(),
            "kept": kept.tolist(),
            "accuracy": accuracy.tolist(),
        },
        "reliability": {"said": said.tolist(), "seen": seen.tolist(), "rows": n_said.tolist()},
        "scores": {
            "edges": edges.tolist(),
            "bonafide": np.histogram(bounded[~truth], edges)[0].tolist(),
            "spoof": np.histogram(bounded[truth], edges)[0].tolist(),
        },
        "entropy": {
            "rows": np.bincount(bins, minlength=ENTROPY_BINS).tolist(),
            "wrong": np.bincount(bins, weights=wrong, minlength=ENTROPY_BINS).astype(int).tolist(),
        },
    }


def _thinned(curve: dict[str, Floats], scale: Any) -> dict[str, list[float]]:
    """Thin a curve to one point for each step of 1/400 of an axis, which no eye tells apart."""
    with np.errstate(invalid="ignore"):
        places = [np.clip(scale(each), -4.0, 4.0) for each in curve.values()]
    spans = [max(float(np.ptp(place)), 1e-9) for place in places]
    steps = np.stack([np.round(place / span * CURVE_POINTS) for place, span in zip(places, spans, strict=True)])
    moved = (np.diff(steps, axis=1) != 0).any(axis=0)
    keep = np.append(True, moved) | np.append(moved, True)  # both ends of each step
    return {name: each[keep].tolist() for name, each in curve.items()}


def _groups(rows: pa.Table, trials: Trials, dimension: str) -> list[dict[str, Any]]:
    """Return counts and error rates for each system, source, …, the largest group first."""
    names = _names(rows, dimension)
    if names is None:
        return []
    words, number = np.unique(names, return_inverse=True)
    # one sort brings the trials of a group together; each class is sorted once for all groups compared with it
    ends = np.cumsum(np.bincount(number))[:-1]
    of_group = np.split(np.argsort(number, kind="stable"), ends)
    of_class = [np.sort(trials.score[trials.scored & (trials.is_spoof == truth)]) for truth in (False, True)]
    groups = [{"name": str(word), **_group(trials, here, of_class)} for word, here in zip(words, of_group, strict=True)]
    return sorted(groups, key=lambda group: (-group["rows"], group["name"]))


def _group(trials: Trials, here: npt.NDArray[np.intp], of_class: list[Floats]) -> dict[str, Any]:
    is_spoof, scored = trials.is_spoof[here], trials.scored[here]
    kept, wrong = trials.kept[here], trials.wrong[here]
    own = [np.sort(trials.score[here][scored & (is_spoof == truth)]) for truth in (False, True)]
    # a group of one class is compared with the whole other class, as attacks are in ASVspoof
    bonafide, spoof = (mine if len(mine) else others for mine, others in zip(own, of_class, strict=True))
    n_wrong, n_scored = int((scored & wrong).sum()), int(scored.sum())
    n_kept, n_kept_wrong = int(kept.sum()), int((kept & wrong).sum())
    return {
        "rows": len(here),
        "bonafide": int((~is_spoof).sum()),
        "spoof": int(is_spoof.sum()),
        "rejected": len(here) - n_kept,
        "kept": n_kept,
        "kept_wrong": n_kept_wrong,
        "risk": asdict(metrics.share_interval(n_kept_wrong, n_kept)),
        "wrong": n_wrong,
        "scored": n_scored,
        "error_rate": asdict(metrics.share_interval(n_wrong, n_scored)),
        "equal_error_rate": metrics.eer_of_sorted(bonafide, spoof) if n_scored else math.nan,
    }


def _names(rows: pa.Table, dimension: str) -> npt.NDArray[np.str_] | None:
    """Return the group of each row; None if the tables do not state it."""
    if dimension == "duration":
        seconds = rows["seconds"].to_numpy()
        return np.array([_between(DURATIONS, value) for value in seconds], dtype=np.str_)
    if dimension not in rows.column_names or all(each in UNKNOWN for each in rows[dimension].unique().to_pylist()):
        return None
    unit = " Hz" if dimension == "native_rate" else ""
    values = rows[dimension].to_pylist()
    if dimension == "system":
        truths = rows["truth"].to_pylist()
        values = [
            "bona fide speech" if truth == BONAFIDE else value for value, truth in zip(values, truths, strict=True)
        ]
    return np.array(["unknown" if value in UNKNOWN else f"{value}{unit}" for value in values], dtype=np.str_)


def _between(edges: tuple[float, ...], value: float) -> str:
    at = int(np.searchsorted(edges, value, "right"))
    low, high = edges[at - 1], edges[at]
    return f"{low:g} s and more" if math.isinf(high) else f"{low:g} to {high:g} s"


def _random_scores_land_at_half(score: Floats, is_spoof: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Check that scores dealt out again by lot have an EER of one half: any other is a fault of the report."""
    dealt = np.random.default_rng(SEED).permutation(score)
    rate = metrics.equal_error_rate(dealt[~is_spoof], dealt[is_spoof])
    low, high = metrics.chance_interval(int((~is_spoof).sum()), int(is_spoof.sum()), CHECK_LEVEL)
    # steps of a small sample are coarser than the normal approximation
    step = 1.0 / min((~is_spoof).sum(), is_spoof.sum())
    passed = bool(low - step <= rate <= high + step)
    verdict = "as it must be" if passed else "so mistrust this report"
    return {
        "name": "random scores",
        "passed": passed,
        "equal_error_rate": rate,
        "low": low,
        "high": high,
        "text": f"The scores dealt by lot have an EER of {rate:.1%}; chance is {low:.1%} to {high:.1%}, {verdict}.",
    }


def _direction(eer: dict[str, float], counts: dict[str, Any]) -> dict[str, Any]:
    """Check that a higher score is more bona fide."""
    value, low, high = eer["value"], eer["low"], eer["high"]
    if low > 0.5:
        verdict = "reversed"
        text = (
            f"The scores are reversed: an EER of {value:.1%} (95 %: {low:.1%} to {high:.1%}) is worse than a coin. "
            f"Higher must be more bona fide; are the labels swapped, or are these scores of spoof?"
        )
    elif high >= 0.5:
        verdict = "chance"
        text = (
            f"Not distinguished from chance: the EER is {value:.1%}, and its interval ({low:.1%} to {high:.1%}) "
            f"includes 50 %."
        )
    else:
        verdict = "forward"
        text = f"Higher scores are more bona fide: the interval of the EER ends at {high:.1%}, below 50 %."
    if verdict == "forward" and min(counts["bonafide"], counts["spoof"]) < 2:
        verdict, text = "chance", "One trial of a class: nothing can be distinguished from chance."
    return {"name": "direction", "passed": verdict == "forward", "verdict": verdict, "text": text}


def _warnings(counts: dict[str, Any]) -> list[str]:
    fewest = min(counts["bonafide_clusters"], counts["spoof_clusters"])
    if fewest >= FEW_CLUSTERS:
        return []
    return [
        f"{counts['bonafide_clusters']} speakers or sources of bona fide speech and {counts['spoof_clusters']} "
        f"synthesisers: with fewer than {FEW_CLUSTERS} of a class, intervals are too narrow. Take them as a lower "
        f"bound of the uncertainty."
    ]
