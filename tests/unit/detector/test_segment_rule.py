"""Rules make one number of windows, within bounds, and a head with a rule is read as it was written."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from detector.errors import ConfigError
from detector.head import Head
from detector.segment_rule import RULES, contains_score, fits

NUMBERS = (1.0, 0.0, -6.0, 6.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", 9.0),  # the recording's own score
        ("lowest-quarter", (0 + 1 + 2 + 3 + 4) / 5),
        ("lowest-tenth", (0 + 1) / 2),
        ("lowest-5", (0 + 1 + 2 + 3 + 4) / 5),
        ("lowest-3", 1.0),
        ("lowest", 0.0),
    ],
)
def test_a_rule_takes_the_lowest_of_twenty_windows(name: str, expected: float) -> None:
    assert RULES[name](9.0, np.random.default_rng(0).permutation(20).astype(float)) == expected


@pytest.mark.parametrize("name", RULES)
def test_a_recording_of_one_window_has_a_number(name: str) -> None:
    assert math.isfinite(RULES[name](0.5, np.array([0.5])))


def test_noisy_or_is_the_log_odds_of_the_product() -> None:
    # 1 % of windows spoofed: p = odds / (1 + odds), odds = exp(-score) / 99
    windows = np.array([4.0, -1.0, 0.5])
    odds = np.exp(-windows) / 99.0
    none = np.prod(1.0 - odds / (1.0 + odds))

    assert RULES["noisy-or"](0.0, windows) == pytest.approx(np.log(none / (1.0 - none)))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("size", [1e50, -1e50, 0.0])
def test_the_largest_numbers_give_a_finite_score_within_the_bounds(name: str, size: float) -> None:
    windows = np.full(100_000, size)

    found = contains_score(name, (1e50, 1e50, -1e50, 1e50), size, windows)

    assert math.isfinite(found)
    assert -1.0001e50 <= found <= 1.0001e50


@pytest.mark.parametrize("name", RULES)
def test_a_more_suspicious_window_never_raises_the_score(name: str) -> None:
    windows = np.random.default_rng(1).normal(size=30)
    lower = windows.copy()
    lower[7] -= 3.0

    assert contains_score(name, NUMBERS, 0.0, lower) <= contains_score(name, NUMBERS, 0.0, windows)


@pytest.mark.parametrize(
    ("name", "numbers", "is_fit"),
    [
        ("", (), True),
        ("lowest", NUMBERS, True),
        ("", NUMBERS, False),
        ("lowest", (), False),
        ("lowest", (0.0, 0.0, -6.0, 6.0), False),
        ("lowest", (1.0, 0.0, 1.0, 6.0), False),
        ("lowest", (1.0, 0.0, -6.0, -1.0), False),
        ("highest", NUMBERS, False),
    ],
)
def test_a_rule_of_a_file_fits_or_is_refused(name: str, numbers: tuple[float, ...], is_fit: bool) -> None:
    assert fits(name, numbers) == is_fit
    if is_fit:
        assert replace(Head.starter(), contains_rule=name, contains_numbers=numbers).contains_rule == name
    else:
        with pytest.raises(ConfigError, match="contains_rule"):
            replace(Head.starter(), contains_rule=name, contains_numbers=numbers)


def test_a_head_with_a_rule_is_read_as_it_was_written_and_has_another_id() -> None:
    plain = Head.starter()
    head = replace(plain, contains_rule="lowest-3", contains_numbers=NUMBERS)

    assert Head.from_json(head.to_json(), "head.json") == head
    assert head.head_id != plain.head_id


def test_a_head_without_a_rule_has_no_key_of_it() -> None:
    assert {"contains_rule", "contains_numbers"}.isdisjoint(json.loads(Head.starter().to_json()))


@pytest.mark.parametrize(
    "change",
    [
        {"contains_rule": "lowest"},
        {"contains_numbers": []},
        {"contains_rule": "", "contains_numbers": []},
        {"contains_rule": "lowest", "contains_numbers": [1.0, 0.0, -6.0, 1e60]},
        {"contains_rule": ["lowest"], "contains_numbers": [1.0, 0.0, -6.0, 6.0]},
    ],
)
def test_half_a_rule_is_refused(change: dict[str, object]) -> None:
    content = json.loads(Head.starter().to_json()) | change

    with pytest.raises(ConfigError, match="contains_"):
        Head.from_json(json.dumps(content), "head.json")
