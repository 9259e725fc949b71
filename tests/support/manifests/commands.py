"""Checks of the commands in the documents: their settings, the places they name, the cluster they submit to."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from jobs import cli
from jobs.decoding.confinement import REQUIRE
from tests.support import ROOT
from tests.support.iam import TLS, Question, allowed
from tests.support.manifests.documents import Document, job_of, name_of, of_kind, pods

ROLES = {"nightly": ("reader", "writer"), "gc": ("collector",), "verify": ("verifier",), "compact": ("compactor",)}
"""Policies of `cluster/iam` that each verb has."""


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
        _, kind, values = cli.parse(arguments)
        submitted = kind(**values)
        address, arguments = submitted.address, list(submitted.verb)
    verb, kind, values = cli.parse(arguments)
    values.pop("webhook", None)  # it is read with the settings, and is a file of the pod: see `order.told`
    return verb, kind(**values), address


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
    if n_commands < 6:
        yield f"{n_commands} commands"


def decoders(documents: list[Document]) -> Iterator[str]:
    """Every command that decodes requires confined decoders."""
    for document in documents:
        for command in commands(document):
            _, settings, _ = settings_of(command)
            if getattr(settings, "confinement", REQUIRE) != REQUIRE:
                yield f"{name_of(document)}: --confinement {settings.confinement}"


def places(documents: list[Document]) -> Iterator[str]:
    """The policies of a role allow access to every place that its commands name."""
    policies = {path.stem: json.loads(path.read_text()) for path in (ROOT / "cluster" / "iam").glob("*.json")}

    def may(names: tuple[str, ...], action: str, uri: str) -> bool:
        condition = {"s3:if-none-match": "*"} if action == "s3:PutObject" else {}
        question = Question(action, f"arn:aws:s3:::{uri.removeprefix('s3://')}", {TLS: "true"} | condition)
        return allowed([policies[name] for name in names], question)

    for document in documents:
        for command in commands(document):
            verb, settings, _ = settings_of(command)
            role = ROLES[verb]
            reads = [f"{settings.output}/_commits/x.json"]
            if verb == "nightly":
                reads += [settings.head, f"{settings.model}/config.json", *(f"{each}0.tar" for each in settings.input)]
            writes = {
                "nightly": [f"{settings.output}/runs/x.json"],
                "gc": [f"{settings.output}/_garbage/clock"],
                "verify": [],
                "compact": [f"{settings.to}/scores/x.parquet"] if verb == "compact" else [],
            }[verb]
            for action, uris in (("s3:GetObject", reads), ("s3:PutObject", writes)):
                yield from (f"{name_of(document)}: {action} of {uri}" for uri in uris if not may(role, action, uri))


def address(documents: list[Document]) -> Iterator[str]:
    """Every submitting command finds one of our clusters, and its token."""
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
