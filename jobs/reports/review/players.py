"""Players: how a person hears a recording from a page: not at all, by a link, or from bytes that the page holds."""

from __future__ import annotations

import base64
import contextlib
import logging
import posixpath
import urllib.parse
from collections.abc import Iterable
from typing import Any

from detector.errors import ShardError, UtteranceError
from jobs import storage
from jobs.errors import RunAgain, StorageError
from jobs.inputs.containers import CONTAINERS, container_kind, shortened

MAX_BYTES = 2 << 20  # of a recording that a page holds
MAX_PAGE_BYTES = 24 << 20  # of all of them; base64 makes a third more of it
MAX_CONTAINER_BYTES = 256 << 20  # one that is read again for a few of its members
LINKED = ("file", "s3", "https", "http")  # nothing that runs, and nothing that reads a page's own content
MEDIA_TYPES = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".mp4": "audio/mp4",
    ".aac": "audio/aac",
    ".webm": "audio/webm",
}
"""What browsers play, by a name's suffix."""

log = logging.getLogger(__name__)

Row = dict[str, Any]


def link_of(uri: str) -> str | None:
    """A stored object's address for a link; None where it is of a kind that no link may have.

    Examples
    --------
    >>> link_of("/data/a b.flac"), link_of("s3://archive/a#1.flac")
    ('file:///data/a%20b.flac', 's3://archive/a%231.flac')
    >>> link_of("javascript://%0aalert(1)") is None
    True
    """
    scheme, separator, place = uri.partition("://")
    if not separator:
        scheme, place = "file", uri
    if scheme not in LINKED or (not separator and not uri.startswith("/")):
        return None
    return f"{scheme}://{urllib.parse.quote(place, safe='/:@[]%' if scheme.startswith('http') else '/')}"


def players(rows: Iterable[Row], kind: str) -> dict[str, dict[str, str]]:
    """A player for each row that can have one, by id: `link`, and `data` where the page is to hold the bytes.

    Rows come in the order of their rank: the first are served first, up to :data:`MAX_PAGE_BYTES`. A recording that is
    larger than :data:`MAX_BYTES`, lies in a container larger than :data:`MAX_CONTAINER_BYTES`, is of no kind that
    browsers play, or cannot be read now, is linked.

    Parameters
    ----------
    rows : iterable of dict
        With `utterance_id`, `uri` and `member`.
    kind : str
        One of :data:`jobs.reports.nightly.config.PLAYERS`.
    """
    rows = list(rows)
    if kind == "none":
        return {}
    links = {row["utterance_id"]: link for row in rows if (link := link_of(row["uri"]))}
    found = {name: {"link": link} for name, link in links.items()}
    if kind == "embed":
        for name, data in _held(rows).items():
            found.setdefault(name, {})["data"] = data
    return found


def _held(rows: list[Row]) -> dict[str, str]:
    """Recordings as `data:` addresses, by id; each stored object is read once."""
    by_object: dict[str, list[Row]] = {}
    for row in rows:
        if _media_type(row) is not None:
            by_object.setdefault(row["uri"], []).append(row)
    found, left = {}, MAX_PAGE_BYTES
    for uri, wanted in by_object.items():
        if left <= 0:
            break
        try:
            contents = _contents(uri, {row["member"] for row in wanted}, min(left, MAX_BYTES))
        except (StorageError, RunAgain, ShardError, storage.NotFoundError) as error:
            log.warning("%s: no player for %d recording(s): %s", uri, len(wanted), error)
            continue
        for row in wanted:
            content = contents.get(row["member"])
            if content is not None and len(content) <= left:
                left -= len(content)
                found[row["utterance_id"]] = f"data:{_media_type(row)};base64,{base64.b64encode(content).decode()}"
    return found


def _media_type(row: Row) -> str | None:
    return MEDIA_TYPES.get(posixpath.splitext(row["member"] or row["uri"])[1].lower())


def _contents(uri: str, members: set[str | None], most: int) -> dict[str | None, bytes]:
    """Bytes of an object, or of members of a container, as far as they are small enough."""
    stored = storage.stat(uri)
    if stored is None:
        raise storage.NotFoundError(f"{uri}: not found; it was there when it was scored.")
    if members == {None}:
        return {None: storage.read_bytes(uri)} if stored.size <= most else {}
    kind = container_kind(uri)
    found: dict[str | None, bytes] = {}
    if kind is not None and stored.size <= MAX_CONTAINER_BYTES:
        with storage.opened(stored) as file:
            for member in CONTAINERS[kind].members(file, stored):
                name = shortened(member.name)
                if name in members and member.size <= most and not isinstance(member.content, UtteranceError):
                    with contextlib.suppress(UtteranceError):  # this one is broken since
                        found[name] = member.content.read(most)
                if len(found) == len(members):
                    break
    return found
