"""Refusals: whether a store refuses one object, which becomes its row, or all of them, which ends the run.

Who uploads an object may choose that it cannot be read: a cold tier, a key of their own, a list of who may read it. The
store's answer is often the same as to a role that may read nothing. So another object is asked for.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import chain

from detector.errors import UtteranceError
from jobs import storage
from jobs.errors import SourceChangedError
from jobs.inputs.containers import container_kind
from jobs.inputs.suffixes import kind_of_name
from jobs.inputs.unheard import no_permission
from jobs.storage import Stored

ASKED = 8  # objects of a page, by chance

_read: dict[str, Stored] = {}  # by the folder that an input names: what this process read of it last


def note_read(source: Stored, roots: Iterable[str]) -> None:
    """Take note of an object of the archive that could be read."""
    if storage.scheme_of(source.uri) != "file" and source.size:
        _read[_root(source, roots)] = source


def refusal(source: Stored, error: storage.RefusedError, roots: Iterable[str]) -> UtteranceError:
    """Return the error of an object that may not be read, if others below the same input may.

    Parameters
    ----------
    source : Stored
    error : RefusedError
    roots : iterable of str
        As :func:`jobs.inputs.sources.archive_roots` returns them.

    Raises
    ------
    RefusedError
        ``error``, if no other object is found that can be read: then it is the role, or the store.
    """
    if isinstance(error, storage.NoPermissionError):
        return no_permission(source)
    root = _root(source, roots)
    if not any(_can_be_read(each, root) for each in _others(source, root)):
        raise error
    remedy = "Others can be read: restore it from its tier, or give this run the right to it and to its key"
    return UtteranceError("no_permission", f"{error} {remedy}, and run again")


def _others(source: Stored, root: str) -> Iterator[Stored]:
    """Yield objects below a folder, beginning with one that was read before."""
    known = _read.get(root)
    pages = map(_recordings, storage.around(source.uri, root))
    near = chain.from_iterable(random.sample(page, min(ASKED, len(page))) for page in pages)
    return (each for each in chain([known] if known else [], near) if each.uri != source.uri)


def _recordings(page: list[Stored]) -> list[Stored]:
    """Return what is like an object of an archive, and no table of an output: a role may read these alone."""
    return [each for each in page if each.size and _is_recording(each.uri)]


def _is_recording(uri: str) -> bool:
    is_ours = not set(storage.OUTPUTS).isdisjoint(uri.split("/"))
    return not is_ours and (kind_of_name(uri) == "audio" or container_kind(uri) is not None)


def _can_be_read(source: Stored, root: str) -> bool:
    try:
        storage.first_bytes(source, 1)
    except (storage.RefusedError, SourceChangedError):
        return False
    note_read(source, (root,))
    return True


def _root(source: Stored, roots: Iterable[str]) -> str:
    bucket = f"{'/'.join(source.uri.split('/')[:3])}/"
    return next((root for root in roots if source.uri.startswith(root)), bucket)
