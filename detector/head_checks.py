"""The checks of a head's size and numbers: every finite embedding must get a finite score and a finite distance.

With every number within :data:`~detector.calibration.LARGEST` and every divisor above its inverse, double precision has
room for the largest value that any step can reach, for up to 1e8 dimensions (a file of 64 MiB holds fewer):

```
embedding, mean                     1e50
standardised  (x - mean) / scale    2e50 / 1e-50           =   2e100
logit         · weights + bias      1e8 · 2e100 · 1e50     =   2e158
score         calibration           3 · 1e50 · 2e158       =   6e208
distance²     along² / variance     1e8 · (2e108)² / 1e-50 =   4e274
rule          of bounded scores     1e8 · 1e50             =   1e58
contains      slope · rule          1e50 · 1e58            =   1e108
coordinate    · axis - centre       1e8 · 2e100 · 1e50     =   2e158    of the attribution
                                                    limit     1.8e308
```
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from detector import attribution, segment_rule
from detector.calibration import CALIBRATORS, LARGEST, can_interpolate
from detector.config import parts_of
from detector.errors import ConfigError
from detector.head_json import CLASSES

if TYPE_CHECKING:
    from detector.head import Head

MAX_BYTES = 64 << 20  # of a head's file; the largest that `fit` writes, with isotonic calibration, is a few MiB
MOST_COUNTED = 1 << 53  # of a count; a double holds each of these
REPORT_NUMBERS = ("bonafide", "spoof", "risk", "coverage")
REPORT_TABLES = ("held_out", "certificate", "score_histograms", "calibration_rows")
"""What is read of a head's report: numbers, and tables by name. Everything else in it is for people."""
UNIT = 1.000001  # a number of a direction of length 1, with room for rounding


def check_numbers(head: Head) -> None:
    """Refuse a head whose numbers do not fit together, or are beyond the bounds.

    Raises
    ------
    ConfigError
    """
    _check_sizes(head)
    _check_report(head.training)
    if head.attribution is not None:
        attribution.check(head.attribution, len(head.weights))
    if len({str(part.get("channels")) for part in parts_of(head.recipe)}) > 1:
        raise ConfigError("head: fused over embeddings of different channels, which no recording has together.")
    arrays = {"mean": head.mean, "scale": head.scale, "weights": head.weights}
    if len({len(array) for array in arrays.values()}) != 1 or not head.weights:
        sizes = ", ".join(f"{name} has {len(array)}" for name, array in arrays.items())
        raise ConfigError(f"head: arrays of different sizes ({sizes}); expected one number per dimension.")
    if len(head.ood_directions) != len(head.ood_variances) * len(head.weights):
        raise ConfigError(
            f"head: ood_directions has {len(head.ood_directions)} numbers; expected {len(head.weights)} for each "
            f"of {len(head.ood_variances)} ood_variances."
        )
    if not 0.0 < head.prior < 1.0:
        raise ConfigError(f"head: prior {head.prior}; expected a share between 0 and 1.")
    if len(head.ood_quantiles) < 2 or not can_interpolate(head.ood_quantiles):
        raise ConfigError("head: ood_quantiles must be two or more rising numbers.")
    if head.calibrator not in CALIBRATORS:
        raise ConfigError(f"head: calibrator {head.calibrator!r}; expected one of {', '.join(CALIBRATORS)}.")
    if not CALIBRATORS[head.calibrator].fits(head.calibration):
        raise ConfigError(f"head: {len(head.calibration)} numbers are no calibration {head.calibrator}; fit it again.")
    if not segment_rule.fits(head.contains_rule, head.contains_numbers):
        raise ConfigError(
            f"head: contains_rule {head.contains_rule[:40]!r} and {len(head.contains_numbers)} numbers; expected one "
            f"of {', '.join(segment_rule.RULES)}, with a slope above zero, an intercept, and bounds around zero."
        )
    if len(head.score_bounds) != 2 or not head.score_bounds[0] < 0.0 < head.score_bounds[1]:
        raise ConfigError(f"head: score_bounds {head.score_bounds}; expected one below and one above zero.")


def _check_sizes(head: Head) -> None:
    for name, number in _numbers(head):
        if not math.isfinite(number):
            raise ConfigError("head: NaN or infinity among its numbers; fit it again.")
        largest = UNIT if name == "ood_directions" else LARGEST
        if not -largest <= number <= largest:
            raise ConfigError(
                f"head: {number:g} among {name}; expected at most {largest:g} in size, so that every embedding gets a "
                f"finite score. Fit it again."
            )
    smallest = min((*head.scale, *head.ood_variances, head.ood_rest))
    if smallest <= 0.0:
        raise ConfigError("head: a scale or variance is zero or less; fit it again.")
    if smallest < 1.0 / LARGEST:
        raise ConfigError(
            f"head: a scale or variance of {smallest:g}; expected at least {1.0 / LARGEST:g}, so that every embedding "
            f"gets a finite score. Fit it again."
        )


def _check_report(training: dict[str, Any]) -> None:
    """Refuse a report that would be read as something else than it is; whoever wrote the head wrote it, too."""
    for name in REPORT_NUMBERS:
        if training.get(name) is not None and not is_number(training[name]):
            raise ConfigError(f"head: {name} of its report is {str(training[name])[:40]!r}; expected a number.")
    for name in REPORT_TABLES:
        if not isinstance(training.get(name) or {}, dict):
            raise ConfigError(f"head: {name} of its report is no table; fit it again.")
    for name, value in (training.get("held_out") or {}).items():
        if not (value is None or is_number(value)):
            raise ConfigError(f"head: {name} of its report is {str(value)[:40]!r}; expected a number.")
    for name in CLASSES:
        _check_bound(name, (training.get("certificate") or {}).get(name, {}))
    for name, counts in (training.get("score_histograms") or {}).items():
        if not (isinstance(counts, list) and all(is_number(each) and 0 <= each <= MOST_COUNTED for each in counts)):
            raise ConfigError(f"head: the histogram of {name} in its report holds no counts; fit it again.")


def _check_bound(name: str, bound: Any) -> None:
    """Refuse a class's bound in a certificate unless it is a table that :mod:`detector.guarantee` may have written."""
    is_table = isinstance(bound, dict) and (bound.get("limit") is None or is_number(bound["limit"]))
    if not is_table or ("groups" in bound and not (is_number(bound.get("groups_kept")) and "over" in bound)):
        raise ConfigError(f"head: the certificate of {name} in its report is no bound; fit it again.")


def is_number(value: Any) -> bool:
    """Return True for a number that double precision holds; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def _numbers(head: Head) -> Iterator[tuple[str, float]]:
    """Yield every number of the model, with the name of its field; those of the recipe are not used."""
    for field in fields(head):
        value: Any = getattr(head, field.name)
        if isinstance(value, tuple):
            yield from ((field.name, number) for number in value)
        elif isinstance(value, int | float):
            yield field.name, value


def refuse_large(n_bytes: int, where: str) -> None:
    """Raise :class:`ConfigError` for a file that is too large for a head; call it before the file is read."""
    if n_bytes > MAX_BYTES:
        raise ConfigError(f"{where}: {n_bytes:,} bytes; a head has at most {MAX_BYTES:,}. Is it another file?")
