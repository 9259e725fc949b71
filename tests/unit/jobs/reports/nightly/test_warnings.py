"""The nightly report warns of failures above the run's limit, and of shards that were computed twice."""

from __future__ import annotations

from typing import Any

from jobs.reports.nightly.report import _warnings


def record(failed: int, *alarms: str) -> dict[str, Any]:
    """The record of a run over 100 recordings, of which 2 % may fail."""
    scores = {"failed": failed, "rows": 100 - failed}
    return {"scores": scores, "settings": {"max_failures": 0.02}, "alarms": list(alarms), "prior": 0.5}


def test_failures_are_a_warning_from_the_first_one_above_the_limit() -> None:
    assert _warnings(record(failed=2)) == []

    (warning,) = _warnings(record(failed=3))

    assert warning.startswith("3 of 100 recordings failed")


def test_a_shard_that_was_computed_twice_with_two_results_is_a_warning() -> None:
    (warning,) = _warnings(record(0, "s3://archive/7.tar"))

    assert warning.startswith("s3://archive/7.tar: computed twice")


def test_decoders_that_were_not_fully_confined_are_a_warning_unless_that_was_asked_for() -> None:
    night = record(0)

    assert _warnings(night | {"confinement": "full"}) == _warnings(night | {"confinement": None}) == []
    (warning,) = _warnings(night | {"confinement": "landlock-3"})
    assert warning.startswith("decoders are confined: landlock-3, without a filter of system calls")
    assert _warnings(night | {"confinement": "none", "settings": night["settings"] | {"confinement": "off"}}) == []
