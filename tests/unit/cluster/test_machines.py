"""The launcher's file and the image pass every check; `make lint` plants faults and sees that the checks find them."""

from __future__ import annotations

import pytest

from tests.support import ROOT
from tests.support.manifests.checks import IMAGE, LAUNCHER
from tests.support.manifests.image import DOCKERFILE, stages
from tests.support.manifests.machines import ray_up


@pytest.mark.parametrize("check", LAUNCHER)
def test_the_launcher_s_file_holds(check: str) -> None:
    assert list(LAUNCHER[check](ray_up())) == []


@pytest.mark.parametrize("check", IMAGE)
def test_the_image_s_file_holds(check: str) -> None:
    assert list(IMAGE[check](DOCKERFILE.read_text())) == []


def test_nothing_goes_into_the_image_that_is_not_named() -> None:
    first, *named = (ROOT / "cluster" / "Dockerfile.dockerignore").read_text().split()

    assert first == "*"
    needed = [rest.split()[:-1] for word, rest in stages(DOCKERFILE.read_text())["source"] if word == "COPY"]
    assert {each.removeprefix("!") for each in named if each.startswith("!")} == {
        name.split("/")[0] for each in needed for name in each if not name.startswith("--")
    }
    assert all((ROOT / name).exists() for each in needed for name in each)
