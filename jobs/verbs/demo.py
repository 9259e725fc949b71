"""demo: score a small archive of human and synthetic speech, in less than a minute and without a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from jobs.config import SHARED_HELP, ConfinementConfig


@dataclass(frozen=True, kw_only=True)
class Settings(ConfinementConfig):
    """Score a small archive of human and synthetic speech with the starter, and evaluate the scores."""

    output: Annotated[str, "local folder for the archive, the tables and the report; emptied if it is of a demo"] = (
        "bonafide-demo"
    )
    shared: Annotated[bool, SHARED_HELP] = False


def run(settings: Settings) -> int:
    """Run the demo, and return the exit code."""
    from jobs.demo.run import run_demo  # only now: --help needs none of it
    from jobs.storage import path_of

    run_demo(Path(path_of(settings.output)), settings.confinement)
    return 0
