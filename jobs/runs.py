"""Runs: one JSON file that says what ran, on what, and what came of it."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import platform
from typing import Any

from detector.config import digest_of
from jobs import storage
from jobs.config import RunConfig

PACKAGES = (
    "bonafide",
    "ray",
    "torch",
    "transformers",
    "pyarrow",
    "numpy",
    "scikit-learn",
    "soundfile",
    "av",
    "soxr",
)


def run_id_of(config: RunConfig, plan_id: str, key: str) -> str:
    """Id of a run: the same for the same plan, settings of what, and date, so that a run resumed keeps its id.

    Examples
    --------
    >>> run_id_of(RunConfig(run_date="2026-11-23"), "a1b2c3d4", "feed")[:11]
    '2026-11-23-'
    """
    return f"{config.run_date}-{digest_of([plan_id, key])[:8]}"


def write_record(output: str, run_id: str, verb: str, started: datetime.datetime, content: dict[str, Any]) -> str:
    """Write `runs/<run_id>.json`; return its URI."""
    record = {
        "run_id": run_id,
        "verb": verb,
        "started": started.isoformat(timespec="seconds"),
        "finished": now().isoformat(timespec="seconds"),
        "wall_seconds": round((now() - started).total_seconds(), 3),
        "versions": versions(),
        **content,
    }
    uri = storage.join(output, "runs", f"{run_id}.json")
    storage.write_bytes(uri, (json.dumps(record, indent=1, sort_keys=True, default=str) + "\n").encode())
    return uri


def settings_of(*configs: Any) -> dict[str, Any]:
    """Settings of a run as plain values."""
    return {name: value for config in configs for name, value in dataclasses.asdict(config).items()}


def versions() -> dict[str, str]:
    """Versions of Python and of what decides values or speed."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def now() -> datetime.datetime:
    """The time, in UTC."""
    return datetime.datetime.now(datetime.UTC)
