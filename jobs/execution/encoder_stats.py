"""Pace: how fast the encoders compute, and how much of their time they wait for audio."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.telemetry import metrics

STARVED = 0.3  # share of the encoders' time
KNOWN_SECONDS = 20.0  # of all encoders together, before anything is said

log = logging.getLogger(__name__)


@dataclass
class EncoderStats:
    """What one encoder has told of its time since it was loaded.

    Parameters
    ----------
    device : str
        As the encoder says it: `cpu`, `cuda:0 (NVIDIA H100)`.
    busy_seconds, waited_seconds : float
        What it computed, and what passed from the end of one piece of work to the beginning of the next.
    audio_seconds : float
        What it has encoded.
    """

    device: str
    busy_seconds: float = 0.0
    waited_seconds: float = 0.0
    audio_seconds: float = 0.0


class PoolStats:
    """The encoders of a run together. Says twice at most: how fast they are, and that decode starves them."""

    def __init__(self) -> None:
        self.told: Mapping[str, EncoderStats] = {}
        self._is_said = self._is_warned = False

    def hear(self, told: Mapping[str, EncoderStats]) -> None:
        """Take what is known now of all encoders, by name; also of those that are gone."""
        self.told = told
        metrics.set_gauge("bonafide_encoders", len(told))
        metrics.set_gauge("bonafide_encoders_waiting_share", self.waiting)
        if not self._is_said and self._busy + self._waited >= KNOWN_SECONDS and self._audio:
            self._is_said = True
            log.info(
                "encoders: %d on %s, %.1f audio-seconds a second each; they wait for audio %.0f %% of the time",
                len(told),
                ", ".join(sorted({each.device for each in told.values()})),
                self._audio / self._busy,
                100 * self.waiting,
            )
        if not self._is_warned and self._waited >= KNOWN_SECONDS and self.waiting > STARVED:
            self._is_warned = True
            log.warning(
                "decode starves the encoders: they wait %.0f %% of the time. More CPUs help, or a smaller "
                "--decode-cpus where cores are idle; more encoders do not.",
                100 * self.waiting,
            )

    @property
    def waiting(self) -> float:
        """Share of the encoders' time that passed without work, 0 to 1."""
        whole = self._busy + self._waited
        return self._waited / whole if whole else 0.0

    def record(self) -> dict[str, Any]:
        """For the run's record; of this process only, where a run was done by several."""
        return {
            "n_encoders": len(self.told),
            "devices": sorted({each.device for each in self.told.values()}),
            "busy_seconds": round(self._busy, 3),
            "waited_seconds": round(self._waited, 3),
            "waiting": round(self.waiting, 4),
            "audio_seconds_a_busy_second": round(self._audio / self._busy, 3) if self._busy else None,
        }

    @property
    def _busy(self) -> float:
        return sum(each.busy_seconds for each in self.told.values())

    @property
    def _waited(self) -> float:
        return sum(each.waited_seconds for each in self.told.values())

    @property
    def _audio(self) -> float:
        return sum(each.audio_seconds for each in self.told.values())
