"""Measures of a run's work, from notes that an injected fault writes and from the requests at the proxy."""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter

from jobs.decoding.canaries import hear
from tests.drills.lab import Lab
from tests.drills.runs import Fault
from tests.support.proxy import Request

ASSEMBLER = r"^ray::Assembler"
AUDIO = r"\.tar$"
MARKER = r"/_commits/embeddings"
EMBED = "detector.backbones.melstats:MelStats.embed"
NOTED = Fault(EMBED, "note")


def slow(seconds: float) -> Fault:
    """Delay the encoder by this many seconds for every recording."""
    return Fault(EMBED, "sleep", seconds)


@functools.cache
def canaries() -> frozenset[str]:
    """Return the digests of the canaries' samples, which each encoder embeds once."""
    return frozenset(hashlib.sha256(each.samples.tobytes()).hexdigest() for each in hear().values())


def noted(lab: Lab) -> list[tuple[float, str]]:
    """Return when each recording was passed to an encoder, with its digest, over all runs that note it."""
    lines = [line.split() for place in lab.folder.glob("*.noted") for line in place.read_text().splitlines()]
    return sorted((float(when), digest) for when, _, _, digest in lines if digest not in canaries())


def amplification(lab: Lab) -> float:
    """Return the recordings passed to an encoder divided by the distinct ones among them."""
    counts = Counter(digest for _, digest in noted(lab))
    return counts.total() / len(counts)


def n_computed_again(lab: Lab) -> int:
    """Return how many more recordings were passed to an encoder than there are distinct ones."""
    counts = Counter(digest for _, digest in noted(lab))
    return counts.total() - len(counts)


def struck_at(lab: Lab, number: int) -> list[float]:
    """Return when the fault of this number struck last, for each run in which it did."""
    return [place.stat().st_mtime for place in lab.folder.glob(f"*.{number}.struck")]


def markers_put(lab: Lab) -> list[Request]:
    """Return the PUTs of markers that the store accepted."""
    return [each for each in lab.proxy.requests("PUT", MARKER) if each.applied == 200]


def fetched(requests: list[Request]) -> set[str]:
    """Return the names of the tars that were read."""
    return {each.path.rpartition("/")[2] for each in requests if re.search(AUDIO, each.path)}


def committed(lab: Lab) -> set[str]:
    """Return the names of the tars that have a marker."""
    return {marker["uri"].rpartition("/")[2] for marker in lab.markers().values()}
