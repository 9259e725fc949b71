"""Many small requests are asked for in order, and few of their answers are held."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.inputs.requests import AT_ONCE, QUEUED, answers


def test_few_answers_of_many_items_are_held_at_once() -> None:
    asked = 0

    def items() -> Iterator[int]:
        nonlocal asked
        while asked < 5 * QUEUED:
            asked += 1
            yield asked

    for n_taken, answer in enumerate(answers(lambda item: item + 1, items()), start=1):
        assert answer == n_taken + 1
        assert asked - n_taken < QUEUED + AT_ONCE
