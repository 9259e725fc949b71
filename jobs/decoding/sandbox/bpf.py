"""Classic BPF: assembles a filter of system calls, as seccomp runs it, from rules.

The kernel runs the program on the number, the architecture and the arguments of every system call. Its answer allows
the call, makes it fail with an error, or kills the process. `man 2 seccomp` has the layout of its input.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

ALLOW = 0x7FFF0000
KILL = 0x80000000  # the whole process, by SIGSYS
ERRNO = 0x00050000  # plus the error's number

NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16  # bytes into `struct seccomp_data`; both machines are little-endian
INSTRUCTION = struct.Struct("<HBBI")  # code; instructions to skip if true, if false; operand
LOAD, AND, RETURN = 0x20, 0x54, 0x06
EQUAL, AT_LEAST = 0x15, 0x35


class Check(NamedTuple):
    """A condition on an argument: the low 32 bits of it, of which ``mask`` is looked at, equal ``value``.

    The kernel looks at the low 32 bits only of the arguments that are checked here: flags, rights and process ids.
    """

    argument: int
    mask: int
    value: int


class Rule(NamedTuple):
    """The answer to a system call whose arguments pass all checks; where they don't, the next rule is looked at."""

    number: int
    answer: int
    checks: tuple[Check, ...] = ()


def assemble(architecture: int, rules: Iterable[Rule], otherwise: int, foreign_from: int | None = None) -> bytes:
    """Assemble a program that answers with the first rule that fits.

    Parameters
    ----------
    architecture : int
        The value of `AUDIT_ARCH_*` that the numbers belong to. A call by any other architecture kills the process: its
        numbers mean other calls.
    rules : iterable of Rule
        The most frequent calls first.
    otherwise : int
        The answer where no rule fits.
    foreign_from : int or None
        Numbers from here on kill the process: on x86-64 those of x32, which mean the same calls again.

    Examples
    --------
    >>> program = assemble(0xC000003E, [Rule(0, ALLOW)], ERRNO | 1)
    >>> len(program) // INSTRUCTION.size
    7
    """
    code = [_load(ARCHITECTURE_AT), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL), _load(NUMBER_AT)]
    if foreign_from is not None:
        code += [(AT_LEAST, 0, 1, foreign_from), (RETURN, 0, 0, KILL)]
    for rule in rules:
        code += _assembled(rule)
    code.append((RETURN, 0, 0, otherwise))
    return b"".join(INSTRUCTION.pack(*each) for each in code)


def _assembled(rule: Rule) -> Iterator[tuple[int, int, int, int]]:
    """Yield the instructions of a rule; they leave the number loaded where the rule does not fit."""
    if not rule.checks:
        yield from ((EQUAL, 0, 1, rule.number), (RETURN, 0, 0, rule.answer))
        return
    body = 3 * len(rule.checks)
    yield EQUAL, 0, body + 2, rule.number
    for index, check in enumerate(rule.checks):
        yield _load(ARGUMENTS_AT + 8 * check.argument)
        yield AND, 0, 0, check.mask
        yield EQUAL, 0, body - 3 * (index + 1) + 1, check.value
    yield RETURN, 0, 0, rule.answer
    yield _load(NUMBER_AT)


def _load(offset: int) -> tuple[int, int, int, int]:
    return LOAD, 0, 0, offset
