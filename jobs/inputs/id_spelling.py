r"""Id spelling: the name of a key or member as an id holds it, such that it reads as one thing.

`#` stands between a container and its member, `##` if only a list says that it is a container, `@` before the times of
an excerpt, `/ch` before a channel. Who names a file may write them, too, and so give it the id of another recording.
There they are spelt out, as bytes that are not text are: `1.tar#a.flac` is a member, `1.tar\x23a.flac` a file of that
name.
"""

from __future__ import annotations

import re

from jobs.inputs.containers import CONTAINERS, container_kind

NUMBER = r"[0-9][0-9.]*(?:e[+-]?[0-9]+)?"
EXCERPT, CHANNEL = rf"@{NUMBER}-(?:{NUMBER}|end)", r"/ch[0-9]+"
"""Ends of an id, as :class:`detector.audio.Excerpt` writes them."""
CHANNEL_END = re.compile(rf"{CHANNEL}\Z")

_SUFFIXES = "|".join(re.escape(suffix) for each in CONTAINERS.values() for suffix in each.suffixes)
_MEMBER = re.compile(rf"({_SUFFIXES}|#)#", re.IGNORECASE)
_PART = re.compile(rf"[@/](?=(?:(?<=@){EXCERPT[1:]}|(?<=/){CHANNEL[1:]})(?:{CHANNEL})?\Z)")
_ESCAPE = r"x(?:5cx)*(?:23|40|2f)"
_LITERAL = re.compile(rf"\\(?={_ESCAPE})")  # a name may have what reads as an escape
_SIGN = re.compile(r"[#@\\]|/ch")  # all that is ever spelt out has one of these
_SPELT_OUT = re.compile(rf"\\x(?:(23|40|2f)|5c(?={_ESCAPE}))")


def spelt_in_id(name: str) -> str:
    r"""Return a key or the name of a member as ids hold it.

    Examples
    --------
    >>> spelt_in_id("2026/1.tar#a.flac"), spelt_in_id("a@0-5/ch1"), spelt_in_id("take #2@home.wav")
    ('2026/1.tar\\x23a.flac', 'a\\x400-5\\x2fch1', 'take #2@home.wav')
    """
    if not _SIGN.search(name):
        return name
    name = _MEMBER.sub(r"\1\\x23", _LITERAL.sub(r"\\x5c", name))
    while part := _PART.search(name):
        name = f"{name[: part.start()]}\\x{ord(part[0]):02x}{name[part.end() :]}"
    return name


def container_in_id(uri: str, name: str) -> str:
    r"""Return the key of a container as the ids of its members begin; without a suffix, a list alone says what it is.

    Parameters
    ----------
    uri : str
    name : str
        Its key, or what is below an input.

    Examples
    --------
    >>> container_in_id("s3://archive/1.tar", "1.tar"), container_in_id("s3://archive/2026#1", "2026#1")
    ('1.tar#', '2026#1##')
    """
    place = spelt_in_id(name)
    if container_kind(uri) is not None:
        return f"{place}#"
    # a `#` at the end would be a part of what follows it
    return (f"{place[:-1]}\\x23" if place.endswith("#") else place) + "##"


def name_in_id(text: str) -> str:
    r"""Return the name that :func:`spelt_in_id` spelt out.

    Examples
    --------
    >>> name_in_id(spelt_in_id("2026/1.tar#a.flac/ch1"))
    '2026/1.tar#a.flac/ch1'
    """
    return _SPELT_OUT.sub(lambda found: chr(int(found[1] or "5c", 16)), text) if "\\" in text else text
