"""How much a run worked: read off the notes that a fault takes, and off the requests at the proxy."""

from __future__ import annotations

import re
from collections import Counter

from tests.drills.lab import Lab
from tests.drills.runs import Fault
from tests.support.proxy import Request

AUDIO = r"\.tar$"
MARKER = r"/_commits/embeddings"
EMBED = "detector.backbones.melstats:MelStats.embed"
NOTED = Fault(EMBED, "note")


def slow(seconds: float) -> Fault:
    """Let every recording take so long in the encoder."""
    return Fault(EMBED, "sleep", seconds)


def noted(lab: Lab) -> list[tuple[float, str]]:
    """When a recording was given to an encoder, and which; in all runs of the drill that note it."""
    lines = [line.split() for place in lab.folder.glob("*.noted") for line in place.read_text().splitlines()]
    return sorted((float(when), digest) for when, _, _, digest in lines)


def amplification(lab: Lab) -> float:
    """Recordings given to an encoder, over recordings that there are."""
    counts = Counter(digest for _, digest in noted(lab))
    return counts.total() / len(counts)


def struck_at(lab: Lab, number: int) -> list[float]:
    """When the rule of this number struck last, in each run where it did."""
    return [place.stat().st_mtime for place in lab.folder.glob(f"*.{number}.struck")]


def markers_put(lab: Lab) -> list[Request]:
    """Markers that the store took."""
    return [each for each in lab.proxy.requests("PUT", MARKER) if each.applied == 200]


def fetched(requests: list[Request]) -> set[str]:
    """Names of the tars that were read."""
    return {each.path.rpartition("/")[2] for each in requests if re.search(AUDIO, each.path)}


def committed(lab: Lab) -> set[str]:
    """Names of the tars that have a marker."""
    return {marker["uri"].rpartition("/")[2] for marker in lab.markers().values()}
