"""Contents: which objects of a folder hold recordings where their suffixes do not say so, by what is in them.

A look costs a small request for each object. What earlier plans found out is not asked for again: a planned recording
stays one, and of everything else a plan keeps a digest of name, size and tag (:mod:`jobs.tables.others`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from detector.config import digest_of
from detector.magic import HEAD_BYTES, is_audio_content
from jobs import storage
from jobs.errors import SourceChangedError
from jobs.inputs.requests import answers
from jobs.inputs.sources import archive_roots
from jobs.storage import Stored

log = logging.getLogger(__name__)


DIGEST_BYTES = 16  # with fewer, an uploader could make a recording that is taken for another object of theirs

Digests = npt.NDArray[np.bytes_]


class Known(Protocol):
    """What the plans of a ledger know: see :class:`jobs.tables.others.Others`."""

    def holds(self, inputs: str, digests: Digests) -> npt.NDArray[np.bool_]:
        """Return which of these objects are known, and are no recordings."""


class Contents:
    """Tells recordings from other objects, and asks the store once for each.

    Parameters
    ----------
    inputs : iterable of str
        What `--input` names. Other objects are kept apart by the inputs below whose folder they are.
    """

    def __init__(self, inputs: Iterable[str] = ()) -> None:
        inputs = sorted({storage.normal(each) for each in inputs})
        self._inputs = {
            root: digest_of([each.rstrip("/") for each in inputs if archive_roots([each]) == (root,)])
            for root in archive_roots(inputs) or ("",)
        }
        self._others: dict[str, list[Digests]] = {key: [] for key in self._inputs.values()}
        self._new_others: set[bytes] = set()
        self._recordings: set[str] = set()
        self._is_planned: list[Callable[[str], bool]] = []
        self._known: list[Known] = []

    def learn(self, is_planned: Callable[[str], bool], known: Known) -> None:
        """Take over what earlier plans know: which URIs are of recordings, and digests of other objects."""
        self._is_planned.append(is_planned)
        self._known.append(known)

    @property
    def others(self) -> dict[str, Digests]:
        """Digests of the objects that are there and are no recordings, for later runs, by inputs."""
        return {key: np.concatenate([_packed(()), *found]) for key, found in self._others.items()}

    def recordings(self, objects: Sequence[Stored]) -> list[Stored]:
        """Return those objects that are recordings by their first bytes."""
        return self.told_apart([stored for stored in objects if stored.size], _is_recording)

    def told_apart(self, objects: Sequence[Stored], is_one: Callable[[Stored], bool | None]) -> list[Stored]:
        """Return those objects that are, or hold, recordings; objects that are not known yet are looked at.

        Parameters
        ----------
        objects : sequence of Stored
        is_one : callable
            Looks at an object; None if it cannot be told now. Several threads call it.
        """
        unclear = [stored for stored in objects if not self._is_recording(stored.uri)]
        keys = [self._inputs_of(stored.uri) for stored in unclear]
        digests = _packed(map(_digest, unclear))
        is_other = self._are_known(keys, digests)
        places = np.flatnonzero(~is_other).tolist()
        untold = []
        for place, answer in zip(places, answers(is_one, [unclear[each] for each in places]), strict=True):
            if answer is None:
                untold.append(unclear[place].uri)
            elif answer:
                self._recordings.add(unclear[place].uri)
            else:
                is_other[place] = True
                self._new_others.add(bytes(digests[place]))
        for key, found in self._others.items():
            found.append(digests[is_other & _equal(keys, key)])
        if untold:
            log.warning("%d objects may not be read, and may be recordings; first: %s", len(untold), untold[0])
        return [stored for stored in objects if self._is_recording(stored.uri)]

    def _are_known(self, keys: list[str], digests: Digests) -> npt.NDArray[np.bool_]:
        """Return which of these objects an earlier run, or this one, looked at."""
        is_known = np.fromiter((bytes(each) in self._new_others for each in digests), bool, len(digests))
        for key in self._others:
            some = np.flatnonzero(_equal(keys, key))
            for known in self._known:
                is_known[some] |= known.holds(key, digests[some])
        return is_known

    def _is_recording(self, uri: str) -> bool:
        return uri in self._recordings or any(is_planned(uri) for is_planned in self._is_planned)

    def _inputs_of(self, uri: str) -> str:
        """Return the inputs that an object lies below, of the longest folder if there are several."""
        return next((key for root, key in self._inputs.items() if uri.startswith(root)), "")


def _is_recording(stored: Stored) -> bool | None:
    """Return True for a recording by its first bytes, None if they cannot be had now."""
    try:
        return is_audio_content(storage.first_bytes(stored, HEAD_BYTES))
    except SourceChangedError:
        return None  # removed or replaced since it was listed: the next run looks again
    except storage.NoPermissionError:
        return True  # a recording that may not be read is told of; so is a file that might be one
    except storage.RefusedError:
        return None  # archived in a cold tier, or under a key that we do not have; or the role may read nothing


def _digest(stored: Stored) -> bytes:
    """Return a digest that begins with that of earlier releases, :func:`detector.config.digest_of`."""
    return hashlib.sha256(json.dumps([stored.uri, stored.size, stored.etag]).encode()).digest()[:DIGEST_BYTES]


def _packed(digests: Iterable[bytes]) -> Digests:
    return np.frombuffer(b"".join(digests), f"S{DIGEST_BYTES}")


def _equal(keys: list[str], key: str) -> npt.NDArray[np.bool_]:
    return np.fromiter((each == key for each in keys), bool, len(keys))
