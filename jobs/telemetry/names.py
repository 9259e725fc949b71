"""Names as people see them: whoever fills an archive names its recordings, so names must not act where they are shown.

A name may hold whatever a file system or a container allows: line ends that forge a line, escapes that clear a
terminal or write to its clipboard, letters that turn the reading direction, spaces that hide how it begins.
:func:`printable` spells all of these out, for stdout, stderr, the log, pages and sheets alike.
"""

from __future__ import annotations

import os
import re
import sys

SPELT = re.compile(r"\\(?:[tnr]|x[01][0-9a-f]|x7f|x5c|u[0-9a-f]{4}|U[0-9a-f]{8})")
"""What :func:`printable` writes, and a marked backslash; not `\\x80` or higher, for a byte that is no UTF-8."""

MAX_WIDTH = 72  # characters of a name in a table; a longer one is cut in its middle
MAX_EXAMPLE = 101  # the same, of an example in the log
CUT = "…"
"""Stands for the middle that was left out. A name is cut where it is shown, and never where it is stored."""

_trouble: list[str] = []  # that stdout had


def printable(text: str) -> str:
    """Spell out characters that move the cursor, end the line, change the reading direction or look like a space.

    Examples
    --------
    >>> print(printable("a\\n\\x1b[2J\\u202e日本.flac"))
    a\\n\\x1b[2J\\u202e日本.flac
    """
    if text.isprintable():  # almost always, and a hundred times as fast
        return text
    return "".join(each if each.isprintable() else _spelt(each) for each in text)


def say(*lines: object) -> None:
    """Print on stdout: each argument is one line, whatever the names in it hold.

    A reader that has gone, such as `head`, ends the printing and not the work; nor does a disk that is full, of which
    :func:`unsaid` tells at the end.

    Examples
    --------
    >>> say("erased one\\ntwo.flac", 3)
    erased one\\ntwo.flac
    3
    """
    try:
        print(*(printable(str(line)) for line in lines), sep="\n", flush=True)  # noqa: T201 - the one place
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            _trouble.append(error.strerror or str(error))
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would complain again at its end


def unsaid() -> str:
    """Return why :func:`say` could not print something in this process; empty if it could print all."""
    return next(iter(_trouble), "")


def reversibly(text: str) -> str:
    """Return a text as :func:`printable` does, with backslashes marked so that :func:`original` gives it back.

    Examples
    --------
    >>> print(reversibly("two\\nlines"), reversibly(r"C:\\notes"), reversibly(r"caf\\xe9"))
    two\\nlines C:\\x5cnotes caf\\xe9
    """
    return printable(SPELT.sub(lambda found: rf"\x5c{found[0][1:]}", text))


def original(text: str) -> str:
    """Undo :func:`reversibly`.

    Examples
    --------
    >>> [original(reversibly(text)) == text for text in ("two\\nlines", r"C:\\notes", r"caf\\x5cxe9")]
    [True, True, True]
    """
    return SPELT.sub(lambda found: found[0].encode().decode("unicode_escape"), text)


def _spelt(letter: str) -> str:
    if "\x80" <= letter <= "\xff":  # not as \x80, which in the name of a file is a byte that is no letter
        return f"\\u{ord(letter):04x}"
    return letter.encode("unicode_escape").decode()


def clock(seconds: float) -> str:
    """Return a time of a recording as people say it: hours, minutes, seconds and tenths.

    Examples
    --------
    >>> clock(4.0), clock(61.26), clock(3600.0), clock(59.97)
    ('0:04.0', '1:01.3', '1:00:00.0', '1:00.0')
    """
    minutes, tenths = divmod(round(10 * seconds), 600)
    hours, minutes = divmod(minutes, 60)
    left = f"{tenths // 10:02}.{tenths % 10}"
    return f"{hours}:{minutes:02}:{left}" if hours else f"{minutes}:{left}"


def cut(text: str, most: int) -> str:
    """Return a text of at most ``most`` characters, with the middle of a longer one left out.

    Examples
    --------
    >>> cut("call-0001.flac", 9)
    'call…flac'
    """
    kept = kept_of(most)
    return text if len(text) <= most else f"{text[:kept]}{CUT}{text[-kept:]}"


def kept_of(most: int) -> int:
    """Return how many characters :func:`cut` leaves of each end."""
    return (most - len(CUT)) // 2
