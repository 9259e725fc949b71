"""The proof: after an erasure, every object under the output is read again for mentions."""

from __future__ import annotations

from detector.errors import SchemaError
from jobs.erasure.mentions import find_mentions
from jobs.erasure.request import ErasureRequest


def prove_erased(output: str, request: ErasureRequest) -> int:
    """Read every object again; return how many there are, or raise SchemaError if one still mentions a recording."""
    mentions, n_objects = find_mentions(output, request)
    if mentions:
        raise SchemaError(
            f"{mentions[0]}. This is so for {len(mentions)} of {n_objects} objects; everything else of {request} is "
            "erased. Delete objects that bonafide did not write, or rewrite them without the recording, and run the "
            "same command again; if it is one of bonafide's tables, score into a new output."
        )
    return n_objects


def describe_remaining(output: str, request: ErasureRequest) -> str:
    """Say what still mentions recordings that have no rows: an interrupted erasure may not have come to its proof."""
    mentions, n_objects = find_mentions(output, request)
    return mentions[0] if mentions else f"none of the {n_objects} objects mentions it"
