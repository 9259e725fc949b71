"""Publication: a new head replaces the published one only if it is shown to be no worse."""

from __future__ import annotations

from detector.head import Head
from jobs import storage
from jobs.errors import RunAgain
from jobs.storage import ABSENT, Stored

METRIC = "cllr"  # a proper scoring rule: it measures how scores rank and whether their values can be trusted


def no_worse(high: float | None, margin: float) -> bool:
    """Return True if a head is shown to be no worse: the interval of its difference ends below the margin.

    With too few rows to tell, the interval is wide and the head is not published.

    Parameters
    ----------
    high : float or None
        Upper end of the paired 95 % interval of new less published Cllr, bits; None where it is not defined.
    margin : float
        Difference that does not matter; bits.

    Examples
    --------
    >>> no_worse(-0.01, 0.02), no_worse(0.01, 0.02), no_worse(0.3, 0.02), no_worse(None, 0.02)
    (True, True, False, False)
    """
    return high is not None and high < margin


def publish(standing: Stored, published: Head, candidate_uri: str) -> None:
    """Replace the published head by the new one; keep the old one in a folder next to it.

    Raises
    ------
    RunAgain
        If another head was published since ``standing`` was read.
    """
    folder, _, _ = standing.uri.rpartition("/")
    kept = storage.join(folder, "previous", f"{published.head_id}.json")
    storage.put(kept, storage.read_bytes(standing.uri), ABSENT)
    if storage.put(standing.uri, storage.read_bytes(candidate_uri), standing.etag) is not None:
        raise RunAgain(f"{standing.uri}: another head was published meanwhile. Run again to compare with that one.")
