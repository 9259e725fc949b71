"""Settings that cannot work are refused, with the setting and its value."""

from __future__ import annotations

import math
from typing import Any

import pytest

from detector import calibration
from detector.errors import ConfigError
from detector.training.config import CALIBRATORS, TrainingConfig


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"calibrator": "platt"}, "calibrator 'platt'"),
        ({"c": 0.0}, "c 0.0"),
        ({"c": math.nan}, "c nan"),
        ({"folds": 1}, "folds 1"),
        ({"folds": 1_001}, "folds 1001"),
        ({"max_ood": 0.0}, "max_ood 0.0"),
        ({"max_ood": 1.5}, "max_ood 1.5"),
        ({"folds": 2, "certify_miss": 0.1}, "folds 2"),
        ({"recipe": "pascu2023"}, "recipe 'pascu2023'"),
        ({"recipe": "pascu2024", "c": 1.0}, "recipe pascu2024 has c 1000000.0, not 1.0"),
        ({"class_weights": "inverse"}, "class_weights 'inverse'"),
        ({"certify_false_alarm": 0.0}, "certify_false_alarm 0.0"),
        ({"certify_miss": 0.1, "target_risk": 0.1}, "exclude each other"),
        ({"certify_miss": 0.1, "certify_over": "speakers"}, "expected one of systems, sources, both"),
        ({"certify_miss": 0.1, "certify_over": "both"}, "add --certify-false-alarm"),
        ({"certify_miss": 0.1, "certify_over": "systems"}, "bounds certify_false_alarm"),
        ({"certify_over": "sources"}, "add --certify-miss"),
        ({"certify_miss": 0.1, "certify_quantile": 0.9}, "add --certify-over"),
        ({"certify_miss": 0.1, "certify_over": "sources", "certify_quantile": 1.0}, "certify_quantile 1.0"),
        ({"confidence": 1.0}, "confidence 1.0"),
        ({"prior": 0.0}, "prior 0.0"),
        ({"prior": math.nan}, "prior nan"),
        ({"target_risk": 1.0}, "target_risk 1.0"),
        ({"target_coverage": -0.5}, "target_coverage -0.5"),
        ({"target_risk": 0.1, "target_coverage": 0.9}, "exclude each other"),
        ({"max_ood": math.nan}, "max_ood nan"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        TrainingConfig(**settings)


def test_the_settings_name_every_calibrator_without_importing_one() -> None:
    assert tuple(calibration.CALIBRATORS) == CALIBRATORS
