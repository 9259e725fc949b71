"""Mentions: which objects of an output name the recordings of an erasure request."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from detector.errors import SchemaError
from jobs import storage
from jobs.erasure.foreign import ids_in_foreign
from jobs.erasure.gaps import parquet_gaps
from jobs.erasure.own_objects import Nameless, below_own_folders, read_own
from jobs.erasure.packed import UNPACK_ERRORS
from jobs.erasure.parts import MAX_BYTES
from jobs.erasure.redaction import EXAMPLES, TOLD, ids_of_apart, ids_of_other
from jobs.erasure.request import ErasureRequest
from jobs.erasure.tables import ids_in_own_parquet, own_parquet
from jobs.inputs.requests import objects
from jobs.inputs.shards import Shard
from jobs.storage import SPECIAL, TOO_LONG, Listing, NotFoundError, Stored
from jobs.tables.canaries import Reference
from jobs.tables.erasures import NAMES_IN_SETTINGS
from jobs.tables.garbage import OBJECT_NAME
from jobs.tables.heads import KnownHead
from jobs.tables.ledger import TABLES
from jobs.tables.protocol import PLAN_NAME, Marker, Plan

UNREADABLE: tuple[type[Exception], ...] = (
    *(pa.ArrowException, SchemaError, OSError, KeyError, TypeError, ValueError, AttributeError),
    *UNPACK_ERRORS,
)


def find_mentions(output: str, request: ErasureRequest) -> tuple[list[str], int]:
    """Read every object under an output, drafts included, and list those that mention the recordings or cannot be read.

    Returns
    -------
    list of str
        An object's URI and the problem with it.
    int
        How many objects there are.
    """
    found = everything(output)
    problems = [
        f"{stored.uri}: {problem}"
        for stored, content in contents_of(output, found)
        if (problem := problem_with(output, stored, content, request))
        and (problem := _lasting(output, stored, problem, request))
    ]
    return [*problems, *unread(output), *named_folders(output, request)], len(found)


def _lasting(output: str, stored: Stored, problem: str, request: ErasureRequest) -> str:
    """Return a problem with an object, or an empty text if the draft of a writer at work has become an object."""
    for pause in PAUSES if stored.uri in {each.uri for each in storage.drafts(output)} else ():
        time.sleep(pause)
        ((_, content),) = contents_of(output, [stored])
        problem = problem_with(output, stored, content, request)
        if not problem:
            break
    return problem


def contents_of(output: str, found: Iterable[Stored]) -> Iterator[tuple[Stored, bytes | None]]:
    """Yield objects with their content, several read at once; None for one that is gone, or larger than any is read."""

    def content(stored: Stored) -> bytes | None:
        is_read = stored.size <= MAX_BYTES or is_rewritten(stored.uri.removeprefix(f"{output}/"))
        try:
            return storage.read_bytes(stored.uri) if is_read else None
        except NotFoundError:
            return None

    return objects(content, found, lambda stored: stored.size)


PAUSES = (0.1, 0.4, 1.6)  # in seconds, for a draft

UNREAD = {
    "broken": "a link to nothing, which is not followed",
    SPECIAL: "a pipe, socket or device, which is not read",
    TOO_LONG: "a longer path than the system takes, which cannot be read",
}


def everything(output: str) -> list[Stored]:
    """List all objects under an output: also hidden ones, and drafts, which no other listing has."""
    found = storage.survey(output) or Listing([])
    return sorted({each.uri: each for each in (*found.objects, *storage.drafts(output))}.values())


def unread(output: str) -> list[str]:
    """Describe what is below the output and is not read: pipes, too long paths, folders that may not be listed;
    and links, also those to files, which are read, and of which only the link would be replaced.

    Each has a name, and a link a target, either of which may name a recording.
    """
    found = storage.survey(output) or Listing([])
    folder = "a link to a folder, which is not followed"
    links = [f"{each.first}: {UNREAD.get(reason, folder)}" for reason, each in found.links.items()]
    denied = [f"{uri}: a folder that this user may not list" for uri in found.denied]
    linked = [f"{uri}: a link to a file, which lies elsewhere and would stay" for uri in storage.linked_files(output)]
    return [*(f"{each}, so what it mentions is not known" for each in links + denied), *linked]


def named_folders(output: str, request: ErasureRequest) -> list[str]:
    """Describe empty folders whose name mentions the recordings."""
    named = (
        (uri, request.ids_in_foreign_text(below_own_folders(uri.removeprefix(f"{output}/"))))
        for uri in storage.empty_folders(output)
    )
    return [f"{uri}: an empty folder whose name mentions {', '.join(sorted(ids))}" for uri, ids in named if ids]


def problem_with(output: str, stored: Stored, content: bytes | None, request: ErasureRequest) -> str:
    """Say which recordings an object mentions, or why it cannot be read; return an empty text if neither holds.

    Parameters
    ----------
    content : bytes or None
        From :func:`contents_of`.
    """
    name = stored.uri.removeprefix(f"{output}/")
    unreadable = "cannot be read, so what it mentions is not known:"
    if stored.size > MAX_BYTES and not is_rewritten(name):
        return f"{unreadable} it has {stored.size:,} bytes, and at most {MAX_BYTES:,} are read"
    if content is None:
        return ""  # removed since it was listed
    try:
        ids = set().union(*_ids_in_object(name, content, request))
    except UNREADABLE as error:
        return f"{unreadable} {' '.join(str(error).split()) or type(error).__name__}"
    return f"mentions {', '.join(sorted(ids))}" if ids else ""


def is_rewritten(name: str) -> bool:
    """Return True for the name, below an output, of a table's object, a plan, a marker, a record or a page."""
    folder, _, rest = name.partition("/")
    if folder in TABLES:
        return OBJECT_NAME.fullmatch(storage.name_of(rest)) is not None
    if folder == "_plans":
        return PLAN_NAME.search(name) is not None
    return (folder == "_commits" and name.endswith(".json")) or (folder == "runs" and name.endswith((".json", ".html")))


def _ids_in_object(name: str, content: bytes, request: ErasureRequest) -> Iterator[set[str]]:
    """Yield the requested ids that an object mentions: field by field if it is one of ours, else by its content."""
    if name.partition("/")[0] in TABLES and is_rewritten(name) and (table := own_parquet(content)):
        parquet_gaps(content, table.metadata)
        yield from ids_in_own_parquet(table, request)
        return
    ours = read_own(name, content)
    if ours is None:
        yield from ids_in_foreign(below_own_folders(name), content, request)
    elif isinstance(ours, Plan):
        yield ids_in_plan(ours, request)
    elif isinstance(ours, Marker):
        yield request.ids_in_label(ours.uri).union(
            *map(request.ids_in_setting, texts_in([ours.detail.get(name) for name in EXAMPLES]))
        )
    elif isinstance(ours, Reference | KnownHead | Nameless):
        yield set()  # canaries, versions, figures and the file of a head: no recordings
    elif isinstance(ours, str):
        yield request.ids_in_text(ours)
    else:
        yield ids_in_record(ours, request)


def ids_in_plan(plan: Plan, request: ErasureRequest) -> set[str]:
    """Return the requested ids that a plan names: as recordings, or as files that recordings are read from."""
    sources = (each for _, each in sources_named(plan, request))
    settings = map(request.ids_in_setting, texts_in([plan.detail.get(name) for name in TOLD]))
    return recordings_in_plan(plan, request).union(others_in_plan(plan, request), sources, *settings)


def sources_named(plan: Plan, request: ErasureRequest) -> Iterator[tuple[str, str]]:
    """Yield what is read from each file of a plan that has a requested id itself (or else its URI), and that id."""
    for shard in shards_of(plan):
        users = list(shard.ids())
        users += [(source.uri, "") for source in shard.sources if source.uri not in dict(users)]
        apart = ids_of_apart(shard, request)
        yield from ((user or uri, each) for uri, user in users for each in request.ids_of_file(uri, user) | apart)


def recordings_in_plan(plan: Plan, request: ErasureRequest) -> set[str]:
    """Return the requested ids that a plan lists as recordings."""
    return set().union(*(request.ids_of(name) for shard in shards_of(plan) for _, name in shard.names or ()))


def others_in_plan(plan: Plan, request: ErasureRequest) -> set[str]:
    """Return the requested ids that a plan lists as those for which another source is not heard."""
    return set().union(*(ids_of_other(shard, request) for shard in shards_of(plan)))


def shards_of(plan: Plan) -> Iterator[Shard]:
    """Yield the shards of an archive that a plan reads; a plan of scores has none."""
    return (Shard.from_content(each.work) for each in plan.entries if each.has_sources)


def ids_in_record(record: dict[str, Any], request: ErasureRequest) -> set[str]:
    """Return the requested ids that a run's record names, in its settings and among the shards that raised an alarm."""
    settings = record.get("settings", {})
    told = [settings.get(name) for name in NAMES_IN_SETTINGS]
    texts = texts_in([*told, *(record.get(name) for name in EXAMPLES)])
    return set().union(*map(request.ids_in_label, record.get("alarms", ())), *map(request.ids_in_setting, texts))


def texts_in(value: Any) -> Iterator[str]:
    """Yield all texts in JSON values, but for the names of its fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for each in value.values() for text in texts_in(each))
    elif isinstance(value, list | tuple):
        yield from (text for each in value for text in texts_in(each))
