"""The command: `python -m jobs VERB` or `bonafide VERB`. Flags are made from the fields of each verb's settings."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import logging
import os
import signal
import sys
import threading
import types
from collections.abc import Sequence
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

from detector.errors import ConfigError, SchemaError
from jobs.errors import DefectError, RunAgain, StorageError

VERBS = {
    "manifest": "list an archive as one Parquet table",
    "embed": "embed an archive: one row an utterance",
    "fit": "fit a calibrated head on labelled embeddings",
    "score": "score embeddings or recordings with a head",
    "evaluate": "compare scores with labels",
    "nightly": "embed and score what is new since the last run",
    "review": "what to listen to goes out, labels come back in",
    "explain": "say how a head comes to its verdict on one recording",
    "keygen": "make a key pair that signs heads",
    "verify": "check the tables against what was committed",
    "gc": "remove what dead attempts left",
    "demo": "run the whole chain on a small archive that it makes",
}

EXIT_CODES = {
    ConfigError: 65,
    SchemaError: 65,
    StorageError: 69,
    RunAgain: 75,
    KeyboardInterrupt: 75,
}
"""What ends a run, and the code that a scheduler sees; any other error is a defect, 70."""

log = logging.getLogger(__name__)


class _OneLine(logging.Formatter):
    """A record is a line: what names of an archive bring along, line ends, escapes of a terminal, is spelt out."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it so
        record.message = printable(record.message)
        return super().formatMessage(record)


LINES = _OneLine("%(asctime)s %(levelname)s %(message)s")


def printable(text: str) -> str:
    """A text without what moves a cursor, ends a line or turns the reading direction: that is spelt out.

    Examples
    --------
    >>> print(printable("a\\n\\x1b[2J\\u202e日本.flac"))
    a\\n\\x1b[2J\\u202e日本.flac
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; return its exit code. The last line on stderr names the cause of any but 0."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LINES)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("botocore", "aiobotocore", "s3fs", "fsspec"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if threading.current_thread() is threading.main_thread():  # Python takes signals only there
        signal.signal(signal.SIGTERM, _stop)
    parsed = vars(_parser(arguments).parse_args(arguments))
    verb = importlib.import_module(f"jobs.{parsed.pop('verb')}")
    try:
        settings = parsed.pop("settings")
        return int(verb.run(settings(**parsed)))
    except tuple(EXIT_CODES) as error:
        code = next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
        return _end(code, str(error) or "interrupted; run the same command again")
    except DefectError as error:
        for line in f"a defect, in a worker: {error}".splitlines():
            log.error("%s", line)  # noqa: TRY400 - it brings the worker's traceback along
        return _end(70, str(error).strip().splitlines()[-1])
    except Exception as error:
        log.exception("a defect")
        return _end(70, f"{type(error).__name__}: {error}")


def entry() -> NoReturn:
    """The command's process: ends with the code of :func:`main`, whatever Ray and others do as they are torn down."""
    code = main()
    logging.shutdown()
    with contextlib.suppress(OSError):  # nobody reads any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _end(code: int, cause: str) -> int:
    """Name the cause in one line, the last on stderr."""
    print(f"error {code}: {printable(' '.join(cause.split()))}", file=sys.stderr)
    return code


def _stop(_number: int, _frame: object) -> None:
    """A machine is taken away: what is committed stays, and the same command goes on from there."""
    raise RunAgain("stopped by SIGTERM; run the same command again")


def _parser(arguments: Sequence[str] | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bonafide", description="Find synthetic speech in large archives.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    given = list(sys.argv[1:] if arguments is None else arguments)
    for name, about in VERBS.items():
        verb = verbs.add_parser(name, help=about, description=about, allow_abbrev=False)
        if name in given[:1]:  # only the verb that is asked for is imported
            module = importlib.import_module(f"jobs.{name}")
            if hasattr(module, "Settings"):
                verb.set_defaults(settings=module.Settings)
                add_settings(verb, module.Settings)
            else:
                _add_actions(verb, module.ACTIONS)
    return parser


def _add_actions(parser: argparse.ArgumentParser, actions: dict[str, type]) -> None:
    """Add what a verb does, where it is several things: each with settings of its own."""
    found = parser.add_subparsers(required=True, metavar="ACTION")
    for name, settings in actions.items():
        action = found.add_parser(name, help=settings.__doc__, allow_abbrev=False)
        action.set_defaults(settings=settings)
        add_settings(action, settings)


def add_settings(parser: argparse.ArgumentParser, settings: type) -> None:
    """Add a flag for every field of a settings class: its type, default and help stand in the field."""
    parser.description = settings.__doc__
    hints = get_type_hints(settings, include_extras=True)
    for field in dataclasses.fields(settings):
        kind, about = get_args(hints[field.name])[:2]
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        options: dict[str, Any] = {"help": about.replace("%", "%%"), "required": required, "dest": field.name}
        if not required:
            made = None if field.default_factory is dataclasses.MISSING else field.default_factory()
            options["default"] = made if field.default is dataclasses.MISSING else field.default
            if options["default"] not in (None, ()) and "[default" not in about:
                options["help"] += " [default: %(default)s]"
        elif get_origin(kind) is tuple:
            options["default"] = ()  # what the first value is added to
        if field.metadata.get("positional"):
            parser.add_argument(field.name, metavar=field.name.upper(), help=options["help"])
        else:
            flag = field.name.rstrip("_").replace("_", "-")  # `from` is a word of Python's
            parser.add_argument(f"--{flag}", **options, **_how(kind))


def _how(kind: Any) -> dict[str, Any]:
    """How argparse reads a value of ``kind``."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(each for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is tuple:
        return {"action": _Append, "metavar": "TEXT"}
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    return {"type": kind, "metavar": {str: "TEXT", int: "N", float: "X"}[kind]}


class _Append(argparse.Action):
    """Collect the values of a repeatable flag in a tuple."""

    def __call__(self, _parser: Any, namespace: Any, values: Any, _option: Any = None) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), values))
