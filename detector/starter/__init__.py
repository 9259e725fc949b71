"""The starter: a small encoder and a head that come along, so that a folder can be scored without either.

What they are made of, and how good they are: README.md beside this file, and docs/starter.md.
"""

from __future__ import annotations

from pathlib import Path

ENCODER = Path(__file__).parent / "encoder"
HEAD = Path(__file__).parent / "head.json"
NOTICE = (
    "the starter's head judges: good for a first look and for trying things out; it knows 16 synthesisers and 46 "
    "minutes of speech, calls most else uncertain, and is often wrong: act on nothing that it says (docs/starter.md)"
)
