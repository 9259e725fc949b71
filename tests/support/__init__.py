"""Helpers that tests share: one store, one Ray starter, one tar writer, audio, and tables made from known models."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""
