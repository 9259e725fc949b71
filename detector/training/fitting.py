"""Training: fit a head on labelled embeddings, calibrated on rows that its models did not see.

The last model is fitted on all rows. Its calibration comes from as many models as there are folds: each judges
the fold that it has not seen, and a fold shares no group (system, speaker or source) with the others. Where a risk is
to be certified, one fold is kept from all of that and only certifies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from detector import metrics, novelty
from detector.calibration import CALIBRATORS, Numbers, bounded, calibrate, class_weights, score_bounds
from detector.drift import histograms
from detector.errors import ConfigError
from detector.groups import FOLDS, Codes, Groups, Names, tally
from detector.guarantee import Promise, certify
from detector.head import MIN_SECONDS, Head
from detector.logistic import Bools, Models, Moments, Rows, fit, moments, subset
from detector.metrics import Floats
from detector.rejection import entropy_bits, p_spoof, threshold_for_coverage, threshold_for_risk
from detector.schema import BONAFIDE, SPOOF
from detector.shift import Reference

RECIPES: dict[str, dict[str, Any]] = {
    "pascu2024": {"c": 1e6, "standardise": False, "class_weights": "none"},
}
"""Settings of a publication, by one name: Pascu et al., Interspeech 2024, arXiv 2309.05384 (last layer, mean)."""

CLASS_WEIGHTS = ("balanced", "none")
STANDARDISED_C = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
RAW_C = (1.0, 1e2, 1e4, 1e6)
MODELS_AT_ONCE = 8  # each takes a matrix of dim x dim
DEFAULT_RISK = 0.05
MAX_OOD = 0.999  # of recordings like the training ones, it rejects one in a thousand
MAX_FOLDS = 1_000


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a head is fitted; all of it is written into the head."""

    recipe: Annotated[
        str | None, f"a publication's settings: {', '.join(RECIPES)} (last layer, mean, not standardised, C = 1e6)"
    ] = None
    c: Annotated[float | None, "inverse strength of the L2 penalty [default: the best on grouped folds]"] = None
    standardise: Annotated[
        bool | None, "penalise weights of dimensions of unit variance [default: the better on grouped folds]"
    ] = None
    class_weights: Annotated[
        str | None, "balanced: both classes weigh the same; none: every row does [default: balanced]"
    ] = None
    calibrator: Annotated[str, f"map from logit to log-likelihood ratio: {', '.join(CALIBRATORS)}"] = "affine"
    folds: Annotated[
        int | None,
        f"grouped folds whose held-out rows choose and calibrate [default: {FOLDS}, or fewer: the groups of a class]",
    ] = None
    prior: Annotated[float, "share of spoof that the head assumes where a run states none"] = 0.5
    target_risk: Annotated[
        float | None, "error rate wished among the rows kept; sets the reject threshold [default: 0.05]"
    ] = None
    target_coverage: Annotated[float | None, "share of rows wished to be kept, instead of --target-risk"] = None
    certify_miss: Annotated[
        float | None, "certify that at most this share of kept bona fide rows is called spoof; takes one fold for it"
    ] = None
    certify_false_alarm: Annotated[
        float | None, "certify that at most this share of kept spoof rows is called bona fide; takes one fold for it"
    ] = None
    confidence: Annotated[float, "how often, over draws of its rows, a certificate must hold"] = 0.95
    max_ood: Annotated[float, "reject rows farther out than this quantile of the training rows; 1 rejects none"] = (
        MAX_OOD
    )
    min_seconds: Annotated[float, "shorter recordings get no score: too_short; s"] = MIN_SECONDS
    silence_dbfs: Annotated[float, "quieter recordings get no score: silent; dB re full scale"] = -80.0

    def __post_init__(self) -> None:
        if self.recipe is not None and self.recipe not in RECIPES:
            raise ConfigError(f"recipe {self.recipe!r}; expected one of {', '.join(RECIPES)}.")
        for name, value in RECIPES.get(self.recipe or "", {}).items():
            if getattr(self, name) not in (None, value):
                raise ConfigError(f"recipe {self.recipe} has {name} {value}, not {getattr(self, name)}; leave one out.")
            object.__setattr__(self, name, value)
        if self.class_weights not in (None, *CLASS_WEIGHTS):
            raise ConfigError(f"class_weights {self.class_weights!r}; expected one of {', '.join(CLASS_WEIGHTS)}.")
        if self.calibrator not in CALIBRATORS:
            raise ConfigError(f"calibrator {self.calibrator!r}; expected one of {', '.join(CALIBRATORS)}.")
        if self.c is not None and not 0.0 < self.c < math.inf:
            raise ConfigError(f"c {self.c}; expected a number above 0.")
        least = 2 if self.promise is None else 3
        if self.folds is not None and not least <= self.folds <= MAX_FOLDS:
            raise ConfigError(f"folds {self.folds}; expected {least} to {MAX_FOLDS:,}.")
        if not 0.0 < self.max_ood <= 1.0:
            raise ConfigError(f"max_ood {self.max_ood}; expected a quantile above 0, and 1 at most.")
        for name in ("min_seconds", "silence_dbfs"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"{name} {getattr(self, name)}; expected a number.")
        shares = ("prior", "target_risk", "target_coverage", "certify_miss", "certify_false_alarm", "confidence")
        for name in shares:
            value = getattr(self, name)
            if value is not None and not 0.0 < value < 1.0:
                raise ConfigError(f"{name} {value}; expected a share between 0 and 1.")
        wishes = (self.target_risk, self.target_coverage, self.promise)
        if sum(wish is not None for wish in wishes) > 1:
            raise ConfigError("target_risk, target_coverage and certify_… exclude each other; choose one.")

    @property
    def promise(self) -> Promise | None:
        """What is to be certified, if anything is."""
        if self.certify_miss is None and self.certify_false_alarm is None:
            return None
        return Promise(self.certify_miss, self.certify_false_alarm, self.confidence)


@dataclass(frozen=True)
class Candidate:
    """A setting that was tried on the folds.

    Parameters
    ----------
    c : float
    standardise : bool
    cllr : float
        Of the held-out rows of all folds after affine calibration, in bits.
    equal_error_rate : float
    cllr_of_folds : tuple
        The same fold by fold; None for a fold without rows of both classes.
    """

    c: float
    standardise: bool
    cllr: float
    equal_error_rate: float
    cllr_of_folds: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class HeldOut:
    """Rows as judged by models that saw neither them nor their groups.

    Parameters
    ----------
    rows : bool array of shape (n_rows,)
        Which rows these are: all, but for those that a certificate took.
    score : float64 array of shape (n,)
        Nats, calibrated on these very rows.
    kept : bool array of shape (n,)
    wrong : bool array of shape (n,)
    """

    rows: Bools
    score: Floats
    kept: Bools
    wrong: Bools


def search(rows: Rows, is_bonafide: Bools, groups: Groups, config: TrainingConfig) -> list[Candidate]:
    """Try penalties with and without standardising on grouped folds; the best comes first.

    Parameters
    ----------
    rows, is_bonafide, groups, config
        As for :func:`fit_head`. What the settings state is not searched.

    Returns
    -------
    list of Candidate
        By rising Cllr of the held-out rows; of equal ones the strongest penalty first.
    """
    parts = _Parts.of_folds(groups.folds(is_bonafide, config.folds), is_bonafide)
    facts = parts.moments(rows)
    found = []
    for standardise in (True, False) if config.standardise is None else (config.standardise,):
        start = None
        for c in (STANDARDISED_C if standardise else RAW_C) if config.c is None else (config.c,):
            start = _models(rows, is_bonafide, parts, facts, replace(config, c=c, standardise=standardise), start)
            logits = start.logits(rows, parts.number)
            found.append(_candidate(c, standardise, logits, parts))
    return sorted(found, key=lambda each: (each.cllr, each.c))


def choose(found: list[Candidate]) -> Candidate:
    """Of settings that were tried, the strongest penalty that the folds do not show to be worse than the best.

    One is not shown to be worse whose Cllr is, fold by fold, above that of the best by no more than one standard error
    of that difference. Folds differ by far more than settings do, but in the same way for all: so it is the difference
    that is asked for its error, and not the best's own Cllr, by whose error almost any penalty would pass.

    Parameters
    ----------
    found : list of Candidate
        As :func:`search` returns them. Those that do as the best with standardising, and none else, are comparable.

    References
    ----------
    The one-standard-error rule: Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984, 3.4.3.

    Examples
    --------
    >>> tried = [(1e6, (0.70, 0.90)), (1e4, (0.71, 0.89)), (1e2, (0.75, 0.96))]
    >>> choose([Candidate(c, False, sum(folds) / 2, 0.3, folds) for c, folds in tried]).c
    10000.0
    """
    best = found[0]
    rivals = [each for each in found if each.standardise == best.standardise and each.c <= best.c]
    return min((each for each in rivals if _is_as_good(each, best)), key=lambda each: each.c)


def edge_of_search(chosen: Candidate, found: list[Candidate]) -> str | None:
    """What to say where the choice is the smallest or largest C that was tried; None where it lies between others.

    Examples
    --------
    >>> tried = [Candidate(c, True, cllr, 0.3) for c, cllr in ((1.0, 0.7), (0.1, 0.8))]
    >>> edge_of_search(tried[0], tried)
    'C = 1 is the largest that was tried: a weaker penalty may be better still (--c)'
    """
    tried = sorted(each.c for each in found if each.standardise == chosen.standardise)
    if len(tried) < 2 or chosen.c not in (tried[0], tried[-1]):
        return None
    which, other = ("smallest", "stronger") if chosen.c == tried[0] else ("largest", "weaker")
    return f"C = {chosen.c:g} is the {which} that was tried: a {other} penalty may be better still (--c)"


def fit_head(
    rows: Rows,
    is_bonafide: Bools,
    groups: Groups,
    config: TrainingConfig,
    *,
    recipe: dict[str, Any],
    model: str,
    certifying: Bools | None = None,
    seconds: npt.NDArray[np.floating[Any]] | None = None,
    sources: Names | None = None,
    about: dict[str, Any] | None = None,
) -> tuple[Head, dict[str, Any], HeldOut]:
    """Fit, calibrate, and choose the reject threshold.

    Parameters
    ----------
    rows : Rows
        Embeddings: of any number, because they are read block by block.
    is_bonafide : bool array of shape (n_rows,)
    groups : Groups
        Rows of one group are never on both sides of a fold.
    config : TrainingConfig
        Where it leaves `c` or `standardise` open, :func:`search` chooses on these rows.
    recipe, model
        As :class:`detector.head.Head`.
    certifying : bool array of shape (n_rows,), optional
        Rows that nothing is learnt from and that certify the promise of ``config``, where it makes one; by default
        one fold (:func:`certification_rows`).
    seconds : float array of shape (n_rows,), optional
    sources : Names, optional
        How long the rows are and where they come from: what later archives are compared with.
    about : dict, optional
        What else the head is to say of its training.

    Returns
    -------
    Head
    dict
        The report: counts, and what was measured on the held-out rows.
    HeldOut
        Those rows.

    Raises
    ------
    ConfigError
        Where a class or groups are missing, or the held-out logits rank no better than chance.
    """
    if certifying is None:
        certifying = certification_rows(is_bonafide, groups, config)
    used = ~certifying
    known, true, of_known = subset(rows, used), is_bonafide[used], groups[used]
    if config.c is None or config.standardise is None:
        best = choose(search(known, true, of_known, config))
        config = replace(config, c=best.c, standardise=best.standardise)
    fold = of_known.folds(true, config.folds)
    facts, models, held_out = _fitted(known, true, fold, config)
    mean, scale = facts.mean[-1], facts.scale[-1]
    calibration, bounds = calibrate(config.calibrator, held_out, true), score_bounds(true)
    usual, ood = novelty.learn(known, fold, mean, scale)
    near = ood <= config.max_ood
    score = bounded(CALIBRATORS[config.calibrator].apply(calibration, held_out), bounds)
    del held_out
    values = {"score": score, "entropy_bits": entropy_bits(score, config.prior), "ood": ood}
    values |= {} if seconds is None else {"seconds": seconds[used].astype(np.float64)}
    calibrated_on = Reference.of(values, true, None if sources is None else sources[used])
    del ood, values
    head = Head(
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple(models.weights[-1].tolist()),
        bias=float(models.bias[-1]),
        calibrator=config.calibrator,
        calibration=calibration,
        score_bounds=bounds,
        prior=config.prior,
        max_entropy_bits=0.0,
        max_ood=config.max_ood,
        ood_directions=tuple(usual.directions.ravel().tolist()),
        ood_variances=tuple(usual.variances.tolist()),
        ood_rest=usual.rest,
        ood_quantiles=tuple(usual.quantiles.tolist()),
        min_seconds=config.min_seconds,
        silence_dbfs=config.silence_dbfs,
        recipe=recipe,
        model=model,
        training={},
    )
    if config.promise:
        aim = _certified(head, subset(rows, certifying), is_bonafide[certifying], config.promise)
    else:
        aim = _reject_threshold(score, true, near, config)
    threshold = aim.pop("threshold")
    wrong = _called_spoof(score, config.prior) == true
    # None: no promise can be kept, abstain on all
    kept = near & (entropy_bits(score, config.prior) <= (-1.0 if threshold is None else threshold))
    report = (
        _report(score, true, of_known, config)
        | _folds_of(fold, of_known.n_groups(true), config)
        | aim
        | {"target_met": threshold is not None}
        | {"out_of_distribution": float(1.0 - near.mean())}
        | {"coverage": float(kept.mean()), "risk": float(wrong[kept].mean()) if kept.any() else None}
        | {"calibration_rows": calibrated_on.to_dict()}
        | {"convergence": {"passes": models.passes, "last_step": models.last_step, "models": len(models.bias)}}
        | (about or {})
    )
    head = replace(head, max_entropy_bits=0.0 if threshold is None else threshold, training=report)
    return head, report, HeldOut(used, score, kept, wrong)


def certification_rows(is_bonafide: Bools, groups: Groups, config: TrainingConfig) -> Bools:
    """Which rows certify: one grouped fold where ``config`` makes a promise, none where not; of shape (n_rows,)."""
    if config.promise is None:
        return np.zeros(len(is_bonafide), dtype=bool)
    return np.asarray(groups.folds(is_bonafide, config.folds) == 0)


def held_out_logits(rows: Rows, is_bonafide: Bools, groups: Groups, config: TrainingConfig) -> Floats:
    """Logit of every row by a model that saw neither the row nor its group.

    Returns
    -------
    float64 array of shape (n_rows,), higher for bona fide
    """
    return _fitted(rows, is_bonafide, groups.folds(is_bonafide, config.folds), config)[2]


def leave_one_out(
    rows: Rows, is_bonafide: Bools, names: Mapping[str, Names], config: TrainingConfig, calibration: Numbers
) -> dict[str, Any]:
    """Leave out each synthesiser, and each source, and judge its rows by a model that never saw any of it.

    Parameters
    ----------
    rows, is_bonafide, config
        As for :func:`fit_head`; `c` and `standardise` are stated.
    names : mapping
        `system` and `source`: names of the rows.
    calibration : tuple of floats
        The head's.

    Returns
    -------
    dict
        `system` and `source`: by name, its `rows`, the share `wrong` at the prior and its median `score` in nats;
        `equal_error_rate` of spoof rows left out by system against bona fide rows left out by source, where there
        are such.
    """
    judged = {"system": np.full(len(is_bonafide), np.nan), "source": np.full(len(is_bonafide), np.nan)}
    report: dict[str, Any] = {}
    for kind, scores in judged.items():
        words, code = names[kind].words, names[kind].code
        if kind == "system":
            code = np.where(is_bonafide, -1, code)
        counts = tally(code, len(words), ~is_bonafide, is_bonafide)
        rest = tally(np.zeros_like(code), 1, ~is_bonafide, is_bonafide) - counts
        out = [place for place in np.flatnonzero(counts.any(axis=1)).tolist() if rest[place].all()]
        out = sorted(out, key=lambda place: words[place])
        report[kind] = {}
        for start in range(0, len(out), MODELS_AT_ONCE):
            some = out[start : start + MODELS_AT_ONCE]
            logits, number = _left_out(rows, is_bonafide, code, some, config)
            for model, place in enumerate(some):
                of_name = number == model
                scores[of_name] = score = CALIBRATORS[config.calibrator].apply(calibration, logits[of_name])
                report[kind][words[place]] = {
                    "rows": len(score),
                    "wrong": float((_called_spoof(score, config.prior) == is_bonafide[of_name]).mean()),
                    "median_score": float(np.median(score)),
                }
    bonafide, spoof = judged["source"][is_bonafide], judged["system"][~is_bonafide]
    bonafide, spoof = bonafide[~np.isnan(bonafide)], spoof[~np.isnan(spoof)]
    if len(bonafide) and len(spoof):
        report["equal_error_rate"] = metrics.equal_error_rate(bonafide, spoof)
    return report


def outcomes(held_out: HeldOut, is_bonafide: Bools, names: Mapping[str, Names]) -> dict[str, Any]:
    """What became of held-out rows, by source and system: rows, rejected, kept, and wrong among those kept.

    Parameters
    ----------
    held_out : HeldOut
    is_bonafide : bool array of shape (n_rows,)
    names : mapping
        `system` and `source`, say: names of all rows.
    """
    report: dict[str, Any] = {}
    true = is_bonafide[held_out.rows]
    for kind, of_all in names.items():
        report[kind] = {}
        found = of_all[held_out.rows]
        for label, of_class in ((BONAFIDE, true), (SPOOF, ~true)):
            kept = of_class & held_out.kept
            counts = tally(found.code, len(found.words), of_class, kept, kept & held_out.wrong)
            for word, (n_rows, n_kept, n_wrong) in sorted(zip(found.words, counts.tolist(), strict=True)):
                if n_rows:
                    report[kind][f"{label} {word}"] = {
                        "rows": n_rows,
                        "rejected": n_rows - n_kept,
                        "kept": n_kept,
                        "wrong": n_wrong,
                    }
    return report


@dataclass(frozen=True)
class _Parts:
    """Rows in parts, folds or systems, and which models learn from which part.

    Parameters
    ----------
    number : int array of shape (n_rows,)
        Part of every row.
    is_bonafide : bool array of shape (n_rows,)
    seen : bool array of shape (n_parts, n_models)
    """

    number: Codes
    is_bonafide: Bools
    seen: Bools

    @classmethod
    def of_folds(cls, fold: Codes, is_bonafide: Bools) -> _Parts:
        """A model for each fold, which learns from all others."""
        return cls(fold, is_bonafide, ~np.eye(int(fold.max()) + 1, dtype=bool))

    def and_all(self) -> _Parts:
        """One model more, which learns from all."""
        return replace(self, seen=np.column_stack([self.seen, np.ones(len(self.seen), dtype=bool)]))

    @cached_property
    def kind(self) -> Codes:
        """Part and class of every row as one number, bona fide odd."""
        return 2 * self.number + self.is_bonafide

    @cached_property
    def counts(self) -> Floats:
        """Rows of every part and class: (n_parts, 2), spoof first."""
        return tally(self.number, len(self.seen), ~self.is_bonafide, self.is_bonafide).astype(np.float64)

    @property
    def share(self) -> Floats:
        """Share of the rows that each model learns from: (n_models,)."""
        return np.asarray(self.counts.sum(axis=1) @ self.seen / self.counts.sum())

    def moments(self, rows: Rows) -> Moments:
        """Moments of the rows that each model learns from and, last, of all rows."""
        seen = self.seen if self.seen[:, -1].all() else self.and_all().seen
        return moments(rows, self.kind, np.repeat(seen, 2, axis=0))

    def weights(self, how: str | None) -> Floats:
        """Weight of every kind of rows in each model: (n_kinds, n_models)."""
        of_class = [
            np.ones(2) if how == "none" else class_weights(*(self.counts * column[:, None]).sum(axis=0))
            for column in self.seen.T
        ]
        return np.asarray(np.repeat(self.seen, 2, axis=0) * np.tile(np.transpose(of_class), (len(self.seen), 1)))


def _fitted(rows: Rows, is_bonafide: Bools, fold: Codes, config: TrainingConfig) -> tuple[Moments, Models, Floats]:
    """Models of all folds' training parts and, last, of all rows; and each row's logit by the one of its fold."""
    parts = _Parts.of_folds(fold, is_bonafide).and_all()
    facts = parts.moments(rows)
    models = _models(rows, is_bonafide, parts, facts, config, None)
    return facts, models, models.logits(rows, fold)


def _left_out(
    rows: Rows, is_bonafide: Bools, code: Codes, some: list[int], config: TrainingConfig
) -> tuple[Floats, Codes]:
    """Logits by models that learn from all rows but those of a name each; and which model's a row is, -1 for none."""
    of_name = np.full(int(code.max()) + 2, -1, dtype=np.int16)  # the last is for -1
    of_name[some] = np.arange(len(some))
    number = of_name[code]
    seen = np.vstack([np.ones(len(some), dtype=bool), ~np.eye(len(some), dtype=bool)])
    parts = _Parts(number + 1, is_bonafide, seen)
    models = _models(rows, is_bonafide, parts, parts.moments(rows), config, None)
    return models.logits(rows, np.maximum(number, 0)), number


def _models(
    rows: Rows, is_bonafide: Bools, parts: _Parts, facts: Moments, config: TrainingConfig, start: Models | None
) -> Models:
    """One model for each column of ``parts.seen``; the last row of ``facts`` is of all rows."""
    if config.c is None:
        raise ConfigError("c is not stated.")
    centre, scale = facts.mean[-1], facts.scale[-1]
    # one form for all: the penalty that a weight has in its own units, said of the standardised one
    n_models = parts.seen.shape[1]
    unit = facts.scale[:n_models] if config.standardise else np.ones((n_models, rows.dim))
    # a model of four folds is held back as much a row as that of all five: else the last one's logits are larger than
    # those that calibrate it (by 7 % where C is small, measured on a known model)
    penalty = parts.share[:, None] * (unit / scale) ** 2 / config.c
    weights = parts.weights(config.class_weights)
    return fit(rows, is_bonafide, parts.kind, weights, centre, scale, penalty, start=start)


def _candidate(c: float, standardise: bool, logits: Floats, parts: _Parts) -> Candidate:
    is_bonafide, n_folds = parts.is_bonafide, len(parts.seen)
    rate = metrics.equal_error_rate(logits[is_bonafide], logits[~is_bonafide])
    try:
        score = CALIBRATORS["affine"].apply(calibrate("affine", logits, is_bonafide), logits)
    except ConfigError:  # no better than chance
        return Candidate(c, standardise, 1.0, rate, (1.0,) * n_folds)
    cost = metrics.cllr(score[is_bonafide], score[~is_bonafide])
    of_folds = [
        metrics.cllr(score[parts.kind == 2 * fold + 1], score[parts.kind == 2 * fold]) if both.all() else None
        for fold, both in enumerate(parts.counts > 0)
    ]
    return Candidate(c, standardise, cost, rate, tuple(of_folds))


def _is_as_good(one: Candidate, best: Candidate) -> bool:
    pairs = zip(one.cllr_of_folds, best.cllr_of_folds, strict=True)
    excess = np.array([mine - its for mine, its in pairs if mine is not None and its is not None])
    if one is best or len(excess) < 2:
        return one is best
    return bool(excess.mean() <= excess.std(ddof=1) / math.sqrt(len(excess)))


def _certified(head: Head, rows: Rows, is_bonafide: Bools, promise: Promise) -> dict[str, Any]:
    """Threshold on entropy that rows which nothing has seen yet certify, of what the head would keep."""
    score, ood = np.empty(rows.n_rows), np.empty(rows.n_rows)
    for index, block in rows.blocks():
        embeddings = block.astype(np.float64)
        score[index], ood[index] = head.scores(embeddings), head.ood(embeddings)
    near = ood <= head.max_ood
    found = certify(score[near], is_bonafide[near], head.prior, promise)
    return {"threshold": found.max_entropy_bits, "certificate": found.describe()}


def _reject_threshold(score: Floats, is_bonafide: Bools, near: Bools, config: TrainingConfig) -> dict[str, Any]:
    """Threshold on entropy by the wished coverage or risk of the held-out rows; those far out are rejected anyway."""
    entropy = entropy_bits(score, config.prior)[near]
    if config.target_coverage is not None:
        of_near = min(1.0, config.target_coverage * len(score) / len(entropy))
        return {"threshold": threshold_for_coverage(entropy, of_near), "target_coverage": config.target_coverage}
    wrong = (_called_spoof(score, config.prior) == is_bonafide)[near]
    risk = config.target_risk if config.target_risk is not None else DEFAULT_RISK
    return {"threshold": threshold_for_risk(entropy, wrong, risk), "target_risk": risk}


def _called_spoof(score: Floats, prior: float) -> Bools:
    return np.asarray(p_spoof(score, prior) > 0.5)


def _folds_of(fold: Codes, n_groups: dict[str, int], config: TrainingConfig) -> dict[str, Any]:
    """How many folds there were, and why so many."""
    n_folds, scarcer = int(fold.max()) + 1, min(n_groups, key=lambda name: n_groups[name])
    why = "as stated" if config.folds is not None else "the default"
    if config.folds is None and n_folds < FOLDS:
        why = f"fewer than {FOLDS}, because {scarcer} rows are of {n_groups[scarcer]} groups"
    return {"folds": n_folds, "folds_because": why}


def _report(score: Floats, is_bonafide: Bools, groups: Groups, config: TrainingConfig) -> dict[str, Any]:
    calibration_error = metrics.expected_calibration_error(p_spoof(score, config.prior), ~is_bonafide)
    bonafide, spoof = score[is_bonafide], score[~is_bonafide]
    names = ("recipe", "c", "standardise", "class_weights", "calibrator", "max_ood")
    return {
        **{name: value for name, value in asdict(config).items() if name in names},
        "class_weights": config.class_weights or CLASS_WEIGHTS[0],
        "training_prior": len(spoof) / len(score),  # removed from the score by the calibration
        "bonafide": len(bonafide),
        "spoof": len(spoof),
        "groups": int(np.count_nonzero(groups.counts(is_bonafide).any(axis=1))),
        "grouped_by": groups.rule,
        "score_histograms": histograms(score, is_bonafide),
        "held_out": {
            "equal_error_rate": metrics.equal_error_rate(bonafide, spoof),
            "cllr": metrics.cllr(bonafide, spoof),
            "expected_calibration_error": calibration_error,
        },
    }
