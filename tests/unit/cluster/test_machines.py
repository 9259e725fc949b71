"""What runs where there is no Kubernetes, the image, and Ray's own opinion of the seats in the manifests."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from botocore.session import Session
from botocore.validate import ParamValidator
from packaging.specifiers import SpecifierSet
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.support.manifests import ROOT, documents, of_kind
from tests.unit.cluster.test_manifests import at

UP = ROOT / "cluster" / "ray-up.yaml"
DOCKERFILE = ROOT / "cluster" / "Dockerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
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
    """Machines offer to Ray what those of Kubernetes do, and as many of them."""
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
    if config["max_workers"] < sum(each.get("max_workers", 0) for each in config["available_node_types"].values()):
        yield f"{config['max_workers']} machines in all"


def closed(config: dict[str, Any]) -> Iterator[str]:
    """A token is asked for, the dashboard listens on loopback, nobody comes in from everywhere, keys stay at home."""
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
            yield f"{name}: a head that goes away, or a worker that costs thrice as much"
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


CHECKS = {each.__name__: each for each in (schema, seats, closed, images)}
NODE = "available_node_types"
FAULTS = [
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


@pytest.mark.parametrize("check", CHECKS)
def test_the_launcher_s_file_holds(check: str) -> None:
    assert list(CHECKS[check](ray_up())) == []


@pytest.mark.parametrize(("check", "fault"), FAULTS, ids=[f"{check}-{n}" for n, (check, _) in enumerate(FAULTS)])
def test_a_fault_is_found(check: str, fault: Callable[[dict[str, Any]], None]) -> None:
    planted = ray_up()
    fault(planted)
    assert planted != ray_up()

    assert list(CHECKS[check](planted))


# the image


def stages(text: str) -> dict[str, list[tuple[str, str]]]:
    """Instructions by stage, each with those of the stages that it is made from."""
    found: dict[str, list[tuple[str, str]]] = {"": []}
    stage = ""
    joined = re.sub(r"\\\n\s*", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    for line in filter(None, joined.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, stage = rest.partition(" AS ")
            found[stage] = [*found.get(base, []), (word, base)]
        else:
            found[stage].append((word, rest))
    return found


def linted(text: str) -> Iterator[str]:
    """hadolint has nothing to say."""
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, "--no-color", "-"], input=text, capture_output=True, text=True)
    yield from done.stdout.splitlines()


def image(text: str) -> Iterator[str]:
    """Both images are nobody's, of one Python that the package takes, with the versions that were run together."""
    found = stages(text)
    base = dict(rest.split("=", 1) for word, rest in found[""] if word == "ARG")
    version = re.fullmatch(r"python:(\d+\.\d+\.\d+)-slim-\w+", base["PYTHON"])
    if version is None or version[1] not in SpecifierSet(PROJECT["requires-python"]):
        yield f"PYTHON {base['PYTHON']}"
    if {rest for each in found.values() for word, rest in each if word == "FROM"} - set(found) != {"${PYTHON}"}:
        yield "a stage is of something else"
    for target in ("cpu", "gpu"):
        steps = found.get(target, [])
        users = [rest for word, rest in steps if word == "USER"]
        if users != ["1000:1000"]:
            yield f"{target}: runs as {users}"
        if ("COPY", f"--from=built-{target} /opt/bonafide /opt/bonafide") not in steps:
            yield f"{target}: lacks what was built for it"
        environment = " ".join(rest for word, rest in steps if word == "ENV")
        for said in (" HOME=/tmp ", "XDG_CACHE_HOME=/tmp/", "HF_HUB_OFFLINE=1", "PATH=/opt/bonafide/bin:"):
            if said not in environment:
                yield f"{target}: {said} is not said"
        if not any("/opt/bonafide/bin:" in rest and "/etc/profile.d/" in rest for word, rest in steps if word == "RUN"):
            yield f"{target}: a login shell finds nothing of ours"
        if re.search(r"KEY|SECRET|TOKEN|PASSWORD", environment):
            yield f"{target}: a secret in the image"
        installed = [rest for word, rest in found[f"built-{target}"] if "pip install" in rest]
        for command in re.findall(r"pip install (.*?)(?: &&|$)", " && ".join(installed)):
            if "--constraint constraints.txt" not in command and "--requirement torch.txt" not in command:
                yield f"{target}: pip install {command}"
    copied = {rest.split()[0] for word, rest in found["source"] if word == "COPY"}
    packages = {"detector", "jobs", "cluster"}
    if not packages <= copied:
        yield f"copies {copied}"


DOCKER_FAULTS = [
    (linted, "USER 1000:1000", "USER root"),
    (linted, "rsync=3.2*", "rsync"),
    (linted, "WORKDIR /src", "WORKDIR src"),
    (linted, "ARG PYTHON=python:3.11.14-slim-bookworm\n\nFROM ${PYTHON} AS source", "FROM python:latest AS source"),
    (image, "USER 1000:1000", "USER root"),
    (image, "USER 1000:1000\n", ""),
    (image, "python:3.11.14", "python:3.9.1"),
    (image, "python:3.11.14-slim-bookworm", "python:latest"),
    (image, "--constraint constraints.txt .\n", ".\n"),
    (image, "COPY --from=built-gpu", "COPY --from=built-cpu"),
    (image, "    HOME=/tmp", "    HOME=/root"),
    (image, "HF_HUB_OFFLINE=1", "AWS_SECRET_ACCESS_KEY=x"),
    (image, "/etc/profile.d/bonafide.sh", "/tmp/bonafide.sh"),
    (image, "COPY jobs ./jobs\n", ""),
    (image, "FROM ${PYTHON} AS runtime", "FROM ubuntu:24.04 AS runtime"),
]


@pytest.mark.parametrize("check", [linted, image])
def test_the_image_s_file_holds(check: Callable[[str], Iterator[str]]) -> None:
    assert list(check(DOCKERFILE.read_text())) == []


@pytest.mark.parametrize(("check", "before", "after"), DOCKER_FAULTS, ids=range(len(DOCKER_FAULTS)))
def test_a_fault_of_the_image_is_found(check: Callable[[str], Iterator[str]], before: str, after: str) -> None:
    text = DOCKERFILE.read_text()
    assert before in text

    assert list(check(text.replace(before, after)))


def test_nothing_goes_into_the_image_that_is_not_named() -> None:
    first, *named = (ROOT / "cluster" / "Dockerfile.dockerignore").read_text().split()

    assert first == "*"
    needed = [rest.split()[:-1] for word, rest in stages(DOCKERFILE.read_text())["source"] if word == "COPY"]
    assert {each.removeprefix("!") for each in named if each.startswith("!")} == {
        name for each in needed for name in each
    }
    assert all((ROOT / name).exists() for each in needed for name in each)
