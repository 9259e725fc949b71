"""What is known of licences: the table `licences.toml`, and which of its rows were used."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cyclonedx.spdx import is_supported_id

TABLE = Path(__file__).with_name("licences.toml")


def is_spdx(licence: str) -> bool:
    """Tell if an expression is made of licences that SPDX lists, or of ones that it spells `LicenseRef-`.

    Examples
    --------
    >>> is_spdx("GPL-3.0-or-later WITH GCC-exception-3.1"), is_spdx("MIT OR LicenseRef-Ours"), is_spdx("BSD")
    (True, True, False)
    """
    words = re.split(r" (?:AND|OR|WITH) ", licence.replace("(", "").replace(")", ""))
    return all(is_supported_id(each) or each.startswith("LicenseRef-") for each in words)


@dataclass(frozen=True)
class Row:
    """What some files of a package hold, by its own name; several rows may speak of one file."""

    package: str
    files: tuple[str, ...]  # shell patterns of paths, as the package's RECORD spells them
    name: str
    licence: str
    source: str
    version: str = ""  # an expression whose first group is the version, sought in the bytes of the first such file

    def has(self, package: str, file: str) -> bool:
        """Tell if this row speaks of a file."""
        return package == self.package and any(fnmatchcase(file, each) for each in self.files)

    def version_in(self, path: Path) -> str:
        """Read the version out of a file, or say nothing."""
        found = re.search(self.version.encode(), path.read_bytes()) if self.version else None
        return found[1].decode() if found else ""


@dataclass
class Known:
    """The table, and in `missing` a line for everything that was asked and is not in it."""

    table: dict[str, Any]
    missing: list[str] = field(default_factory=list)
    used: set[Row] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rows = [Row(**{**each, "files": tuple(each["files"])}) for each in self.table["part"]]

    @classmethod
    def read(cls, path: Path = TABLE) -> Known:
        """Read a table."""
        return cls(tomllib.loads(path.read_text()))

    def licence(self, name: str, stated: list[str]) -> str:
        """Give the licence of a package, from what its metadata states, most exact first."""
        for words in filter(None, [self.table["packages"].get(name), *stated]):
            licence = self.table["words"].get(words, words)
            if is_spdx(licence):
                return str(licence)
        return self._missing(f"[packages] {name}: its metadata states {stated}")

    def component(self, name: str, stated: str) -> str:
        """Give the licence of a component of an SBOM inside a wheel."""
        return stated or self.table["components"].get(name) or self._missing(f"[components] {name}")

    def java(self, group: str) -> str:
        """Give the licence of Java libraries of a group."""
        return self.table["java"].get(group) or self._missing(f"[java] {group}")

    def of(self, package: str, file: str) -> Iterator[Row]:
        """Give the rows that speak of a file."""
        rows = [row for row in self.rows if row.has(package, file)]
        self.used.update(rows)
        yield from rows

    def native(self, package: str, file: str) -> None:
        """Note a native file that neither a row nor `[own]` knows."""
        if not self.owns(package, file) and not any(row.has(package, file) for row in self.rows):
            self._missing(f"[[part]] or [own] {package}: {file}")

    def owns(self, package: str, file: str) -> bool:
        """Tell if a native file is the package itself."""
        own = [pattern for name, each in self.table["own"].items() if fnmatchcase(package, name) for pattern in each]
        return any(fnmatchcase(file, each) for each in own)

    def stale(self) -> list[str]:
        """Give the rows that spoke of nothing."""
        return [f"[[part]] {row.package}: {row.name} is in no file" for row in self.rows if row not in self.used]

    def _missing(self, line: str) -> str:
        self.missing.append(line)
        return ""
