"""Labels of parts in a fit: which rows contain spoof, and which of them are genuine in part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
            As :func:`jobs.inputs.parts.read_parts`, or if a part of a row that is labelled bona fide is spoof.
        """
        known = by_utterance(read_parts(storage.normal(uri)))
        labels = {name: ({part.label for part in parts}, _spoof_seconds(parts)) for name, parts in known}
        renamed = table.labels.renamed
        places = table.labels.find(pa.array([renamed.get(name, name) for name in labels], pa.string()))
        contains, in_part = ~table.is_bonafide, np.zeros(table.n_rows, dtype=bool)
        for (name, (found, spoof_seconds)), place in zip(labels.items(), places.tolist(), strict=True):
            if place < 0:
                continue
            if SPOOF in found and table.is_bonafide[place]:
                raise SchemaError(f"{uri}: {name!r} has a spoof part, and is labelled bonafide. Correct one of them.")
            is_mostly_other = spoof_seconds < table.seconds[place] / 2  # a reviewer who marks a splice marks no more
            in_part[place] = SPOOF in found and (BONAFIDE in found or is_mostly_other)
        if not (places >= 0).any():
            raise ConfigError(
                f"{uri}: none of {len(labels)} recordings with labelled parts is among the rows to fit on. Ids must be "
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


def _spoof_seconds(parts: list[Part]) -> float:
    """Return the time that is labelled spoof; parts of one label may overlap."""
    spoof = joined([part for part in parts if part.label == SPOOF])
    return sum(part.end_seconds - part.start_seconds for part in spoof)
