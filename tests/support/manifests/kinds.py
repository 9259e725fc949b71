"""Checks of what the documents are: schemas, the namespace, and one cluster everywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache

import jsonschema
import kubernetes_validate

from tests.support import ROOT
from tests.support.crds import KINDS
from tests.support.manifests.documents import Document, cluster_of, name_of, of_kind, pods

KUBERNETES = "1.34"


def schema(documents: list[Document]) -> Iterator[str]:
    """Each document satisfies the schema of its kind, and each pod that of Kubernetes."""
    for document in documents:
        templates = [{"apiVersion": "v1", "kind": "PodTemplate", "template": pod.template} for pod in pods(document)]
        found = filter(None, (_refused(json.dumps(each)) for each in (document, *templates)))
        yield from (f"{name_of(document)}: {why}" for why in found)


@cache
def _refused(text: str) -> str:
    """What the schema of its kind says against a document."""
    document = json.loads(text)
    try:
        if document["kind"] in KINDS:
            jsonschema.validate(document, KINDS[document["kind"]])
        else:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except jsonschema.ValidationError as error:
        return f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
    return ""


def namespace(documents: list[Document]) -> Iterator[str]:
    """All stand in one namespace, where the API server turns away pods that are not confined."""
    (space,) = of_kind(documents, "Namespace")
    if space["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "the namespace lets in what is not restricted"
    for document in documents:
        if document is not space and document["metadata"].get("namespace") != space["metadata"]["name"]:
            yield f"{name_of(document)}: in another namespace"


def same(documents: list[Document]) -> Iterator[str]:
    """Every cluster is the same cluster, of the Ray that the images have."""
    clusters = {name_of(each): cluster for each in documents if (cluster := cluster_of(each))}
    first, *others = clusters.values()
    if any(other != first for other in others):
        yield f"{' and '.join(clusters)} differ"
    (ray,) = re.findall(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    if first["rayVersion"] != ray:
        yield f"Ray {first['rayVersion']}; the images have {ray}"
