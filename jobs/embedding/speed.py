"""Speed: how much audio one encoder of an output takes on in a second, as its last runs measured it, or assumed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detector.errors import SchemaError
from jobs.config import RunConfig
from jobs.execution.gpus import visible_gpus
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import PlanHistory
from jobs.tables.run_records import stored_record

MOST_RECORDS = 5  # that are read, the latest first
LEAST_SECONDS = 10.0  # of encoders, for a measurement: a few recordings tell little
GROUP_WORK_SECONDS, LEAST_GROUP_SECONDS = 60.0, 120.0  # of an encoder's time, and of audio, in a group of files
ASSUMED = {"cpu": 10.0, "cuda": 1_000.0}
"""Audio-seconds a second of an encoder whose speed nobody has measured, on one core or one GPU: on the low side."""


@dataclass(frozen=True)
class Speed:
    """The speed of one encoder.

    Parameters
    ----------
    device : str
        `cpu`, where an encoder takes one core, or `cuda`.
    measured : float or None
        Audio-seconds in a second that an encoder is held, waits included.
    run_id : str
        Of the run that measured it.
    """

    device: str
    measured: float | None = None
    run_id: str = ""

    @property
    def audio_seconds_a_second(self) -> float:
        """The measured speed, or the one that is assumed for the device."""
        return self.measured if self.measured is not None else ASSUMED[self.device]


class GroupSize:
    """The audio of a new group of loose files: what one encoder works off in a minute. It is asked for once a run.

    A run that is killed does its open shards again, so a slow encoder gets small ones. On a GPU, the bounds of files
    and bytes in :mod:`jobs.inputs.shards` come first. Groups that were planned stay as they are.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._seconds: float | None = None

    def seconds(self, table: Ledger, history: PlanHistory) -> float:
        """Return the most audio of a group; the same for all layers of a run, so that they share their shards."""
        if self._seconds is None:
            speed = speed_of(table, history, self._config).audio_seconds_a_second
            self._seconds = max(GROUP_WORK_SECONDS * speed, LEAST_GROUP_SECONDS)
        return self._seconds


def speed_of(table: Ledger, history: PlanHistory, config: RunConfig) -> Speed:
    """Return the speed of an output's encoders on the device that a run will take, from the records of its last runs.

    With `--device auto`, the device is that of the last run; without one, a GPU if this machine has one, or if
    `RAY_ADDRESS` names a cluster.
    """
    device = "" if config.device == "auto" else config.device
    for plan in list(reversed(history.plans))[:MOST_RECORDS]:
        record = _record_of(table, plan.run_id)
        found = record.get("device", "")
        device = device or (found if found in ASSUMED else "")
        measured = measured_speed(record.get("encoders", {}))
        if measured is not None and found == device:
            return Speed(device, measured, plan.run_id)
    has_gpu = bool(os.environ.get("RAY_ADDRESS")) or visible_gpus() > 0
    return Speed(device or ("cuda" if has_gpu else "cpu"))


def measured_speed(encoders: Mapping[str, Any]) -> float | None:
    """Return the audio-seconds a second of one encoder, from what a record says of a run's encoders.

    Examples
    --------
    >>> measured_speed({"audio_seconds_a_busy_second": 20.0, "busy_seconds": 30.0, "waited_seconds": 10.0})
    15.0
    >>> measured_speed({}) is None
    True
    """
    rate, busy = encoders.get("audio_seconds_a_busy_second"), encoders.get("busy_seconds", 0.0)
    held = busy + encoders.get("waited_seconds", 0.0)
    return rate * busy / held if rate and held >= LEAST_SECONDS else None


def _record_of(table: Ledger, run_id: str) -> dict[str, Any]:
    """Return the record of a run; nothing of one that is not complete, or whose record is damaged."""
    try:
        return stored_record(table.output, run_id) or {}
    except SchemaError:
        return {}
