"""Checks of `cluster/ray-up.yaml`, from which Ray's launcher makes machines on AWS."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import jsonschema
import yaml
from botocore.session import Session
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.support import ROOT
from tests.support.manifests.documents import documents, of_kind

UP = ROOT / "cluster" / "ray-up.yaml"
SPOT = "--labels=ray.io/market-type=spot"
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")


def ray_up() -> dict[str, Any]:
    return copy.deepcopy(dict(yaml.safe_load(UP.read_text())))


def schema(config: dict[str, Any]) -> Iterator[str]:
    """Ray takes it, and EC2 would take what it asks for of machines."""
    machines = Session().get_service_model("ec2").operation_model("RunInstances").input_shape
    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except (jsonschema.ValidationError, ValueError) as error:
        yield str(error)
    for name, node in config["available_node_types"].items():
        asked = node["node_config"] | {"MinCount": 1, "MaxCount": 1}
        if report := ParamValidator().validate(asked, machines).generate_report():
            yield f"{name}: {report}"
        unknown = set(node["node_config"]) - set(machines.members)
        yield from (f"{name}: EC2 knows no {each}" for each in sorted(unknown))


def seats(config: dict[str, Any]) -> Iterator[str]:
    """Machines offer to Ray what those of Kubernetes do, as many of them, and say which of them may be taken back."""
    (cluster,) = of_kind(documents(), "RayCluster")
    for group in cluster["spec"]["workerGroupSpecs"]:
        node = config["available_node_types"][group["groupName"]]
        if (node["min_workers"], node["max_workers"]) != (group["minReplicas"], group["maxReplicas"]):
            yield f"{group['groupName']}: {node['min_workers']} to {node['max_workers']}"
        if str(node["resources"].get("GPU", 0)) != group["rayStartParams"]["num-gpus"]:
            yield f"{group['groupName']}: {node['resources']}"
        if (node["resources"]["CPU"] == 0) != (group["rayStartParams"]["num-cpus"] == "0"):
            yield f"{group['groupName']}: {node['resources']}"
    if config["available_node_types"]["head"]["resources"] != {"CPU": 0}:
        yield "the head takes tasks"
    for name in STARTS:
        if (SPOT in config[name][-1]) != name.startswith("worker"):
            yield f"{name}: the head is labelled as a spot machine, or workers are not"
    if config["max_workers"] < sum(each.get("max_workers", 0) for each in config["available_node_types"].values()):
        yield f"{config['max_workers']} machines in all"


def closed(config: dict[str, Any]) -> Iterator[str]:
    """A token is required, the dashboard listens on loopback, only ssh is open, and no keys are copied."""
    for name in STARTS:
        start = config[name][-1]
        if not start.startswith("RAY_AUTH_MODE=token ray start"):
            yield f"{name}: {start}"
    if "--dashboard-host=127.0.0.1" not in config["head_start_ray_commands"][-1]:
        yield "the dashboard listens beyond its machine"
    if not any(target.endswith("/.ray/auth_token") for target in config["file_mounts"]):
        yield "machines have no token"
    if not config["provider"].get("use_internal_ips"):
        yield "machines have public addresses"
    for rule in config["provider"].get("security_group", {}).get("IpPermissions", [{"IpRanges": [{"CidrIp": "any"}]}]):
        ranges = [each["CidrIp"] for each in rule["IpRanges"]]
        if ranges != ["10.0.0.0/16"] or (rule["FromPort"], rule["ToPort"]) != (22, 22):
            yield f"open to {ranges}"
    for name, node in config["available_node_types"].items():
        machine = node["node_config"]
        if machine.get("MetadataOptions", {}).get("HttpTokens") != "required":
            yield f"{name}: its role is handed to whoever asks"
        if not all(each["Ebs"].get("Encrypted") for each in machine["BlockDeviceMappings"]):
            yield f"{name}: a disk is not encrypted"
        wanted = {"Name": "bonafide-head" if name == "head" else "bonafide-night"}
        if machine.get("IamInstanceProfile") != wanted:
            yield f"{name}: role {machine.get('IamInstanceProfile')}"
        if ("InstanceMarketOptions" in machine) != (name != "head"):
            yield f"{name}: the head is a spot machine, or a worker is not"
    options = set(config["docker"]["run_options"])
    if not {"--cap-drop=ALL", "--security-opt=no-new-privileges"} <= options:
        yield f"the container has {options}"
    if any("aws_secret" in str(each).lower() for each in (config["file_mounts"], *map(config.get, STARTS))):
        yield "a key travels"


def images(config: dict[str, Any]) -> Iterator[str]:
    """Images are ours, by digest, the large one where there is a GPU."""
    for name, node in config["available_node_types"].items():
        kind = "gpu" if "GPU" in node["resources"] else "cpu"
        image = node.get("docker", {}).get("worker_image", config["docker"]["image"])
        if image != f"REGISTRY/bonafide-{kind}@sha256:DIGEST":
            yield f"{name}: {image}"
