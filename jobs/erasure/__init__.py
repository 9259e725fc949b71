"""Erasure: takes recordings out of an output and proves that nothing mentions them."""
