"""fit: labelled embeddings in, a head and its report out."""

from jobs.fitting.config import FitConfig as Settings
from jobs.fitting.run import fit as run

__all__ = ["Settings", "run"]
