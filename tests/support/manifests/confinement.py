"""Checks of what pods may do: privileges, tokens, roles, secrets and images."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.support.manifests.documents import Document, every, name_of, of_kind

API = "/var/run/secrets/kubernetes.io/serviceaccount"  # where a client looks for its token


def confined(documents: list[Document]) -> Iterator[str]:
    """No pod runs as root, writes outside its own folders, or has a capability or system call that it does not need."""
    for pod in every(documents):
        context = pod.spec.get("securityContext", {})
        if not (context.get("runAsNonRoot") is True and context.get("runAsUser", 0) >= 1000):
            yield f"{pod.where}: may be root's"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{pod.where}: no seccomp profile"
        for name in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
            if pod.spec.get(name):
                yield f"{pod.where}: {name}"
        for volume in pod.spec.get("volumes", []):
            if set(volume) - {"name"} - {"emptyDir", "secret", "projected"}:
                yield f"{pod.where}: volume {volume['name']} is of the machine"
        for container in [*pod.containers, *pod.spec.get("initContainers", [])]:
            its = container.get("securityContext", {})
            where = f"{pod.where}, {container['name']}"
            if its.get("readOnlyRootFilesystem") is not True:
                yield f"{where}: may write everywhere"
            if its.get("allowPrivilegeEscalation") is not False or its.get("privileged"):
                yield f"{where}: may become more than it is"
            if its.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{where}: has capabilities"
            if its.get("runAsNonRoot", True) is not True or its.get("runAsUser", 1000) < 1000:
                yield f"{where}: may be root's"
            if its.get("seccompProfile", {"type": "RuntimeDefault"}) != {"type": "RuntimeDefault"}:
                yield f"{where}: no seccomp profile"
            if "/tmp" not in [mount["mountPath"] for mount in container.get("volumeMounts", [])]:
                yield f"{where}: no folder to write in"
            if not {"cpu", "memory"} <= set(container.get("resources", {}).get("limits", {})):
                yield f"{where}: no limits"


def no_token(documents: list[Document]) -> Iterator[str]:
    """No container holds a key to Kubernetes, but the autoscaler's."""
    for account in of_kind(documents, "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"{name_of(account)}: its token is mounted by itself"
    for pod in every(documents):
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.where}: a token is mounted by itself"
        keys = {
            volume["name"]
            for volume in pod.spec.get("volumes", [])
            if any("serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", []))
        }
        for container in pod.containers:
            held = {mount["name"] for mount in container.get("volumeMounts", [])} & keys
            if held and container["name"] != "autoscaler":
                yield f"{pod.where}, {container['name']}: holds a token"
            if container["name"] == "autoscaler" and API not in [
                each["mountPath"] for each in container["volumeMounts"]
            ]:
                yield f"{pod.where}: the autoscaler has no token"


def accounts(documents: list[Document]) -> Iterator[str]:
    """Each pod has an account that there is, and the role of its work."""
    roles = {
        each["metadata"]["name"]: each["metadata"].get("annotations", {}).get("eks.amazonaws.com/role-arn", "")
        for each in of_kind(documents, "ServiceAccount")
    }
    wanted = {"ray": "bonafide-night", "submitter": ""}
    wanted |= {name: f"bonafide-{name}" for name in ("collector", "verifier", "compactor")}
    for pod in every(documents):
        account = pod.spec.get("serviceAccountName")
        role = roles.get(account, "none").rpartition("/")[2]
        if role != wanted[pod.labels["app.kubernetes.io/component"]]:
            yield f"{pod.where}: account {account}, role {role!r}"
    heads = {pod.spec.get("serviceAccountName") for pod in every(documents) if pod.ray == "head"}
    others = {pod.spec.get("serviceAccountName") for pod in every(documents) if pod.ray != "head"}
    if heads & others:
        yield f"{heads & others}: the autoscaler's rights are others', too"


def no_secret(documents: list[Document]) -> Iterator[str]:
    """No value of a variable looks like a secret; files are mounted to be read only."""
    for pod in every(documents):
        for container in pod.containers:
            for each in container.get("env", []):
                if re.search(r"KEY|SECRET|TOKEN$|PASSWORD", each["name"]):
                    yield f"{pod.where}: {each['name']} in the environment"
            for mount in container.get("volumeMounts", []):
                volume = next(each for each in pod.spec["volumes"] if each["name"] == mount["name"])
                if "emptyDir" not in volume and not mount.get("readOnly"):
                    yield f"{pod.where}: {mount['mountPath']} may be written"


def images(documents: list[Document]) -> Iterator[str]:
    """Images are ours and named by digest; the large one is only where there is a GPU."""
    for pod in every(documents):
        for container in pod.containers:
            kind = "gpu" if "nvidia.com/gpu" in container.get("resources", {}).get("limits", {}) else "cpu"
            if container["image"] != f"REGISTRY/bonafide-{kind}@sha256:DIGEST":
                yield f"{pod.where}, {container['name']}: image {container['image']}"
