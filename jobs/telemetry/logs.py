"""The log: one line for each record, as text for people or as JSON for machines."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from typing import Any

from jobs.telemetry.names import printable

FORMATS = ("text", "json")
QUIET = ("botocore", "aiobotocore", "s3fs", "fsspec")

_bound: dict[str, str] = {}  # fields of every JSON line of this process


def begin(log_format: str, verb: str) -> None:
    """Send log records to stderr.

    Parameters
    ----------
    log_format : str
        One of :data:`FORMATS`.
    verb : str
        The verb that this process runs; a field of every JSON line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LINES if log_format == "text" else _Json())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in QUIET:
        logging.getLogger(noisy).setLevel(logging.ERROR)
    _bound.clear()
    bind(verb=verb)


def bind(**fields: str) -> None:
    """Add fields to every JSON line from now on."""
    _bound.update(fields)


def bound(field: str) -> str | None:
    """Return the value of a field that :func:`bind` added, or None."""
    return _bound.get(field)


class _Text(logging.Formatter):
    """Text, with :func:`printable` messages and tracebacks: names in an archive may hold line ends and escapes."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it by this name
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging calls it by this name
        # indented: a name in it cannot forge a line of the log
        return "\n".join(f"  {printable(line)}" for line in super().formatException(ei).splitlines())


class _Json(logging.Formatter):
    """A JSON object: time, level, message, the bound fields, and `shard` if the record is about one."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **_bound,
        }
        if shard := getattr(record, "shard", None):
            line["shard"] = shard
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


LINES = _Text("%(asctime)s %(levelname)s %(message)s")
