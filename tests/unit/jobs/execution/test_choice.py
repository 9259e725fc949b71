"""Small work on CPUs runs without Ray; a cluster, a GPU, large work or a flag takes Ray."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from jobs.config import RunConfig
from jobs.execution import choice
from jobs.execution.choice import LOCAL_BYTES, LOCAL_ITEMS, ChosenRunner, reason_for_ray
from jobs.execution.gpus import visible_gpus
from jobs.execution.local import LocalRunner
from jobs.execution.stop_request import StopRequest
from jobs.execution.watchdog import Watchdog
from jobs.inputs.shards import Amount, Shard
from jobs.storage import Stored


class Started(LocalRunner):
    """A runner that stands in for both, since only the choice matters here."""

    def map_items(self, *_: Any, **__: Any) -> Any:
        return iter(())


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(choice, "_started", lambda _name, config: Started(config))


def files(count: int, n_bytes: int) -> Shard:
    stored = tuple(Stored(f"s3://bucket/{each}", n_bytes // count, "e") for each in range(count))
    return Shard("files", stored, tuple((each.uri, each.uri) for each in stored))


def amount_of(shards: Iterable[Shard]) -> Amount:
    return reduce(Amount.and_of, shards, Amount())


def embeds_on(*shards: Shard, **settings: Any) -> str:
    runner = ChosenRunner(RunConfig(**settings))
    runner.pool(amount_of(shards))
    return runner.chosen["embed"]


def test_auto_counts_recordings_and_bytes() -> None:
    assert embeds_on(files(300, 3000)) == "local"
    assert embeds_on(files(301, 3010)) == "ray"
    assert embeds_on(files(200, 2000), files(101, 1010)) == "ray"
    assert embeds_on(files(1, LOCAL_BYTES)) == "local"
    assert embeds_on(files(1, LOCAL_BYTES + 1)) == "ray"
    assert embeds_on(files(3, 300), local_recordings=2) == "ray"


def test_a_flag_decides_whatever_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert embeds_on(files(1, 10), runner="ray") == "ray"
    assert embeds_on(files(9999, LOCAL_BYTES * 2), runner="local") == "local"
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert embeds_on(files(1, 10), runner="local") == "local"
    assert embeds_on(files(1, 10)) == "ray"


@pytest.mark.parametrize(
    ("settings", "n_gpus", "reason"),
    [
        ({}, 0, None),
        ({}, 2, "the encoder takes a GPU"),
        ({"device": "cpu"}, 2, None),
        ({"encoders": "1"}, 0, None),
        ({"encoders": "3"}, 0, "--encoders 3"),
    ],
)
def test_gpus_and_several_encoders_are_those_of_ray(settings: dict[str, Any], n_gpus: int, reason: str | None) -> None:
    assert reason_for_ray(RunConfig(**settings), {}, n_gpus) == reason


def test_stored_rows_are_scored_where_their_number_says_unless_ray_runs_already() -> None:
    def scores_on(n_shards: int, *embedded: Shard) -> dict[str, str]:
        runner = ChosenRunner(RunConfig())
        if embedded:
            runner.pool(amount_of(embedded))
        with StopRequest() as stop:
            list(runner.map_items(score, ["{}"] * n_shards, Watchdog(1.0), stop))
        return runner.chosen

    def score(_: str) -> dict[str, Any]:
        return {}

    assert scores_on(LOCAL_ITEMS) == {"score": "local"}
    assert scores_on(LOCAL_ITEMS + 1) == {"score": "ray"}
    assert scores_on(1, files(999, 9990)) == {"embed": "ray", "score": "ray"}
    assert scores_on(1, files(9, 90)) == {"embed": "local", "score": "local"}


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 3), ("", 0), ("-1", 0), ("0", 1), ("1,2", 2), ("0,-1,1", 1), ("0,1,2,3,4", 3)]
)
def test_gpus_are_counted_by_their_devices_and_by_what_cuda_may_see(
    visible: str | None, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert visible_gpus(tmp_path) == count
