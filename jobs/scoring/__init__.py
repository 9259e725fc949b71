"""Scoring: a head judges committed embeddings, and its scores are committed to the tables."""
