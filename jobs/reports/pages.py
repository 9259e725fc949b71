"""Pages: HTML files that need no network, on which no name from an archive can act.

Everything that a template shows is escaped, and spelt out by :func:`jobs.telemetry.names.printable`. The filter `name`
also isolates a name: letters that are written from right to left then leave the order of the text around them alone.
The filter `path` also cuts a long one in the middle for the eye; hovering shows, and copying gives, the whole one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jobs.telemetry.names import printable

PATH_START, PATH_END = 24, 36  # characters of a long path that are shown; its end tells recordings apart
NO_BREAK = "\N{NO-BREAK SPACE}"  # what our own figures have before a unit


def render_page(template: str, filters: dict[str, Callable[..., Any]], **content: Any) -> str:
    """Return the page that a template of the folder `templates` makes of its content."""
    return _environment(frozenset(filters.items())).get_template(template).render(**content)


def number_text(value: float | None, digits: int = 2) -> str:
    """Return a number as pages show it, with a minus sign; a dash where there is none.

    Examples
    --------
    >>> number_text(-0.126), number_text(None)
    ('−0.13', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


@cache
def _environment(filters: frozenset[tuple[str, Callable[..., Any]]]) -> Environment:
    """Return what renders pages with these filters; it keeps the templates that it has compiled."""
    environment = Environment(
        loader=PackageLoader("jobs.reports", "templates"), autoescape=True, undefined=StrictUndefined, finalize=_inert
    )
    environment.filters |= dict(filters) | {"name": _name, "path": _path}
    return environment


def _inert(value: Any) -> Any:
    """Spell out what a template shows, except what is HTML already."""
    if isinstance(value, Markup | StrictUndefined):
        return value
    return NO_BREAK.join(map(printable, str(value).split(NO_BREAK)))


def _name(text: object) -> Markup:
    return Markup("<bdi>{}</bdi>").format(printable(str(text)))


def _path(text: object) -> Markup:
    """Return a name whose middle, if it is long, stands on the page in no size: no text is left out."""
    name = printable(str(text))
    if len(name) <= PATH_START + PATH_END:
        return _name(text)
    start, middle, end = name[:PATH_START], name[PATH_START:-PATH_END], name[-PATH_END:]
    return Markup('<bdi title="{}">{}<span class="cut">{}</span>{}</bdi>').format(name, start, middle, end)
