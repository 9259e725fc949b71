"""Shard objects: the objects of many committed shards, several of them on their way at any time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np

from jobs import storage
from jobs.inputs.requests import objects
from jobs.tables.ledger import table_objects
from jobs.tables.protocol import Marker
from jobs.tables.steps import read

Contents = dict[str, bytes | None]
"""By table; None for an object that is gone."""


class ShardObjects:
    """Reads objects of an output. How many at once depends on their sizes, which one listing of the tables tells.

    Parameters
    ----------
    output : str
    """

    def __init__(self, output: str) -> None:
        self._output = output
        places, sizes = [], []  # numbers, not URIs: there may be millions
        for stored in table_objects(output):
            places.append(hash(stored.uri))
            sizes.append(stored.size)
        order = np.argsort(np.array(places, np.int64))
        self._places, self._sizes = np.array(places, np.int64)[order], np.array(sizes, np.int64)[order]

    def of(self, markers: Iterable[Marker], only: str | None = None) -> Iterator[tuple[Marker, Contents]]:
        """Yield each marker with the content of its objects, in the order of the markers.

        Parameters
        ----------
        only : str, optional
            The one table that is read.
        """
        return objects(partial(self._read, only=only), markers, partial(self._n_bytes, only=only))

    def _read(self, marker: Marker, only: str | None) -> Contents:
        return {table: read(self._output, name) for table, name in marker.objects.items() if only in (None, table)}

    def _n_bytes(self, marker: Marker, only: str | None) -> int:
        return sum(self._size(name) for table, name in marker.objects.items() if only in (None, table))

    def _size(self, name: str) -> int:
        place = hash(storage.join(self._output, name))
        at = int(np.searchsorted(self._places, place))
        return int(self._sizes[at]) if at < len(self._places) and self._places[at] == place else 0
