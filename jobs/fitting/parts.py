"""Labels of parts in a fit: which rows contain spoof, and which of them are genuine in part."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from detector.errors import ConfigError, SchemaError
from detector.logistic import Bools
from detector.metrics import Floats
from detector.schema import BONAFIDE, SPOOF
from detector.training.rule import Segments
from jobs import storage
from jobs.inputs.parts import Part, by_utterance, joined, read_parts
from jobs.tables.labelled import Labelled

ROUNDED_SECONDS = 1.0  # by which the end of a last part may exceed its recording: labels have a resolution of their own

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownParts:
    """What a table of parts says of the rows of a fit.

    Parameters
    ----------
    contains : bool array of shape (n_rows,)
        True for rows whose label or one of whose parts is spoof.
    in_part : bool array of shape (n_rows,)
        True for rows with a spoof part and either a bona fide one, or more time that is not labelled spoof than is.
    """

    contains: Bools
    in_part: Bools

    @classmethod
    def of(cls, table: Labelled, uri: str) -> KnownParts:
        """Read a table of parts.

        Raises
        ------
        ConfigError
            If no part is of a row of the fit, or no row would be left of which the head could learn what spoof is.
        SchemaError
            As :func:`jobs.inputs.parts.read_parts`, if a part of a row that is labelled bona fide is spoof, or if one
            begins behind the end of its recording.
        """
        known = {name: _Labelling.of(parts) for name, parts in by_utterance(read_parts(storage.normal(uri)))}
        renamed = table.labels.renamed
        places = table.labels.find(pa.array([renamed.get(name, name) for name in known], pa.string()))
        here = {name: place for name, place in zip(known, places.tolist(), strict=True) if place >= 0}
        _check_ends(uri, {name: (known[name], float(table.seconds[place])) for name, place in here.items()})
        contains, in_part = ~table.is_bonafide, np.zeros(table.n_rows, dtype=bool)
        for name, place in here.items():
            found = known[name]
            if SPOOF in found.labels and table.is_bonafide[place]:
                raise SchemaError(f"{uri}: {name!r} has a spoof part, and is labelled bonafide. Correct one of them.")
            is_mostly_other = found.spoof_seconds < table.seconds[place] / 2  # whoever marks a splice marks no more
            in_part[place] = SPOOF in found.labels and (BONAFIDE in found.labels or is_mostly_other)
        if not here:
            raise ConfigError(
                f"{uri}: none of {len(known)} recordings with labelled parts is among the rows to fit on. Ids must be "
                f"spelt as in the labels; look at --split, too."
            )
        if not (contains & ~in_part).any():
            raise ConfigError(
                f"{uri}: all spoof rows are genuine in part, and a head learns from recordings that are spoofed as a "
                f"whole. Add such recordings, or drop --parts."
            )
        return cls(contains, in_part)

    def segments(self, table: Labelled, used: Bools, silence_dbfs: float) -> Segments:
        """Return what :func:`detector.training.fitting.fit_head` needs, for the rows that are used, in their order."""
        place = np.cumsum(used) - 1

        def read() -> Iterator[tuple[int, Floats, Floats]]:
            for row, embedding, windows in table.windows(silence_dbfs):
                if used[row]:
                    yield int(place[row]), embedding, windows

        return Segments(self.contains[used], self.in_part[used], read)


class _Labelling(NamedTuple):
    """What the parts of one recording come to: their labels, the time that is spoof, the latest start and end."""

    labels: frozenset[str]
    spoof_seconds: float
    last_start: float
    last_end: float

    @classmethod
    def of(cls, parts: list[Part]) -> _Labelling:
        """Sum up parts; those of one label may overlap."""
        spoof = joined([part for part in parts if part.label == SPOOF])
        return cls(
            frozenset(part.label for part in parts),
            sum(part.end_seconds - part.start_seconds for part in spoof),
            max(part.start_seconds for part in parts),
            max(part.end_seconds for part in parts),
        )


def _check_ends(uri: str, known: dict[str, tuple[_Labelling, float]]) -> None:
    """Refuse a part that begins behind the end of its recording, and warn of those that end behind it.

    Parameters
    ----------
    known : dict
        By id: the labelling, and the length of the recording in seconds.
    """
    begun = [name for name, (found, seconds) in known.items() if found.last_start >= seconds]
    if begun:
        found, seconds = known[begun[0]]
        raise SchemaError(
            f"{uri}: {len(begun)} of {len(known)} recordings have a part that begins behind their end, first "
            f"{begun[0]!r}: from {found.last_start:g} s, where {seconds:.1f} s were embedded. Expected seconds from "
            f"the start of the recording: look for another unit, and for ids of other recordings."
        )
    longer = [name for name, (found, seconds) in known.items() if found.last_end > seconds + ROUNDED_SECONDS]
    if longer:
        found, seconds = known[longer[0]]
        log.warning(
            "%s: %d of %d recordings have a part that ends behind their end, first %r: at %g s, where %.1f s were "
            "embedded; expected an end at %.1f s or before. The parts count nevertheless: look for cut recordings",
            uri,
            len(longer),
            len(known),
            longer[0],
            found.last_end,
            seconds,
            seconds,
        )
