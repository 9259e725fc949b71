"""Players: how a page lets a person hear a recording: not at all, by a link, or from bytes that the page holds."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import posixpath
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

from detector.errors import ShardError, UtteranceError
from jobs import storage
from jobs.errors import RunAgain, StorageError
from jobs.inputs.containers import CONTAINERS, container_kind, shortened
from jobs.scoring.marks import Window

MAX_RECORDING_BYTES = 2 << 20  # embedded in a page
MAX_PAGE_BYTES = 24 << 20  # of all embedded recordings; base64 adds a third
MAX_CONTAINER_BYTES = 256 << 20  # that is read again for a few of its members
LINK_SCHEMES = ("file", "s3", "https", "http")  # none that runs a script or reads the page's own content
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
"""Types that browsers play, by the suffix of a name."""

log = logging.getLogger(__name__)

Row = dict[str, Any]


def link_of(uri: str) -> str | None:
    r"""Return the address of a stored object for a link, or None if links of its scheme are not allowed.

    Examples
    --------
    >>> link_of("/data/a b.flac"), link_of("s3://archive/a#1.flac")
    ('file:///data/a%20b.flac', 's3://archive/a%231.flac')
    >>> link_of(r"/data/caf\xe9.flac"), link_of("javascript://%0aalert(1)") is None
    ('file:///data/caf%E9.flac', True)
    """
    scheme, separator, place = uri.partition("://")
    if not separator:
        scheme, place = "file", uri
    if scheme not in LINK_SCHEMES or (not separator and not uri.startswith("/")):
        return None
    if scheme == "file":
        return f"file://{urllib.parse.quote(storage.bytes_of(place))}"
    return f"{scheme}://{urllib.parse.quote(place, safe='/:@[]%' if scheme.startswith('http') else '/')}"


def fragment(file_start: float | None, window: Window) -> str:
    """Return the end of an address at which a player starts and stops, for a recording that starts within its file.

    References
    ----------
    W3C, Media Fragments URI 1.0.

    Examples
    --------
    >>> fragment(None, Window(61.5, 65.5, -3.0, 0.95))
    '#t=61.5,65.5'
    """
    first = file_start or 0.0
    return f"#t={first + window.start_seconds:.1f},{first + window.end_seconds:.1f}"


def players(rows: Iterable[Row], kind: str, hashes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the players of rows by id: `link`, and `data` if the page holds the bytes.

    Recordings are embedded in the order of the rows, up to :data:`MAX_PAGE_BYTES`. A recording has only a link if it is
    larger than :data:`MAX_RECORDING_BYTES`, lies in a container larger than :data:`MAX_CONTAINER_BYTES`, is of no type
    that browsers play, cannot be read any more, or is not what was heard: who may write below the archive could have
    put a link to a secret there since.

    Parameters
    ----------
    rows : iterable of dict
        With `utterance_id`, `uri` and `member`; players start at the first window of `marked`, if there is one.
    kind : str
        One of :data:`jobs.reports.nightly.config.PLAYERS`.
    hashes : mapping
        SHA-256 of what was heard, by id; bytes are embedded of these recordings only.
    """
    rows = list(rows)
    if kind == "none":
        return {}
    links = {row["utterance_id"]: link + _where(row) for row in rows if (link := link_of(row["uri"]))}
    by_id = {name: {"link": link} for name, link in links.items()}
    if kind == "embed":
        for name, data in _data_urls(rows, hashes).items():
            by_id.setdefault(name, {})["data"] = data
    return by_id


def _where(row: Row, *, held: bool = False) -> str:
    """Return the fragment of a row's most suspicious window; a link to a container has none, for no part is in it."""
    return fragment(row.get("start"), row["marked"][0]) if row.get("marked") and (held or not row["member"]) else ""


def _data_urls(rows: list[Row], hashes: Mapping[str, str]) -> dict[str, str]:
    """Return recordings as `data:` URLs, by id; each stored object is read once."""
    by_object: dict[str, list[Row]] = {}
    for row in rows:
        if _media_type(row) is not None and row["utterance_id"] in hashes:
            by_object.setdefault(row["uri"], []).append(row)
    urls, bytes_left = {}, MAX_PAGE_BYTES
    for uri, object_rows in by_object.items():
        if bytes_left <= 0:
            break
        try:
            contents = _contents(uri, {row["member"] for row in object_rows}, min(bytes_left, MAX_RECORDING_BYTES))
        except (StorageError, RunAgain, ShardError, storage.NotFoundError) as error:
            log.warning("%s: no player for %d recording(s): %s", uri, len(object_rows), error)
            continue
        for row in object_rows:
            content = contents.get(row["member"])
            is_same = content is not None and hashlib.sha256(content).hexdigest() == hashes[row["utterance_id"]]
            if content is not None and is_same and len(content) <= bytes_left:
                bytes_left -= len(content)
                data = base64.b64encode(content).decode()
                urls[row["utterance_id"]] = f"data:{_media_type(row)};base64,{data}{_where(row, held=True)}"
    return urls


def _media_type(row: Row) -> str | None:
    return MEDIA_TYPES.get(posixpath.splitext(row["member"] or row["uri"])[1].lower())


def _contents(uri: str, members: set[str | None], max_bytes: int) -> dict[str | None, bytes]:
    """Read an object, or members of a container, except those of more than ``max_bytes``."""
    stored = storage.stat(uri)
    if stored is None:
        raise storage.NotFoundError(f"{uri}: not found; it existed when it was scored.")
    if members == {None}:
        return {None: storage.read_bytes(uri)} if stored.size <= max_bytes else {}
    kind = container_kind(uri)
    contents: dict[str | None, bytes] = {}
    if kind is not None and stored.size <= MAX_CONTAINER_BYTES:
        with storage.opened(stored) as file:
            for member in CONTAINERS[kind].members(file, stored):
                name = shortened(member.name)
                if name in members and member.size <= max_bytes and not isinstance(member.content, UtteranceError):
                    with contextlib.suppress(UtteranceError):  # damaged since it was scored: no player
                        contents[name] = member.content.read(max_bytes)
                if len(contents) == len(members):
                    break
    return contents
