"""embed: compute the embedding table of an archive."""

from jobs.embedding.config import EmbeddingConfig as Settings

__all__ = ["Settings", "run"]


def run(settings: Settings) -> int:
    """Embed the archive, and return the exit code."""
    from jobs.embedding.run import embed  # only now: --help needs none of it

    return embed(settings)
