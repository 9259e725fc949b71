"""An estimate of a scoring run: the shards that a head would judge, and their requests; nothing is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from detector.head import Head
from jobs import storage
from jobs.embedding.cost import Cost
from jobs.embedding.estimate import PUTS_A_RUN, PUTS_A_SHARD, Estimate
from jobs.tables.ledger import Ledger
from jobs.tables.names import Names
from jobs.tables.plan import propose_scores, without_segments
from jobs.tables.plan_history import Shards

GETS_A_SHARD = 2  # the marker and the rows of embeddings
GETS_A_RUN, LISTS_A_RUN = 5, 9  # heads and records; plans, markers and records


def with_scores(found: Estimate, head: Head, output: str, *, segments: bool = False) -> Estimate:
    """Return an estimate of an embedding run with what the head would judge after it."""
    shards = found.planned.current.having(found.slots)
    line, cost = estimate_scores(shards, head, output, segments=segments)
    requests = Counter(found.cost.requests)
    requests.update(cost.requests)
    return replace(found, scores=line, cost=replace(found.cost, requests=dict(requests)))


def estimate_scores(shards: Shards, head: Head, output: str, *, segments: bool = False) -> tuple[str, Cost]:
    """Return a line on what the head would judge of these shards of embeddings, and its cost: requests alone."""
    table = Ledger(storage.normal(output), "scores", head.head_id)
    history = table.history()
    again = without_segments(shards, history) if segments else Names()
    new = Names(entry.slot for entry in propose_scores(shards, history, again))
    waiting = history.current.having(shards.slots).lacking(table.done(history)).slots
    is_remote = storage.scheme_of(table.output) != "file"
    n = len(new | waiting)
    requests = {
        "put": ((PUTS_A_SHARD + segments) * n + PUTS_A_RUN) * bool(n),
        "get": GETS_A_SHARD * n + GETS_A_RUN + len(history.plans),
        "list": LISTS_A_RUN,
    }
    line = f"scores: head {head.head_id} would judge {n} of {len(shards)} shards"
    return line, Cost(requests=requests if is_remote else {})
