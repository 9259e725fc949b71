"""Annotations: the labels that reviewers may give, and the columns of the files they fill in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from detector.errors import SchemaError
from detector.schema import LABELS

UNSURE = "unsure"
CHOICES = (*LABELS, UNSURE)
EARLY_SECONDS = 1e-3
"""What a part may begin before the excerpt that it is of, by rounding alone."""
REVIEWER_FIELDS = ("system", "speaker", "source", "language")
"""Facts that a reviewer may add to the label, and that `fit` reads."""

QUEUE_FIELDS = (
    *("why", "score", "p_spoof", "entropy_bits", "ood", "seconds", "alike", "uri", "member", "start", "end"),
    *("channel", "listen_from", "listen_to", "other_sides"),
)
"""Facts from the review queue that help the reviewer; `import` ignores them."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Annotation:
    """A reviewer's judgement of one recording.

    Parameters
    ----------
    utterance_id : str
    label : str or None
        One of :data:`CHOICES`; None if the reviewer has not decided yet.
    reviewer : str
        Empty if unknown.
    where : str
        File and row, for error messages.
    facts : dict
        Values of :data:`REVIEWER_FIELDS`, as far as they are filled in.
    """

    utterance_id: str
    label: str | None
    reviewer: str
    where: str
    facts: dict[str, str]


def parse_label(text: str, where: str) -> str | None:
    """Return the choice that a cell spells, in any capitalisation, or None if the cell is empty."""
    label = text.strip().lower()
    if label and label not in CHOICES:
        raise SchemaError(f"{where}: label {text[:40]!r}; expected {', '.join(CHOICES)} or nothing.")
    return label or None
