"""Heads of an output: which have judged its rows, what people call them, and which one `nightly` ran last.

```
heads/<head_id>.json      one head: its name, since when, and the figures of its report
heads/active.json         the head that `nightly` ran last
```

A head is introduced before its first rows are planned. Outputs of earlier versions lack these objects: their heads are
called by their ids, and the one that scored last is the active one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from detector.config import STARTER
from detector.errors import ConfigError, SchemaError
from detector.head import Head
from detector.head_checks import is_number
from detector.schema import LABELS
from jobs import storage
from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.ledger import Ledger, keys

FOLDER = "heads"
ACTIVE = "active.json"
FILE = re.compile(r"([0-9a-f]{16})\.json")
"""The name of the file of a head; others in the folder are not ours."""

NAME = re.compile(r"\w[\w.+-]{0,63}")
FIGURES = {"equal_error_rate": "eer", "cllr": "cllr", "expected_calibration_error": "ece"}
STATES = ("active", "retired")


@dataclass(frozen=True)
class KnownHead:
    """A head that has judged rows of an output.

    Parameters
    ----------
    head_id, name : str
    since : str
        Date of its first rows, `YYYY-MM-DD`.
    file : str or None
        Where it was read from, or `starter`; None where an earlier version introduced it.
    figures : dict
        Of its report on held-out groups: `eer`, `cllr`, `ece`; `risk` and `coverage`; `trained_bonafide` and
        `trained_spoof`, the rows that it was fitted on.
    state : str
        One of :data:`STATES`.
    """

    head_id: str
    name: str
    since: str
    file: str | None
    figures: dict[str, float]
    state: str = STATES[1]


def known_heads(output: str, active: str | None = None) -> list[KnownHead]:
    """Return the heads of an output, the active one first, then the last first.

    Parameters
    ----------
    active : str, optional
        What :func:`active_head` returns, if it is known already.
    """
    return _in_order(output, {*_noted(output), *keys(output, "scores")}, active or active_head(output))


def noted_heads(output: str, active: str | None) -> list[KnownHead]:
    """Return the heads that are noted, in the same order, for whoever may not read plans."""
    return _in_order(output, _noted(output), active)


def _noted(output: str) -> set[str]:
    names = (storage.name_of(each.uri) for each in storage.listing(storage.join(output, FOLDER)) or [])
    return {found[1] for name in names if (found := FILE.fullmatch(name))}


def _in_order(output: str, ids: set[str], active: str | None) -> list[KnownHead]:
    heads = [_known(output, head_id) for head_id in ids]
    heads = [replace(each, state=STATES[each.head_id != active]) for each in heads]
    heads.sort(key=lambda each: (each.since, each.head_id), reverse=True)
    return sorted(heads, key=lambda each: each.state)


def active_head(output: str) -> str | None:
    """Return the id of the head that `nightly` ran last; else of the one that scored last; None where none did."""
    uri = _uri(output, ACTIVE)
    if storage.stat(uri) is not None:
        return str(load_checksummed(storage.read_bytes(uri), uri)["head_id"])
    last = {head_id: Ledger(output, "scores", head_id).history().plans for head_id in keys(output, "scores")}
    return max((head_id for head_id in last if last[head_id]), key=lambda each: last[each][-1].run_id, default=None)


def named_head(output: str, name: str) -> KnownHead | None:
    """Return the head of this name or id; None if it is none, such as the path of a head's file."""
    return next((each for each in known_heads(output) if name in (each.name, each.head_id)), None)


def named_or_file(outputs: Sequence[str], given: str) -> KnownHead | None:
    """Return the head of this name or id in the first output that has one; None for a head's file, or the starter.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    named = next((head for output in outputs if (head := named_head(output, given))), None)
    if named is None and given != STARTER and storage.stat(storage.normal(given)) is None:
        names = ", ".join(head.name for output in outputs for head in known_heads(output)) or "none"
        raise ConfigError(
            f"{given}: neither a file nor the name of a head in {', '.join(outputs)}; the heads there: {names}. Check "
            f"the spelling, or give the path of a head.json."
        )
    return named


def file_of(head: KnownHead) -> str:
    """Return where a head can be read.

    Raises
    ------
    ConfigError
        If an earlier version introduced it, which did not note that.
    """
    if head.file is None:
        raise ConfigError(f"head {head.name}: nothing says where its file is. Give the path of its head.json.")
    return head.file


def introduce(output: str, head: Head, file: str, date: str) -> str:
    """Note a head before its first rows are planned; return its name. A head that is known keeps what was noted."""
    uri = _uri(output, f"{head.head_id}.json")
    if storage.stat(uri) is None:
        entry = KnownHead(head.head_id, _free_name(output, head.head_id, file), date, file, _figures(head.training))
        storage.put(uri, _content(entry), storage.ABSENT)
    return _known(output, head.head_id).name


def activate(output: str, head_id: str) -> None:
    """Make a head the active one; of two that do so at once, one stays."""
    _write(_uri(output, ACTIVE), dump_checksummed({"head_id": head_id}))


def head_from_json(text: bytes, uri: str) -> KnownHead:
    """Return what is noted of a head.

    Raises
    ------
    SchemaError
        If it is damaged, or holds what no head has: the views of SQL are made from it.
    """
    content = load_checksummed(text, uri)
    figures = content.pop("figures", None)
    is_ours = {*content} == {"head_id", "name", "since", "file"} and isinstance(figures, dict)
    texts = [text for name, text in content.items() if (name, text) != ("file", None)]
    if not (is_ours and all(isinstance(text, str) for text in texts) and all(map(is_number, figures.values()))):
        raise SchemaError(f"{uri}: holds something else than names and numbers. Remove it: the head is known without.")
    return KnownHead(**content, figures=figures)


def verify_heads(output: str) -> Iterator[str]:
    """Yield a message for each object under `heads/` that is damaged, or that no run wrote."""
    for stored in storage.listing(storage.join(output, FOLDER)) or []:
        name = storage.name_of(stored.uri)
        if name != ACTIVE and not FILE.fullmatch(name):
            yield f"{stored.uri}: was not written by a run; remove it"
            continue
        content = storage.read_bytes(stored.uri)
        try:
            found = (
                load_checksummed(content, stored.uri) if name == ACTIVE else vars(head_from_json(content, stored.uri))
            )
        except (SchemaError, ValueError) as error:
            yield str(error)
            continue
        head_id = found.get("head_id")
        if not isinstance(head_id, str) or name not in (ACTIVE, f"{head_id}.json"):
            yield f"{stored.uri}: is of the head {head_id!r}; it was copied or renamed. Remove it."


def copy_heads(output: str, place: str) -> None:
    """Note the heads of an output in its compacted copy, too, which lacks plans and records to tell them from."""
    active = active_head(output)
    for head in known_heads(output, active):
        _write(_uri(place, f"{head.head_id}.json"), _content(head))
    if active is not None:
        activate(place, active)


def rename(output: str, name: str, to: str) -> KnownHead:
    """Give a head another name; rows that it has judged keep the one that they were written with.

    Raises
    ------
    ConfigError
        If there is no such head, or the new name is taken or no word.
    """
    head = named_head(output, name)
    if head is None:
        names = ", ".join(each.name for each in known_heads(output)) or "none"
        raise ConfigError(f"{output}: no head is called {name!r}; its heads: {names}.")
    if not NAME.fullmatch(to):
        raise ConfigError(f"name {to!r}; expected a letter or digit, then letters, digits and any of ._+-, up to 64.")
    if any(to in (each.name, each.head_id) for each in known_heads(output) if each.head_id != head.head_id):
        raise ConfigError(f"{output}: another head is called {to!r}; choose another name.")
    named = replace(head, name=to)
    _write(_uri(output, f"{head.head_id}.json"), _content(named))
    return named


def _free_name(output: str, head_id: str, file: str) -> str:
    """Return the name of the head's file, with digits of its id where that says nothing or is taken."""
    if file == STARTER:
        return STARTER
    stem = PurePosixPath(file).stem
    taken = {each.name for each in known_heads(output)}
    return stem if NAME.fullmatch(stem) and stem not in {*taken, "head"} else f"head-{head_id[:6]}"


def _figures(training: dict[str, Any]) -> dict[str, float]:
    held_out = training.get("held_out") or {}
    found = {short: held_out[name] for name, short in FIGURES.items() if held_out.get(name) is not None}
    shown = {name: name for name in ("risk", "coverage")} | {label: f"trained_{label}" for label in LABELS}
    return found | {shown[name]: training[name] for name in shown if training.get(name) is not None}


def _known(output: str, head_id: str) -> KnownHead:
    uri = _uri(output, f"{head_id}.json")
    if storage.stat(uri) is not None:
        return head_from_json(storage.read_bytes(uri), uri)
    first = Ledger(output, "scores", head_id).first_plan()
    return KnownHead(head_id, head_id, first.run_date, None, {})


def _content(head: KnownHead) -> bytes:
    content = asdict(head)
    del content["state"]  # it follows from the active head
    return dump_checksummed(content, indent=1)


def _write(uri: str, content: bytes) -> None:
    """Write an object unless it has this content already, or another command writes it at the same time."""
    before = storage.stat(uri)
    if before is None or storage.read_bytes(uri) != content:
        storage.put(uri, content, storage.ABSENT if before is None else before.etag)


def _uri(output: str, name: str) -> str:
    return storage.join(output, FOLDER, name)
