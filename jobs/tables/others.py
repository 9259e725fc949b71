"""Others: objects that earlier runs looked at and that are no recordings, as plans keep them for later runs.

A plan has the digests that are new to it, by the inputs that the objects were found below. They would grow for ever: an
object that is replaced each night is another one each night. So once most of what plans have is there no longer, the
next plan has all that still is, and those before it are forgotten:

```
 plan 1   a b c      plan 2   d e      plan 3   c e f, and no others      known of plan 4: c e f
```

A digest takes 16 bytes of memory, and in plans, which hold them as Base64, 22.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.inputs.contents import DIGEST_BYTES, Digests
from jobs.tables.frozen_plan import Plan
from jobs.tables.names import Names
from jobs.tables.plan_history import PlanHistory

OTHERS = "others"
"""In the detail of a plan: digests as Base64, by inputs. Plans of earlier releases have a list of shorter ones."""

ONLY = "only_others"
"""In the detail of a plan: inputs of which plans before it no longer count."""

FORMER, FORMER_BYTES = "", 8
"""The inputs and the length of digests of earlier releases."""

SPARED = 1_000
"""Digests of what is there no longer that are not worth a new beginning."""


class Others:
    """What the plans of a ledger know.

    Parameters
    ----------
    history : PlanHistory
    """

    def __init__(self, history: PlanHistory) -> None:
        found: dict[str, list[Digests]] = {}
        for key, text in (pair for plan in newest(history.plans) for pair in _texts(plan).items()):
            found.setdefault(key, []).append(_unpacked(text, FORMER_BYTES if key == FORMER else DIGEST_BYTES))
        self._names = {key: Names.of(np.concatenate(each)) for key, each in found.items()}

    def holds(self, inputs: str, digests: Digests) -> npt.NDArray[np.bool_]:
        """Return which of these objects below some inputs are known."""
        known, former = (self._names.get(key, Names()) for key in (inputs, FORMER))
        return known.holds(digests) | former.holds(digests.view(f"S{FORMER_BYTES}")[::2])

    def count(self, inputs: str) -> int:
        """Return how many objects below some inputs are known."""
        return len(self._names.get(inputs, ()))

    def detail(self, here: Mapping[str, Digests]) -> dict[str, Any]:
        """Return what the next plan says.

        Parameters
        ----------
        here : dict of str to array
            Objects that are there now and are no recordings, by inputs: :attr:`jobs.inputs.contents.Contents.others`.
        """
        present = {key: Names.of(digests) for key, digests in here.items()}
        n_known, n_present = sum(map(self.count, (FORMER, *present))), sum(map(len, present.values()))
        is_new_beginning = n_known > 2 * n_present + SPARED or bool(n_present and self.count(FORMER))
        new = present if is_new_beginning else {key: each - self._of(key) for key, each in present.items()}
        detail: dict[str, Any] = {OTHERS: {key: _packed(each.values) for key, each in new.items() if each}}
        return detail | ({ONLY: sorted(present)} if is_new_beginning else {})

    def _of(self, inputs: str) -> Names:
        return self._names.get(inputs, Names())


def newest(plans: Sequence[Plan]) -> tuple[Plan, ...]:
    """Return plans without the digests that a later one of them replaces, and with few texts for the others."""
    kept: list[Plan] = []
    replaced: set[str] = set()
    for plan in reversed(plans):
        if plan.detail.get(OTHERS):
            texts = {key: text for key, text in _texts(plan).items() if key not in replaced}
            plan = replace(plan, detail=plan.detail | {OTHERS: texts})
        kept.append(plan)
        replaced |= {*plan.detail[ONLY], FORMER} if ONLY in plan.detail else set()
    return tuple(reversed(kept))


def _texts(plan: Plan) -> dict[str, str]:
    found = plan.detail.get(OTHERS, {})
    return found if isinstance(found, dict) else {FORMER: base64.b64encode(bytes.fromhex("".join(found))).decode()}


def _packed(digests: Digests) -> str:
    return base64.b64encode(digests.tobytes()).decode()


def _unpacked(text: str, n_bytes: int) -> Digests:
    return np.frombuffer(base64.b64decode(text), f"S{n_bytes}")
