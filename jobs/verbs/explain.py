"""explain: how a head comes to its verdict on one recording."""

from jobs.scoring.explanation import ExplainConfig as Settings
from jobs.scoring.explanation import explain as run

__all__ = ["Settings", "run"]
