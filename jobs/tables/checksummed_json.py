"""Sealed JSON: our own small objects (plans, markers, records) end with the SHA-256 of everything before it.

Tables are checked against their markers; this checks the markers, and all else that a run would otherwise just trust.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from detector.errors import SchemaError

SEAL = re.compile(rb',\n "sha256_of_the_above": "([0-9a-f]{64})"\n}\n\Z')
SEAL_BYTES = 128  # at least as many as it has


def dump_checksummed(content: dict[str, Any], indent: int | None = None) -> bytes:
    """Return ``content`` as JSON with its seal: keys sorted, the seal's key last.

    Examples
    --------
    >>> load_checksummed(dump_checksummed({"rows": 3}), "a.json")
    {'rows': 3}
    """
    text = json.dumps(content, indent=indent, sort_keys=True, default=str).encode()
    return sealed(text.removesuffix(b"}").rstrip())


def sealed(stem: bytes) -> bytes:
    """Return JSON without its last brace, with its seal."""
    return b'%s,\n "sha256_of_the_above": "%s"\n}\n' % (stem, hashlib.sha256(stem).hexdigest().encode())


def load_checksummed(text: bytes | None, name: str) -> dict[str, Any]:
    """The content that :func:`dump_checksummed` wrote.

    Raises
    ------
    SchemaError
        If it is gone, or any byte of it differs.
    """
    content: dict[str, Any] = json.loads(bytes(checked_stem(text, name)) + b"}")
    return content


def checked_stem(text: bytes | None, name: str) -> memoryview:
    """Return what stands before the seal, not copied: JSON without its last brace. SchemaError as above."""
    if text is None:
        raise SchemaError(f"{name}: is gone. Restore it from a copy of the output.")
    found = _seal_in(text)
    stem = memoryview(text)[: found.start() if found else 0]
    if found is None or hashlib.sha256(stem).hexdigest().encode() != found[1]:
        raise SchemaError(f"{name}: is damaged: its bytes are not those of its seal. Restore it from a copy.")
    return stem


def seal_of(text: bytes) -> str:
    """Return the seal of sealed JSON; an empty text if it has none."""
    found = _seal_in(text)
    return found[1].decode() if found else ""


def _seal_in(text: bytes) -> re.Match[bytes] | None:
    return SEAL.search(text, max(0, len(text) - SEAL_BYTES))
