"""Faults to plant in the files of `cluster/`: each with the check that must find it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.manifests.documents import Document


def at(path: str, value: Any = None) -> Callable[[Document], None]:
    """Put a value at a path (`spec.containers.0.image`), or remove what is there."""

    def change(document: Any) -> None:
        *way, last = [int(step) if step.isdigit() else step.replace("|", ".") for step in path.split(".")]
        for step in way:
            document = document[step]
        if value is None:
            del document[last]
        else:
            document[last] = value

    return change


HEAD, DECODE, ENCODE = "spec.headGroupSpec", "spec.workerGroupSpecs.0", "spec.workerGroupSpecs.1"
POD, CONTAINER = "template.spec", "template.spec.containers.0"
CRON, RAY, NIGHT = "CronJob submit-nightly", "RayCluster bonafide", "RayCronJob nightly"
CRON_POD = "spec.jobTemplate.spec.template.spec"
SUBMITTER = "spec.jobTemplate.submitterPodTemplate.spec"
ENTRY = "spec.jobTemplate.entrypoint"
UNSIGNED = "bonafide nightly --input s3://ARCHIVE/recordings/ --output s3://TABLES/tables"
SECRET = {"name": "webhook", "items": [{"key": "webhook", "path": "webhook"}]}
WITH_SECRET = {
    "containers": [{"name": "decode", "volumeMounts": [{"name": "given", "mountPath": "/x", "readOnly": True}]}],
    "volumes": [{"name": "given", "projected": {"sources": [{"secret": SECRET}]}}],
}
EVERYBODY = [{"ipBlock": {"cidr": "0.0.0.0/0"}}]

KUBERNETES = [
    ("schema", RAY, at("spec.rayversion", "2.60.0")),
    ("schema", RAY, at(f"{DECODE}.minReplica", 1)),
    ("schema", RAY, at(f"{DECODE}.maxReplicas", "8")),
    ("schema", RAY, at(f"{HEAD}.{CONTAINER}.readOnly", True)),
    ("schema", RAY, at("spec.autoscalerOptions.securityContext.privilege", False)),
    ("schema", NIGHT, at("spec.concurrencyPolicy", "Forbid")),
    ("schema", NIGHT, at("spec.jobTemplate.rayClusterSpec")),
    ("schema", NIGHT, at(f"{SUBMITTER}.containers.0.resources.limit", {})),
    ("schema", "RayJob backfill-", at("spec.backoffLimit", 2)),
    ("schema", "RayJob backfill-", at("spec.ttlSecondsAfterFinished", 86_400)),
    ("schema", CRON, at("spec.jobTemplate.spec.template.spec.restartPolicies", "Never")),
    ("schema", "NetworkPolicy ray", at("spec.ingress.0.form", [])),
    ("schema", "ServiceAccount submitter", at("automountToken", False)),
    ("namespace", "Namespace bonafide", at("metadata.labels.pod-security|kubernetes|io/enforce", "baseline")),
    ("namespace", CRON, at("metadata.namespace", "default")),
    ("same", RAY, at(f"{DECODE}.maxReplicas", 9)),
    ("same", NIGHT, at("spec.jobTemplate.rayClusterSpec.rayVersion", "2.59.0")),
    ("confined", RAY, at(f"{HEAD}.{POD}.securityContext")),
    ("confined", RAY, at(f"{DECODE}.{POD}.securityContext.runAsNonRoot", False)),
    ("confined", RAY, at(f"{DECODE}.{POD}.securityContext.runAsUser", 0)),
    ("confined", RAY, at(f"{ENCODE}.{POD}.securityContext.seccompProfile", {"type": "Unconfined"})),
    ("confined", RAY, at(f"{ENCODE}.{CONTAINER}.securityContext.readOnlyRootFilesystem", False)),
    ("confined", RAY, at(f"{ENCODE}.{CONTAINER}.securityContext.capabilities", {"drop": ["NET_RAW"]})),
    ("confined", RAY, at(f"{ENCODE}.{CONTAINER}.securityContext.runAsUser", 0)),
    ("confined", RAY, at(f"{HEAD}.{CONTAINER}.securityContext.allowPrivilegeEscalation")),
    ("confined", RAY, at("spec.autoscalerOptions.securityContext")),
    ("confined", RAY, at(f"{HEAD}.{POD}.hostNetwork", True)),
    ("confined", RAY, at(f"{HEAD}.{POD}.volumes.1", {"name": "tmp", "hostPath": {"path": "/"}})),
    ("confined", NIGHT, at(f"{SUBMITTER}.containers.0.securityContext")),
    ("confined", NIGHT, at(f"{SUBMITTER}.containers.0.volumeMounts", [])),
    ("confined", "CronJob collect", at(f"{CRON_POD}.containers.0.securityContext.capabilities.add", ["SYS_ADMIN"])),
    ("confined", "CronJob collect", at(f"{CRON_POD}.containers.0.resources.limits")),
    ("no_token", "ServiceAccount night-worker", at("automountServiceAccountToken")),
    ("no_token", RAY, at(f"{HEAD}.{POD}.automountServiceAccountToken", True)),
    ("no_token", RAY, at(f"{DECODE}.{POD}.automountServiceAccountToken")),
    ("no_token", RAY, at(f"{HEAD}.{CONTAINER}.volumeMounts.0.name", "api")),
    ("no_token", RAY, at("spec.autoscalerOptions.volumeMounts", [{"name": "tmp", "mountPath": "/tmp"}])),
    ("accounts", RAY, at(f"{DECODE}.{POD}.serviceAccountName")),
    ("accounts", RAY, at(f"{DECODE}.{POD}.serviceAccountName", "night-head")),
    ("accounts", "CronJob collect", at(f"{CRON_POD}.serviceAccountName", "night-worker")),
    ("accounts", CRON, at(f"{CRON_POD}.serviceAccountName", "night-worker")),
    (
        "accounts",
        "ServiceAccount night-worker",
        at("metadata.annotations.eks|amazonaws|com/role-arn", "arn:aws:iam::ACCOUNT:role/bonafide-collector"),
    ),
    ("no_secret", RAY, at(f"{DECODE}.{CONTAINER}.env.0", {"name": "AWS_SECRET_ACCESS_KEY", "value": "x"})),
    ("no_secret", CRON, at(f"{CRON_POD}.containers.0.volumeMounts.1.readOnly", False)),
    ("images", RAY, at(f"{DECODE}.{CONTAINER}.image", "REGISTRY/bonafide-cpu:latest")),
    ("images", RAY, at(f"{ENCODE}.{CONTAINER}.image", "REGISTRY/bonafide-cpu@sha256:DIGEST")),
    ("images", NIGHT, at(f"{SUBMITTER}.containers.0.image", "rayproject/ray:2.60.0")),
    ("dashboard", RAY, at("spec.authOptions")),
    ("dashboard", NIGHT, at("spec.jobTemplate.rayClusterSpec.authOptions.mode", "disabled")),
    ("dashboard", RAY, at(f"{HEAD}.serviceType", "LoadBalancer")),
    ("dashboard", RAY, at(f"{HEAD}.enableIngress", True)),
    ("network", "NetworkPolicy deny-all", at("spec.policyTypes", ["Ingress"])),
    ("network", "NetworkPolicy deny-all", at("spec.policyTypes", ["Egress"])),
    ("network", "NetworkPolicy deny-all", at("spec.podSelector", {"matchLabels": {"app": "none"}})),
    ("network", "NetworkPolicy names", at("spec.egress.0.ports", [{"protocol": "TCP", "port": 53}])),
    ("network", "NetworkPolicy ray", at("spec.ingress.0.from")),
    ("network", "NetworkPolicy ray", at("spec.ingress.0.from", [{"podSelector": {}}])),
    ("network", "NetworkPolicy ray", at("spec.ingress.0.from", [{"namespaceSelector": {}}])),
    ("network", "NetworkPolicy ray", at("spec.egress.0.to", EVERYBODY)),
    ("network", "NetworkPolicy ray", at("spec.egress", [])),
    ("network", "NetworkPolicy dashboard", at("spec.ingress.0.from.1.podSelector")),
    ("network", "NetworkPolicy dashboard", at("spec.ingress.0.ports")),
    ("network", "NetworkPolicy dashboard", at("spec.ingress.0.from", [{"podSelector": {}}])),
    ("network", "NetworkPolicy dashboard", at("spec.podSelector", {})),
    ("network", "NetworkPolicy submitter", at("spec.egress.0.ports")),
    ("network", "NetworkPolicy metrics", at("spec.ingress.0.ports.0.port", 8265)),
    ("network", "NetworkPolicy store", at("spec.egress.0.to.0.ipBlock.except")),
    ("network", "NetworkPolicy store", at("spec.egress.0.to.0.ipBlock.except.2", "203.0.113.0/24")),
    ("network", "NetworkPolicy store", at("spec.egress.0.ports")),
    ("network", "NetworkPolicy store", at("spec.podSelector", {})),
    ("network", "NetworkPolicy autoscaler", at("spec.podSelector", {})),
    ("accounts", CRON, at("spec.jobTemplate.spec.template.metadata.labels", {"app.kubernetes.io/component": "ray"})),
    ("parsed", NIGHT, at(ENTRY, "bonafide nightly --input s3://ARCHIVE/recordings/")),
    ("parsed", NIGHT, at(ENTRY, "python -m jobs nightly")),
    ("parsed", CRON, at(f"{CRON_POD}.containers.0.command.13", "--decode-cpus=0")),
    ("parsed", CRON, at(f"{CRON_POD}.containers.0.command.12", "--encoders-cpu=0")),
    ("parsed", "CronJob collect", at(f"{CRON_POD}.containers.0.command.1", "collect")),
    ("decoders", CRON, at(f"{CRON_POD}.containers.0.command.14", "--confinement=prefer")),
    ("decoders", CRON, at(f"{CRON_POD}.containers.0.command.14")),
    ("places", CRON, at(f"{CRON_POD}.containers.0.command.7", "--input=s3://ARCHIVE/2026/")),
    ("places", CRON, at(f"{CRON_POD}.containers.0.command.10", "--output=s3://ARCHIVE/recordings")),
    ("places", "CronJob collect", at(f"{CRON_POD}.containers.0.command.2", "s3://TABLES/others")),
    ("places", "CronJob compact", at(f"{CRON_POD}.containers.0.command.4", "s3://TABLES/copy")),
    ("places", "CronJob compact", at(f"{CRON_POD}.containers.0.command.2", "s3://TABLES/others")),
    ("places", "CronJob verify", at(f"{CRON_POD}.containers.0.command.2", "s3://TABLES/compacted")),
    ("signed", NIGHT, at(ENTRY, f"{UNSIGNED} --webhook /run/bonafide/webhook")),
    ("signed", NIGHT, at(ENTRY, f"{UNSIGNED} --require-signature s3://ARCHIVE/heads/head.pub")),
    ("signed", CRON, at(f"{CRON_POD}.containers.0.command.15")),
    ("signed", RAY, at(f"{HEAD}.{POD}.volumes.2.projected.sources.0")),
    ("signed", RAY, at(f"{HEAD}.{CONTAINER}.volumeMounts.2")),
    ("told", NIGHT, at(ENTRY, f"{UNSIGNED} --require-signature /run/bonafide/head.pub")),
    ("told", CRON, at(f"{CRON_POD}.containers.0.command.16")),
    ("told", CRON, at(f"{CRON_POD}.containers.0.command.16", "--webhook=/run/secrets/webhook")),
    ("told", "RayJob backfill-", at("spec.entrypoint", f"{UNSIGNED} --webhook s3://ARCHIVE/heads/webhook")),
    ("told", RAY, at(f"{HEAD}.{POD}.volumes.2.projected.sources.1")),
    ("told", RAY, at("spec.autoscalerOptions.volumeMounts.0", {"name": "given", "mountPath": "/x", "readOnly": True})),
    ("told", RAY, at(f"{DECODE}.{POD}", WITH_SECRET)),
    ("heard", RAY, at(f"{HEAD}.{CONTAINER}.env.2")),
    ("heard", "CronJob verify", at(f"{CRON_POD}.containers.0.env.1")),
    ("ordered", "CronJob verify", at(f"{CRON_POD}.serviceAccountName", "collector")),
    ("ordered", "CronJob compact", at(f"{CRON_POD}.serviceAccountName", "night-worker")),
    ("ordered", "CronJob verify", at("spec.schedule", "17 16 1 * *")),
    ("ordered", "CronJob compact", at("spec.suspend", True)),
    ("ordered", "CronJob collect", at(f"{CRON_POD}.containers.0.command.1", "verify")),
    ("accounts", "CronJob verify", at(f"{CRON_POD}.serviceAccountName", "compactor")),
    ("accounts", "ServiceAccount compactor", at("metadata.annotations")),
    ("network", "NetworkPolicy store", at("spec.podSelector.matchExpressions.0.values", ["ray", "collector"])),
    ("times", "CronJob verify", at("spec.jobTemplate.spec.podFailurePolicy.rules.1.onExitCodes.values", [65, 75])),
    ("address", "RayJob backfill-", at("spec.clusterSelector.ray|io/cluster", "other")),
    ("address", CRON, at(f"{CRON_POD}.containers.0.command.2", "--address=http://127.0.0.1:8265")),
    ("address", CRON, at(f"{CRON_POD}.containers.0.env", [{"name": "RAY_AUTH_MODE", "value": "token"}])),
    ("address", CRON, at(f"{CRON_POD}.containers.0.env.1.value", "disabled")),
    ("address", CRON, at(f"{CRON_POD}.volumes.1.secret.secretName", "other")),
    ("sizes", RAY, at(f"{HEAD}.rayStartParams.num-cpus", "2")),
    ("sizes", RAY, at(f"{DECODE}.rayStartParams.num-cpus", "8")),
    ("sizes", RAY, at(f"{DECODE}.{CONTAINER}.resources.limits.memory", "6Gi")),
    ("sizes", RAY, at(f"{DECODE}.{POD}.volumes.0.emptyDir.sizeLimit", "2Gi")),
    ("sizes", RAY, at(f"{DECODE}.{POD}.volumes.0.emptyDir.medium")),
    ("sizes", RAY, at(f"{DECODE}.minReplicas", 9)),
    ("sizes", RAY, at(f"{ENCODE}.rayStartParams.num-cpus", "3")),
    ("sizes", RAY, at(f"{ENCODE}.rayStartParams.num-gpus", "2")),
    ("sizes", RAY, at(f"{ENCODE}.{CONTAINER}.resources.limits.nvidia|com/gpu", "2")),
    ("sizes", CRON, at(f"{CRON_POD}.containers.0.command.12", "--encoder-cpus=1")),
    ("sizes", CRON, at(f"{CRON_POD}.containers.0.command.13", "--decode-cpus=0.25")),
    ("spot", RAY, at(f"{HEAD}.{POD}.tolerations", [{"key": "spot", "operator": "Exists"}])),
    ("spot", RAY, at(f"{DECODE}.{POD}.tolerations", [{"operator": "Exists"}])),
    ("spot", RAY, at(f"{ENCODE}.{POD}.tolerations.1")),
    ("autoscaling", RAY, at("spec.enableInTreeAutoscaling", False)),
    ("autoscaling", RAY, at(f"{DECODE}.minReplicas", 0)),
    ("autoscaling", RAY, at(f"{ENCODE}.minReplicas", 2)),
    ("autoscaling", RAY, at(f"{ENCODE}.maxReplicas", 0)),
    ("sizes", RAY, at(f"{ENCODE}.maxReplicas", 7)),
    ("sizes", CRON, at(f"{CRON_POD}.containers.0.command.17", "--encoders=1:4")),
    ("sizes", CRON, at(f"{CRON_POD}.containers.0.command.18", "--wait-for-gpus=60")),
    ("times", CRON, at("spec.concurrencyPolicy", "Allow")),
    ("times", CRON, at("spec.jobTemplate.spec.activeDeadlineSeconds")),
    ("times", CRON, at("spec.jobTemplate.spec.podFailurePolicy.rules.1.onExitCodes.values", [69])),
    ("times", "CronJob collect", at("spec.concurrencyPolicy")),
    ("times", NIGHT, at("spec.jobTemplate.activeDeadlineSeconds", 36_000)),
    ("times", NIGHT, at("spec.jobTemplate.backoffLimit", 0)),
    ("times", NIGHT, at("spec.timeZone", "Europe/Berlin")),
    ("times", NIGHT, at("spec.jobTemplate.deletionStrategy.deletionRules.0.condition.ttlSeconds", 21_600)),
    ("times", NIGHT, at("spec.jobTemplate.deletionStrategy.deletionRules.1.condition.ttlSeconds", 300)),
    ("times", NIGHT, at("spec.jobTemplate.deletionStrategy.deletionRules.2")),
    ("schema", NIGHT, at("spec.jobTemplate.shutdownAfterJobFinishes", True)),
    ("network", "NetworkPolicy pushgateway", at("spec.egress.0.to.0.podSelector")),
    ("network", "NetworkPolicy pushgateway", at("spec.podSelector", {})),
]


NODE = "available_node_types"
LAUNCHER = [
    ("schema", at("max_worker", 3)),
    ("schema", at(f"{NODE}.decode.resources.CPU", "eight")),
    ("schema", at(f"{NODE}.decode.node_config.InstanceTyp", "c7i.2xlarge")),
    ("schema", at(f"{NODE}.decode.node_config.InstanceMarketOptions", "spot")),
    ("schema", at(f"{NODE}.head.node_config.MetadataOptions.HttpPutResponseHopLimit", "1")),
    ("schema", at("head_node_type", "nobody")),
    ("schema", at("max_workers", 1)),
    ("seats", at(f"{NODE}.encode.resources.CPU", 4)),
    ("seats", at(f"{NODE}.encode.resources.GPU")),
    ("seats", at(f"{NODE}.head.resources.CPU", 4)),
    ("seats", at(f"{NODE}.decode.max_workers", 80)),
    ("seats", at("max_workers", 4)),
    ("closed", at("head_start_ray_commands.1", "ray start --head --dashboard-host=127.0.0.1")),
    ("closed", at("head_start_ray_commands.1", "RAY_AUTH_MODE=token ray start --head --dashboard-host=0.0.0.0")),
    ("closed", at("worker_start_ray_commands.1", "ray start --address=$RAY_HEAD_IP:6379")),
    ("closed", at("file_mounts", {})),
    ("closed", at("file_mounts", {"/tmp/.ray/auth_token": "a", "/tmp/x": "AWS_SECRET_ACCESS_KEY"})),
    ("closed", at("provider.use_internal_ips", False)),
    ("closed", at("provider.security_group")),
    ("closed", at("provider.security_group.IpPermissions.0.IpRanges.0.CidrIp", "0.0.0.0/0")),
    ("closed", at(f"{NODE}.decode.node_config.MetadataOptions.HttpTokens", "optional")),
    ("closed", at(f"{NODE}.decode.node_config.BlockDeviceMappings.0.Ebs.Encrypted", False)),
    ("closed", at(f"{NODE}.decode.node_config.IamInstanceProfile")),
    ("closed", at(f"{NODE}.head.node_config.InstanceMarketOptions", {"MarketType": "spot"})),
    ("closed", at(f"{NODE}.encode.node_config.InstanceMarketOptions")),
    ("closed", at("docker.run_options", ["--privileged"])),
    ("images", at("docker.image", "rayproject/ray:latest")),
    ("images", at(f"{NODE}.encode.docker")),
]


IMAGE = [
    ("linted", "USER 1000:1000", "USER root"),
    ("linted", "rsync=3.2*", "rsync"),
    ("linted", "WORKDIR /src", "WORKDIR src"),
    ("linted", "FROM ${PYTHON}${PYTHON_DIGEST} AS locked", "FROM python:latest AS locked"),
    ("image", "USER 1000:1000", "USER root"),
    ("image", "USER 1000:1000\n", ""),
    ("image", "python:3.11.14", "python:3.9.1"),
    ("image", "python:3.11.14-slim-bookworm", "python:latest"),
    (
        "image",
        "--require-hashes --no-deps --only-binary :all: --requirement cluster/locks/gpu.txt",
        "-r constraints.txt",
    ),
    ("image", "--require-hashes --no-deps --only-binary :all: --requirement cluster/locks/cpu.txt", "boto3"),
    ("image", "cluster/locks/gpu.txt", "cluster/locks/cpu.txt"),
    (
        "image",
        "install --require-hashes --no-deps --only-binary :all: --requirement cluster/locks/build.txt",
        "install hatchling",
    ),
    ("image", "--no-build-isolation ", ""),
    ("image", "install --no-index --no-deps /wheel", "install /wheel"),
    ("image", "COPY --from=built-gpu", "COPY --from=built-cpu"),
    ("image", "    HOME=/tmp", "    HOME=/root"),
    ("image", "HF_HUB_OFFLINE=1", "AWS_SECRET_ACCESS_KEY=x"),
    ("image", "/etc/profile.d/bonafide.sh", "/tmp/bonafide.sh"),
    ("image", "COPY jobs ./jobs\n", ""),
    ("image", "FROM ${PYTHON}${PYTHON_DIGEST} AS runtime", "FROM ubuntu:24.04 AS runtime"),
]
