"""Embedding runs of one layer."""

from __future__ import annotations

from detector.config import Recipe
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.archive import embed_layers
from jobs.embedding.canaries import Judge
from jobs.embedding.result import EmbeddingRun
from jobs.execution.runner import Runner
from jobs.inputs.config import InputConfig


def embed_archive(
    runner: Runner,
    inputs: InputConfig,
    recipe: Recipe,
    model: ModelConfig,
    output: OutputConfig,
    config: RunConfig,
    judge: Judge | None = None,
) -> EmbeddingRun:
    """Embed what is missing of an archive, or has changed since, for one layer."""
    (run,) = embed_layers(runner, inputs, (recipe,), model, output, config, judge)
    return run
