"""A frozen plan, and its text: sealed JSON, in which the entries come last."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jobs.tables.checksummed_json import checked_stem, seal_of, sealed
from jobs.tables.entries import Entries, Entry
from jobs.tables.format import FORMAT, NEW_OUTPUT, check_format

SHARDS = '"shards": ['  # a quote in a JSON string is escaped, so this is a key wherever it stands


@dataclass(frozen=True)
class Plan:
    """What one run fixed before it began to work: new shards, and new states of old ones."""

    run_id: str
    run_date: str
    entries: Sequence[Entry]
    detail: dict[str, Any] = field(default_factory=dict)
    known_seal: str = field(default="", compare=False, repr=False)

    def to_json(self) -> bytes:
        """Return the plan as it is stored."""
        head = json.dumps(self._head, sort_keys=True, default=str).removesuffix("}")
        return sealed(f"{head}, {SHARDS}{self.packed.text}]".encode())

    @classmethod
    def from_json(cls, text: bytes | None, name: str) -> Plan:
        """Return the plan that :meth:`to_json` stored; SchemaError if it is damaged, or of another format."""
        content, entries = _parsed(checked_stem(text, name))
        check_format(content, name, NEW_OUTPUT)
        return cls(content["run_id"], content["run_date"], entries, content["detail"], seal_of(text or b""))

    @property
    def seal(self) -> str:
        """The checksum that the plan is stored with: it changes with any byte of it."""
        return self.known_seal or seal_of(self.to_json())

    @cached_property
    def packed(self) -> Entries:
        """The entries as text."""
        return self.entries if isinstance(self.entries, Entries) else Entries.of(self.entries)

    @property
    def _head(self) -> dict[str, Any]:
        return {"format": FORMAT, "run_id": self.run_id, "run_date": self.run_date, "detail": self.detail}


def _parsed(stem: memoryview) -> tuple[dict[str, Any], Entries]:
    """Return what a plan says beside its entries, and these, without making an object of each."""
    text = str(stem, "utf-8")
    start = text.find(SHARDS)
    try:
        content = json.loads(text[:start] + SHARDS + "]}")
        entries = Entries.parse(text, stem, start + len(SHARDS)) if text.isascii() else None
    except (ValueError, IndexError):
        entries = None
    if entries is None:  # other software has written it in another form
        content = json.loads(text + "}")
        entries = Entries.of(Entry(*each) for each in content["shards"])
    return content, entries
