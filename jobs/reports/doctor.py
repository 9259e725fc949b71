"""The doctor's report: whether this machine, its packages, the cluster and the store are ready for a run.

A check returns a :class:`Finding`, or raises the error that a run would end with.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import detector
from detector.backbones.gpus import gpus
from detector.errors import ConfigError
from jobs import storage
from jobs.config import RunConfig
from jobs.decoding import confinement, idle
from jobs.errors import RunAgain, StorageError, is_ours, lacks_package
from jobs.execution.gpus import visible_gpus
from jobs.execution.pool import store_mib
from jobs.execution.preflight import refuse_old_packages
from jobs.execution.ray_session import RaySession
from jobs.tables import run_records
from jobs.telemetry.names import say

OK, WARNING, FAILED = "ok", "warning", "failed"
CODES = {StorageError: os.EX_UNAVAILABLE, RunAgain: os.EX_TEMPFAIL, ConfigError: os.EX_DATAERR}
"""Exit codes of failed checks by the class of their error, as those of runs are."""

FREE_BYTES = 1 << 30  # of a temporary folder: Ray's logs, and a checkpoint's small files
STORE_PATIENCE_SECONDS = 10.0
SEGMENT_SECONDS = 4.0
GPU_FILE = "/dev/nvidia0"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - Ray's object store lies there
NO_TAG = "0" * 32  # of no object: a PUT on the condition that this one stands must be refused


@dataclass(frozen=True)
class Finding:
    """What came of a check.

    Attributes
    ----------
    state : str
        `ok`, `warning` or `failed`.
    text : str
        What was found and, unless it is ok, the remedy.
    code : int
        Of a check that failed, the exit code.
    """

    state: str
    text: str
    code: int = os.EX_OK


def examine(output: str | None, confinement_mode: str) -> int:
    """Make all checks, print a line for each, and return the exit code: that of the first that failed."""
    checks: dict[str, Callable[[], Finding]] = {
        "bonafide": _versions,
        "packages": _packages,
        "confinement": partial(_confinement, confinement_mode),
        "GPUs": _gpus,
        "temporary": partial(_space, tempfile.gettempdir(), FREE_BYTES, "Free some, or set TMPDIR to another folder"),
        "memory": partial(_space, SHARED_MEMORY, _store_mib() << 20, "Start the container with a larger --shm-size"),
        "Ray": _ray,
    }
    if output is not None:
        checks["output"] = partial(_output, storage.normal(output))
    code = os.EX_OK
    for subject, check in checks.items():
        finding = _found(check)
        code = code or finding.code
        say(f"{subject:12}  {finding.state:7}  {finding.text}")
    return code


def _found(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except tuple(CODES) as error:
        code = next(code for kind, code in CODES.items() if isinstance(error, kind))
        return Finding(FAILED, " ".join(str(error).split()), code)
    except ModuleNotFoundError as error:
        if is_ours(error):
            raise
        return Finding(FAILED, lacks_package(error), os.EX_DATAERR)


def _versions() -> Finding:
    named = {"bonafide": detector.__version__, **run_records.versions()}
    return Finding(OK, ", ".join(f"{name} {version}" for name, version in named.items()))


def _packages() -> Finding:
    try:
        refuse_old_packages()
    except importlib.metadata.PackageNotFoundError as error:
        raise ModuleNotFoundError(name=error.name) from error
    return Finding(OK, "none has known holes that a recording, a checkpoint or a stranger on the network could use")


def _confinement(mode: str) -> Finding:
    """Start a decoder, which decodes a tone with each library, and ask what it has given up."""
    confinement.set_mode(mode)
    idle.start(SEGMENT_SECONDS)
    level = confinement.level() or confinement.NONE
    if confinement.severity(level, mode) == logging.INFO:
        return Finding(OK, confinement.described(level))
    remedy = "Use Linux 5.13 or later with Landlock, and a container profile that allows it"
    return Finding(WARNING, f"{confinement.described(level)}. {remedy}: docs/confinement.md")


def _gpus() -> Finding:
    found = gpus()
    if not found and os.path.exists(GPU_FILE):
        return Finding(
            WARNING, f"{GPU_FILE} is there, but torch finds no GPU: check the driver, and torch's CUDA build"
        )
    return Finding(OK, "; ".join(found) or "none; encoders run on the CPU")


def _space(folder: str, needed: int, remedy: str) -> Finding:
    if not os.path.isdir(folder):
        return Finding(WARNING, f"{folder}: no such folder")
    free = shutil.disk_usage(folder).free
    text = f"{folder}: {free >> 20:,} MiB free"
    if free < needed:
        return Finding(WARNING, f"{text}; expected {needed >> 20:,} MiB or more. {remedy}")
    return Finding(OK, text)


def _store_mib() -> int:
    return store_mib(RunConfig(), os.cpu_count() or 1, visible_gpus())


def _ray() -> Finding:
    """Join the cluster, if one is named. A Ray of this machine's own is not started for this."""
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        mine = len(os.sched_getaffinity(0))
        return Finding(OK, f"no RAY_ADDRESS: a run starts its own on this machine, with {mine} CPUs")
    session = RaySession(_store_mib())
    cpus, n_gpus = session.resources()
    session.end(is_clean=True)
    return Finding(OK, f"joined {address}: {cpus:g} CPUs, {n_gpus:g} GPUs")


def _output(uri: str) -> Finding:
    """Ask the store for all that a run needs, by requests that change nothing.

    A role that writes tables may not delete, so a probe must not be an object that has to be removed again. A PUT that
    replaces an object that is not there needs the same rights, and is refused by a store that keeps conditions.
    """
    storage.set_retry_budget(STORE_PATIENCE_SECONDS)
    storage.check_folder(uri)
    storage.check_bucket(uri)
    is_local = storage.scheme_of(uri) == "file"
    if is_local and not os.path.isdir(storage.path_of(uri)):
        return Finding(OK, f"{uri}: is not there yet, and can be made")
    name = f"doctor-{uuid.uuid4().hex}.json"
    probe = storage.join(uri, name) if is_local else storage.join(uri, "runs", name)
    if storage.stat(probe) is not None:
        raise StorageError(f"{probe}: the store has an object that nobody wrote. Check the store")
    if storage.scheme_of(uri) not in storage.STORES:
        return Finding(WARNING, f"{uri}: answers, and keeps no conditions; let one run at a time write there")
    if storage.put(probe, b"{}\n", NO_TAG) is None:
        storage.remove(probe)
        raise StorageError(
            f"{uri}: the store ignores the condition of a PUT (If-Match), so two runs could overwrite each other. "
            f"Use a store that keeps conditions: docs/reliability.md"
        )
    return Finding(OK, f"{uri}: may be read and written to, and conditions are kept")
