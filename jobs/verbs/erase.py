"""erase: remove recordings from an output, and prove that nothing in it mentions them any more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from detector.errors import ConfigError
from jobs import storage


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Remove recordings, with their channels and excerpts, from an output, and prove that nothing mentions them."""

    utterance_id: Annotated[tuple[str, ...], "ids of the recordings, as the tables have them"] = field(
        metadata={"positional": True}
    )
    output: Annotated[str, "folder or prefix that holds the tables"]
    dry_run: Annotated[bool, "only list the objects that mention the recordings"] = False

    def __post_init__(self) -> None:
        if not all(self.utterance_id):
            raise ConfigError("an empty utterance id; expected ids from the tables.")


def run(settings: Settings) -> int:
    """Erase the recordings, or list what mentions them; return the exit code."""
    from jobs.erasure.erasing import erase, print_mentions  # only now: --help needs none of it
    from jobs.erasure.request import ErasureRequest
    from jobs.reports.nightly.redrawing import redraw_pages
    from jobs.tables.id_rule import id_roots_of

    output = storage.normal(settings.output).rstrip("/")
    with storage.as_owner(output):
        request = ErasureRequest(settings.utterance_id, sorted(id_roots_of(output)))
        if settings.dry_run:
            print_mentions(output, request)
        else:
            erase(output, request, redraw_pages)
    return 0
