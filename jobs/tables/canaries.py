"""What the canaries gave when rows were computed: the references that later runs under an output compare with.

```
_canaries/embeddings-<fingerprint>/000001.json      written by the first run
_canaries/embeddings-<fingerprint>/000002.json      by a run whose drift was accepted: either may be met from then on
```

Like plans, references are numbered, created only where there is none, and never changed.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.canaries import KEPT_EVERY, Heard
from detector.errors import SchemaError
from jobs import storage
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import PLAN_NAME

FOLDER = "_canaries"
REPLACES = "replaces"
"""In the detail of a reference: True if those before it hold no more, since their rows were embedded again."""

Vectors = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Reference:
    """What the canaries gave to one run.

    Parameters
    ----------
    heard : mapping
        By canary; every fourth sample of each.
    vectors : dict
        By canary: the embedding of the table's layer.
    versions : dict
        Of :data:`detector.canaries.LIBRARIES`.
    detail : dict
        What was accepted when it was written.
    number : int
        Its number, counted from 1; 0 before it is stored.
    """

    heard: Mapping[str, Heard]
    vectors: Vectors
    versions: dict[str, str]
    detail: dict[str, Any] = field(default_factory=dict)
    number: int = 0

    def to_json(self) -> bytes:
        """Return the reference as it is stored."""
        canaries = {
            name: {
                "codec": each.codec,
                "native_rate": each.native_rate,
                "decoder": each.decoder,
                "samples": _text(each.samples),
                "embedding": _text(self.vectors[name]) if name in self.vectors else None,
            }
            for name, each in self.heard.items()
        }
        return dump_checksummed(
            {"canaries": canaries, "kept_every": KEPT_EVERY, "versions": self.versions, **self.detail}, indent=1
        )

    @classmethod
    def from_json(cls, text: bytes, name: str) -> Reference:
        """Return the reference that :meth:`to_json` stored.

        Raises
        ------
        SchemaError
            If it is damaged, or of another version of bonafide.
        """
        content = load_checksummed(text, name)
        if content.pop("kept_every", None) != KEPT_EVERY:
            raise SchemaError(f"{name}: canaries of another version of bonafide. Use the release that wrote them.")
        canaries, versions = content.pop("canaries"), content.pop("versions")
        heard = {
            each: Heard(_array(one["samples"]), one["codec"], one["native_rate"], one["decoder"])
            for each, one in canaries.items()
        }
        vectors = {each: _array(one["embedding"]) for each, one in canaries.items() if one["embedding"] is not None}
        return cls(heard, vectors, versions, content)


def read_references(table: Ledger) -> list[Reference]:
    """Read the references of a table that hold; none if no run under it has heard canaries yet."""
    references: list[Reference] = []
    for number, uri in enumerate(_uris(table), start=1):
        if storage.name_of(uri) != _name(number):
            raise SchemaError(
                f"{uri}: a reference before it is gone. Restore {_name(number)} from a copy of the output."
            )
        found = replace(Reference.from_json(storage.read_bytes(uri), uri), number=number)
        references = [found] if found.detail.get(REPLACES) else [*references, found]
    return references


def write_reference(table: Ledger, reference: Reference, after: list[Reference]) -> bool:
    """Store a reference behind those that were read; return False if another run has stored one there."""
    number = max((each.number for each in after), default=0) + 1
    uri = storage.join(table.output, FOLDER, table.name, _name(number))
    return storage.put(uri, reference.to_json(), storage.ABSENT) is None


def _name(number: int) -> str:
    return f"{number:06d}.json"


def _uris(table: Ledger) -> list[str]:
    listed = storage.listing(storage.join(table.output, FOLDER, table.name)) or []
    return sorted(stored.uri for stored in listed if PLAN_NAME.search(stored.uri))


def _text(array: npt.NDArray[np.float32]) -> str:
    # of letters, digits, - and _ alone: no part of it reads like a name of its own, for which `erase` would look
    return base64.urlsafe_b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()


def _array(text: str) -> npt.NDArray[np.float32]:
    return np.frombuffer(base64.urlsafe_b64decode(text), "<f4").astype(np.float32)
