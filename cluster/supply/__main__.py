"""Write the bills of materials and the page of licences: `make sbom`."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

from cluster.supply.bom import bill
from cluster.supply.installed import Package, installed
from cluster.supply.known import TABLE, Known
from cluster.supply.lock import LOCKS, read_lock
from cluster.supply.page import page

IMAGES = ("cpu", "gpu")


def main() -> int:
    """Read one environment for each image, installed from its lock."""
    parser = argparse.ArgumentParser(prog="python -m cluster.supply", description=main.__doc__)
    parser.add_argument("environments", type=Path, help="a folder with the environments cpu and gpu")
    parser.add_argument("--output", type=Path, default=Path("build"), help="where the bills are written")
    parser.add_argument("--page", type=Path, default=Path("docs/licences.md"), help="the page of licences")
    asked = parser.parse_args()

    known, images, bills = Known.read(), dict[str, list[Package]](), dict[str, str]()
    for image in IMAGES:
        lock = read_lock((LOCKS / f"{image}.txt").read_text())
        (site,) = (asked.environments / image).glob("lib/python3*/site-packages")
        images[image] = installed(site, lock, known)
        bills[image] = bill(f"bonafide-{image}", version("bonafide"), images[image], lock)
    if problems := sorted({*known.missing, *known.stale()}):
        print(*problems, f"Add these to {TABLE}, or remove what is gone.", sep="\n", file=sys.stderr)
        return 65
    for image, text in bills.items():
        (asked.output / f"sbom-{image}.cdx.json").write_text(text)
    asked.page.write_text(page(images))
    return 0


if __name__ == "__main__":
    sys.exit(main())
