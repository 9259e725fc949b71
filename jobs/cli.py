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
from jobs.execution.preflight import refuse_old_packages
from jobs.telemetry import logs
from jobs.telemetry.webhook import Webhook

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
    "compact": "keep a copy of the tables in few large objects",
    "register": "list a compacted copy in an Iceberg catalog",
    "erase": "remove every trace of a recording from the tables",
    "retrain": "fit a head anew, publish it if it is no worse",
    "submit": "run a verb on a Ray cluster, and follow it",
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

MEANINGS = {
    0: "all done",
    3: "done, with more failures than --max-failures allows",
    65: "a setting, table or head that does not fit",
    69: "the store gave up after its retries",
    75: "stopped early, run me again",
}
"""Exit codes in words that name nothing of the archive: what a webhook may carry out of the house."""

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; return its exit code. The last line on stderr names the cause of any but 0."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["submit"]:  # what follows are another verb's settings
        return int(importlib.import_module("cluster.submit").main(given[1:]))
    if threading.current_thread() is threading.main_thread():  # Python takes signals only there
        signal.signal(signal.SIGTERM, _stop)
    parser = _parser(given)
    settings = vars(parser.parse_args(given))
    form = os.environ.get("BONAFIDE_LOG_FORMAT", logs.FORMATS[0])
    if form not in logs.FORMATS:
        parser.error(f"BONAFIDE_LOG_FORMAT {form!r}; expected one of {', '.join(logs.FORMATS)}")
    verb = settings.pop("verb")
    logs.begin(form, verb)
    code, cause = _outcome(importlib.import_module(f"jobs.verbs.{verb}"), dict(settings))
    if settings.get("webhook"):
        _tell(settings["webhook"], verb, settings.get("output"), code)
    if cause:
        print(f"error {code}: {cause}", file=sys.stderr)
    return code


def _outcome(verb: types.ModuleType, settings: dict[str, Any]) -> tuple[int, str]:
    """The exit code of a verb, and the cause of any that an error made, in one line."""
    try:
        refuse_old_packages()
        kind = settings.pop("settings")
        return int(verb.run(kind(**settings))), ""
    except tuple(EXIT_CODES) as error:
        code = next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
        return code, _line(str(error) or "interrupted; run the same command again")
    except DefectError as error:
        for line in f"a defect, in a worker: {error}".splitlines():
            log.error("%s", line)  # noqa: TRY400 - it brings the worker's traceback along
        return 70, _line(str(error).strip().splitlines()[-1])
    except Exception as error:
        log.exception("a defect")
        return 70, _line(f"{type(error).__name__}: {error}")


def _tell(webhook: str, verb: str, output: str | None, code: int) -> None:
    """Tell the webhook how a run ended; whatever becomes of it, the run's exit code is its own.

    The cause stays here: it may name a recording.
    """
    try:
        meaning = MEANINGS.get(code, "a defect")
        ended = {"verb": verb, "run_id": logs.bound("run_id"), "output": output, "exit_code": code, "meaning": meaning}
        Webhook.read(webhook).tell("bonafide.run.ended", ended)
    except (ConfigError, KeyboardInterrupt, RunAgain) as error:  # the last two: somebody is in a hurry
        log.warning("the webhook was not told: %s", error or "interrupted")


def entry() -> NoReturn:
    """The command's process: ends with the code of :func:`main`, whatever Ray and others do as they are torn down."""
    code = main()
    logging.shutdown()
    with contextlib.suppress(OSError):  # nobody reads any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _line(cause: str) -> str:
    return logs.printable(" ".join(cause.split()))


def _stop(_number: int, _frame: object) -> None:
    """A machine is taken away: what is committed stays, and the same command goes on from there."""
    raise RunAgain("stopped by SIGTERM; run the same command again")


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bonafide",
        description="Find synthetic speech in large archives.",
        epilog="With BONAFIDE_LOG_FORMAT=json each line of the log is an object.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, about in VERBS.items():
        verb = verbs.add_parser(name, help=about, description=about, allow_abbrev=False)
        if name in given[:1]:  # only the verb that is asked for is imported
            module = importlib.import_module(f"jobs.verbs.{name}")
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
            several: dict[str, Any] = {"nargs": "+"} if get_origin(kind) is tuple else {}
            parser.add_argument(field.name, metavar=field.name.upper(), help=options["help"], **several)
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
