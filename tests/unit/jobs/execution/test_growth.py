"""A run waits for machines that an autoscaler can bring, and no longer than it may."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest

from detector.errors import ConfigError
from jobs.config import RunConfig
from jobs.errors import RunAgain
from jobs.execution.growth import Look, least_bundles, wait_for_pool
from jobs.execution.ray_demand import is_without_autoscaler

GPUS = RunConfig(device="cuda", encoders="2:64", encoder_cpus=0.0, decode_cpus=1.0, wait_for_gpus=600.0)


def test_a_pool_that_fits_asks_for_nothing() -> None:
    def looks() -> Iterator[Look]:
        yield Look(0.0, cpus=7, gpus=2)
        raise AssertionError("a second look is one at a cluster that was asked for machines")

    grown = wait_for_pool(GPUS, looks())

    assert (grown.pool.least_encoders, grown.pool.encoders, grown.first_machine_seconds) == (2, 64, 0.0)


def test_a_run_begins_as_soon_as_its_least_fits(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "jobs.execution.growth")
    # decode comes first, then one GPU; the second machine with a GPU makes the least of two
    seen = [(0.0, 0, 0), (60.0, 7, 0), (61.0, 7, 1), (75.5, 7, 2), (99.0, 7, 64)]

    grown = wait_for_pool(GPUS, [Look(*each) for each in seen])

    assert (grown.pool.size, grown.first_machine_seconds) == ("2 to 64", 61.0)
    assert caplog.messages == [
        "the cluster has 0 CPU and 0 GPU; its autoscaler is asked for 1 CPU and 2 GPU, for 600 s at most"
    ]


def test_a_run_that_waited_long_enough_is_to_be_run_again() -> None:
    looks = [Look(0.0, 0, 0), Look(599.9, 7, 1), Look(600.0, 7, 1), Look(601.0, 7, 2)]
    cause = "the cluster has 7 CPU and 1 GPU after 600 s; expected 1 CPU and 2 GPU within --wait-for-gpus 600."

    with pytest.raises(RunAgain, match=re.escape(cause)):
        wait_for_pool(GPUS, looks)


@pytest.mark.parametrize("at", [0.0, 5.0], ids=["from the beginning", "once the autoscaler has said so"])
def test_a_cluster_that_cannot_grow_is_refused_at_once(at: float) -> None:
    looks = [Look(seconds, 8, 0, is_final=seconds == at) for seconds in (0.0, 5.0) if seconds <= at]

    with pytest.raises(ConfigError, match=r"the cluster has 0 GPU\(s\), an encoder wants 1"):
        wait_for_pool(GPUS, looks)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (RunConfig(device="cuda"), [{"GPU": 1.0}, {"CPU": 0.5}]),
        (RunConfig(device="cuda", encoder_gpus=0.5, encoder_cpus=1.0), [{"CPU": 1.0, "GPU": 0.5}, {"CPU": 0.5}]),
        (RunConfig(encoders="2:4", decoders="2:8"), [{"CPU": 1.0}, {"CPU": 1.0}, {"CPU": 0.5}, {"CPU": 0.5}]),
        (RunConfig(device="cpu", encoder_cpus=0.0), [{"CPU": 0.5}]),
    ],
    ids=str,
)
def test_what_is_asked_for_is_what_the_least_workers_reserve(
    config: RunConfig, expected: list[dict[str, float]]
) -> None:
    assert least_bundles(config) == expected


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"active_nodes": {f"node_{number:056x}": 1 for number in range(3)}}, True),
        ({"active_nodes": {}, "idle_nodes": {f"node_{7:056x}": 1}}, True),
        ({"active_nodes": {"head": 1, "node_of_ours": 2}}, False),
        ({"active_nodes": {"headgroup": 1}, "idle_nodes": None}, False),
        ({}, False),  # the monitor has seen no machine yet
    ],
)
def test_a_cluster_of_machines_without_a_type_has_no_autoscaler(report: dict[str, object], expected: bool) -> None:
    assert is_without_autoscaler({"autoscaler_report": report}) is expected
