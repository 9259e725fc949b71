"""The label track: parts of one recording in the text file that Audacity imports and exports.

A line is a start, an end and a label, in seconds, with tabs between them. The first one, a label without length, names
the recording, so that a file that was renamed or moved still says whose parts it holds. It stands where the recording
starts in its file: times of a track are those of the file, of which the recording may be a part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from detector.errors import SchemaError
from detector.schema import LABELS
from jobs.inputs.parts import LATEST_SECONDS, Part
from jobs.reports.review.annotations import EARLY_SECONDS, UNSURE
from jobs.scoring.marks import Window
from jobs.telemetry.names import original, reversibly

NAMES = "recording "
"""Beginning of the label that names the recording."""

MAX_LINES = 100_000
FREQUENCIES = "\\"
"""Beginning of a line in which Audacity keeps the frequencies of the label above it."""


def write_track(utterance_id: str, windows: Iterable[Window], file_start: float = 0.0) -> bytes:
    r"""Write windows for a person to judge: each is `unsure` until its label is changed.

    Examples
    --------
    >>> print(write_track("calls/a.flac", [Window(61.5, 65.5, -3.25, 0.96)]).decode().expandtabs(10), end="")
    0.000000  0.000000  recording calls/a.flac
    61.500000 65.500000 unsure, score -3.25

    References
    ----------
    Audacity's manual, Importing and Exporting Labels.
    """
    lines = [(0.0, 0.0, f"{NAMES}{reversibly(utterance_id)}")]
    lines += [(start, end, f"{UNSURE}, score {score:.2f}") for start, end, score, _ in windows]
    times = ((file_start + start, file_start + end, label) for start, end, label in lines)
    return "".join(f"{start:.6f}\t{end:.6f}\t{label}\n" for start, end, label in times).encode()


def read_track(content: bytes, where: str) -> tuple[str, list[Part]]:
    r"""Read the recording's id and its labelled parts; those that are still `unsure` are left out.

    The first word of a label counts, in any capitalisation; what follows a comma or a space is a note.

    Raises
    ------
    SchemaError
        If it is no label track in UTF-8, does not name one recording, or has an unknown label or an impossible time.

    Examples
    --------
    >>> read_track(b"0\t0\trecording a.flac\n61.5\t65\tSpoof, a click\n70\t74\tunsure\n", "labels.txt")
    ('a.flac', [Part(start_seconds=61.5, end_seconds=65.0, label='spoof')])
    """
    try:
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise SchemaError(f"{where}: not UTF-8: {error}. Export the labels from Audacity as text.") from error
    if len(lines) > MAX_LINES:
        raise SchemaError(f"{where}: {len(lines):,} lines; expected {MAX_LINES:,} at most.")
    names: set[tuple[str, float]] = set()
    parts = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(FREQUENCIES):
            continue
        start, end, label = _line(line, f"{where} line {number}")
        if label.startswith(NAMES):
            names.add((original(label.removeprefix(NAMES)), start))
            continue
        word = label.replace(",", " ").split()[0].lower() if label.strip(", ") else ""
        if word not in (*LABELS, UNSURE):
            raise SchemaError(f"{where} line {number}: label {label[:40]!r}; expected {', '.join(LABELS)} or {UNSURE}.")
        if word == UNSURE:
            continue
        if start == end:
            raise SchemaError(f"{where} line {number}: a point, not a part. Drag its ends apart, or delete it.")
        parts.append((number, start, end, word))
    if len(names) != 1:
        raise SchemaError(
            f"{where}: {len(names)} recordings are named; expected one, by a label `{NAMES}ID`, as it was exported."
        )
    ((name, first),) = names
    return name, [_part(start - first, end - first, label, f"{where} line {n}") for n, start, end, label in parts]


def _part(start: float, end: float, label: str, where: str) -> Part:
    if start < -EARLY_SECONDS:
        raise SchemaError(
            f"{where}: starts {-start:g} s before the label `{NAMES}ID`, which stands where the recording starts. "
            f"Put back the one that was moved."
        )
    return Part(max(start, 0.0), end, label)


def _line(line: str, where: str) -> tuple[float, float, str]:
    cells = line.split("\t")
    try:
        start, end = (float(each) for each in cells[:2])
    except ValueError:
        start = end = math.nan
    if len(cells) != 3 or not 0.0 <= start <= end <= LATEST_SECONDS:
        raise SchemaError(f"{where}: {line[:60]!r}; expected a start, an end and a label with tabs between them.")
    return start, end, cells[2]
