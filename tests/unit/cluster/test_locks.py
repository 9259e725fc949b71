"""The locks of the images are complete, agree with pyproject.toml and constraints.txt, and hash everything."""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Iterable

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from cluster.supply.lock import LOCKS, read_lock
from tests.support import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
CPU, GPU, BUILD = (read_lock((LOCKS / f"{name}.txt").read_text()) for name in ("cpu", "gpu", "build"))
# what the images run on, whatever runs this test
IMAGE = {
    "python_version": "3.11",
    "python_full_version": "3.11.14",
    "sys_platform": "linux",
    "platform_machine": "x86_64",
}
# torch with CUDA asks for these, each of an exact version or of one that goes with it
CUDA = ("nvidia-", "cuda-", "triton")


def constraints() -> dict[NormalizedName, str]:
    lines = [line.split(";")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def needed(requirements: Iterable[str]) -> set[NormalizedName]:
    """All packages that these requirements need on the images, by the metadata of what is installed here."""
    found: dict[NormalizedName, set[str]] = {}  # the extras of each that were followed
    waiting = [(Requirement(each), "") for each in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({**IMAGE, "extra": extra}):
            continue
        new = {"", *requirement.extras} - found.get(name, set())
        found.setdefault(name, set()).update(new)
        asked = importlib.metadata.requires(name) if new and name not in ("boto3", "s3transfer") else None
        waiting.extend((Requirement(each), extra) for each in asked or [] for extra in new)
    return set(found)


def test_the_lock_of_the_cpu_image_has_all_that_the_product_needs_and_nothing_else() -> None:
    # boto3 is only in the image, so that what it needs is said here: s3transfer, and what s3fs brings anyway
    expected = needed([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["aws"], "s3transfer"])

    assert set(CPU) == {name for name in expected if not name.startswith(CUDA)}  # PyTorch here may be the one for GPUs


def test_the_lock_of_the_gpu_image_has_the_same_but_for_cuda_and_the_launcher() -> None:
    cuda = {name for name in GPU if name.startswith(CUDA)}

    assert set(GPU) - cuda == set(CPU) - {"boto3", "s3transfer"}
    assert len(cuda) >= 15


def test_the_lock_of_the_build_has_the_backend_of_pyproject_and_all_that_it_needs() -> None:
    (backend,) = PYPROJECT["build-system"]["requires"]

    # by hand, since no environment has it: what hatchling asks for on Python 3.11
    assert set(BUILD) == {"hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers"}
    assert backend == f"hatchling=={BUILD[canonicalize_name('hatchling')].version}"


@pytest.mark.parametrize("lock", [CPU, GPU, BUILD], ids=["cpu", "gpu", "build"])
def test_locked_versions_are_those_that_were_run_together(lock: dict[NormalizedName, object]) -> None:
    pins = constraints()
    versions = {name: each.version.removesuffix("+cpu") for name, each in lock.items()}  # type: ignore[attr-defined]

    assert {name: version for name, version in versions.items() if pins.get(name) != version} == {
        name: version for name, version in versions.items() if name.startswith(CUDA)
    }


def test_what_both_images_have_is_the_same_file_but_for_torch() -> None:
    assert [name for name in CPU if name in GPU and CPU[name] != GPU[name]] == ["torch"]
    assert CPU[canonicalize_name("torch")].version == GPU[canonicalize_name("torch")].version + "+cpu"


@pytest.mark.parametrize(
    "line",
    [
        "six==1.17.0",
        "six>=1.17.0 --hash=sha256:" + "0" * 64,
        "six==1.17.0 --hash=md5:" + "0" * 32,
        "six @ file:///six.whl --hash=sha256:" + "0" * 64,
        "--index-url file:///elsewhere",
        "six==1.17.0 --hash=sha256:" + "0" * 64 + "\nSix==1.17.0 --hash=sha256:" + "0" * 64,
    ],
)
def test_a_lock_with_anything_else_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"lock: .* Run make locks\."):
        read_lock(line)
