"""Flags: the command line of a verb, made from the fields of its settings.

A field `batch_size: Annotated[int, "segments in one forward pass"] = 16` becomes `--batch-size`, with the type, help
text and default of the field. :data:`GROUPS` decides under which heading `--help` shows it. With
`field(metadata={"positional": True})` it is an argument without a flag; `"rest": True` lets that take all words left.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import types
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

OTHERS = "what to do"
GROUPS = {
    "what to read": "InputConfig input corpus subset embeddings labels older from_ scores split held_out fingerprint",
    "what to write": "OutputConfig output to format sign_key catalog namespace",
    "the head": "HeadConfig TrainingConfig head head_id prior require_signature",
    "the encoder": "EmbedConfig ModelConfig layers channels",
    OTHERS: "max_failures webhook",
    "machines": "RunConfig memory_mib address requirements",
    "rarely needed": "batch_seconds window_mib object_store_mib decode_cpus encoder_cpus encoder_gpus run_date "
    "store_patience stall_seconds new_table class_weights calibrator folds confidence max_ood min_seconds silence_dbfs "
    "search_rows sample_rows allow_missing submission_id",
}
"""Headings of `--help`, in order, and what stands under each: settings, or all settings that a class declares.

A setting's own name decides first, then the name of the class that declares it; what is not listed is :data:`OTHERS`.
"""

HEADING_OF = {name: heading for heading, names in GROUPS.items() for name in names.split()}
METAVARS = {str: "TEXT", int: "N", float: "X"}


class Parser(argparse.ArgumentParser):
    """A parser that guesses no abbreviations, and suggests the nearest flag or verb for one that it does not know."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self._given: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse, and refuse what is left: here, where the verb's flags are known, and not in the parser above."""
        self._given = list(args or ())
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, []

    def error(self, message: str) -> NoReturn:
        """End with exit code 2; the last line names the cause, and what may have been meant."""
        super().error("; ".join([message, *self._suggestions()]))

    def _suggestions(self) -> Iterator[str]:
        flags, verbs = list(self._option_string_actions), self._verbs()
        for word in self._given:
            if word == "--":
                return
            known = flags if word.startswith("-") else verbs
            for nearest in difflib.get_close_matches(word.partition("=")[0], known, n=1):
                if nearest != word.partition("=")[0]:
                    yield f"{word.partition('=')[0]}: did you mean {nearest}?"
            if verbs and not word.startswith("-"):
                return  # what follows the verb is not this parser's

    def _verbs(self) -> list[str]:
        return [name for action in self._actions for name in action.choices or () if action.nargs == argparse.PARSER]


def add_settings(parser: argparse.ArgumentParser, settings: type, examples: Sequence[str] = ()) -> None:
    """Add an argument for every field of a settings class, in the groups of :data:`GROUPS`, required ones first.

    Parameters
    ----------
    examples : sequence of str
        Arguments of commands that `--help` shows last.
    """
    fields = sorted(dataclasses.fields(settings), key=lambda field: not _is_required(field))
    hints = get_type_hints(settings, include_extras=True)
    parser.description = inspect.cleandoc(settings.__doc__ or "")
    parser.usage = " ".join(["%(prog)s", *(_usage(field) for field in fields if _is_required(field))])
    parser.usage += "" if _takes_the_rest(fields) else " [settings]"
    parser.epilog = "\n".join(["examples:", *(f"  {parser.prog} {each}".rstrip() for each in examples)])
    for heading in ("arguments", *GROUPS):
        group = parser.add_argument_group(heading)  # one without an argument is not shown
        for field in fields:
            if heading_of(settings, field) == heading:
                _add_field(group, field, hints[field.name])


def heading_of(settings: type, field: dataclasses.Field[Any]) -> str:
    """Return the heading under which `--help` shows a setting."""
    if field.metadata.get("positional"):
        return "arguments"
    declaring = next(each for each in settings.__mro__ if field.name in inspect.get_annotations(each))
    return HEADING_OF.get(field.name) or HEADING_OF.get(declaring.__name__, OTHERS)


def flag_of(name: str) -> str:
    """Return the flag of a field: `from_` ends in an underscore because `from` is a keyword of Python."""
    return f"--{name.rstrip('_').replace('_', '-')}"


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _takes_the_rest(fields: Sequence[dataclasses.Field[Any]]) -> bool:
    return any(field.metadata.get("rest") for field in fields)


def _usage(field: dataclasses.Field[Any]) -> str:
    if field.metadata.get("rest"):
        return f"[settings] -- {field.name.upper()} …"
    return field.name.upper() if field.metadata.get("positional") else f"{flag_of(field.name)} …"


def _add_field(parser: argparse._ActionsContainer, field: dataclasses.Field[Any], hint: Any) -> None:
    kind, about = get_args(hint)[:2]
    options: dict[str, Any] = {"help": about.replace("%", "%%")}
    if field.metadata.get("positional"):
        several = argparse.REMAINDER if field.metadata.get("rest") else "+"
        nargs = several if get_origin(kind) is tuple else None
        parser.add_argument(field.name, metavar=field.name.upper(), nargs=nargs, **options)
        return
    if _is_required(field):
        options["required"] = True
        if get_origin(kind) is tuple:
            options["default"] = ()  # the first value is added to it
    else:
        made = None if field.default_factory is dataclasses.MISSING else field.default_factory()
        options["default"] = made if field.default is dataclasses.MISSING else field.default
        if options["default"] not in (None, ()) and "[default" not in about:
            options["help"] += " [default: %(default)s]"
    parser.add_argument(flag_of(field.name), dest=field.name, **options, **_reading(kind))


def _reading(kind: Any) -> dict[str, Any]:
    """Return argparse's options for reading a value of ``kind``."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(each for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is tuple:
        return {"action": _Append, "metavar": METAVARS[str]}
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    return {"type": kind, "metavar": METAVARS[kind]}


class _Append(argparse.Action):
    """Collect the values of a repeatable flag in a tuple."""

    def __call__(self, _parser: Any, namespace: Any, values: Any, _option: Any = None) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), values))
