"""The page of licences: docs/licences.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cluster.supply.installed import Package, Part

_HEAD = """# Licences

Written by `make sbom` from the packages that the images install ([security.md](security.md#supply-chain)); do not edit.
Licences are SPDX expressions: of packages as their metadata states them, of libraries inside wheels as
`cluster/supply/licences.toml` says, with sources. Sources that are addresses could not be opened where the table was
made: look there before you rely on such a row. This is no legal advice. bonafide itself is Apache-2.0.

The bills of materials that the same command writes, `build/sbom-cpu.cdx.json` and `build/sbom-gpu.cdx.json` (CycloneDX
1.6), list all of this by item, each Rust crate too, with hashes.

**Not listed**: the base image (Python itself, Debian and its two packages), which a scanner of images reads;
libraries that are linked into a file without a trace and that no row of the table names; checkpoints and heads.
"""

_COPYLEFT = """## GPL and LGPL

Every part that is only to be had under one of these licences. They ask nothing of who runs bonafide; who passes an
image on must keep their terms, among them to offer the sources of these parts.

- **PyAV's FFmpeg counts as GPL**: FFmpeg says of itself that it is LGPL 3, but its libavcodec is linked with x264 and
  x265, which are GPL 2 or later. The wheel's own BSD licence covers PyAV alone. bonafide decodes and encodes no video,
  but the libraries are in the image.
- libsndfile, libsoxr, LAME and mpg123 are LGPL. libsoxr is linked into a module of the package `soxr`, so to replace it
  means to build that package.
- libgfortran and libgomp are GPL with GCC's exception, which lets programs of any licence use them.
"""


_PROPRIETARY = """
## Not open source

NVIDIA's and Intel's own terms. CUDA is in the GPU image only. Whoever passes that image on needs NVIDIA's leave, which
its agreement for CUDA gives under conditions.
"""


def page(images: dict[str, list[Package]]) -> str:
    """Write the page for the packages of each image."""
    held = {(each.name, each.version): each for image in images.values() for each in image}
    packages = [held[key] for key in sorted(held)]
    lines = [_HEAD, _COPYLEFT, *_table(packages, copyleft), _PROPRIETARY, *_table(packages, proprietary)]
    lines += [
        "",
        "## Libraries inside packages",
        "",
        "A version that begins with `so` is that of the interface: the file tells no other.",
        "",
    ]
    lines += ["| package | library | version | licence | licence is stated in |", "| --- | --- | --- | --- | --- |"]
    lines += [line for each in packages for line in _inside(each)]
    lines += ["", "## Packages", "", "| package | version | images | licence |", "| --- | --- | --- | --- |"]
    for each in packages:
        where = ", ".join(image for image, has in images.items() if each in has)
        lines.append(f"| {each.name} | {each.version} | {where} | {each.licence} |")
    return "\n".join(lines) + "\n"


def copyleft(licence: str) -> bool:
    """Tell if a licence leaves no choice but the GPL or the LGPL, for a part at least.

    Examples
    --------
    >>> copyleft("LGPL-3.0-or-later OR GPL-2.0-or-later"), copyleft("MIT OR GPL-2.0-only")
    (True, False)
    >>> copyleft("(MIT OR Apache-2.0) AND LGPL-2.1-only")
    True
    """
    return any(all("GPL-" in choice for choice in part.split(" OR ")) for part in licence.split(" AND "))


def proprietary(licence: str) -> bool:
    """Tell if a licence is one that SPDX does not list."""
    return "LicenseRef-" in licence


def _table(packages: list[Package], wanted: Callable[[str], bool]) -> Iterator[str]:
    yield from ("| part | in | licence |", "| --- | --- | --- |")
    for each in packages:
        for part in (Part(each.name, each.version, each.licence, ""), *each.parts):
            if wanted(part.licence):
                yield f"| {_cell(part.name, part.version)} | {_cell(each.name, each.version)} | {part.licence} |"


def _cell(name: str, version: str) -> str:
    return f"{name} {version}".strip()


def _inside(package: Package) -> Iterator[str]:
    crates = [part for part in package.parts if part.purl.startswith("pkg:cargo/")]
    for part in package.parts:
        if part not in crates:
            yield f"| {package.name} | {part.name} | {part.version} | {part.licence} | {part.source} |"
    if crates:
        licences = "; ".join(sorted({part.licence for part in crates}))
        yield f"| {package.name} | {len(crates)} Rust crates | | {licences} | {crates[0].source} |"
