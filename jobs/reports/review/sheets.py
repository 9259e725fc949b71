"""Sheets: the review queue as a file that people fill in, and what they filled in.

```
FORMATS["csv"]           a table for a spreadsheet; `label` is empty, and is to be bonafide, spoof or unsure
FORMATS["label-studio"]  tasks for Label Studio, with the head's guess; back comes its JSON export
```
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from detector.errors import SchemaError
from detector.schema import LABELS
from jobs.reports.review.players import link_of

UNSURE = "unsure"
CHOICES = (*LABELS, UNSURE)
FIRST = ("utterance_id", "label", "reviewer", "system", "speaker", "source", "language")
FACTS = (
    "why",
    "score",
    "p_spoof",
    "entropy_bits",
    "ood",
    "seconds",
    "alike",
    "uri",
    "member",
    "start",
    "end",
    "channel",
)
GIVEN = ("system", "speaker", "source", "language")
"""What a reviewer may know beside the label; `fit` takes it."""

FORMULA = tuple("=+-@\t\r\n＝＋－＠")
CHOICE, AUDIO = "label", "audio"  # names of the tags in Label Studio's labelling interface
LABELLING = f"""\
<View>
  <Audio name="{AUDIO}" value="${AUDIO}"/>
  <Text name="why" value="$why"/>
  <Choices name="{CHOICE}" toName="{AUDIO}" choice="single" showInline="true">
    <Choice value="bonafide"/> <Choice value="spoof"/> <Choice value="unsure"/>
  </Choices>
</View>
"""
"""The labelling interface that the tasks are for."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Annotation:
    """What a reviewer said of a recording; `label` is None where nothing was said yet."""

    utterance_id: str
    label: str | None
    reviewer: str
    where: str
    given: dict[str, str]


@dataclass(frozen=True)
class SheetFormat:
    """How a queue is written, and read once it is filled in; both raise nothing but :class:`SchemaError`."""

    write: Callable[[Iterable[Row]], bytes]
    read: Callable[[bytes, str], list[Annotation]]


def escape_formula(text: str) -> str:
    """A text that no spreadsheet takes for a formula: what may be one gets an apostrophe, and so does what has one.

    Examples
    --------
    >>> [harmless(text) for text in ("calls/a.flac", "=1+1", "'quoted")]
    ['calls/a.flac', "'=1+1", "''quoted"]

    References
    ----------
    OWASP, CSV Injection.
    """
    return f"'{text}" if text.startswith((*FORMULA, "'")) else text


def unescape_formula(text: str) -> str:
    """What :func:`harmless` was given.

    Examples
    --------
    >>> meant(harmless("=1+1")), meant("plain")
    ('=1+1', 'plain')
    """
    return text.removeprefix("'")


def write_csv(rows: Iterable[Row]) -> bytes:
    """The queue as a table; UTF-8 with a mark, by which spreadsheets know it."""
    file = io.StringIO(newline="")
    table = csv.writer(file)
    table.writerow((*FIRST, *FACTS))
    for row in rows:
        cells = [row.get(name) for name in (*FIRST, *FACTS)]
        table.writerow(
            ["" if cell is None else escape_formula(cell) if isinstance(cell, str) else cell for cell in cells]
        )
    return file.getvalue().encode("utf-8-sig")


def read_csv(content: bytes, where: str) -> list[Annotation]:
    """A table that was filled in, with commas, semicolons or tabs between its columns."""
    try:
        text = content.decode("utf-8-sig")
        separator = max(",;\t", key=text.partition("\n")[0].count)
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        rows = list(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SchemaError(f"{where}: no table of text in UTF-8: {error}. Save it as CSV, UTF-8.") from error
    for name in FIRST[:2]:
        if name not in (table.fieldnames or ()):
            raise SchemaError(f"{where}: no column `{name}`; found {', '.join(table.fieldnames or ()) or 'none'}.")
    heard = []
    for number, row in enumerate(rows, start=2):
        cells = {
            name: unescape_formula(cell)
            for name, cell in row.items()
            if isinstance(name, str) and isinstance(cell, str)
        }
        if not any(cells.values()):
            continue  # a spreadsheet's empty lines
        place = f"{where} row {number}"
        label = _label(cells.get("label", ""), place)
        given = {name: cells[name] for name in GIVEN if cells.get(name)}
        heard.append(Annotation(cells.get("utterance_id", ""), label, cells.get("reviewer", "").strip(), place, given))
    return heard


def write_tasks(rows: Iterable[Row]) -> bytes:
    """The queue as Label Studio imports tasks: `data`, and the head's guess as a prediction.

    References
    ----------
    Label Studio's documentation, Import pre-annotated data: https://labelstud.io/guide/predictions
    """
    tasks = []
    for row in rows:
        data = {name: row.get(name) for name in (FIRST[0], *GIVEN, *FACTS)}
        tasks.append(
            {
                "data": data | {AUDIO: link_of(row["uri"]) or row["uri"]},
                "predictions": [
                    {
                        "model_version": row["head_id"],
                        "score": max(row["p_spoof"], 1.0 - row["p_spoof"]),
                        "result": [
                            {
                                "from_name": CHOICE,
                                "to_name": AUDIO,
                                "type": "choices",
                                "value": {"choices": [row["guess"]]},
                            }
                        ],
                    }
                ],
            }
        )
    return (json.dumps(tasks, indent=1) + "\n").encode()


def read_tasks(content: bytes, where: str) -> list[Annotation]:
    """Label Studio's JSON export: every annotation that was not cancelled, by whom it is.

    References
    ----------
    Label Studio's documentation, Task format: https://labelstud.io/guide/task_format
    """
    try:
        tasks = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{where}: no JSON: {error}. Expected Label Studio's export as JSON.") from error
    if not isinstance(tasks, list):
        raise SchemaError(f"{where}: {type(tasks).__name__}; expected a list of tasks, Label Studio's export as JSON.")
    heard = []
    for number, task in enumerate(tasks, start=1):
        place = f"{where} task {number}"
        try:
            name, given = task["data"]["utterance_id"], task["data"]
            said = [each for each in task["annotations"] if not each.get("was_cancelled", False)]
            known = {each: given[each] for each in GIVEN if isinstance(given.get(each), str) and given[each]}
            labels = [(_chosen(each["result"], place), _reviewer(each.get("completed_by"))) for each in said]
        except (TypeError, KeyError, AttributeError, IndexError) as error:
            raise SchemaError(
                f"{where} task {number}: {type(error).__name__} {error}; expected data.utterance_id and annotations. "
                f"Export as JSON, not as JSON-MIN."
            ) from error
        if not isinstance(name, str):
            raise SchemaError(f"{place}: its utterance_id is {type(name).__name__}; expected text.")
        heard += [Annotation(name, label, reviewer, place, known) for label, reviewer in labels or [(None, "")]]
    return heard


FORMATS = {"csv": SheetFormat(write_csv, read_csv), "label-studio": SheetFormat(write_tasks, read_tasks)}


def _label(text: str, where: str) -> str | None:
    """One of the labels, however it is capitalised; None for an empty cell."""
    label = text.strip().lower()
    if label and label not in CHOICES:
        raise SchemaError(f"{where}: label {text[:40]!r}; expected {', '.join(CHOICES)} or nothing.")
    return label or None


def _chosen(result: list[dict[str, Any]], where: str) -> str | None:
    chosen = [each["value"]["choices"] for each in result if each["from_name"] == CHOICE]
    if len(chosen) > 1 or any(len(choices) != 1 for choices in chosen):
        raise SchemaError(f"{where}: {chosen}; expected one choice.")
    return _label(str(chosen[0][0]), where) if chosen else None


def _reviewer(completed_by: Any) -> str:
    """A user's number, or, where the export has more of them, the address."""
    if isinstance(completed_by, dict):
        return str(completed_by.get("email") or completed_by.get("id") or "")
    return "" if completed_by is None else str(completed_by)
