"""Checks of what keeps a night honest: whose heads it takes, whom it tells, and what looks after its tables."""

from __future__ import annotations

from collections.abc import Iterator

from jobs import cli
from tests.support.manifests.commands import ROLES, commands, settings_of
from tests.support.manifests.documents import Document, Pod, every, name_of, pods

SCHEDULES = ("CronJob", "RayCronJob")


def signed(documents: list[Document]) -> Iterator[str]:
    """Each night takes only heads that a key has signed; it lies where no head can be published: in the namespace."""
    for document in documents:
        for command in commands(document):
            verb, settings, _ = settings_of(command)
            if verb == "nightly":
                yield from _not_given(documents, settings.require_signature, "configMap", name_of(document))


def told(documents: list[Document]) -> Iterator[str]:
    """Each night tells a webhook how it ended, whose secret no container has but the driver's."""
    for document in documents:
        for command in commands(document):
            words = command[command.index("--") :] if "--" in command else command
            verb, _, values = cli.parse(words[1:])
            if verb == "nightly":
                yield from _not_given(documents, values.get("webhook"), "secret", name_of(document))
    for pod in every(documents):
        for number, container in enumerate(pod.containers):
            if (pod.ray, number) != ("head", 0) and "webhook" in _files(pod, number).values():
                yield f"{pod.where}, {container['name']}: has the secret of the webhook"


def _not_given(documents: list[Document], path: str | None, kind: str, where: str) -> Iterator[str]:
    """What keeps a driver from a file that its command names: each driver is in the first container of a head."""
    if path is None:
        yield f"{where}: names no {kind}"
    for pod in every(documents):
        if pod.ray == "head" and path is not None and (kind, path) not in _sources(pod, 0):
            yield f"{where}: {path} is no file of a {kind} in {pod.where}"


def _files(pod: Pod, number: int) -> dict[str, str]:
    """Names of the secrets and ConfigMaps whose files a container has, by path."""
    return {path: name for (_, path), name in _sources(pod, number).items()}


def _sources(pod: Pod, number: int) -> dict[tuple[str, str], str]:
    """Names of the secrets and ConfigMaps of a container, by their kind and the path of each file."""
    folders = {each["name"]: each["mountPath"] for each in pod.containers[number].get("volumeMounts", [])}
    return {
        (kind, f"{folders[volume['name']]}/{item['path']}"): source[kind]["name"]
        for volume in pod.spec.get("volumes", [])
        if volume["name"] in folders
        for source in volume.get("projected", {}).get("sources", [])
        for kind in {"secret", "configMap"} & set(source)
        for item in source[kind].get("items", [])
    }


def heard(documents: list[Document]) -> Iterator[str]:
    """Every process that runs a verb leaves its exit code where Prometheus finds it."""
    for pod in every(documents):
        runs_verb = pod.ray == "head" or (not pod.ray and pod.labels["app.kubernetes.io/component"] != "submitter")
        if runs_verb and "BONAFIDE_PUSHGATEWAY" not in [each["name"] for each in pod.containers[0].get("env", [])]:
            yield f"{pod.where}: nobody hears how it ends"


def ordered(documents: list[Document]) -> Iterator[str]:
    """Every verb that a night needs has a schedule, at least weekly, and an account with the rights of that verb."""
    wanted = {verb: policies[0] for verb, policies in ROLES.items() if verb != "nightly"}
    scheduled = set()
    for document in (each for each in documents if each["kind"] in SCHEDULES):
        for command in commands(document):
            verb, _, _ = settings_of(command)
            scheduled.add(verb)
            _, _, day, month, _ = document["spec"]["schedule"].split()
            if (day, month) != ("*", "*") or document["spec"].get("suspend"):
                yield f"{name_of(document)}: {verb} is not done each week"
            for pod in pods(document) if verb in wanted else ():
                if (account := pod.spec.get("serviceAccountName")) != wanted[verb]:
                    yield f"{pod.where}: {verb} as {account}; expected {wanted[verb]}"
    yield from (f"{verb} has no schedule" for verb in sorted(set(ROLES) - scheduled))
