"""Embedding: an archive goes through the encoders, and its embeddings are committed to the tables."""
