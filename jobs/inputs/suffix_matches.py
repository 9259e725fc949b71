"""Suffix matches: which labels belong to which ids where a part of their paths differs, and only where that is asked.

```
labels                        ids                      pairs
/old/place/2026/a.flac        2026/a.flac              2026/a.flac      three labels, one id with this end: the longest
/old/place/2025/a.flac        2026/b.flac              2026/b.flac      end decides, from both sides
/old/place/2026/b.flac
```

A label and an id belong together if no other id ends more like the label, and no other label more like the id. Ends are
compared by whole names of the path, the file's own name first.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from detector.errors import ConfigError

log = logging.getLogger(__name__)

CHANNEL = re.compile(r"/(?=ch\d+\Z)")  # of a recording, as ids have it: no name of the path


@dataclass
class SuffixMatches:
    """Pairs of labels and ids.

    Attributes
    ----------
    id_of : dict
        The id of each label that has one; equal ids are among them.
    by_name : list of str
        Labels whose file name alone is that of their id.
    ambiguous : list of (list of str, list of str)
        Labels and ids with one end, of which none is nearer than another.
    """

    id_of: dict[str, str] = field(default_factory=dict)
    by_name: list[str] = field(default_factory=list)
    ambiguous: list[tuple[list[str], list[str]]] = field(default_factory=list)

    @property
    def renamed(self) -> dict[str, str]:
        """The pairs that are not equal."""
        return {label: name for label, name in self.id_of.items() if label != name}

    def example(self) -> str:
        """One pair that is not equal."""
        label, name = next(iter(self.renamed.items()))
        return f"{label!r} with {name!r}"


def suffix_matches(labels: Iterable[str], ids: Iterable[str]) -> SuffixMatches:
    """Match labels and ids by their longest common ends.

    Examples
    --------
    >>> suffix_matches(["/old/2026/a.flac", "/old/2025/a.flac"], ["2026/a.flac", "2026/b.flac"]).id_of
    {'/old/2026/a.flac': '2026/a.flac'}
    >>> suffix_matches(["old/a.flac"], ["x/a.flac", "y/a.flac"]).ambiguous
    [(['old/a.flac'], ['x/a.flac', 'y/a.flac'])]
    """
    found = SuffixMatches()
    # names with a common end, and how many names of a path it has
    together = [(0, [list(dict.fromkeys(filter(None, each))) for each in (labels, ids)])]
    while together:
        n_common, sides = together.pop()
        by_part: dict[str | None, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
        for side, names in enumerate(sides):
            for name in names:
                by_part[_part(name, n_common)][side].append(name)
        # those that end more like one another than like the rest are seen to later; the rest end alike up to here
        alone: tuple[list[str], list[str]] = ([], [])
        for part, (ours, theirs) in by_part.items():
            if ours and theirs and part is None:
                found.id_of[ours[0]] = theirs[0]  # both have no more names: they are equal
            elif ours and theirs:
                together.append((n_common + 1, [ours, theirs]))
            else:
                alone[0].extend(ours)
                alone[1].extend(theirs)
        if n_common == 0 or not all(alone):
            continue
        if len(alone[0]) > 1 or len(alone[1]) > 1:
            found.ambiguous.append(alone)
            continue
        found.id_of[alone[0][0]] = alone[1][0]
        found.by_name += alone[0] if n_common == 1 else []
    return found


def match_by_suffix(labels: Iterable[str], ids: Iterable[str], where: str) -> dict[str, str]:
    """Return the ids that labels are to have instead of their own, and log how many there are.

    Raises
    ------
    ConfigError
        If a label ends as much like one id as like another, or an id like two labels.
    """
    found = suffix_matches(labels, ids)
    if found.ambiguous:
        ours, theirs = found.ambiguous[0]
        raise ConfigError(
            f"{where}: --match suffix is ambiguous in {len(found.ambiguous)} case(s): labels {_some(ours)} end like "
            f"{_some(theirs)}, and none more than another. Give the labels more of their paths, or the ids of the "
            f"tables."
        )
    n_equal = len(found.id_of) - len(found.renamed)
    log.warning(
        "%s: %d labels matched by the longest common end of their paths%s, %d by equal ids",
        *(where, len(found.renamed), f", such as {found.example()}" if found.renamed else "", n_equal),
    )
    if found.by_name:
        log.warning("%s: %d of them only by the file's name, such as %r", where, len(found.by_name), found.by_name[0])
    return found.renamed


def suggestion(labels: Iterable[str], ids: Iterable[str]) -> str:
    """Return a sentence on what `--match suffix` would do for labels that have no id; empty if it would not help."""
    found = suffix_matches(labels, ids)
    if not found.renamed or found.ambiguous:
        return ""
    return f" --match suffix would join {len(found.renamed)} of them by the ends of their paths: {found.example()}."


def rename(table: pa.Table, renamed: Mapping[str, str]) -> pa.Table:
    """Return a table whose labels have other ids."""
    if not renamed:
        return table
    names = [renamed.get(name, name) for name in table["utterance_id"].to_pylist()]
    place = table.column_names.index("utterance_id")
    return table.set_column(place, "utterance_id", pa.array(names, pa.string()))


def _part(name: str, number: int) -> str | None:
    """Return a name of a path, counted from its end, or None if there are not so many."""
    parts = CHANNEL.sub("\0", name).rsplit("/", number + 1)
    return parts[-1 - number] if len(parts) > number else None


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:2])) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
