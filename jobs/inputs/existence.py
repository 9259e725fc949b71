"""Existence: the stored objects that rows of lists name, and those that are not there."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from detector.errors import ConfigError
from jobs import storage
from jobs.inputs.lists import ListEntry
from jobs.inputs.requests import answers
from jobs.storage import Stored

HIDDEN = "outside of the archive"  # the tag of what a link leads to that is not followed
SHOWN_ROWS = 20  # of those that name nothing

log = logging.getLogger(__name__)


def look_up(entries: Iterable[ListEntry], missing: str) -> dict[str, Stored]:
    """Return what the store has at each URI that the rows name.

    Parameters
    ----------
    entries : iterable of ListEntry
    missing : str
        One of :data:`jobs.inputs.config.MISSING`. If it is `row`, an object that does not exist has the tag
        :data:`jobs.storage.ABSENT`, and becomes a failure when its shard is read.

    Raises
    ------
    ConfigError
        If objects do not exist, and ``missing`` is `refuse`; all of them are counted, and the first ones named.
    """
    first_rows: dict[str, str] = {}
    for entry in entries:
        first_rows.setdefault(entry.uri, entry.where)
    uris = list(first_rows)
    found = dict(zip(uris, answers(look, uris), strict=True))
    absent = [uri for uri in uris if found[uri] is None]
    if absent and missing == "refuse":
        named = "; ".join(f"{first_rows[uri]}: {uri} does not exist" for uri in absent[:SHOWN_ROWS])
        more = f"; and {len(absent) - SHOWN_ROWS:,} more" if len(absent) > SHOWN_ROWS else ""
        raise ConfigError(
            f"{len(absent):,} of {len(uris):,} objects that lists name do not exist: {named}{more}. Check the "
            f"spelling (a row names an object, not a folder), drop the rows, or give --missing row, which makes each a "
            f"row of failures."
        )
    if absent:
        log.warning(
            "%d of %d objects that lists name do not exist, first %s (%s); each becomes a failure `missing`",
            len(absent),
            len(uris),
            absent[0],
            first_rows[absent[0]],
        )
    return {uri: stored or Stored(uri, 0, storage.ABSENT) for uri, stored in found.items()}


def look(uri: str, roots: Sequence[str] = ()) -> Stored | None:
    """Return what the store has at a URI, with the tag :data:`jobs.storage.DENIED` where that may not be known.

    Parameters
    ----------
    uri : str
    roots : sequence of str, optional
        Local folders, each with a trailing slash. What a link leads to out of the one that the URI lies in has the tag
        :data:`HIDDEN`: it is not gone, and not to be read.
    """
    root = next(filter(uri.startswith, roots), None)
    try:
        if root is None:
            return storage.stat(uri, as_source=True)
        below = storage.stat_below(uri, root)
        return Stored(uri, 0, HIDDEN) if below is None and storage.stat(uri) is not None else below
    except storage.RefusedError:
        return Stored(uri, 0, storage.DENIED)
    except storage.NotFolderError:  # nothing is below a file
        return None
