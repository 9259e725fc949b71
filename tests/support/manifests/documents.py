"""The documents of `cluster/kuberay`, and the pods that they create."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from tests.support import ROOT

KUBERAY = ROOT / "cluster" / "kuberay"

Document = dict[str, Any]
Check = Callable[[list[Document]], Iterator[str]]


def documents() -> list[Document]:
    """Every document of every manifest, none sharing anything with another."""
    return list(json.loads(_read()))


@cache
def _read() -> str:
    """The manifests as JSON: aliases become copies."""
    paths = [path for path in sorted(KUBERAY.glob("*.yaml")) if path.name != "kustomization.yaml"]
    return json.dumps([each for path in paths for each in yaml.load_all(path.read_text(), yaml.CSafeLoader)])


@dataclass(frozen=True)
class Pod:
    """A pod as its manifest has it; those of Ray with the labels that KubeRay adds."""

    where: str
    template: Document
    labels: dict[str, str]
    ray: str = ""  # head, or the worker group

    @property
    def spec(self) -> Document:
        return dict(self.template["spec"])

    @property
    def containers(self) -> list[Document]:
        return list(self.spec["containers"])

    def volume(self, path: str, container: int = 0) -> Document:
        """The volume that a container has at a path."""
        (mount,) = [each for each in self.containers[container].get("volumeMounts", []) if each["mountPath"] == path]
        (volume,) = [each for each in self.spec["volumes"] if each["name"] == mount["name"]]
        return dict(volume)


def name_of(document: Document) -> str:
    """The name of a document in messages."""
    metadata = document["metadata"]
    return f"{document['kind']} {metadata.get('name', metadata.get('generateName'))}"


def job_of(document: Document) -> Document:
    """What a RayJob or RayCronJob runs."""
    return dict(document["spec"]["jobTemplate"] if document["kind"] == "RayCronJob" else document["spec"])


def cluster_of(document: Document) -> Document | None:
    """The cluster that a document makes."""
    if document["kind"] == "RayCluster":
        return dict(document["spec"])
    return job_of(document).get("rayClusterSpec") if document["kind"] in ("RayJob", "RayCronJob") else None


def pods(document: Document) -> Iterator[Pod]:
    """Every pod that comes of a document."""
    where = name_of(document)
    if cluster := cluster_of(document):
        yield _ray_pod(f"{where}: head", cluster, cluster["headGroupSpec"]["template"], "head")
        for group in cluster["workerGroupSpecs"]:
            yield _ray_pod(f"{where}: {group['groupName']}", cluster, group["template"], group["groupName"])
    if document["kind"] in ("RayJob", "RayCronJob"):
        template = job_of(document)["submitterPodTemplate"]
        yield Pod(f"{where}: submitter", template, template["metadata"]["labels"])
    if document["kind"] == "CronJob":
        template = document["spec"]["jobTemplate"]["spec"]["template"]
        yield Pod(where, template, template["metadata"]["labels"])


def _ray_pod(where: str, cluster: Document, template: Document, group: str) -> Pod:
    head = group == "head"
    labels = template["metadata"]["labels"] | {
        "ray.io/is-ray-node": "yes",
        "ray.io/node-type": "head" if head else "worker",
    }
    if head and cluster.get("enableInTreeAutoscaling"):
        options = cluster.get("autoscalerOptions", {})
        autoscaler = {
            name: options[name] for name in ("resources", "securityContext", "volumeMounts") if name in options
        }
        autoscaler |= {"name": "autoscaler", "image": template["spec"]["containers"][0]["image"]}
        template = template | {"spec": template["spec"] | {"containers": [*template["spec"]["containers"], autoscaler]}}
    return Pod(where, template, labels, group)


def every(documents: list[Document]) -> list[Pod]:
    """Every pod of all documents."""
    return [pod for document in documents for pod in pods(document)]


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    return [each for each in documents if each["kind"] in kinds]
