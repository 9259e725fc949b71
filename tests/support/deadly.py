"""An encoder that does harm to its own process when it meets a recording that begins with a mark."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.backbones.melstats import MelStats
from detector.config import EmbedConfig
from detector.decoders import Samples

MARK = 0.987654
"""The first sample of a recording that :class:`Deadly` dies of."""


class Deadly(MelStats):
    """The encoder `melstats`, with a hole that marked recordings find."""

    def embed(self, segments: Sequence[Samples]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        if any(abs(segment[0] - MARK) < 1e-3 for segment in segments):
            self.do_harm()
        return super().embed(segments)

    def do_harm(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


class Hanging(Deadly):
    """The same, which hangs."""

    def do_harm(self) -> None:
        time.sleep(600.0)


def deadly(config: EmbedConfig, *_: Any, **__: Any) -> Deadly:
    return Deadly(config)


def hanging(config: EmbedConfig, *_: Any, **__: Any) -> Hanging:
    return Hanging(config)
