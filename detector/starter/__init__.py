"""The starter: a small encoder and a head that are part of the package, so that a folder can be scored at once.

README.md beside this file and docs/starter.md state what they are made of and how good they are.
"""

from __future__ import annotations

from pathlib import Path

ENCODER = Path(__file__).parent / "encoder"
HEAD = Path(__file__).parent / "head.json"
NOTICE = (
    "scoring with the starter's head, which serves a first look and experiments only: it was fitted on 16 synthesisers "
    "and 46 minutes of speech, calls most other recordings uncertain and is often wrong. Do not act on its verdicts "
    "(docs/starter.md)"
)
