"""Logs: a record is a line, in words for people or as JSON for machines."""

from __future__ import annotations

import datetime
import json
import logging
import sys

FORMATS = ("text", "json")
QUIET = ("botocore", "aiobotocore", "s3fs", "fsspec")

_known: dict[str, str] = {}  # what every line of this process says besides


def begin(form: str, verb: str) -> None:
    """Send what is logged to stderr.

    Parameters
    ----------
    form : str
        One of :data:`FORMATS`.
    verb : str
        What this process does.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LINES if form == "text" else _Json())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in QUIET:
        logging.getLogger(noisy).setLevel(logging.ERROR)
    _known.clear()
    bind(verb=verb)


def bind(**facts: str) -> None:
    """Let every line from now on say this, where it is JSON."""
    _known.update(facts)


def bound(fact: str) -> str | None:
    """What :func:`know` was told."""
    return _known.get(fact)


def printable(text: str) -> str:
    """A text without what moves a cursor, ends a line or turns the reading direction: that is spelt out.

    Examples
    --------
    >>> print(printable("a\\n\\x1b[2J\\u202e日本.flac"))
    a\\n\\x1b[2J\\u202e日本.flac
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class _Words(logging.Formatter):
    """What names of an archive bring along, line ends, escapes of a terminal, is spelt out."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it so
        record.message = printable(record.message)
        return super().formatMessage(record)


class _Json(logging.Formatter):
    """An object with time, level, message, what is known of the run, and `shard` where it is about one."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **_known,
        }
        if shard := getattr(record, "shard", None):
            line["shard"] = shard
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


LINES = _Words("%(asctime)s %(levelname)s %(message)s")
