"""The confinement level of a run: the weakest that any of its decoders reached, on any machine."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from jobs.config import CONFINEMENT
from jobs.decoding import confinement
from jobs.telemetry import metrics

log = logging.getLogger(__name__)


class ConfinementLevel:
    """The weakest level so far; logs it once, and again where a machine turns out to be weaker.

    Parameters
    ----------
    mode : str
        One of :data:`jobs.config.CONFINEMENT`.

    Attributes
    ----------
    level : str or None
        None before a decoder has reported one.

    Examples
    --------
    >>> run = ConfinementLevel("prefer")
    >>> run.update(["full"])
    >>> run.update(["full", "landlock-3"])
    >>> run.level
    'landlock-3'
    """

    def __init__(self, mode: str = CONFINEMENT[1]) -> None:
        self.level: str | None = None
        self._mode = mode

    def update(self, levels: Iterable[str]) -> None:
        """Take all levels that decoders have reported."""
        found = confinement.weakest(filter(None, [*levels, self.level]))
        if found is None or found == self.level:
            return
        if self.level is not None:
            metrics.set_gauge("bonafide_confinement", 0.0, level=self.level)
        self.level = found
        metrics.set_gauge("bonafide_confinement", 1.0, level=found)
        if found != confinement.level():  # else this process has said so of its own decoders
            log.log(confinement.severity(found, self._mode), "%s", confinement.described(found))
