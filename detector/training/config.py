"""The settings of a fit, and the published recipes that fix some of them. Importing it takes no numerical library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from detector.errors import ConfigError

if TYPE_CHECKING:
    from detector.guarantee import Promise

RECIPES: dict[str, dict[str, Any]] = {
    "pascu2024": {"c": 1e6, "standardise": False, "class_weights": "none"},
}
"""Settings of a publication under one name: Pascu et al., Interspeech 2024, arXiv 2309.05384 (last layer, mean)."""

CALIBRATORS = ("affine", "temperature", "beta", "isotonic")  # keys of detector.calibration.CALIBRATORS
CLASS_WEIGHTS = ("balanced", "none")
OVER = ("systems", "sources", "both")
FOLDS = 5
MIN_SECONDS = 0.1
MAX_OOD = 0.999  # rejects one in a thousand of recordings that resemble the training rows
MAX_FOLDS = 1_000


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of a fit, all of which are written into the head."""

    recipe: Annotated[
        str | None, f"settings of a publication: {', '.join(RECIPES)} (last layer, mean, not standardised, C = 1e6)"
    ] = None
    c: Annotated[float | None, "inverse strength of the L2 penalty [default: the best on grouped folds]"] = None
    standardise: Annotated[
        bool | None,
        "scale every dimension to unit variance before the penalty applies [default: the better on grouped folds]",
    ] = None
    class_weights: Annotated[
        str | None, "balanced: both classes have the same total weight; none: every row has [default: balanced]"
    ] = None
    nuisance_directions: Annotated[
        int,
        "take this many directions out of the embeddings before the fit: those in which the sources of bona fide rows "
        "differ most, such as microphone and codec; needs the labels' column source",
    ] = 0
    calibrator: Annotated[str, f"map from logit to log-likelihood ratio: {', '.join(CALIBRATORS)}"] = "affine"
    folds: Annotated[
        int | None,
        f"grouped folds; their held-out rows choose the settings and calibrate [default: {FOLDS}, or fewer: as many as "
        "the class with fewer groups has groups]",
    ] = None
    prior: Annotated[float, "share of spoof that the head assumes where a run states none"] = 0.5
    target_risk: Annotated[
        float | None, "desired error rate among the kept rows; sets the reject threshold [default: 0.05]"
    ] = None
    target_coverage: Annotated[float | None, "desired share of kept rows, instead of --target-risk"] = None
    certify_miss: Annotated[
        float | None,
        "certify that at most this share of kept bona fide rows is called spoof; sets one fold aside for it, unless it "
        "is over sources",
    ] = None
    certify_false_alarm: Annotated[
        float | None,
        "certify that at most this share of kept spoof rows is called bona fide; sets one fold aside for it, unless it "
        "is over systems",
    ] = None
    certify_over: Annotated[
        str | None,
        f"bound the rates of systems (false alarms), sources (misses) or both, not of rows: {', '.join(OVER)}; each is "
        "judged by the fold that did not learn from it [default: of rows]",
    ] = None
    certify_quantile: Annotated[
        float | None,
        "with --certify-over: the bound is for this share of the systems or sources, such as 0.9 [default: for the "
        "mean over them, the rate to expect of a new one]",
    ] = None
    confidence: Annotated[float, "share of the draws of its rows in which a certificate must hold"] = 0.95
    max_ood: Annotated[
        float, "reject rows farther from the training rows than this quantile of them; 1 rejects none"
    ] = MAX_OOD
    min_seconds: Annotated[float, "shorter recordings get no score: too_short; s"] = MIN_SECONDS
    attribution: Annotated[
        bool,
        "also learn from the labels' column system which synthesiser a recording resembles most; `score` then names it",
    ] = False
    false_attribution: Annotated[
        float, "with --attribution: share of the recordings of a system that was not heard which may get a name"
    ] = 0.05
    silence_dbfs: Annotated[float, "quieter recordings get no score: silent; dB re full scale"] = -80.0

    def __post_init__(self) -> None:
        self._apply_recipe()
        if self.class_weights not in (None, *CLASS_WEIGHTS):
            raise ConfigError(f"class_weights {self.class_weights!r}; expected one of {', '.join(CLASS_WEIGHTS)}.")
        if self.calibrator not in CALIBRATORS:
            raise ConfigError(f"calibrator {self.calibrator!r}; expected one of {', '.join(CALIBRATORS)}.")
        if self.c is not None and not 0.0 < self.c < math.inf:
            raise ConfigError(f"c {self.c}; expected a number above 0.")
        if self.nuisance_directions < 0:
            raise ConfigError(f"nuisance_directions {self.nuisance_directions}; expected 0 or more.")
        self._check_over()
        least = 2 if self.promise is None or self.certify_over else 3
        if self.folds is not None and not least <= self.folds <= MAX_FOLDS:
            raise ConfigError(f"folds {self.folds}; expected {least} to {MAX_FOLDS:,}.")
        if not 0.0 < self.max_ood <= 1.0:
            raise ConfigError(f"max_ood {self.max_ood}; expected a quantile above 0 and at most 1.")
        for name in ("min_seconds", "silence_dbfs"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"{name} {getattr(self, name)}; expected a finite number.")
        shares = ("prior", "target_risk", "target_coverage", "certify_miss", "certify_false_alarm")
        for name in (*shares, "certify_quantile", "confidence", "false_attribution"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < 1.0:
                raise ConfigError(f"{name} {value}; expected a share between 0 and 1.")
        targets = (self.target_risk, self.target_coverage, self.promise)
        if sum(target is not None for target in targets) > 1:
            raise ConfigError("target_risk, target_coverage and certify_… exclude each other; choose one.")

    @property
    def promise(self) -> Promise | None:
        """The bound to certify, or None if nothing is to be certified."""
        if self.certify_miss is None and self.certify_false_alarm is None:
            return None
        from detector.guarantee import Promise  # only now: it takes scipy.stats, and --help reads these settings

        return Promise(
            self.certify_miss, self.certify_false_alarm, self.confidence, self.certify_over, self.certify_quantile
        )

    def _check_over(self) -> None:
        if self.certify_over is None:
            if self.certify_quantile is not None:
                raise ConfigError(f"certify_quantile {self.certify_quantile} without certify_over; add --certify-over.")
            return
        if self.certify_over not in OVER:
            raise ConfigError(f"certify_over {self.certify_over!r}; expected one of {', '.join(OVER)}.")
        needed = {"systems": ("certify_false_alarm",), "sources": ("certify_miss",)}
        for name in needed.get(self.certify_over, ("certify_miss", "certify_false_alarm")):
            if getattr(self, name) is None:
                raise ConfigError(
                    f"certify_over {self.certify_over} bounds {name}, which is not stated; "
                    f"add --{name.replace('_', '-')}."
                )

    def _apply_recipe(self) -> None:
        if self.recipe is not None and self.recipe not in RECIPES:
            raise ConfigError(f"recipe {self.recipe!r}; expected one of {', '.join(RECIPES)}.")
        for name, value in RECIPES.get(self.recipe or "", {}).items():
            if getattr(self, name) not in (None, value):
                raise ConfigError(f"recipe {self.recipe} has {name} {value}, not {getattr(self, name)}; omit one.")
            object.__setattr__(self, name, value)
