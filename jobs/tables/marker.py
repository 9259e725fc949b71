"""A marker: the small object that says a shard is committed, and what was written of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from jobs.tables.checksummed_json import dump_checksummed, load_checksummed
from jobs.tables.format import FORMAT, NEW_OUTPUT, check_format


@dataclass(frozen=True)
class Marker:
    """A committed shard: its objects, their digests, and details that the run stored for later ones.

    `alarms` names tables whose rows existed already and differed from ours: the same work gave two results.
    """

    name: str
    uri: str
    objects: dict[str, str]
    sha256: dict[str, str]
    rows: dict[str, int]
    digests: dict[str, str]
    detail: dict[str, Any] = field(default_factory=dict)
    alarms: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Return the marker as it is stored."""
        return dump_checksummed({"format": FORMAT, **vars(self)})

    @classmethod
    def from_json(cls, text: bytes, name: str) -> Marker:
        """Return the marker that :meth:`to_json` stored; SchemaError if it is damaged, or of another format.

        Fields that a later release of the format may add are passed over, as those of plans and records are.
        """
        content = load_checksummed(text, name)
        check_format(content, name, NEW_OUTPUT)
        known = {each.name: content[each.name] for each in fields(cls) if each.name in content}
        return cls(**{**known, "alarms": tuple(content["alarms"])})
