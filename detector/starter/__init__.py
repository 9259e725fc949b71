"""The starter: a small encoder and a head that are part of the package, so that a folder can be scored at once.

README.md beside this file and docs/starter.md state what they are made of and how good they are.
"""

from __future__ import annotations

from pathlib import Path

ENCODER = Path(__file__).parent / "encoder"
HEAD = Path(__file__).parent / "head.json"
NOTICE = (
    "scoring with the starter's head, which is for a first look: what it flags as spoof is mostly right, but it takes "
    "much synthetic speech for human. Do not act on its verdicts (docs/starter.md)"
)
