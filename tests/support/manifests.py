"""What must hold of the manifests in `cluster/kuberay`: each check of `CHECKS` names what does not.

documents ──pods──► every pod that comes of them, KubeRay's own containers included ──CHECKS──► complaints
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest import mock

import jsonschema
import kubernetes_validate
import yaml

from cluster import submit
from jobs import cli
from jobs.config import RunConfig, part
from jobs.execution.pool import DECODE_BYTES, GPU_WINDOW_MIB, WINDOWS_HELD, fit_pool
from jobs.inputs.pieces import BATCH_BYTES
from tests.support import ROOT
from tests.support.crds import KINDS
from tests.support.iam import TLS, Question, allowed
from tests.support.network import Peer, receives, sends

KUBERAY = ROOT / "cluster" / "kuberay"
KUBERNETES = "1.34"
API = "/var/run/secrets/kubernetes.io/serviceaccount"  # where a client looks for its token
DAY = 86_400

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
    """How people call a document."""
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


# what they are


def schema(documents: list[Document]) -> Iterator[str]:
    """Each is what its kind's schema says; pods are what Kubernetes' says."""
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


# confinement


def confined(documents: list[Document]) -> Iterator[str]:
    """No pod is root's, writes beside its own folders, has a capability, or a system call that it need not have."""
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
    wanted = {"ray": "bonafide-night", "collector": "bonafide-collector", "submitter": ""}
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
    """Who may reach whom: all that is needed, and nothing else."""
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
        "dns": Peer({"k8s-app": "kube-dns"}, "kube-system"),
        "S3": Peer(address="52.219.170.1"),
        "metadata": Peer(address="169.254.169.254"),
        "pod identity": Peer(address="169.254.170.23"),
        "database": Peer(address="10.0.7.7"),
        "API": Peer(address="10.0.0.1"),
    }
    ports = (80, 443, 5432, 6379, 8080, 8265, 10_001, 31_337, 52_365)
    ray, inside = ("head", "decode", "encode"), ("head", "decode", "encode", "submitter", "collector")
    wanted = {(a, b, port) for a in ray for b in ray for port in ports}
    wanted |= {(a, "S3", 443) for a in (*ray, "collector")}
    wanted |= {("submitter", "head", 8265), ("operator", "head", 8265), ("head", "API", 443), ("head", "database", 443)}
    wanted |= {("prometheus", a, 8080) for a in ray}
    for a, b, port in ((a, b, port) for a in found for b in found for port in ports):
        # each side by itself: neither relies on the other
        if a in inside and sends(policies, found[a], found[b], port) != ((a, b, port) in wanted):
            yield f"{a} to {b} on {port}: is sent, or is not, against what is wanted"
        if b in inside and receives(policies, found[a], found[b], port) != ((a, b, port) in wanted):
            yield f"{a} to {b} on {port}: is let in, or is not, against what is wanted"
    for a in inside:
        if not sends(policies, found[a], found["dns"], 53, "UDP"):
            yield f"{a} finds no names"


# commands


def commands(document: Document) -> Iterator[list[str]]:
    """Our own commands in a document, word by word."""
    if document["kind"] in ("RayJob", "RayCronJob"):
        yield shlex.split(job_of(document)["entrypoint"])
    if document["kind"] == "CronJob":
        for pod in pods(document):
            yield pod.containers[0]["command"]


def settings_of(command: list[str]) -> tuple[str, Any, str]:
    """The verb of a command, its settings, and the address that it is submitted to.

    Raises
    ------
    SystemExit, ConfigError
        Where our own parser takes it for none.
    """
    program, *arguments = command
    if program != "bonafide":
        raise SystemExit(f"{program}: not our command")
    address = ""
    if arguments[0] == "submit":
        with mock.patch.object(submit, "submit", return_value=0) as submitted:
            submit.main(arguments[1:])
        address, arguments = submitted.call_args.args[0], list(submitted.call_args.args[1])
    parsed = vars(cli._parser(arguments).parse_args(arguments))
    verb, kind = parsed.pop("verb"), parsed.pop("settings")
    return verb, kind(**parsed), address


def parsed(documents: list[Document]) -> Iterator[str]:
    """Every command is one of ours, with settings that there are."""
    n_commands = 0
    for document in documents:
        for command in commands(document):
            n_commands += 1
            try:
                settings_of(command)
            except (SystemExit, ValueError, Exception) as error:
                yield f"{name_of(document)}: {shlex.join(command)}: {error!r}"
    if n_commands < 4:
        yield f"{n_commands} commands"


def places(documents: list[Document]) -> Iterator[str]:
    """What a command names is what the policies of its role allow."""
    policies = {
        name: json.loads((ROOT / "cluster" / "iam" / f"{name}.json").read_text())
        for name in ("reader", "writer", "collector")
    }

    def may(names: tuple[str, ...], action: str, uri: str) -> bool:
        question = Question(action, f"arn:aws:s3:::{uri.removeprefix('s3://')}", {TLS: "true"})
        return allowed([policies[name] for name in names], question)

    for document in documents:
        for command in commands(document):
            verb, settings, _ = settings_of(command)
            reads, writes = [f"{settings.output}/_commits/x.json"], [f"{settings.output}/runs/x.json"]
            role: tuple[str, ...] = ("collector",)
            if verb == "nightly":
                role = ("reader", "writer")
                reads += [settings.head, f"{settings.model}/config.json", *(f"{each}0.tar" for each in settings.input)]
            else:
                writes = [f"{settings.output}/_garbage/clock"]
            for action, uris in (("s3:GetObject", reads), ("s3:PutObject", writes)):
                yield from (f"{name_of(document)}: {action} of {uri}" for uri in uris if not may(role, action, uri))


def address(documents: list[Document]) -> Iterator[str]:
    """Who submits finds a cluster of ours, and its token."""
    names = {each["metadata"].get("name") for each in of_kind(documents, "RayCluster")}
    for document in documents:
        selected = job_of(document).get("clusterSelector") if document["kind"] == "RayJob" else None
        if selected and selected["ray.io/cluster"] not in names:
            yield f"{name_of(document)}: no cluster {selected['ray.io/cluster']}"
        for command in commands(document):
            _, _, asked = settings_of(command)
            if not asked:
                continue
            if asked not in {f"http://{name}-head-svc.{document['metadata']['namespace']}.svc:8265" for name in names}:
                yield f"{name_of(document)}: no cluster answers at {asked}"
            (pod,) = pods(document)
            said = {each["name"]: each.get("value") for each in pod.containers[0].get("env", [])}
            token = said.get("RAY_AUTH_TOKEN_PATH", "/")
            folder, _, key = token.rpartition("/")
            secrets = [pod.volume(folder).get("secret")] if folder else []
            if said.get("RAY_AUTH_MODE") != "token" or not any(
                secret and secret["secretName"] in names and key in {each["path"] for each in secret["items"]}
                for secret in secrets
            ):
                yield f"{name_of(document)}: has not the cluster's token"


# sizes


UNITS = {"": 1, "m": 1e-3, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def quantity(text: str) -> float:
    """A quantity of Kubernetes: `500m`, `12Gi`."""
    number, unit = re.fullmatch(r"([0-9.]+)(m|[KMG]i|)", text).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def sizes(documents: list[Document]) -> Iterator[str]:
    """What Ray is told of a machine is there; a run finds its seats: encoders on GPUs, decode nowhere else."""
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
            config = part(run, RunConfig)
            if config.device != "cuda":
                yield f"{name_of(document)}: a run that takes no GPU is no fault of its own"
            cpus = sum(group["minReplicas"] * float(group["rayStartParams"]["num-cpus"]) for group in groups)
            gpus = sum(group["minReplicas"] * float(group["rayStartParams"]["num-gpus"]) for group in groups)
            pool = fit_pool(config, cpus, gpus)
            if pool.encoders * pool.encoder_gpus != gpus or pool.encoders < 1:
                yield f"{name_of(document)}: {pool.encoders} encoders for {gpus} GPUs"
            for group, pod in zip(groups, pods(document), strict=False):
                seats, has_gpu = float(group["rayStartParams"]["num-cpus"]), float(group["rayStartParams"]["num-gpus"])
                if has_gpu and (seats >= pool.decode_cpus or seats < pool.encoder_cpus * has_gpu / pool.encoder_gpus):
                    yield f"{pod.where}: {seats:g} CPUs beside a GPU: decode sits there, or no encoder can"
                if group["groupName"] == "head" and seats:
                    yield f"{pod.where}: takes tasks beside the driver"
                if not has_gpu and seats:
                    reserved = DECODE_BYTES + WINDOWS_HELD * ((GPU_WINDOW_MIB << 20) - BATCH_BYTES)
                    needed = int(seats / pool.decode_cpus) * reserved + int(
                        group["rayStartParams"]["object-store-memory"]
                    )
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
    """Workers may be on machines that go away, the head may not; only encoders go where GPUs are."""
    for pod in every(documents):
        keys = {each.get("key") for each in pod.spec.get("tolerations", [])}
        wanted = {"decode": {"spot"}, "encode": {"spot", "nvidia.com/gpu"}}.get(pod.ray, set())
        if keys != wanted:
            yield f"{pod.where}: tolerates {sorted(map(str, keys))}; expected {sorted(wanted)}"


def autoscaling(documents: list[Document]) -> Iterator[str]:
    """Decode grows and shrinks within bounds; encoders are as many as a run begins with."""
    for document in documents:
        if cluster := cluster_of(document):
            bounds = {
                each["groupName"]: (each["minReplicas"], each["maxReplicas"]) for each in cluster["workerGroupSpecs"]
            }
            if not cluster.get("enableInTreeAutoscaling") or not 1 <= bounds["decode"][0] < bounds["decode"][1]:
                yield f"{name_of(document)}: decode does not grow: {bounds}"
            if not 1 <= bounds["encode"][0] == bounds["encode"][1]:
                yield f"{name_of(document)}: {bounds['encode']} encoders; a run takes what is there when it begins"


# times


def times(documents: list[Document]) -> Iterator[str]:
    """One night at a time, each with an end, and again where it asks for that."""
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "CronJob":
            job = spec["jobTemplate"]["spec"]
            if spec.get("concurrencyPolicy") != "Forbid":
                yield f"{name_of(document)}: two at once"
            if not 0 < job.get("activeDeadlineSeconds", 0) < DAY or job.get("backoffLimit", 0) < 1:
                yield f"{name_of(document)}: no end, or no second try"
            policy = job.get("podFailurePolicy", {}).get("rules", [])
            codes = [each["onExitCodes"] for each in policy if "onExitCodes" in each]
            if any(each["operator"] != "NotIn" or set(each["values"]) != {69, 75} for each in codes):
                yield f"{name_of(document)}: {codes}; expected all but 69 and 75 to end it"
        if document["kind"] == "RayCronJob":
            job = job_of(document)
            attempts = job.get("backoffLimit", 0) + 1
            if attempts < 2 or attempts * job["activeDeadlineSeconds"] >= DAY:
                yield f"{name_of(document)}: {attempts} attempts of {job['activeDeadlineSeconds']} s"
            if job.get("shutdownAfterJobFinishes") is not True:
                yield f"{name_of(document)}: its machines stay"
        if document["kind"] in ("CronJob", "RayCronJob") and spec.get("timeZone") != "Etc/UTC":
            yield f"{name_of(document)}: days are UTC's"


CHECKS: dict[str, Check] = {
    each.__name__: each
    for each in (
        *(schema, namespace, same, confined, no_token, accounts, no_secret, images, dashboard, network),
        *(parsed, places, address, sizes, spot, autoscaling, times),
    )
}
