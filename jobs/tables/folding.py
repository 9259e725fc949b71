"""Checkpoints: which shards are committed, folded into one object, so that a run need not list every marker.

```
_commits/checkpoints-<ledger>/000017-0001000000-<digest>.json    1,000,000 shards, as of plan 17
```

A checkpoint is a cache of what the markers say, and never more: it may be deleted, late or torn. It is written once,
under a name of its own, so two runs may fold at the same time. It counts only under the output and beside the plans
that it was folded from; else the markers are listed as if it were not there. It names neither recordings nor sources.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from detector.errors import SchemaError
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.names import Names
from jobs.tables.plan_history import PlanHistory

FOLDER = "checkpoints-"
NAME = re.compile(r"/checkpoints-[^/]+/(?P<plans>\d{6,})-(?P<count>\d{10,})-[0-9a-f]{16}\.json$")
FORMAT = 1
PROBES = 8  # markers of a checkpoint that a run looks for before it believes it


@dataclass(frozen=True)
class Checkpoint:
    """The shards of a ledger that were committed when it was folded, the last one of each slot.

    Parameters
    ----------
    output, ledger : str
        Where it was folded.
    seals : tuple of str
        Of the plans that were known then.
    names : Names
        Of the shards.
    """

    output: str
    ledger: str
    seals: tuple[str, ...]
    names: Names

    def to_json(self) -> bytes:
        """Return the checkpoint as it is stored."""
        about = {"format": FORMAT, "output": self.output, "ledger": self.ledger, "plans": self.seals}
        return dump_checksummed({**about, "committed": list(self.names)})

    @classmethod
    def from_json(cls, text: bytes, name: str) -> Checkpoint:
        """Return the checkpoint that :meth:`to_json` stored; SchemaError if it is damaged or of another format."""
        content = load_checksummed(text, name)
        if content.pop("format", None) != FORMAT:
            raise SchemaError(f"{name}: is no checkpoint of this version. It may be deleted.")
        try:
            return cls(content["output"], content["ledger"], tuple(content["plans"]), Names(content["committed"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise SchemaError(f"{name}: is no checkpoint ({error!r}). It may be deleted.") from error

    def is_of(self, output: str, ledger: str, history: PlanHistory) -> bool:
        """Return True if it was folded from these plans, or the first of them, under this output."""
        plans = history.plans[: len(self.seals)]
        return (self.output, self.ledger) == (output, ledger) and self.seals == tuple(plan.seal for plan in plans)


def name_of(folder: str, checkpoint: Checkpoint, content: bytes) -> str:
    """Return the name of a checkpoint: one that knows more sorts later."""
    digest = hashlib.sha256(content).hexdigest()[:16]
    return f"{folder}/{len(checkpoint.seals):06d}-{len(checkpoint.names):010d}-{digest}.json"


def newest_first(names: Iterable[str]) -> list[str]:
    """Return the names of checkpoints among these, the one that knows most first.

    Examples
    --------
    >>> newest_first(["a/checkpoints-b/000002-0000000009-0123456789abcdef.json", "a/x", "a/checkpoints-b/000003-"
    ...  "0000000001-0123456789abcdef.json"])[0].partition("b/")[2][:6]
    '000003'
    """
    found = [(int(match["plans"]), int(match["count"]), name) for name in names if (match := NAME.search(name))]
    return [name for *_, name in sorted(found, reverse=True)]
