"""The explanation of a verdict that is stored: its row of `scores`, and its rows of `segments`, without the encoder."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from detector.api import Verdict
from detector.audio import Excerpt
from detector.errors import ConfigError
from jobs import storage
from jobs.decoding import confinement
from jobs.scoring.config import ExplainConfig
from jobs.scoring.explanation import Explanation, head_of, say_marked, say_verdict
from jobs.scoring.stored_windows import windows_in
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Marker
from jobs.tables.row_history import is_here

WITHOUT_FRAMES = "stored segments hold no frames; give the recording without --utterance for them"


def stored_explanation(settings: ExplainConfig) -> Explanation:
    """Print the explanation of a stored verdict, and return it.

    Raises
    ------
    ConfigError
        If the head has no score of that recording under the output.
    """
    head, _ = head_of(settings)
    table = Ledger(storage.normal(str(settings.output)), "scores", head.head_id)
    confinement.set_mode(settings.confinement)
    marker, row = _row(table, str(settings.utterance))
    verdict = Verdict(**{name: row[name] for name in Verdict.__dataclass_fields__})
    windows = windows_in(table, marker, [row["utterance_id"]]).get(row["utterance_id"], [])
    explanation = Explanation(
        row["utterance_id"],
        head,
        verdict,
        tuple(windows),
        without_frames=WITHOUT_FRAMES,
        excerpt=Excerpt(row["start"] or 0.0, row["end"], row["channel"]),
        uri=row["uri"],
        member=row["member"],
    )
    say_verdict(explanation)
    if verdict.score is not None:
        say_marked(explanation)
    return explanation


def _row(table: Ledger, utterance_id: str) -> tuple[Marker, dict[str, Any]]:
    """Return the row of a recording that is in the archive, and the marker of its shard; shards are read one by one."""
    places = ("uri", "member", "start", "end", "channel")
    columns = ["utterance_id", *Verdict.__dataclass_fields__, *places, "removed_at"]
    for marker in table.committed():
        for batch in table.batches(marker, "scores", columns):
            for row in batch.filter(pc.and_(pc.equal(batch["utterance_id"], utterance_id), is_here(batch))).to_pylist():
                return marker, row
    raise ConfigError(
        f"{table.output}: head {table.key} has no score of {utterance_id!r}. Give it as the tables have it."
    )
