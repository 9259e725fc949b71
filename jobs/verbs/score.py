"""score: embeddings (or recordings) and a head in, the score table out."""

from jobs.scoring.run import ScoreConfig as Settings
from jobs.scoring.run import score as run

__all__ = ["Settings", "run"]
