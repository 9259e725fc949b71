"""A lock is a requirements file with the exact version and the hashes of every package of an image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import NormalizedName, canonicalize_name

LOCKS = Path(__file__).parents[1] / "locks"
_PACKAGE = re.compile(r"([\w.-]+)==(\S+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})\b")


@dataclass(frozen=True)
class Locked:
    """A package of a lock."""

    version: str
    sha256: frozenset[str]  # of each file that may be installed as this version


def read_lock(text: str) -> dict[NormalizedName, Locked]:
    """Read a lock, and refuse one with a line that is neither a package nor a hash.

    Examples
    --------
    >>> lock = read_lock(f"Six==1.17.0 --hash=sha256:{'0' * 64}  # via botocore")
    >>> lock["six"].version, len(lock["six"].sha256)
    ('1.17.0', 1)
    """
    lock: dict[NormalizedName, Locked] = {}
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.replace("\\\n", " ").splitlines())
    for line in filter(None, lines):
        package = _PACKAGE.match(line)
        hashes = frozenset(_HASH.findall(line))
        if package is None or not hashes or _HASH.sub("", line).split() != [package[0]]:
            raise ValueError(f"lock: {line[:80]!r} is not one exact version with sha256 hashes. Run make locks.")
        name = canonicalize_name(package[1])
        if name in lock:
            raise ValueError(f"lock: {name} is there twice. Run make locks.")
        lock[name] = Locked(package[2], hashes)
    return lock
