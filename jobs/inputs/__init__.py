"""Inputs: archives, lists and shards, read front to back as recordings."""
