"""Arguments: what an `--input` names. Nothing that a stranger puts into the archive decides how it is read.

A name with `*`, `?` or `[` is a pattern, which also matches what is called exactly like it. In a store of objects, a
name may be that of an object and of a prefix: then both are meant, unless its suffix says that it is a file.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

from detector.errors import ConfigError
from jobs import storage
from jobs.inputs.containers import container_kind
from jobs.inputs.places import Place
from jobs.inputs.sources import archive_roots, folder_of
from jobs.inputs.suffixes import kind_of_name
from jobs.storage import Listing, RefusedError, Stored, Thinning

PATTERN = re.compile(r"[*?[]")

log = logging.getLogger(__name__)


def is_pattern(uri: str) -> bool:
    """Return True for a glob.

    Examples
    --------
    >>> is_pattern("/data/*.wav"), is_pattern("/data/a.wav")
    (True, False)
    """
    return PATTERN.search(uri) is not None


def is_unclear(uri: str) -> bool:
    """Return True if only the content of an object can tell whether it is a recording.

    Examples
    --------
    >>> is_unclear("/data/calls"), is_unclear("/data/calls.wav"), is_unclear("/data/calls.tar")
    (True, False, False)
    """
    return kind_of_name(uri) == "unknown" and container_kind(uri) is None


def object_called(uri: str) -> Stored | None:
    """Return the object that is called exactly like an input."""
    # A key that ends in a slash is a prefix: a role that may only read below it gets an error if it asks for it.
    return None if uri.endswith("/") else storage.stat(uri, as_source=True)


def means_others(uri: str, follow: str) -> bool:
    """Return True if an input that is the name of an object also matches others, or is a prefix of others."""
    found: Listing | None = None
    if is_pattern(uri):
        found = storage.matching(uri, follow, lambda each: each.uri != uri)
    elif storage.scheme_of(uri) != "file" and is_unclear(uri):
        with contextlib.suppress(RefusedError):  # a role that may not list names objects
            found = storage.survey(uri, follow, lambda _: True)
    return found is not None and found.n_left_out > 0


def root_of(uri: str, found: str) -> str:
    """Return the folder that the id of what an input found is relative to.

    Examples
    --------
    >>> root_of("/data/day", "/data/day/a.wav"), root_of("/data/d*y/", "/data/day/a.wav"), root_of("s3://b/d", "s3://b/d")
    ('/data/day/', '/data/', 's3://b/')
    """
    folder = f"{uri.rstrip('/')}/"
    if found.startswith(folder):
        return folder
    return archive_roots([uri])[0] if is_pattern(uri) else folder_of(uri)


def overlap(inputs: Iterable[str]) -> bool:
    """Return True if an object may be found by two inputs; a pattern may match whatever begins as it does."""
    beginnings = sorted(PATTERN.split(f"{storage.normal(uri).rstrip('/')}/")[0] for uri in inputs)
    return any(after.startswith(before) for before, after in pairwise(beginnings))


def had_any(place: Place, before: Iterable[str]) -> bool:
    """Return True if a place had one of these objects."""
    return any(map(place.covers, before))


def listing_of(
    uri: str,
    called: Stored | None,
    follow: str,
    before: Iterable[str],
    leave_out: Callable[[Stored], bool] | None,
    thinned: Callable[[list[Stored], str], list[Stored]] | None = None,
) -> tuple[Place, Listing]:
    """List a folder, prefix or glob, with the object that is called like it, and warn of what is passed over."""
    of_folder = leave_out
    if leave_out is not None and thinned is not None:
        of_folder = Thinning(leave_out, lambda kept: thinned(kept, f"{uri.rstrip('/')}/"))
    place = Place(uri, is_pattern(uri))
    found = storage.survey(uri, follow, of_folder)
    if place.is_pattern:
        matched = storage.matching(uri, follow, leave_out)
        found = matched if found is None else _joined(found, matched)
    elif found is None and storage.scheme_of(uri) != "file" and had_any(place, before):
        found = Listing([])  # in a store of objects, a prefix without objects does not exist
    if found is None:
        raise ConfigError(f"{uri}: no such file, folder or prefix. Check the bucket and the spelling.")
    if called is not None:
        is_left_out = leave_out is not None and leave_out(called)
        found = _joined(found, Listing([] if is_left_out else [called], n_left_out=int(is_left_out)))
    storage.warn_of(found.links)
    denied = [*found.denied, *(each.uri for each in found.objects if each.etag == storage.DENIED)]
    if denied:
        log.warning("%d files or folders below %s may not be read; first: %s", len(denied), uri, denied[0])
    is_empty = not found.objects and not found.denied and not found.n_left_out
    if place.is_pattern and is_empty and not had_any(place, before):
        raise ConfigError(f"{uri}: no audio found: the pattern matches nothing. Quote it, and check the spelling.")
    return place, found


def _joined(first: Listing, second: Listing) -> Listing:
    """Return what either of two listings has, each object once."""
    return replace(
        first,
        objects=sorted({*first.objects, *second.objects}),
        denied=sorted({*first.denied, *second.denied}),
        links=second.links | first.links,
        root=second.root or first.root,
        n_left_out=first.n_left_out + second.n_left_out,
    )
