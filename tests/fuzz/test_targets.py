"""Fuzzing with a fixed seed: 500 inputs of each target end in documented errors only, in bounded time."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.fuzz.targets import TARGETS, mutated

N_INPUTS = 500
INPUT_SECONDS = 5.0  # of CPU


@pytest.mark.parametrize("name", TARGETS)
def test_a_good_input_is_read(name: str) -> None:
    for seed in TARGETS[name].seeds():
        TARGETS[name].run(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs_end_in_documented_errors(name: str) -> None:
    target, rng = TARGETS[name], np.random.default_rng(20_261_123)
    seeds = target.seeds()
    for number in range(N_INPUTS):
        content = mutated(seeds[number % len(seeds)], rng)
        begun = time.process_time()
        try:
            target.run(content)
        except Exception as error:
            raise AssertionError(f"input {number} of {name}: {content[:2_000]!r}") from error
        assert time.process_time() - begun < INPUT_SECONDS, number
