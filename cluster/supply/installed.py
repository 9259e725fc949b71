"""Installed packages, their licences, and the libraries inside their wheels."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PathDistribution, distributions
from pathlib import Path
from typing import Any

from packaging.utils import NormalizedName, canonicalize_name

from cluster.supply.known import Known
from cluster.supply.lock import Locked

_LIBRARY = re.compile(r"\.(so(\.\d+)*|dylib|a|jar)$")
# a module of the package itself, which Python loads
_MODULE = re.compile(r"\.(cpython-\d+[^/]*|abi3)\.so$")
_SOURCE = (".py", ".pyc", ".pyi", ".pxd", ".h", ".hpp")
_SONAME = re.compile(r"\.so\.([\d.]+)$")
_POM = re.compile(r"META-INF/maven/([^/]+)/([^/]+)/pom\.properties")


@dataclass(frozen=True, order=True)
class Part:
    """A library inside a package."""

    name: str
    version: str  # "so 8.11" if only that of its interface can be read, and "" if none
    licence: str
    source: str  # where the licence can be read
    purl: str = ""


@dataclass(frozen=True)
class Package:
    """An installed package."""

    name: NormalizedName
    version: str
    licence: str
    requires: tuple[str, ...]
    parts: tuple[Part, ...]


def installed(site: Path, lock: dict[NormalizedName, Locked], known: Known) -> list[Package]:
    """Read the packages of a lock in a folder that has them, and refuse another version.

    Parameters
    ----------
    site : Path
        A folder of site-packages.
    lock : dict
        What has to be there, by `read_lock`.
    known : Known
        The table of licences, whose `missing` gets a line for each thing that it lacks.
    """
    found = {canonicalize_name(each.name): each for each in distributions(path=[str(site)])}
    wrong = [name for name, each in lock.items() if name not in found or found[name].version != each.version]
    if wrong:
        raise ValueError(f"{site}: {', '.join(wrong)} missing or of another version than the lock. Install the lock.")
    return [package(found[name], known) for name in sorted(lock)]


def package(distribution: Distribution, known: Known) -> Package:
    """Read one package."""
    name = canonicalize_name(distribution.metadata["Name"])
    parts = sorted({*_parts(distribution, name, known)})
    requires = tuple(distribution.requires or ())
    return Package(name, distribution.version, known.licence(name, _stated(distribution)), requires, tuple(parts))


def _stated(distribution: Distribution) -> list[str]:
    metadata = distribution.metadata
    classifiers = [each for each in metadata.get_all("Classifier") or [] if each.startswith("License :: ")]
    fields = [*(metadata.get_all("License-Expression") or []), *(metadata.get_all("License") or [])]
    # two classifiers may mean both licences or either
    return [each for each in fields if "\n" not in each] + (classifiers if len(classifiers) == 1 else [])


def _parts(distribution: Distribution, name: str, known: Known) -> Iterator[Part]:
    components: list[Part] = []
    natives: list[tuple[str, Path]] = []
    # most files are source, which need not be looked for
    for file in (each for each in distribution.files or [] if not each.name.endswith(_SOURCE)):
        path = Path(str(file.locate()))
        if file.name == "METADATA" and len(file.parts) > 2:
            yield _vendored(PathDistribution(path.parent), known)
        elif file.parent.name == "sboms" and file.suffix == ".json":
            components.extend(_components(path, distribution))
        elif _is_native(path):
            natives.append((str(file), path))
            if file.suffix == ".jar":
                yield from _java(path, known)
    listed = {part.name: part.version for part in components}
    named: set[str] = set()
    for spelt, path in natives:
        if not _MODULE.search(spelt):
            known.native(name, spelt)
        for row in known.of(name, spelt):
            if row.name not in named:
                named.add(row.name)
                version = row.version_in(path) or listed.get(row.name) or _soname(name, spelt, known)
                yield Part(row.name, version, row.licence, row.source)
    for part in components:
        if part.name not in named:
            licence = known.component(part.name, part.licence)
            yield Part(part.name, part.version, licence, part.source, part.purl)


def _soname(name: str, file: str, known: Known) -> str:
    """Read the version of an interface in the name of a library, unless it is that of the package itself."""
    found = _SONAME.search(file)
    return f"so {found[1]}" if found and not known.owns(name, file) else ""


def _is_native(path: Path) -> bool:
    """Tell if a file is a library or a program."""
    if _LIBRARY.search(path.name):
        return True
    if path.suffix and not path.suffix[1:].isdigit():
        return False  # programs have no suffix, or the end of a version
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _vendored(distribution: Distribution, known: Known) -> Part:
    """Read a whole Python package that another one carries inside itself."""
    name = canonicalize_name(distribution.metadata["Name"])
    licence = known.licence(name, _stated(distribution))
    return Part(name, distribution.version, licence, "its own metadata", f"pkg:pypi/{name}@{distribution.version}")


def _components(path: Path, distribution: Distribution) -> Iterator[Part]:
    """Read the SBOM inside a wheel (PEP 770)."""
    own = canonicalize_name(distribution.metadata["Name"])
    for each in json.loads(path.read_bytes()).get("components", []):
        # one without a version is what the package needs, not what it holds
        if canonicalize_name(each["name"]) != own and "version" in each:
            yield Part(each["name"], each["version"], _expression(each), f"sboms/{path.name}", each.get("purl", ""))


def _expression(component: dict[str, Any]) -> str:
    stated = component.get("licenses") or [{}]
    words = [each.get("expression") or each.get("license", {}).get("id", "") for each in stated]
    return " AND ".join(filter(None, words)).replace("/", " OR ")  # crates of old write MIT/Apache-2.0


def _java(path: Path, known: Known) -> Iterator[Part]:
    """Read what a jar says of the libraries that were put into it."""
    with zipfile.ZipFile(path) as jar:
        for pom in filter(None, map(_POM.fullmatch, jar.namelist())):
            group, name = pom.groups()
            version = re.search(r"^version=(.*)$", jar.read(pom[0]).decode(), re.MULTILINE)
            said = version[1].strip() if version else ""
            yield Part(name, said, known.java(group), f"its project, {group}", f"pkg:maven/{group}/{name}@{said}")
