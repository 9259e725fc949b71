"""A model of a queue: Ray's autoscaler asks for machines, Kueue admits each step, and machines take time to start.

Of Kueue it has what decides whether a run gets its encoders: a cluster's growth is one workload, admitted whole or not
at all, once its requests and those of others fit the quota of every resource.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import yaml

from jobs.execution.growth import Bundle, Look
from tests.support import ROOT
from tests.support.manifests.documents import Document, Pod, pods
from tests.support.manifests.sizes import quantity

KUEUE = ROOT / "cluster" / "kueue" / "queue.yaml"
STEP_SECONDS = 10.0
SEATS = {"CPU": "num-cpus", "GPU": "num-gpus"}  # what Ray offers of a machine, as it is told

Held = Callable[[float], dict[str, float]]
"""What others hold of the quota, at a time in seconds."""


def queue_documents() -> list[Document]:
    """The documents of `cluster/kueue`."""
    return list(yaml.load_all(KUEUE.read_text(), yaml.CSafeLoader))


def quota_of(queue: Document) -> dict[str, float]:
    """What a ClusterQueue grants, by resource."""
    return {
        each["name"]: quantity(each["nominalQuota"])
        for group in queue["spec"]["resourceGroups"]
        for flavour in group["flavors"]
        for each in flavour["resources"]
    }


def requests_of(pod: Pod) -> dict[str, float]:
    """What a pod requests, by resource, the autoscaler's container included."""
    total: dict[str, float] = {}
    for container in pod.containers:
        for name, text in container["resources"]["requests"].items():
            total[name] = total.get(name, 0.0) + quantity(text)
    return total


@dataclass
class QueuedCluster:
    """A RayCluster that grows as its queue lets it.

    Parameters
    ----------
    document : dict
        The RayCluster.
    quota : dict of float
        By resource.
    held : callable
        What others hold of it.
    boot_seconds : float
        From the admission of a machine until Ray has it.
    """

    document: Document
    quota: dict[str, float]
    held: Held = lambda _: {}
    boot_seconds: float = 300.0
    seconds: float = 0.0
    admitted: Counter[str] = field(default_factory=Counter)
    wanted: Counter[str] = field(default_factory=Counter)
    _starts: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pods = {pod.ray: pod for pod in pods(self.document)}
        self._groups = {each["groupName"]: each for each in self.document["spec"]["workerGroupSpecs"]}
        self.wanted = Counter({name: each["minReplicas"] for name, each in self._groups.items()} | {"head": 1})
        self._admit()
        self._starts = [(0.0, name) for _, name in self._starts]  # the permanent cluster is there

    def used(self, counts: Counter[str]) -> dict[str, float]:
        """What so many machines request."""
        total: dict[str, float] = {}
        for name, count in counts.items():
            for resource, amount in requests_of(self._pods[name]).items():
                total[resource] = total.get(resource, 0.0) + count * amount
        return total

    def ask(self, bundles: list[Bundle]) -> None:
        """Want the machines that these bundles need, as Ray's autoscaler does: the first group that has such a seat."""
        self.wanted = Counter({name: each["minReplicas"] for name, each in self._groups.items()} | {"head": 1})
        free = [self._seats(name) for name in self.wanted.elements() if name != "head"]
        for bundle in bundles:
            seat = next((each for each in free if _has(each, bundle)), None)
            if seat is None and (name := self._group_for(bundle)):
                self.wanted[name] += 1
                free.append(seat := self._seats(name))
            if seat is not None:
                seat.update({kind: seat[kind] - amount for kind, amount in bundle.items()})

    def looks(self, bundles: list[Bundle]) -> Iterator[Look]:
        """Look at the cluster, then ask it for bundles, and look on."""
        yield self.look()
        self.ask(bundles)
        while True:
            self.wait(STEP_SECONDS)
            yield self.look()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        end = self.seconds + seconds
        while self.seconds < end:
            self.seconds += STEP_SECONDS
            self._admit()

    def look(self) -> Look:
        """What Ray sees: the machines that have started."""
        started = [self._seats(name) for at, name in self._starts if at <= self.seconds and name != "head"]
        cpus, gpus = (float(sum(each[kind] for each in started)) for kind in ("CPU", "GPU"))
        return Look(self.seconds, cpus, gpus)

    def _admit(self) -> None:
        needed, held = self.used(self.wanted), self.held(self.seconds)
        if all(amount + held.get(name, 0.0) <= self.quota.get(name, 0.0) for name, amount in needed.items() if amount):
            new = (self.wanted - self.admitted).elements()
            self._starts += [(self.seconds + self.boot_seconds, name) for name in new]
            self.admitted = self.wanted.copy()

    def _group_for(self, bundle: Bundle) -> str | None:
        may_grow = (name for name, group in self._groups.items() if self.wanted[name] < group["maxReplicas"])
        return next((name for name in may_grow if _has(self._seats(name), bundle)), None)

    def _seats(self, group: str) -> dict[str, float]:
        params = self._groups[group]["rayStartParams"]
        return {kind: float(params[name]) for kind, name in SEATS.items()}


def _has(seats: dict[str, float], bundle: Bundle) -> bool:
    return all(seats[kind] >= amount for kind, amount in bundle.items())
