"""Tools that some tests need, and what a test does where one is missing: it is skipped, or fails in CI."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.support.dev_corpus import CORPUS

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HEADERS = (
    Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    Path("/usr/include/asm-generic/unistd.h"),  # the table of arm64, too
)
CRDS = "BONAFIDE_KUBERAY_CRDS"


@dataclass(frozen=True)
class Tool:
    """A tool, or a property of the machine, that tests need.

    Parameters
    ----------
    present : callable
        Returns True if it is there.
    remedy : str
        How to get it.
    in_ci : bool
        False if CI cannot get it, because no package registry has it or it is a property of the machine's kernel. Then
        its tests are skipped in CI, too.
    """

    present: Callable[[], bool]
    remedy: str
    in_ci: bool = True


def installed_browser() -> str | None:
    """Return the path of the system's Chromium or Chrome."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def _has_browser() -> bool:
    from playwright.sync_api import sync_playwright

    if installed_browser():
        return True
    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path).exists()


def _has_landlock() -> bool:
    return bool(ctypes.CDLL(None).syscall(444, None, 0, 1) >= 4)  # version 4 and later confine TCP


def _may_mount() -> bool:
    tools = all(map(shutil.which, ("unshare", "setpriv", "findmnt")))
    return tools and os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"]).returncode == 0


TOOLS = {
    "the dev corpus": Tool(
        lambda: (CORPUS / "metadata.csv").exists(),
        "put the corpus of the project's shared folder into ../shared/corpus/dev, beside the checkout",
    ),
    "a Chromium": Tool(_has_browser, "apt-get install chromium, or python -m playwright install chromium"),
    "KubeRay's CRDs": Tool(
        lambda: CRDS in os.environ,
        f"set {CRDS} to a folder with the ray.io_*.yaml of KubeRay's source; no package registry has them",
        in_ci=False,
    ),
    "a kernel with Landlock": Tool(_has_landlock, "use Linux 6.7 or later with Landlock enabled", in_ci=False),
    "the kernel's headers": Tool(
        lambda: all(map(Path.exists, HEADERS)), "apt-get install linux-libc-dev, on x86-64", in_ci=False
    ),
    "root with mounts of its own": Tool(_may_mount, "run as root, outside a container", in_ci=False),
}


def require(name: str) -> None:
    """Skip the test that runs now if a tool of :data:`TOOLS` is missing; with `CI=true`, fail it if CI can get it."""
    tool = TOOLS[name]
    if _present(name):
        return
    if tool.in_ci and os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{name} is missing, which is a failure with CI=true: {tool.remedy}", pytrace=False)
    pytest.skip(f"needs {name} ({tool.remedy})")


@cache
def _present(name: str) -> bool:
    return TOOLS[name].present()
