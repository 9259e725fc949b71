"""Expansion: how far bytes may grow when they are decompressed, before they count as a decompression bomb."""

from __future__ import annotations

MAX_RATIO = 200  # decompressed bytes for each stored byte
FREE_BYTES = 64 << 20  # decompressed bytes that are always allowed: 35 minutes of silence at 16 kHz


def exceeds_ratio(n_bytes: int, n_stored: int) -> bool:
    """Return True if ``n_bytes`` decompressed from ``n_stored`` exceed the limit for decompression bombs.

    Examples
    --------
    >>> exceeds_ratio(10**9, 10**6), exceeds_ratio(10**9, 10**9)
    (True, False)
    """
    return n_bytes > FREE_BYTES + MAX_RATIO * n_stored


def bomb(n_bytes: int, n_stored: int) -> str:
    """Return the message for content that :func:`exceeds_ratio`."""
    return f"{n_bytes:,} bytes from {n_stored:,}: a decompression bomb, above the limit of {MAX_RATIO} to 1"
