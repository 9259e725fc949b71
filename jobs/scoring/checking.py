"""A check of a few recordings: one line each on stdout, and nothing written.

```
loading thread    ├─ import torch, load the encoder ─┤
main thread       ├─ start a decoder ─┤              ├─ decode, judge, print ─┤ …
```
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, BinaryIO

from detector.api import ACCEPTED, Detector, Verdict
from detector.audio import Excerpt
from detector.backbones import load_backbone
from detector.errors import UtteranceError
from detector.head import Head
from detector.schema import SPOOF
from jobs import storage
from jobs.config import ModelConfig, extract_config
from jobs.decoding import confinement, idle
from jobs.decoding.queue import DecodeQueue
from jobs.errors import UsageError
from jobs.execution.pandas_import import keep_pandas_out
from jobs.inputs.checkpoint import local_folder
from jobs.inputs.containers import container_kind
from jobs.scoring.config import CheckConfig
from jobs.scoring.heads import read_head, recipes_for
from jobs.telemetry.names import printable, say

STDIN = "-"
STDIN_BYTES = 1 << 30  # of a file whose size nobody tells beforehand; all of it is held in memory
FLAGGED, IN_DOUBT = 1, 3
UNREADABLE = "unreadable"
MOST_COLUMNS = 48  # of a name; a longer one pushes the rest of its line to the right

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Line:
    """What is said of one recording: its verdict, or why it has none."""

    name: str
    verdict: Verdict | None = None
    error: UtteranceError | None = None

    @property
    def decision(self) -> str:
        """`bona fide`, `spoof`, `undecided` or `unreadable`."""
        return UNREADABLE if self.verdict is None else self.verdict.decision

    def text(self, columns: int) -> str:
        """Return the line for people, with a name of so many columns.

        Examples
        --------
        >>> print(Line("cut.flac", error=UtteranceError("truncated", "1.2 of 9.0 s")).text(10))
        cut.flac:    unreadable                 truncated: 1.2 of 9.0 s
        """
        probability, why = "", f"{self.error.error}: {self.error.message}" if self.error else ""
        if self.verdict is not None:
            probability = self.verdict.probability and f"p_spoof {self.verdict.probability}"
            why = self.verdict.reject_reason or ""
        return f"{printable(self.name) + ':':{columns + 1}}  {self.decision:10}  {probability:13}  {why}".rstrip()

    def json(self, head: Head) -> str:
        """Return the line for programs: a JSON object, the columns of `scores` and `failures` in it."""
        verdict: dict[str, Any] = dict.fromkeys(each.name for each in fields(Verdict))
        if self.verdict is not None:
            verdict = asdict(self.verdict)
        failure = {name: getattr(self.error, name, None) for name in ("error", "message")}
        return json.dumps(
            {"file": self.name, "verdict": self.decision, **verdict, **failure, "head_id": head.head_id},
            allow_nan=False,
        )


def check(settings: CheckConfig) -> int:
    """Print a line for each recording, and return the exit code."""
    _refuse_many(settings.file)
    keep_pandas_out()
    head = read_head(settings.head, settings.require_signature, settings.backbone)
    confinement.set_mode(settings.confinement)
    columns = min(MOST_COLUMNS, max(len(printable(name)) for name in settings.file))
    found: Counter[str] = Counter()
    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(_loaded, head, settings)
        idle.start(head.embed_config.segment_seconds)
        detector = loading.result()
        for line in _lines(detector, settings):
            say(line.json(head) if settings.json else line.text(columns))
            found[line.decision] += 1
    log.info("%s", ", ".join(f"{n} {decision}" for decision, n in found.items()))
    return exit_code(found)


def exit_code(found: Counter[str]) -> int:
    """Return what a program is to make of the decisions.

    Examples
    --------
    >>> [exit_code(Counter(each)) for each in (["bona fide"], ["unreadable", "spoof"], ["undecided", "bona fide"])]
    [0, 1, 3]
    """
    if found[SPOOF]:
        return FLAGGED
    return os.EX_OK if found.keys() <= {ACCEPTED} else IN_DOUBT


def _refuse_many(names: tuple[str, ...]) -> None:
    """Refuse folders and containers: their recordings belong into tables."""
    for name in names:
        uri = storage.normal(name)
        is_folder = uri.endswith("/") or (storage.scheme_of(uri) == "file" and os.path.isdir(storage.path_of(uri)))
        if name != STDIN and (is_folder or container_kind(uri) is not None):
            raise UsageError(
                f"{name}: a {'folder' if is_folder else 'container'}; expected recordings. Use `bonafide score --input "
                f"…` to score all that is in it, or `bonafide nightly` to do so again whenever it has grown"
            )
    if names.count(STDIN) > 1:
        raise UsageError("- stands for standard input, which can be read once; found it twice")


def _loaded(head: Head, settings: CheckConfig) -> Detector:
    folder = local_folder(extract_config(settings, ModelConfig))
    recipes_for(head, folder, head.model, settings.head)
    return Detector(head, load_backbone(head.embed_config, folder, device=settings.device, layers=head.layers))


def _lines(detector: Detector, settings: CheckConfig) -> Iterator[Line]:
    channel = detector.channel_of()
    with DecodeQueue(detector.head.embed_config.segment_seconds, settings.max_seconds) as queue:
        for name in settings.file:
            try:
                with _opened(name) as file:
                    recording = queue.put(file, name, Excerpt(channel=channel))
                    line = Line(name, detector.judge_heard(recording, settings.prior, channel))
            except UtteranceError as error:
                line = Line(name, error=error)
            yield line


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """Open a recording, or raise why it is none."""
    if name == STDIN:
        yield _standard_input()
        return
    uri = storage.normal(name)
    try:
        stored = storage.stat(uri)
        if stored is None and storage.scheme_of(uri) == "file" and os.path.lexists(storage.path_of(uri)):
            raise UtteranceError("not_a_file", "a pipe, a device or a broken link. Pipe it in, and give - for its name")
        if stored is None:
            raise UtteranceError("missing", "no such file; check the spelling")
        with storage.opened(stored, whole=True) as file:
            yield io.BufferedReader(file, storage.READ_AHEAD_BYTES)
            file.verify()
    except storage.NoPermissionError as error:
        raise UtteranceError("no_permission", "you may not read it") from error
    except storage.NotFoundError as error:
        raise UtteranceError("missing", str(error)) from error


def _standard_input() -> BinaryIO:
    content = sys.stdin.buffer.read(STDIN_BYTES + 1)
    if len(content) > STDIN_BYTES:
        raise UtteranceError("too_large", f"more than {STDIN_BYTES >> 30} GiB on standard input; give the file's name")
    return io.BytesIO(content)
