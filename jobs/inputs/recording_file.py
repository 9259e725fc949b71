"""The file of one recording that a person names: a stored object, or a member of a container."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from detector.errors import ConfigError, ShardError, UtteranceError
from jobs import storage
from jobs.inputs.containers import CONTAINERS, Container, container_kind, shortened
from jobs.storage import Stored


@contextmanager
def opened_recording(uri: str) -> Iterator[BinaryIO]:
    """Open a recording, `container#member` for one in a container, without reading all of it into memory.

    As in ids, two signs stand behind a container without a suffix.

    Raises
    ------
    NotFoundError
        If there is no such object.
    ConfigError
        If the container cannot be read, has no such member, or has several.
    """
    place, member = _divided(uri)
    stored = storage.stat(storage.normal(uri))
    if stored is not None or not member:  # a file's own name may hold the sign
        if stored is None:
            raise _nothing_at(uri)
        with storage.opened(stored) as file:
            yield io.BufferedReader(file, storage.READ_AHEAD_BYTES)
        return
    stored = storage.stat(storage.normal(place))
    if stored is None:
        raise _nothing_at(place)
    container = CONTAINERS[container_kind(place) or "tar"]
    if (n_found := _count(container, stored, member)) > 1:
        raise ConfigError(f"{uri}: {n_found} members have this name, and nothing tells which is meant. Rename one.")
    try:
        with storage.opened(stored) as file:
            for each in container.members(file, stored):
                if member in (each.name, shortened(each.name)):
                    if isinstance(each.content, UtteranceError):
                        raise each.content
                    yield each.content
                    return
    except (ShardError, UtteranceError) as error:
        raise ConfigError(f"{uri}: cannot be read: {error}.") from error
    raise ConfigError(f"{uri}: no such member of the container. Give its name as the tables have it.")


def _nothing_at(uri: str) -> OSError | ConfigError:
    """Return the error of a name at which no object is."""
    if storage.scheme_of(uri) == "file" and os.path.isdir(storage.path_of(storage.normal(uri))):
        return ConfigError(f"{uri}: is a folder; expected one recording. Name a file in it.")
    return storage.NotFoundError(f"{uri}: not found. Check the spelling.")


def _divided(uri: str) -> tuple[str, str]:
    """Return container and member; the member is empty if none is named."""
    place, _, member = uri.partition("##")
    if not member or container_kind(place) is not None:
        place, _, member = uri.partition("#")
    return place, member


def _count(container: Container, stored: Stored, member: str) -> int:
    """Count the members of a name, as far as the container can be read."""
    n_found = 0
    with storage.opened(stored) as file, suppress(ShardError):
        for each in container.members(file, stored):
            n_found += member in (each.name, shortened(each.name))
    return n_found
