"""The command of the linter."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
from collections.abc import Iterator

from tests.support.manifests import checks, faults
from tests.support.manifests.documents import documents, name_of
from tests.support.manifests.image import DOCKERFILE
from tests.support.manifests.machines import ray_up


def complaints() -> Iterator[str]:
    """Run every check on the files as they are."""
    yield from (f"{name}: {each}" for name, check in checks.KUBERNETES.items() for each in check(documents()))
    yield from (f"{name}: {each}" for name, check in checks.LAUNCHER.items() for each in check(ray_up()))
    yield from (f"{name}: {each}" for name, check in checks.IMAGE.items() for each in check(DOCKERFILE.read_text()))


def unnoticed() -> Iterator[str]:
    """Plant every fault by itself; yield those that change nothing or that their check does not find."""
    for number, (check, name, fault) in enumerate(faults.KUBERNETES):
        planted = documents()
        fault(next(each for each in planted if name_of(each) == name))
        if planted == documents() or not list(checks.KUBERNETES[check](planted)):
            yield f"fault {number} of Kubernetes, for the check {check} of {name}"
    for number, (check, fault) in enumerate(faults.LAUNCHER):
        config = ray_up()
        fault(config)
        if config == ray_up() or not list(checks.LAUNCHER[check](config)):
            yield f"fault {number} of the launcher, for the check {check}"
    text = DOCKERFILE.read_text()
    for number, (check, before, after) in enumerate(faults.IMAGE):
        if before not in text or not list(checks.IMAGE[check](text.replace(before, after))):
            yield f"fault {number} of the image, for the check {check}"
    for kind, planted_faults in (
        ("KUBERNETES", faults.KUBERNETES),
        ("LAUNCHER", faults.LAUNCHER),
        ("IMAGE", faults.IMAGE),
    ):
        for check in set(getattr(checks, kind)) - {each[0] for each in planted_faults}:
            yield f"no fault is planted for the check {check}"


def main(arguments: list[str] | None = None) -> int:
    """Print what is wrong; return 1 if anything is."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.manifests", description="Lint cluster/.")
    parser.add_argument("--planted", action="store_true", help="also check that every planted fault is found")
    asked = parser.parse_args(arguments)
    logging.disable(logging.INFO)  # Ray's launcher reports each configuration that it reads
    with contextlib.redirect_stderr(io.StringIO()):  # our command's parser prints its usage at a planted fault
        found = [*complaints(), *(f"not noticed: {each}" for each in (unnoticed() if asked.planted else ()))]
    print("\n".join([*found, f"cluster/: {len(found)} complaints"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
