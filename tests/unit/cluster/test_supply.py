"""Bills of materials and the page of licences name every library, those inside wheels too, and know each of them."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from cluster.supply.bom import bill
from cluster.supply.installed import Package, Part, installed, package
from cluster.supply.known import Known, is_spdx
from cluster.supply.lock import LOCKS, read_lock
from cluster.supply.page import page
from tests.support import ROOT

LOCK = read_lock(
    f"player==2.0 --hash=sha256:{'1' * 64} \\\n --hash=sha256:{'2' * 64}\nsix==1.17.0 --hash=sha256:{'3' * 64}"
)
ROW = {
    "package": "player",
    "files": ["player.libs/libmp3-*"],
    "name": "LAME",
    "version": r"LAME([\d.]+)",
    "licence": "LGPL-2.0-or-later",
    "source": "its project",
}
TABLE = {
    "words": {},
    "packages": {},
    "components": {},
    "java": {"org.sample": "MIT"},
    "own": {"player": ["player/own*"]},
}


def put(site: Path, name: str, version: str, metadata: str, files: dict[str, bytes]) -> None:
    """Install a package by hand, as an installer does: files, metadata, and the record of both."""
    folder = f"{name}-{version}.dist-info"
    text = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{metadata}\n"
    files = {**files, f"{folder}/METADATA": text.encode()}
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)
    (site / folder / "RECORD").write_text("".join(f"{path},,\n" for path in files))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "bundle.jar", "w") as jar:
        jar.writestr("META-INF/maven/org.sample/beans/pom.properties", "#made\nversion=1.4\n")
    crate = {
        "name": "serde",
        "version": "1.0",
        "licenses": [{"expression": "MIT/Apache-2.0"}],
        "purl": "pkg:cargo/serde@1.0",
    }
    sbom = {"components": [crate, {"name": "player", "version": "2.0"}, {"name": "needed, not held"}]}
    files = {
        "player/module.cpython-311-x86_64-linux-gnu.so": b"\x7fELF",
        "player/own.so": b"\x7fELF",
        "player/own_program": b"\x7fELF",
        "player/own.jar": (tmp_path / "bundle.jar").read_bytes(),
        "player.libs/libmp3-01ab.so.0.0.7": b"\x7fELF LAME3.100\0",
        "player/_vendor/tiny-3.1.dist-info/METADATA": b"Name: tiny\nVersion: 3.1\nLicense: MIT\n",
        "player-2.0.dist-info/sboms/auditwheel.cdx.json": json.dumps(sbom).encode(),
    }
    put(tmp_path / "site", "player", "2.0", "License-Expression: MIT\nRequires-Dist: six>=1.16", files)
    put(tmp_path / "site", "six", "1.17.0", "License: MIT", {"six.py": b""})
    return tmp_path / "site"


def packages(site: Path, **table: object) -> tuple[list[Package], Known]:
    known = Known({**TABLE, "part": [ROW], **table})
    return installed(site, LOCK, known), known


def test_libraries_inside_a_wheel_are_found_with_version_and_licence(site: Path) -> None:
    (player, six), known = packages(site)

    assert known.missing == known.stale() == []
    assert [(part.name, part.version, part.licence) for part in player.parts] == [
        ("LAME", "3.100", "LGPL-2.0-or-later"),  # in a file of its own
        ("beans", "1.4", "MIT"),  # in a jar
        ("serde", "1.0", "MIT OR Apache-2.0"),  # listed by the wheel
        ("tiny", "3.1", "MIT"),  # a Python package inside the package
    ]
    assert six == Package(six.name, "1.17.0", "MIT", (), ())


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("player.libs/libx264-77.so.165", b"\x7fELF"),
        ("player/data/encoder", b"\x7fELF"),
        ("player/plain.so", b"\x7fELF"),
        ("player.libs/libold.dylib", b""),
    ],
)
def test_a_library_that_the_table_does_not_know_is_named(site: Path, file: str, content: bytes) -> None:
    put(site, "six", "1.17.0", "License: MIT", {file: content})

    _, known = packages(site)

    assert known.missing == [f"[[part]] or [own] six: {file}"]


@pytest.mark.parametrize("metadata", ["", "License: BSD", "Classifier: License :: OSI Approved :: BSD License"])
def test_a_package_whose_licence_is_not_clear_is_named(site: Path, metadata: str) -> None:
    put(site, "six", "1.17.0", metadata, {})

    _, known = packages(site)

    assert [line.split(":")[0] for line in known.missing] == ["[packages] six"]


def test_a_row_of_the_table_that_speaks_of_nothing_is_named(site: Path) -> None:
    gone = {**ROW, "files": ["player.libs/libgone*"], "name": "gone"}

    _, known = packages(site, part=[ROW, gone])

    assert known.stale() == ["[[part]] player: gone is in no file"]


def test_the_version_of_an_interface_stands_in_where_no_other_can_be_read(site: Path) -> None:
    (player, _), _ = packages(site, part=[{**ROW, "version": r"MAD([\d.]+)"}])

    assert player.parts[0].version == "so 0.0.7"


def test_an_environment_that_is_not_the_lock_is_refused(site: Path) -> None:
    put(site, "six", "1.16.0", "License: MIT", {})
    shutil.rmtree(site / "six-1.17.0.dist-info")

    with pytest.raises(ValueError, match="six missing or of another version than the lock"):
        packages(site)


def test_a_bill_keeps_the_schema_and_has_libraries_below_their_packages(site: Path) -> None:
    held, _ = packages(site)

    text = bill("bonafide-cpu", "0.1.0", held, LOCK)

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    read = json.loads(text)
    player, six = read["components"]
    assert [each["name"] for each in player["components"]] == ["LAME", "beans", "serde", "tiny"]
    assert player["components"][0]["licenses"] == [{"expression": "LGPL-2.0-or-later"}]
    assert [each["content"] for each in six["hashes"]] == ["3" * 64]
    (edges,) = [each["dependsOn"] for each in read["dependencies"] if each["ref"] == "pkg:pypi/player@2.0"]
    assert edges == ["pkg:pypi/six@1.17.0"]


def test_the_page_says_plainly_what_is_gpl_or_lgpl() -> None:
    parts = (Part("x264", "so 165", "GPL-2.0-or-later", ""), Part("JNA", "", "Apache-2.0 OR LGPL-2.1-or-later", ""))
    player = Package(next(iter(LOCK)), "2.0", "MIT", (), parts)

    said = page({"cpu": [player]}).split("## Libraries")[0]

    assert "| x264 so 165 | player 2.0 | GPL-2.0-or-later |" in said
    assert "JNA" not in said


def test_the_page_that_is_kept_has_every_package_of_both_images() -> None:
    text = (ROOT / "docs" / "licences.md").read_text()
    locks = {image: read_lock((LOCKS / f"{image}.txt").read_text()) for image in ("cpu", "gpu")}
    held = {(name, each.version) for lock in locks.values() for name, each in lock.items()}

    rows = [line.split(" | ") for line in text.split("## Packages")[1].splitlines()[4:]]

    assert {(name.removeprefix("| "), version) for name, version, _, _ in rows} == held
    assert "| x264 so " in text


def test_every_licence_of_the_table_is_an_spdx_expression() -> None:
    table = Known.read().table
    licences = {
        *(row["licence"] for row in table["part"]),
        *(licence for kind in ("words", "packages", "components", "java") for licence in table[kind].values()),
    }

    assert {each for each in licences if not is_spdx(each)} == set()


def test_this_environment_holds_nothing_that_the_table_does_not_know() -> None:
    known = Known.read()
    lock = read_lock((LOCKS / "cpu.txt").read_text())
    here = [name for name in lock if name not in ("boto3", "s3transfer", "torch")]  # torch's thousand files take long

    for name in here:
        package(importlib.metadata.distribution(name), known)

    assert known.missing == []
