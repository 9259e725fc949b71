"""Encoder statistics: how fast the encoders compute, and the share of their time in which they wait for audio."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.telemetry import metrics

STARVED_SHARE = 0.3  # of the encoders' time spent waiting
MIN_SECONDS = 20.0  # of all encoders together, before anything is logged

log = logging.getLogger(__name__)


@dataclass
class EncoderStats:
    """What one encoder has done since it was loaded.

    Parameters
    ----------
    device : str
        The encoder's name of its device: `cpu`, `cuda:0 (NVIDIA H100)`.
    busy_seconds, waited_seconds : float
        Time in which it computed; time from the end of one table to the beginning of the next.
    audio_seconds : float
        Audio that it has encoded.
    loaded_at : float
        When it was loaded, seconds since 1970 by the clock of its machine.
    """

    device: str
    busy_seconds: float = 0.0
    waited_seconds: float = 0.0
    audio_seconds: float = 0.0
    loaded_at: float = 0.0


class PoolStats:
    """The statistics of all encoders of a run; logs their speed once, and once that decode starves them.

    Attributes
    ----------
    requests : mapping of str to int
        Requests to the store by all workers in processes of their own, by kind.
    """

    def __init__(self) -> None:
        self.encoders: Mapping[str, EncoderStats] = {}
        self.requests: Mapping[str, int] = {}
        self._has_logged_speed = self._has_warned = False
        self._least = self._most = 0
        self._first_machine_at: float | None = None

    def begin(self, least: int, most: int, first_machine_at: float) -> None:
        """Note how many encoders are asked for, and when the run first had a machine for one, in seconds since 1970."""
        self._least, self._most = least, most
        if self._first_machine_at is None:
            self._first_machine_at = first_machine_at

    def update(self, encoders: Mapping[str, EncoderStats]) -> None:
        """Take the latest statistics of all encoders, by name, including those that have ended."""
        self.encoders = encoders
        metrics.set_gauge("bonafide_encoders", len(encoders))
        metrics.set_gauge("bonafide_encoders_waiting_share", self.waiting)
        if not self._has_logged_speed and self._busy + self._waited >= MIN_SECONDS and self._audio:
            self._has_logged_speed = True
            log.info(
                "encoders: %d on %s, %.1f audio-seconds a second each; they wait for audio %.0f %% of the time",
                len(encoders),
                ", ".join(self._devices),
                self._audio / self._busy,
                100 * self.waiting,
            )
        if not self._has_warned and self._waited >= MIN_SECONDS and self.waiting > STARVED_SHARE:
            self._has_warned = True
            log.warning(
                "decode starves the encoders: they wait %.0f %% of the time. More CPUs help, or a smaller "
                "--decode-cpus where cores are idle; more encoders do not.",
                100 * self.waiting,
            )

    @property
    def waiting(self) -> float:
        """Share of the encoders' time that passed without work, 0 to 1."""
        total = self._busy + self._waited
        return self._waited / total if total else 0.0

    def record(self) -> dict[str, Any]:
        """Return the fields for the run's record; they cover this process only, not a run that it continues."""
        return {
            "least_encoders": self._least,
            "most_encoders": self._most,
            "n_encoders": len(self.encoders),
            "reached_encoders": min(len(self.encoders), self._most),
            "seconds_to_load": self.seconds_to_load,
            "devices": self._devices,
            "busy_seconds": round(self._busy, 3),
            "waited_seconds": round(self._waited, 3),
            "waiting": round(self.waiting, 4),
            "audio_seconds_a_busy_second": round(self._audio / self._busy, 3) if self._busy else None,
        }

    @property
    def seconds_to_load(self) -> float | None:
        """Seconds from the first machine until as many encoders were loaded as the run has had at most.

        Those that replaced a lost one do not count. None if none was loaded; to the accuracy of the machines' clocks.
        """
        loaded = sorted(each.loaded_at for each in self.encoders.values() if each.loaded_at)
        if not loaded or self._first_machine_at is None:
            return None
        return round(max(loaded[: self._most or len(loaded)][-1] - self._first_machine_at, 0.0), 1)

    @property
    def _devices(self) -> list[str]:
        return sorted({each.device for each in self.encoders.values()})

    @property
    def _busy(self) -> float:
        return sum(each.busy_seconds for each in self.encoders.values())

    @property
    def _waited(self) -> float:
        return sum(each.waited_seconds for each in self.encoders.values())

    @property
    def _audio(self) -> float:
        return sum(each.audio_seconds for each in self.encoders.values())
