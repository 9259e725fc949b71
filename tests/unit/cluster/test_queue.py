"""Nights on a cluster that Kueue queues: its files fit the cluster, and a run gets its encoders as the quota allows.

No Kueue was available: its rules are in a model (`tests/support/manifests/queue.py`); how long a run waits, and what it
asks for, are the product's own.
"""

from __future__ import annotations

from collections import Counter

import pytest

from jobs.config import RunConfig, extract_config
from jobs.errors import RunAgain
from jobs.execution.growth import least_bundles, wait_for_pool
from tests.support.manifests.commands import commands, settings_of
from tests.support.manifests.documents import Document, documents, name_of, of_kind
from tests.support.manifests.queue import STEP_SECONDS, Held, QueuedCluster, queue_documents, quota_of

(CLUSTER,) = of_kind(documents(), "RayCluster")
FLAVOR, CLUSTER_QUEUE, LOCAL_QUEUE = queue_documents()
ALL_ENCODERS = [{"GPU": 1.0}] * 8


def night() -> RunConfig:
    """The night that `submit.yaml` submits to the cluster."""
    (submit,) = [each for each in documents() if name_of(each) == "CronJob submit-nightly"]
    (command,) = commands(submit)
    _, settings, _ = settings_of(command)
    return extract_config(settings, RunConfig)


def cluster(held: Held = lambda _: {}, quota: dict[str, float] | None = None) -> QueuedCluster:
    return QueuedCluster(CLUSTER, quota_of(CLUSTER_QUEUE) | (quota or {}), held)


def held_until(seconds: float, gpus: float) -> Held:
    return lambda at: {"nvidia.com/gpu": gpus} if at < seconds else {}


def test_the_names_lead_from_the_cluster_to_the_quota() -> None:
    metadata: Document = CLUSTER["metadata"]

    assert metadata["labels"]["kueue.x-k8s.io/queue-name"] == LOCAL_QUEUE["metadata"]["name"]
    assert metadata["annotations"]["kueue.x-k8s.io/elastic-job"] == "true"  # else a cluster that grows is refused
    assert metadata["namespace"] == LOCAL_QUEUE["metadata"]["namespace"]
    assert LOCAL_QUEUE["spec"]["clusterQueue"] == CLUSTER_QUEUE["metadata"]["name"]
    (group,) = CLUSTER_QUEUE["spec"]["resourceGroups"]
    (flavour,) = group["flavors"]
    assert flavour["name"] == FLAVOR["metadata"]["name"]
    assert [each["name"] for each in flavour["resources"]] == group["coveredResources"]


def test_the_quota_has_room_for_the_cluster_at_its_largest_and_names_all_it_requests() -> None:
    groups = {each["groupName"]: each["maxReplicas"] for each in CLUSTER["spec"]["workerGroupSpecs"]}
    largest, quota = cluster().used(Counter(groups | {"head": 1})), quota_of(CLUSTER_QUEUE)

    assert largest.keys() == quota.keys()  # Kueue never admits a workload that requests what a queue does not cover
    assert all(largest[name] <= quota[name] < 1.05 * largest[name] for name in quota)


def test_a_night_on_a_free_queue_begins_with_the_first_gpu_and_gets_all_encoders_in_one_step() -> None:
    queued = cluster()

    grown = wait_for_pool(night(), queued.looks(least_bundles(night())))
    queued.ask(ALL_ENCODERS)
    queued.wait(queued.boot_seconds + STEP_SECONDS)

    assert (grown.pool.size, grown.first_machine_seconds) == ("1 to 8", 310.0)
    assert queued.look().gpus == 8


@pytest.mark.parametrize(("until", "begins"), [(0.0, 310.0), (1_000.0, 1_300.0)])
def test_a_night_waits_while_others_hold_the_queue(until: float, begins: float) -> None:
    queued = cluster(held_until(until, 8))

    grown = wait_for_pool(night(), queued.looks(least_bundles(night())))

    assert grown.first_machine_seconds == begins


def test_a_night_whose_queue_is_held_too_long_is_to_be_run_again() -> None:
    with pytest.raises(RunAgain, match="0 GPU after 1800 s; expected 1 CPU and 1 GPU within --wait-for-gpus 1800"):
        wait_for_pool(night(), cluster(held_until(1_600.0, 8)).looks(least_bundles(night())))


def test_growth_is_admitted_whole_or_not_at_all_and_a_night_goes_on_with_what_it_has() -> None:
    queued = cluster(held_until(2_000.0, 1))
    wait_for_pool(night(), queued.looks(least_bundles(night())))

    queued.ask(ALL_ENCODERS)
    queued.wait(1_000.0)
    assert queued.look().gpus == 1  # seven were free

    queued.wait(1_000.0)
    assert queued.look().gpus == 8


def test_a_quota_without_room_for_all_leaves_a_night_with_its_first_encoder_for_ever() -> None:
    queued = cluster(quota={"nvidia.com/gpu": 7.0})
    wait_for_pool(night(), queued.looks(least_bundles(night())))

    queued.ask(ALL_ENCODERS)
    queued.wait(100_000.0)

    assert queued.look().gpus == 1
