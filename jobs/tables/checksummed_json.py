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


def dump_checksummed(content: dict[str, Any], indent: int | None = None) -> bytes:
    """Return ``content`` as JSON with its seal: keys sorted, the seal's key last.

    Examples
    --------
    >>> load_checksummed(dump_checksummed({"rows": 3}), "a.json")
    {'rows': 3}
    """
    text = json.dumps(content, indent=indent, sort_keys=True, default=str).encode()
    stem = text.removesuffix(b"}").rstrip()
    return b'%s,\n "sha256_of_the_above": "%s"\n}\n' % (stem, hashlib.sha256(stem).hexdigest().encode())


def load_checksummed(text: bytes | None, name: str) -> dict[str, Any]:
    """The content that :func:`dump_checksummed` wrote.

    Raises
    ------
    SchemaError
        If it is gone, or any byte of it differs.
    """
    if text is None:
        raise SchemaError(f"{name}: is gone. Restore it from a copy of the output.")
    found = SEAL.search(text)
    if found is None or hashlib.sha256(text[: found.start()]).hexdigest().encode() != found[1]:
        raise SchemaError(f"{name}: is damaged: its bytes are not those of its seal. Restore it from a copy.")
    content: dict[str, Any] = json.loads(text[: found.start()] + b"}")
    return content
