"""Checks of who reaches whom: the dashboard, and the network policies."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.manifests.documents import Document, cluster_of, every, name_of, of_kind
from tests.support.network import Peer, receives, sends


def dashboard(documents: list[Document]) -> Iterator[str]:
    """The dashboard asks for a token, and no service or ingress leads to it from without."""
    for document in documents:
        if (cluster := cluster_of(document)) is None:
            continue
        head = cluster["headGroupSpec"]
        if cluster.get("authOptions", {}).get("mode") != "token":
            yield f"{name_of(document)}: asks for no token"
        if head.get("serviceType") != "ClusterIP" or head.get("enableIngress"):
            yield f"{name_of(document)}: is open to the world"
    yield from (f"{name_of(each)}: leads inside" for each in of_kind(documents, "Ingress", "Service"))


def network(documents: list[Document]) -> Iterator[str]:
    """Every connection that is needed is allowed, and no other."""
    policies = of_kind(documents, "NetworkPolicy")
    if {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} not in [each["spec"] for each in policies]:
        yield "nothing is forbidden to all"
    found = {pod.ray or pod.labels["app.kubernetes.io/component"]: Peer(pod.labels) for pod in every(documents)}
    found |= {
        "stranger": Peer({"app": "other"}),
        "neighbour": Peer({}, "default"),
        "operator": Peer({"app.kubernetes.io/name": "kuberay-operator"}, "kuberay-system"),
        "operator's neighbour": Peer({"app.kubernetes.io/name": "other"}, "kuberay-system"),
        "prometheus": Peer({"app.kubernetes.io/name": "prometheus"}, "monitoring"),
        "pushgateway": Peer({"app.kubernetes.io/name": "prometheus-pushgateway"}, "monitoring"),
        "dns": Peer({"k8s-app": "kube-dns"}, "kube-system"),
        "S3": Peer(address="52.219.170.1"),
        "metadata": Peer(address="169.254.169.254"),
        "pod identity": Peer(address="169.254.170.23"),
        "database": Peer(address="10.0.7.7"),
        "API": Peer(address="10.0.0.1"),
    }
    ports = (80, 443, 5432, 6379, 8080, 8265, 9091, 10_001, 31_337, 52_365)
    ray, order = ("head", "decode", "encode"), ("collector", "verifier", "compactor")
    inside = (*ray, "submitter", *order)
    wanted = {(a, b, port) for a in ray for b in ray for port in ports}
    wanted |= {(a, "S3", 443) for a in (*ray, *order)}
    wanted |= {("submitter", "head", 8265), ("operator", "head", 8265), ("head", "API", 443), ("head", "database", 443)}
    wanted |= {("prometheus", a, 8080) for a in ray}
    wanted |= {(a, "pushgateway", 9091) for a in (*ray, *order)}
    for a, b, port in ((a, b, port) for a in found for b in found for port in ports):
        # each side by itself: neither relies on the other
        if a in inside and sends(policies, found[a], found[b], port) != ((a, b, port) in wanted):
            yield f"{a} to {b} on {port}: egress is allowed or denied, contrary to what is wanted"
        if b in inside and receives(policies, found[a], found[b], port) != ((a, b, port) in wanted):
            yield f"{a} to {b} on {port}: is let in, or is not, against what is wanted"
    for a in inside:
        if not sends(policies, found[a], found["dns"], 53, "UDP"):
            yield f"{a} finds no names"
