"""Checks of sizes: the machines, what Ray is told of them, and the seats that a run finds."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jobs.config import RunConfig, extract_config
from jobs.execution.pool import fit_pool
from tests.support.manifests.commands import commands, settings_of
from tests.support.manifests.documents import Document, Pod, cluster_of, every, name_of, pods

MACHINE_SECONDS = 900.0  # until a machine with a GPU has started and has its image
UNITS = {"": 1, "m": 1e-3, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
MARKET = "RAY_NODE_MARKET_TYPE"  # by which Ray labels a machine


def quantity(text: str) -> float:
    """A quantity of Kubernetes: `500m`, `12Gi`."""
    number, unit = re.fullmatch(r"([0-9.]+)(m|[KMG]i|)", text).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def sizes(documents: list[Document]) -> Iterator[str]:
    """Machines have what Ray is told they have; a run fits: encoders on GPUs, and decode on machines without."""
    runs = [
        settings
        for each in documents
        for c in commands(each)
        for verb, settings, _ in [settings_of(c)]
        if verb == "nightly"
    ]
    for document in documents:
        if (cluster := cluster_of(document)) is None:
            continue
        groups = [
            ({"groupName": "head", "minReplicas": 1, "maxReplicas": 1} | cluster["headGroupSpec"]),
            *cluster["workerGroupSpecs"],
        ]
        for group, pod in zip(groups, pods(document), strict=False):
            yield from _machine(pod, group)
        for run in runs:
            config = extract_config(run, RunConfig)
            if config.device != "cuda":
                yield f"{name_of(document)}: a run that takes no GPU is no fault of its own"
            cpus, gpus = (
                sum(group["maxReplicas"] * float(group["rayStartParams"][f"num-{kind}"]) for group in groups)
                for kind in ("cpus", "gpus")
            )
            pool = fit_pool(config, cpus, gpus)
            if pool.encoders * pool.encoder_gpus != gpus or config.encoders is None:
                yield f"{name_of(document)}: {pool.encoders} encoders for {gpus} GPUs, of {config.encoders}"
            if config.wait_for_gpus < MACHINE_SECONDS:
                yield f"{name_of(document)}: machines with a GPU have {config.wait_for_gpus:g} s to start"
            for group, pod in zip(groups, pods(document), strict=False):
                seats, has_gpu = float(group["rayStartParams"]["num-cpus"]), float(group["rayStartParams"]["num-gpus"])
                if has_gpu and (seats >= pool.decode_cpus or seats < pool.encoder_cpus * has_gpu / pool.encoder_gpus):
                    yield f"{pod.where}: {seats:g} CPUs beside a GPU: decode sits there, or no encoder can"
                if group["groupName"] == "head" and seats:
                    yield f"{pod.where}: takes tasks beside the driver"
                if not has_gpu and seats:
                    store = int(group["rayStartParams"]["object-store-memory"])
                    needed = int(seats / pool.decode_cpus) * pool.decode_bytes + store
                    if needed > quantity(pod.containers[0]["resources"]["limits"]["memory"]):
                        yield f"{pod.where}: {seats / pool.decode_cpus:g} decode tasks need {needed >> 20} MiB"


def _machine(pod: Pod, group: Document) -> Iterator[str]:
    params, resources = group["rayStartParams"], pod.containers[0]["resources"]
    limits = resources["limits"]
    memory, store = quantity(limits["memory"]), int(params["object-store-memory"])
    shm = pod.volume("/dev/shm")["emptyDir"]
    if float(params["num-cpus"]) > quantity(limits["cpu"]) or params["num-gpus"] != limits.get("nvidia.com/gpu", "0"):
        yield f"{pod.where}: Ray is told of {params}, the machine has {limits}"
    if shm.get("medium") != "Memory" or not store < quantity(shm["sizeLimit"]) < memory:
        yield f"{pod.where}: an object store of {store >> 20} MiB in {shm} of {limits['memory']}"
    if resources["requests"] != limits:
        yield f"{pod.where}: asks for less than it takes"
    if not group["minReplicas"] <= group.get("replicas", group["minReplicas"]) <= group["maxReplicas"]:
        yield f"{pod.where}: bounds {group['minReplicas']} to {group['maxReplicas']}"


def spot(documents: list[Document]) -> Iterator[str]:
    """Workers may be on machines that go away, and say so to Ray; the head may not; only encoders go where GPUs are."""
    for pod in every(documents):
        keys = {each.get("key") for each in pod.spec.get("tolerations", [])}
        wanted = {"decode": {"spot"}, "encode": {"spot", "nvidia.com/gpu"}}.get(pod.ray, set())
        if keys != wanted:
            yield f"{pod.where}: tolerates {sorted(map(str, keys))}; expected {sorted(wanted)}"
        market = {each["name"]: each.get("value") for each in pod.containers[0].get("env", [])}.get(MARKET)
        if market != ("spot" if "spot" in wanted else None):
            yield f"{pod.where}: {MARKET} {market}: assemblers go where they are taken away, or nowhere else"


def autoscaling(documents: list[Document]) -> Iterator[str]:
    """Decode grows and shrinks within bounds; machines with a GPU come for a run, and go."""
    for document in documents:
        if cluster := cluster_of(document):
            bounds = {
                each["groupName"]: (each["minReplicas"], each["maxReplicas"]) for each in cluster["workerGroupSpecs"]
            }
            if not cluster.get("enableInTreeAutoscaling") or not 1 <= bounds["decode"][0] < bounds["decode"][1]:
                yield f"{name_of(document)}: decode does not grow: {bounds}"
            if not 0 == bounds["encode"][0] < bounds["encode"][1]:
                yield f"{name_of(document)}: {bounds['encode']} machines with a GPU; expected 0 between runs"
