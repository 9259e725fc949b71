"""Contents: which objects of a folder are recordings although their suffixes do not say so, by their first bytes.

A look costs a small request for each object. What earlier plans found out is not asked for again: a planned recording
stays one, and of everything else a plan keeps a digest of name, size and tag.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from detector.config import digest_of
from detector.magic import HEAD_BYTES, is_audio_content
from jobs import storage
from jobs.errors import SourceChangedError
from jobs.inputs.requests import answers
from jobs.storage import Stored

log = logging.getLogger(__name__)


class Contents:
    """Tells recordings from other objects, and asks the store once for each.

    Attributes
    ----------
    others : set of str
        Digests of the objects that are no recordings, for later runs.
    """

    def __init__(self) -> None:
        self.others: set[str] = set()
        self._recordings: set[str] = set()
        self._is_planned: list[Callable[[str], bool]] = []

    def learn(self, is_planned: Callable[[str], bool], others: Iterable[str]) -> None:
        """Take over what earlier plans know: which URIs are of recordings, and digests of other objects."""
        self._is_planned.append(is_planned)
        self.others.update(others)

    def recordings(self, objects: Sequence[Stored]) -> list[Stored]:
        """Return those objects that are recordings; objects that are not known yet are looked at."""
        unknown = [
            stored
            for stored in objects
            if not self._is_known(stored.uri) and stored.size and _digest(stored) not in self.others
        ]
        denied = []
        for stored, head in zip(unknown, answers(_first_bytes, unknown), strict=True):
            if head is None or is_audio_content(head):
                self._recordings.add(stored.uri)
            elif head:
                self.others.add(_digest(stored))
            else:
                denied.append(stored.uri)
        if denied:
            log.warning("%d objects may not be read, and may be recordings; first: %s", len(denied), denied[0])
        return [stored for stored in objects if self._is_known(stored.uri)]

    def _is_known(self, uri: str) -> bool:
        return uri in self._recordings or any(is_planned(uri) for is_planned in self._is_planned)


def _first_bytes(stored: Stored) -> bytes | None:
    """Return the first bytes; none if they cannot be had now, None if the file must be read as a recording."""
    try:
        return storage.first_bytes(stored, HEAD_BYTES)
    except SourceChangedError:
        return b""  # removed or replaced since it was listed: the next run looks again
    except storage.NoPermissionError:
        return None  # a recording that may not be read is told of; so is a file that might be one
    except storage.RefusedError:
        return b""  # archived in a cold tier, or under a key that we do not have; or the role may read nothing


def _digest(stored: Stored) -> str:
    return digest_of([stored.uri, stored.size, stored.etag])
