"""A software bill of materials of an image, as CycloneDX JSON."""

from __future__ import annotations

from collections.abc import Iterable

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from cluster.supply.installed import Package, Part
from cluster.supply.lock import Locked


def bill(image: str, version: str, packages: list[Package], lock: dict[NormalizedName, Locked]) -> str:
    """Write the bill of an image.

    Parameters
    ----------
    image : str
        Name of the image, as `bonafide-cpu`.
    version : str
        Its version.
    packages : list of Package
        What it has, by `installed`.
    lock : dict
        Their hashes. A package of one file has that file's, any other those of all files that may be installed.
    """
    root = Component(name=image, version=version, type=ComponentType.CONTAINER, bom_ref=image)
    components = {each.name: _component(each, lock[each.name]) for each in packages}
    bom = Bom(components=components.values())
    bom.metadata.component = root
    bom.register_dependency(root, components.values())
    for each in packages:
        needed = {canonicalize_name(Requirement(line).name) for line in each.requires}
        bom.register_dependency(components[each.name], [components[name] for name in sorted(needed & set(components))])
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1) + "\n"


def _component(package: Package, locked: Locked) -> Component:
    purl = PackageURL("pypi", name=package.name, version=package.version)
    return Component(
        name=package.name,
        version=package.version,
        bom_ref=str(purl),
        purl=purl,
        licenses=_licences(package.licence),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in sorted(locked.sha256)],
        components=_parts(str(purl), package.parts),
    )


def _parts(inside: str, parts: Iterable[Part]) -> list[Component]:
    return [
        Component(
            name=part.name,
            version=part.version or None,
            bom_ref=f"{inside}#{number}",
            purl=PackageURL.from_string(part.purl) if part.purl else None,
            licenses=_licences(part.licence),
            properties=[Property(name="bonafide:licence-source", value=part.source)],
        )
        for number, part in enumerate(parts)
    ]


def _licences(licence: str) -> list[LicenseExpression]:
    return [LicenseExpression(licence)] if licence else []
