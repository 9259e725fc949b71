"""Erasure: removes recordings from an output, and proves that no object in it mentions them any more."""
