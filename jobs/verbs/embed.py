"""embed: audio in, the embedding table out."""

from jobs.embedding.run import EmbeddingConfig as Settings
from jobs.embedding.run import embed as run

__all__ = ["Settings", "run"]
