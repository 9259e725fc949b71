"""Every object that a verb stores is created where none stands, or replaces the very one that was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from jobs import storage
from tests.support import nightly_runs
from tests.support.proxy import FaultProxy

Run = Callable[..., tuple[int, str, str]]
NAME = "s3://archive/2026/radio/0001.tar"
CREATED, REPLACED, BLIND = "If-None-Match", "If-Match", "none"


def conditions(proxy: FaultProxy, root: str) -> Counter[tuple[str, str]]:
    """How many objects were stored, by the first folder of their names and by the condition that held."""
    found: Counter[tuple[str, str]] = Counter()
    for request in proxy.requests("PUT"):
        if request.status == 200:
            folder, _, name = request.path.removeprefix(f"/{root.removeprefix('s3://')}/").partition("/")
            is_created = request.headers.get("if-none-match") == "*"
            condition = CREATED if is_created else REPLACED if request.headers.get("if-match") else BLIND
            found[name if name == "clock" else folder, condition] += 1
    proxy.log.clear()
    return found


@pytest.fixture
def night(s3_root: str) -> Callable[[str, int], None]:
    """A night over a container in the given state."""

    def run(state: str, seed: int) -> None:
        date = f"2026-11-2{seed}"
        vectors, _ = nightly_runs.drawn(12, seed=seed)
        shards = {NAME: nightly_runs.recordings(vectors, NAME)}
        nightly_runs.night(s3_root, shards, {"x.flac": "not_audio"}, date=date, state=state)

    return run


def test_of_a_night_all_is_created_and_only_rows_of_a_replaced_source_are_replaced(
    proxy: FaultProxy, s3_root: str, night: Callable[[str, int], None]
) -> None:
    night("first", 3)
    first = conditions(proxy, s3_root)
    night("second", 4)
    second = conditions(proxy, s3_root)
    night("second", 4)

    folders = {"_plans", "_commits", "embeddings", "scores", "failures", "runs", "heads"}
    assert set(first) == {(folder, CREATED) for folder in folders}
    replaced = {(folder, REPLACED) for folder in ("embeddings", "scores", "failures")}
    assert set(second) == {(folder, CREATED) for folder in ("_plans", "_commits", "runs")} | replaced
    assert conditions(proxy, s3_root) == {}


def test_verbs_that_keep_order_replace_nothing_that_they_have_not_read(
    proxy: FaultProxy, s3_root: str, night: Callable[[str, int], None], bonafide: Run
) -> None:
    night("first", 3)
    storage.remove(f"{s3_root}/a")  # what the fixture left there
    victim = f"{storage.key_of(NAME)}#0001.flac"
    conditions(proxy, s3_root)

    assert bonafide("verify", s3_root)[0] == 0
    verify = conditions(proxy, s3_root)
    storage.write_bytes(f"{s3_root}/scores/{'0' * 16}-{'0' * 16}.parquet", b"of no plan")
    conditions(proxy, s3_root)
    assert bonafide("gc", s3_root)[0] == bonafide("gc", s3_root, "--grace-hours", "0")[0] == 0
    gc = conditions(proxy, s3_root)
    assert bonafide("compact", s3_root, "--to", f"{s3_root}-copy")[0] == 0
    compact = conditions(proxy, f"{s3_root}-copy")
    assert bonafide("erase", victim, "--output", s3_root)[0] == 0
    erase = conditions(proxy, s3_root)
    assert bonafide("compact", s3_root, "--to", f"{s3_root}-copy")[0] == 0
    again = conditions(proxy, f"{s3_root}-copy")

    assert verify == {}
    assert set(gc) == {("_garbage", CREATED), ("clock", BLIND)}  # an empty object, only for its time
    assert {condition for _, condition in compact} == {CREATED}
    assert erase.pop(("_commits", CREATED)) == 1  # the note that recordings were erased
    assert {condition for _, condition in erase} == {condition for _, condition in again} == {REPLACED}
