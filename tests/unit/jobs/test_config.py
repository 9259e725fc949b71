"""A setting that cannot work is refused by name before the run starts."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from typing import Any

import pytest

from detector.errors import ConfigError
from detector.schema import LABEL_COLUMNS
from jobs.config import LABELS_HELP, ModelConfig, OutputConfig, RunConfig, extract_config


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("device", "tpu"),
        ("batch_seconds", 0.0),
        ("window_mib", 0),
        ("encoders", "0"),
        ("encoders", "-1"),
        ("encoders", "4:2"),
        ("encoders", "2:"),
        ("encoders", "2:64:8"),
        ("encoders", "1" * 7),
        ("encoders", "1\n"),
        ("decoders", "0:4"),
        ("wait_for_gpus", -1.0),
        ("wait_for_gpus", math.nan),
        ("decode_cpus", 0.0),
        ("decode_cpus", math.nan),
        ("encoder_cpus", -0.5),
        ("encoder_cpus", math.nan),
        ("encoder_gpus", 0.0),
        ("encoder_gpus", math.nan),
        ("object_store_mib", 79),
        ("run_date", "today"),
        ("run_date", "2026-11-3"),
        ("run_date", "2026-02-30"),
        ("max_seconds", 0.0),
        ("max_seconds", 43_201.0),
        ("max_seconds", math.nan),
        ("max_source_hours", 0.0),
        ("max_source_hours", math.nan),
        ("max_failures", -0.01),
        ("max_failures", 1.01),
        ("max_failures", math.nan),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=setting):
        RunConfig(**{setting: value})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("encoders", "1"),
        ("encoders", "2:2"),
        ("decoders", "1:999999"),
        ("wait_for_gpus", 0.0),
        ("encoder_cpus", 0.0),
        ("encoder_gpus", 0.25),
        ("object_store_mib", 80),
        ("run_date", "2028-02-29"),
        ("max_seconds", 43_200.0),
        ("max_source_hours", 0.1),
        ("max_failures", 0.0),
        ("max_failures", 1.0),
        ("device", "cuda"),
    ],
)
def test_a_setting_at_its_limit_is_accepted(setting: str, value: Any) -> None:
    assert getattr(RunConfig(**{setting: value}), setting) == value


def test_a_run_is_dated_today_in_utc() -> None:
    before = datetime.datetime.now(datetime.UTC).date()

    dated = datetime.date.fromisoformat(RunConfig().run_date)

    assert before <= dated <= datetime.datetime.now(datetime.UTC).date()


def test_an_extracted_config_has_the_values_of_the_settings() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Settings(ModelConfig, OutputConfig, RunConfig):
        pass

    settings = Settings(output="out", model="here", batch_seconds=3.0, run_date="2026-11-23")

    assert extract_config(settings, ModelConfig) == ModelConfig(model="here")
    assert extract_config(settings, RunConfig) == RunConfig(batch_seconds=3.0, run_date="2026-11-23")


def test_the_help_of_labels_names_the_columns_of_the_schema() -> None:
    assert LABELS_HELP.endswith(f"utterance_id,{LABEL_COLUMNS[0]}[,{','.join(LABEL_COLUMNS[1:])}]")
