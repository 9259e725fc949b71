"""Work that workers lost is done again, in a bounded number of passes; a stall ends the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from jobs.errors import RunAgain, StalledError, StorageError, WorkersLostError
from jobs.execution.retries import PASSES, PAUSE_SECONDS, retry


class Letters:
    """Three letters to do. By pass and letter, ``fail`` returns an error to raise, or True to lose the letter."""

    verb = "test"

    def __init__(self, fail: Callable[[int, str], bool | Exception]) -> None:
        self.missing = list("abc")
        self.lost: list[str | None] = []
        self._fail = fail

    @property
    def is_done(self) -> bool:
        return not self.missing

    def attempt(self, number: int) -> Iterator[str]:
        for letter in list(self.missing):
            failure = self._fail(number, letter)
            if isinstance(failure, Exception):
                raise failure
            if not failure:
                self.missing.remove(letter)
                yield letter

    def end_pass(self, lost: WorkersLostError | None) -> None:
        self.lost.append(None if lost is None else str(lost))

    def describe_missing(self) -> str:
        return f"missing {''.join(self.missing)}"

    def finish(self) -> Iterator[str]:
        return iter(())


def test_only_what_is_missing_is_attempted_again_after_a_pause_that_grows() -> None:
    work = Letters(lambda number, letter: number < "abc".index(letter) + 1)
    pauses: list[float] = []

    assert list(retry(work, pauses.append)) == ["a", "b", "c"]

    # 2 s and 4 s, less up to a half for jitter
    first, second = pauses
    assert PAUSE_SECONDS / 2 <= first <= PAUSE_SECONDS
    assert PAUSE_SECONDS <= second <= 2 * PAUSE_SECONDS


def test_work_that_is_missing_after_the_last_pass_ends_the_run() -> None:
    work = Letters(lambda _, letter: letter == "b")
    pauses: list[float] = []
    results = retry(work, pauses.append)

    assert [next(results), next(results)] == ["a", "c"]
    with pytest.raises(RunAgain, match="gave up after 3 passes: missing b"):
        next(results)
    assert len(pauses) == PASSES - 1


def test_lost_workers_cost_a_pass_and_are_reported_to_the_task() -> None:
    work = Letters(lambda number, letter: number == 1 and letter == "b" and WorkersLostError("Ray gave up"))

    assert list(retry(work, lambda _: None)) == ["a", "b", "c"]
    assert work.lost == ["Ray gave up", None]


def test_any_other_error_ends_the_run_in_its_first_pass() -> None:
    work = Letters(lambda _, letter: letter == "b" and StorageError("the store gave up"))

    with pytest.raises(StorageError, match="the store gave up"):
        list(retry(work, lambda _: None))

    assert work.lost == []


def test_a_stall_ends_the_run_and_names_what_is_missing() -> None:
    work = Letters(lambda _, letter: letter == "b" and StalledError("no progress for 120 s."))

    with pytest.raises(StalledError, match=r"no progress for 120 s\. missing bc"):
        list(retry(work, lambda _: None))


def test_a_stall_after_all_work_is_done_is_no_error() -> None:
    class NeverEnds(Letters):
        def attempt(self, number: int) -> Iterator[str]:
            yield from super().attempt(number)
            raise StalledError("no progress for 120 s.")

    assert list(retry(NeverEnds(lambda *_: False))) == ["a", "b", "c"]
