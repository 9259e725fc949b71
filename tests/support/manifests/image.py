"""Checks of `cluster/Dockerfile`."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.specifiers import SpecifierSet

from tests.support import ROOT

DOCKERFILE = ROOT / "cluster" / "Dockerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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


# from the index only what has its hash, with nothing that it may ask for in addition, and nothing that is built
INSTALL = "install --require-hashes --no-deps --only-binary :all:"
# what was built before: no index at all
OWN = ("install --no-index --no-deps", "wheel --no-index --no-deps --no-build-isolation", "check")


def commands(steps: list[tuple[str, str]]) -> list[str]:
    """What pip is told, in order."""
    runs = [rest for word, rest in steps if word == "RUN"]
    return [each.split("/pip ", 1)[1] for rest in runs for each in rest.split(" && ") if "/pip " in each]


def unhashed(steps: list[tuple[str, str]]) -> list[str]:
    """Commands of pip that could install something without a hash, or ask an index for more than was said."""
    allowed = (f"{INSTALL} --requirement cluster/locks/", *OWN)
    return [f"pip {each}" for each in commands(steps) if not each.startswith(allowed)]


def linted(text: str) -> Iterator[str]:
    """hadolint has nothing to say."""
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, "--no-color", "-"], input=text, capture_output=True, text=True)
    yield from done.stdout.splitlines()


def image(text: str) -> Iterator[str]:
    """Both images run unprivileged, on one Python that the package supports, with versions that were run together."""
    found = stages(text)
    base = dict(rest.split("=", 1) for word, rest in found[""] if word == "ARG")
    version = re.fullmatch(r"python:(\d+\.\d+\.\d+)-slim-\w+", base["PYTHON"])
    if version is None or version[1] not in SpecifierSet(PROJECT["requires-python"]):
        yield f"PYTHON {base['PYTHON']}"
    if {rest for each in found.values() for word, rest in each if word == "FROM"} - set(found) != {
        "${PYTHON}${PYTHON_DIGEST}"
    }:
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
        if (run := f"{INSTALL} --requirement cluster/locks/{target}.txt") not in commands(found[f"built-{target}"])[0]:
            yield f"{target}: does not begin with {run}"
        yield from (f"{target}: {each}" for each in unhashed(found[f"built-{target}"]))
    yield from (f"source: {each}" for each in unhashed(found["source"]))
    copied = {rest.split()[0] for word, rest in found["source"] if word == "COPY"}
    packages = {"detector", "jobs", "cluster"}
    if not packages <= copied:
        yield f"copies {copied}"
