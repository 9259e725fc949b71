"""Flags: the command line of a verb, made from the fields of its settings.

A field `batch_size: Annotated[int, "segments in one forward pass"] = 16` becomes `--batch-size`, with the type, help
text and default of the field. :data:`GROUPS` decides under which heading `--help` shows it, unless the annotation names
one: `Annotated[str, "list of labels", "what to write"]`. With `field(metadata={"positional": True})` it is an argument
without a flag; `"rest": True` lets that take all words left. With `"alone": "inside"` the flag may be given without a
value, and then means this one. An argument with a default may be left out.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import textwrap
import types
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from itertools import pairwise
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

from jobs.telemetry.names import printable

ARGUMENTS, OTHERS = "arguments", "what to do"
GROUPS = {
    "what to read": "InputConfig LinkConfig input manifest missing corpus subset embeddings labels match older from_ "
    "scores split held_out fingerprint",
    "what to write": "OutputConfig SegmentsConfig output to compact_to format shared sign_key catalog namespace",
    "the head": "HeadConfig TrainingConfig head head_id prior require_signature",
    "the encoder": "EmbedConfig ModelConfig layers channels",
    OTHERS: "dry_run max_failures max_removed moved prune max_seconds max_source_hours min_bitrate webhook confinement",
    "machines": "RunConfig memory_mib address requirements",
    "rarely needed": "local_recordings batch_seconds window_mib object_store_mib decode_cpus encoder_cpus encoder_gpus "
    "run_date store_patience stall_seconds new_table accept_drift redo class_weights nuisance_directions "
    "compact_minutes compact_mib compact_required "
    "calibrator folds confidence max_ood min_seconds silence_dbfs "
    "search_rows sample_rows false_attribution allow_missing submission_id CostConfig",
}
"""Headings of `--help`, in order, and what is listed under each: settings, or all settings that a class declares.

A setting's own name decides first, then the name of the class that declares it; what is not listed is :data:`OTHERS`.
"""

HEADING_OF = {name: heading for heading, names in GROUPS.items() for name in names.split()}
METAVARS = {str: "TEXT", int: "N", float: "X"}


class _Help(argparse.RawDescriptionHelpFormatter):
    """Wraps help texts between words only, so that a list of columns or a flag stays whole."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_long_words=False, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """A parser that guesses no abbreviations, and suggests the nearest flag or verb for one that it does not know."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Help, **options)
        self._given: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse, and refuse leftover arguments here, where the verb's flags are known, not in the parser above."""
        self._given = list(args or ())
        parsed, unknown = super().parse_known_args(args, namespace)
        for action in self._actions:  # argparse takes an argument that may be left out only where no flag precedes it
            is_left_out = action.nargs == argparse.OPTIONAL and not action.option_strings
            if is_left_out and getattr(parsed, action.dest) is None and unknown and not unknown[0].startswith("-"):
                setattr(parsed, action.dest, unknown.pop(0))
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, []

    def error(self, message: str) -> NoReturn:
        """End with exit code 2; the last line names the cause, and what may have been meant."""
        super().error(printable("; ".join([message, *self._suggestions(), *self._ways_of_values()])))

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

    def _ways_of_values(self) -> Iterator[str]:
        """Say how values are given that begin with a dash, as names may: argparse takes them for flags."""
        flags, arguments = self._option_string_actions, [each for each in self._actions if not each.option_strings]
        for before, word in pairwise(["", *self._given]):
            name = word.partition("=")[0]
            if word == "--":
                return
            if len(word) < 2 or word[0] != "-" or difflib.get_close_matches(name, flags, n=1):
                continue
            if before in flags and flags[before].nargs != 0:
                yield f"a value that begins with a dash is joined to its flag: {before}={word}"
            elif arguments and not self._verbs():
                yield f"what begins with a dash and is no flag goes to the end, behind two of them: -- {word}"

    def _verbs(self) -> list[str]:
        return [name for action in self._actions for name in action.choices or () if action.nargs == argparse.PARSER]


@dataclass(frozen=True)
class Setting:
    """A field of a settings class, as the command line shows it.

    Attributes
    ----------
    kind : type
        Without the None of an optional value; a tuple is repeatable.
    default : object
        None if the setting is required.
    heading : str
        The heading of `--help` that it stands under.
    takes_rest : bool
        True if it takes all words that are left.
    alone : object
        The value that the flag stands for where none is given with it; None if it needs one.
    """

    name: str
    kind: Any
    about: str
    default: Any
    heading: str
    is_required: bool
    is_positional: bool
    takes_rest: bool
    alone: Any = None

    @property
    def flag(self) -> str:
        """The flag: a field like `from_` ends in an underscore because `from` is a keyword of Python."""
        return f"--{self.name.rstrip('_').replace('_', '-')}"

    @property
    def is_repeatable(self) -> bool:
        """True if the setting holds several values."""
        return get_origin(self.kind) is tuple

    @property
    def usage(self) -> str:
        """The form of a required setting in the usage line."""
        if self.takes_rest:
            return f"-- {self.name.upper()} …"
        if self.is_positional:
            return self.name.upper() + " …" * self.is_repeatable
        return f"{self.flag} …"


def settings_in(settings: type) -> list[Setting]:
    """Return the settings that a class declares or inherits, required ones first."""
    hints = get_type_hints(settings, include_extras=True)
    found = [_setting(settings, field, *get_args(hints[field.name])) for field in fields(settings)]
    return sorted(found, key=lambda each: not each.is_required)


def _setting(settings: type, field: Field[Any], kind: Any, about: str, heading: str | None = None) -> Setting:
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(each for each in get_args(kind) if each is not type(None))
    is_required = field.default is MISSING and field.default_factory is MISSING
    default = None if field.default is MISSING else field.default
    if field.default_factory is not MISSING:
        default = field.default_factory()
    is_positional = field.metadata.get("positional", False)
    declaring = next(each for each in settings.__mro__ if field.name in inspect.get_annotations(each))
    listed = HEADING_OF.get(field.name) or HEADING_OF.get(declaring.__name__, OTHERS)
    heading = ARGUMENTS if is_positional else heading or listed
    takes_rest = field.metadata.get("rest", False)
    alone = field.metadata.get("alone")
    return Setting(field.name, kind, about, default, heading, is_required, is_positional, takes_rest, alone)


def add_settings(parser: argparse.ArgumentParser, settings: type, examples: Sequence[str] = ()) -> None:
    """Add an argument for every setting of a class, in groups.

    Parameters
    ----------
    examples : sequence of str
        Arguments of commands that `--help` shows last.
    """
    found = settings_in(settings)
    required = [each.usage for each in found if each.is_required]
    required += [f"[{each.usage}]" for each in found if each.is_positional and not each.is_required]
    parser.usage = " ".join(["%(prog)s", *sorted([*required, "[settings]"], key=lambda word: word.startswith("-- "))])
    parser.description = inspect.cleandoc(settings.__doc__ or "")
    parser.epilog = "\n".join(["examples:", *(f"  {parser.prog} {each}".rstrip() for each in examples)])
    for heading in (ARGUMENTS, *GROUPS):
        group = parser.add_argument_group(heading)  # one without an argument is not shown
        for each in found:
            if each.heading == heading:
                _add_setting(group, each)


def _add_setting(group: argparse._ArgumentGroup, setting: Setting) -> None:
    about = setting.about.replace("%", "%%")
    if setting.is_positional:
        several = argparse.REMAINDER if setting.takes_rest else "+"
        nargs = several if setting.is_repeatable else None if setting.is_required else "?"
        group.add_argument(setting.name, metavar=setting.name.upper(), nargs=nargs, help=about)
        return
    if setting.default not in (None, ()) and "[default" not in about:
        about += " [default: %(default)s]"
    options: dict[str, Any] = {"dest": setting.name, "help": about, "required": setting.is_required}
    if setting.is_repeatable:  # the first value is added to the default
        options |= {"action": _Append, "metavar": METAVARS[str], "default": setting.default or ()}
    elif setting.kind is bool:
        options |= {"action": argparse.BooleanOptionalAction, "default": setting.default}
    else:
        options |= {"type": setting.kind, "metavar": METAVARS[setting.kind], "default": setting.default}
    if setting.alone is not None:
        options |= {"nargs": "?", "const": setting.alone}
    group.add_argument(setting.flag, **options)


class _Append(argparse.Action):
    """Collect the values of a repeatable flag in a tuple."""

    def __call__(self, _parser: Any, namespace: Any, values: Any, _option: Any = None) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), values))
