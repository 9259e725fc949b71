"""The command: `bonafide VERB` or `python -m jobs VERB`."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import importlib.metadata
import io
import logging
import os
import platform
import signal
import sys
import threading
import types
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import detector
from detector.errors import ConfigError, SchemaError
from jobs.errors import DefectError, RunAgain, StoppedError, StorageError, UsageError, is_ours, lacks_package
from jobs.examples import EXAMPLES
from jobs.execution.preflight import refuse_old_packages
from jobs.execution.supervisor import ENDED_BY_RAY, supervise
from jobs.flags import Parser, add_settings
from jobs.telemetry import alarms, logs
from jobs.telemetry.ends import COMPLETE, Ends
from jobs.telemetry.names import printable, say, unsaid
from jobs.telemetry.webhook import Webhook

VERBS = {
    "manifest": "list an archive as one Parquet table",
    "embed": "embed an archive: one row for each utterance",
    "fit": "fit a calibrated head on labelled embeddings",
    "score": "score embeddings or recordings with a head",
    "evaluate": "compare scores with labels",
    "nightly": "embed and score what is new since the last run",
    "sql": "ask an output in SQL, with ready views",
    "heads": "list the heads that have judged an output",
    "review": "export recordings to listen to, import their labels",
    "check": "print a verdict on a few recordings",
    "explain": "explain a head's verdict on one recording",
    "keygen": "make a key pair that signs heads",
    "verify": "check the tables against what was committed",
    "gc": "remove what killed runs left behind",
    "compact": "keep a copy of the tables in few large objects",
    "register": "register a compacted copy in an Iceberg catalog",
    "erase": "remove every trace of a recording from the tables",
    "retrain": "fit a new head, and publish it if it is no worse",
    "submit": "run a verb on a Ray cluster, and follow it",
    "doctor": "check this machine, the cluster and the store",
    "demo": "run the whole chain on a small artificial archive",
}

EX_USAGE = 2

EXIT_CODES = {
    UsageError: EX_USAGE,
    ConfigError: os.EX_DATAERR,
    SchemaError: os.EX_DATAERR,
    StorageError: os.EX_UNAVAILABLE,
    RunAgain: os.EX_TEMPFAIL,
    KeyboardInterrupt: os.EX_TEMPFAIL,
}
"""The exit code for each error that ends a run; any other error is a defect, ``os.EX_SOFTWARE``."""

MEANINGS = {
    os.EX_OK: "all done",
    EX_USAGE: "wrong usage",
    3: "done, with more failures than --max-failures allows",
    os.EX_DATAERR: "a setting, table or head that does not fit",
    os.EX_UNAVAILABLE: "the store gave up after its retries",
    os.EX_SOFTWARE: "a defect",
    os.EX_TEMPFAIL: "stopped early, run me again",
}
"""Exit codes in words that name nothing of the archive, so that a webhook may send them."""

FOR_PEOPLE = ("check", "doctor", "demo", "explain", "heads", "keygen", "review", "sql")
"""Verbs that people run, whose ends nobody watches: a mistake in SQL is no alert."""

SHELLS = ("bash", "zsh", "fish")

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb and return its exit code. Unless that is 0, the last line on stderr names the cause."""
    given = [_text(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    parser = _parser(given)
    try:
        ends = _ends(given)
    except UsageError as error:
        parser.error(str(error))
    try:
        verb, kind, values = _parsed(parser, given)
        module = importlib.import_module(f"jobs.verbs.{verb}")
        code = _begin(module, verb, kind, values)
    except UsageError as error:
        ends.write(given[0], EX_USAGE)
        parser.error(str(error))
    except SystemExit as end:
        if end.code == EX_USAGE and given and given[0] in VERBS:
            ends.write(given[0], EX_USAGE)
        raise
    if code is not None:
        ends.write(verb, code)
        return code
    if threading.current_thread() is threading.main_thread():  # Python delivers signals only there
        for each in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(each) is not signal.SIG_IGN:  # as `nohup` has the second
                signal.signal(each, _stop)
    code, cause = _outcome(module, kind, values)
    with _undisturbed():
        _tell(ends, verb, values, code, cause)
    return code


def _ends(given: Sequence[str]) -> Ends:
    is_run = given[:1] and given[0] not in FOR_PEOPLE and "--dry-run" not in given
    return Ends.from_environment() if is_run else Ends()


def _tell(ends: Ends, verb: str, values: dict[str, Any], code: int, cause: str) -> None:
    if not values.get("dry_run"):  # a look ahead is no end of a run
        ends.write(verb, code, values.get("output"))
        _record_end(values, verb, code)
    if values.get("webhook") and not values.get("dry_run"):
        _notify(values["webhook"], verb, values.get("output"), code)
    if cause:
        with contextlib.suppress(OSError):  # the log's disk may be full, or its reader gone: the exit code stays
            print(f"error {code}: {cause}", file=sys.stderr)  # noqa: T201 - not stdout


def _begin(module: types.ModuleType, verb: str, kind: type, values: dict[str, Any]) -> int | None:
    """Begin the log. Run `submit` and return its exit code: a signal ends that client, and its job goes on."""
    if verb == "submit":
        settings = kind(**values)
        _refuse_unknown_verb(settings.verb[0])
        return int(module.run(settings))
    logs.begin(_log_format(), verb)
    alarms.begin()
    return None


def _refuse_unknown_verb(word: str) -> None:
    """Refuse to submit what is no verb, before the cluster is asked: it runs the code of this installation."""
    if word not in VERBS:
        nearest = difflib.get_close_matches(word, VERBS, n=1)
        hint = f"; {word}: did you mean {nearest[0]}?" if nearest else ""
        raise UsageError(f"submit: no verb {word!r} (choose from {', '.join(VERBS)}){hint}")


def entry() -> NoReturn:
    """Run :func:`main` and end the process with its code, whatever Ray and other libraries do at exit."""
    _open_standard_files()
    code = supervise() if os.environ.get("RAY_ADDRESS") else None
    if code is None:
        code = main()
    elif code == ENDED_BY_RAY:
        code = _tell_of_loss()
    logging.shutdown()
    with contextlib.suppress(OSError):  # the reader of a pipe may be gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _tell_of_loss() -> int:
    """Tell the end of a run whose process Ray has ended; its id, and so its record, ended with it."""
    given = [_text(word) for word in sys.argv[1:]]
    verb, _, values = parse(given)
    logs.begin(_log_format(), verb)
    cause = "Ray ended this process, as it does where its node of the cluster is gone; run the same command again"
    _tell(_ends(given), verb, values, os.EX_TEMPFAIL, cause)
    return os.EX_TEMPFAIL


def _open_standard_files() -> None:
    """Open what a supervisor closed of standard input, output and error: else the next pipe would have its number.

    What stdout's encoding lacks is spelt out, as Python does on stderr: names may have letters that a terminal has not.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            setattr(sys, name, open(number, "r" if number == 0 else "w"))  # noqa: SIM115 - until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no signal break off the telling of how a run ended, which takes some seconds at most."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def parse(given: Sequence[str]) -> tuple[str, type, dict[str, Any]]:
    """Parse a command line: the verb, the class of its settings, and their values."""
    return _parsed(_parser(given), given)


def _parsed(parser: argparse.ArgumentParser, given: Sequence[str]) -> tuple[str, type, dict[str, Any]]:
    values = vars(parser.parse_args(given))
    return values.pop("verb"), values.pop("settings"), values


def _outcome(module: types.ModuleType, kind: type, values: dict[str, Any]) -> tuple[int, str]:
    """Run a verb; return its exit code and, if an error ended it, the cause in one line."""
    try:
        if not getattr(module, "CHECKS_PACKAGES", False):
            refuse_old_packages()
        with _private(values.get("to") or values.get("output"), values):
            return _with_stdout(int(module.run(kind(**values))))
    except tuple(EXIT_CODES) as error:
        code = next(code for each, code in EXIT_CODES.items() if isinstance(error, each))
        return code, _one_line(str(error) or "interrupted; run the same command again")
    except DefectError as error:
        for line in f"a defect, in a worker: {error}".splitlines():
            log.error("%s", line)  # noqa: TRY400 - the error's text holds the worker's traceback
        return os.EX_SOFTWARE, _one_line(str(error).strip().splitlines()[-1])
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and not is_ours(error):
            return os.EX_DATAERR, _one_line(lacks_package(error))
        log.exception("a defect")
        return os.EX_SOFTWARE, _one_line(f"{type(error).__name__}: {error}")


def _private(place: str | None, values: dict[str, Any]) -> contextlib.AbstractContextManager[None]:
    """Let what is written there be read by this user alone, unless others are meant to."""
    from jobs.storage import private_unless  # only now: --help needs none of it

    return private_unless(place, shared=values.get("shared", False))


def _with_stdout(code: int) -> tuple[int, str]:
    """Return the outcome of a verb that ended with ``code``, unless what it printed did not reach its reader."""
    if code in COMPLETE and (trouble := unsaid()):
        return os.EX_TEMPFAIL, f"stdout: {trouble}; all else is done. Make room, and run the same command again."
    return code, ""


def _record_end(values: dict[str, Any], verb: str, code: int) -> None:
    """Write the end of a run that has a plan and did not complete it; a failure is a warning."""
    output, run_id = values.get("output"), logs.bound("run_id")
    if code in COMPLETE or output is None or run_id is None:
        return
    from jobs.tables import run_records  # only now: --help needs none of it

    try:
        with _private(output, values):
            run_records.write_end(output, run_id, verb, code, MEANINGS[code])
    except (Exception, KeyboardInterrupt) as error:
        log.warning("the end of this run was not recorded: %s", error or "interrupted")


def _notify(webhook: str, verb: str, output: str | None, code: int) -> None:
    """Send the end of a run to the webhook; a failure is a warning and does not change the run's exit code.

    The cause is not sent, because it may name a recording.
    """
    data = {"verb": verb, "run_id": logs.bound("run_id"), "output": output, "exit_code": code}
    data["meaning"] = MEANINGS[code]
    try:
        Webhook.read(webhook).send("bonafide.run.ended", data)
    except (Exception, KeyboardInterrupt) as error:  # also of a signal that arrived meanwhile
        log.warning("the webhook was not sent: %s", str(error) or type(error).__name__)


def _text(word: str) -> str:
    """Return a word of the command line as text; names of files may hold bytes that are none."""
    try:
        word.encode()
    except UnicodeEncodeError:
        from jobs.storage import uri_of  # only now: no other command line needs it

        return uri_of(word)
    return word


def _one_line(cause: str) -> str:
    return printable(" ".join(cause.split()))


def _log_format() -> str:
    log_format = os.environ.get("BONAFIDE_LOG_FORMAT", logs.FORMATS[0])
    if log_format not in logs.FORMATS:
        raise UsageError(f"BONAFIDE_LOG_FORMAT {log_format!r}; expected one of {', '.join(logs.FORMATS)}")
    return log_format


def _stop(number: int, _frame: object) -> None:
    """End the run when the machine is taken away, or the terminal is closed.

    What is committed stays, and the same command goes on from there.
    """
    raise StoppedError(f"stopped by {signal.Signals(number).name}; run the same command again")


class _PrintCompletion(argparse.Action):
    """Print a script that completes verbs and flags in a shell, and exit."""

    def __call__(self, parser: Any, _namespace: Any, values: Any, _option: Any = None) -> None:
        import shtab  # only now: no other command needs it

        print(shtab.complete(parser, values))  # noqa: T201 - a script, not names
        parser.exit()


class _PrintVersion(argparse.Action):
    """Print the version, and those of what decides results and clusters, and exit."""

    def __call__(self, parser: Any, _namespace: Any, _values: Any, _option: Any = None) -> None:
        others = {"Python": platform.python_version()}
        for name, package in (("torch", "torch"), ("Ray", "ray")):
            try:
                others[name] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                others[name] = "is not installed"
        say(f"bonafide {detector.__version__} ({', '.join(f'{name} {each}' for name, each in others.items())})")
        parser.exit()


def _parser(given: Sequence[str]) -> Parser:
    parser = Parser(
        prog="bonafide",
        description="Find synthetic speech in large archives.",
        epilog="`bonafide VERB --help` lists the settings of a verb, with examples.\n"
        "With BONAFIDE_LOG_FORMAT=json in the environment, each line of the log is a JSON object.",
    )
    about = "print the versions of bonafide, Python, torch and Ray, and exit"
    parser.add_argument("--version", action=_PrintVersion, nargs=0, dest=argparse.SUPPRESS, help=about)
    completion = "print a script that completes verbs and flags in this shell, and exit"
    parser.add_argument(
        "--print-completion", action=_PrintCompletion, choices=SHELLS, dest=argparse.SUPPRESS, help=completion
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    wanted = VERBS if any(word.startswith("--print-completion") for word in given) else given[:1]
    for name, about in VERBS.items():
        verb = verbs.add_parser(name, help=about)
        if name in wanted:  # only the verb that is asked for is imported
            _add_verb(verb, name)
    return parser


def _add_verb(parser: Parser, name: str) -> None:
    """Add the settings of a verb, or its actions, each with settings of its own."""
    module = importlib.import_module(f"jobs.verbs.{name}")
    if hasattr(module, "Settings"):
        parser.set_defaults(settings=module.Settings)
        add_settings(parser, module.Settings, EXAMPLES[name])
        return
    parser.description = module.__doc__
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for action, settings in module.ACTIONS.items():
        each = actions.add_parser(action, help=settings.__doc__)
        each.set_defaults(settings=settings)
        add_settings(each, settings, EXAMPLES[f"{name} {action}"])
