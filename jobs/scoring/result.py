"""The result of a scoring run: its plans, its part of the run's record, its warnings and its summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from detector.drift import Drift
from detector.head import Head
from detector.rejection import log_odds
from detector.schema import REJECT_REASONS
from jobs.scoring.unjudged_windows import UNJUDGED, warning_of
from jobs.tables.ledger import Ledger
from jobs.tables.names import Names
from jobs.tables.protocol import PlanHistory


@dataclass
class ScoringRun:
    """The plans that a scoring run worked on.

    Attributes
    ----------
    slots : Names
        Slots of the shards that were to be scored.
    """

    head: Head
    prior: float
    ledger: Ledger
    history: PlanHistory
    slots: Names

    def record(self) -> dict[str, Any]:
        """Return the fields that the run's record takes from here."""
        band = self.head.reject_band(self.prior)
        return {"head_id": self.head.head_id, "prior": self.prior, "reject_band_nats": band}

    def warnings(self, records: list[dict[str, Any]]) -> list[str]:
        """Return warnings: drift, a certificate that does not hold at this prior, and windows that are not judged."""
        texts = [
            text for record in records if "drift" in record for text in Drift(**record["drift"]).warnings(self.prior)
        ]
        certified = (self.head.training.get("certificate") or {}).get("certified", False)
        if certified and self.prior != self.head.prior:
            texts.append(
                f"the head's certificate is for a prior of {self.head.prior:g}; at {self.prior:g} the band of rejected "
                f"scores is a different one, and nothing is certified."
            )
        texts += [warning_of(record[UNJUDGED]) for record in records if UNJUDGED in record]
        return list(dict.fromkeys(texts))

    def summary(self, counts: Counter[str]) -> tuple[str, str]:
        """Return the lines of the summary that the run prints."""
        rejected = ", ".join(f"{counts[reason]} {reason}" for reason in REJECT_REASONS if counts[reason])
        low, high = self.head.reject_band(self.prior)
        return (
            f"scored {counts['rows']} utterances with head {self.head.head_id} at a prior of {self.prior:g} spoof: "
            f"{counts['accepted_bonafide']} bonafide, {counts['accepted_spoof']} spoof, "
            f"{counts['rejected']} rejected{f' ({rejected})' if rejected else ''}; {counts['failed']} inputs failed",
            f"spoof is a score under {log_odds(self.prior):.2f} nats; "
            f"uncertain is one between {low:.2f} and {high:.2f}",
        )
