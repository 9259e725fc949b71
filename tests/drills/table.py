"""The table of drills in docs/reliability.md, from the record of a run.

`make drills` and `make simulate` run `python -m tests.drills.table RECORD …` afterwards. A drill is one row; where
several tests share a number, the row sums them up, with the slowest recovery.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

from tests.support import ROOT

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- drills: begin -->", "<!-- drills: end -->"
HEADER = ("drill", "injected", "held", "measured", "time to recover, s", "wall, s")


def main() -> None:
    """Rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("record", type=Path, nargs="+", help="JSON lines that BONAFIDE_DRILLS_RECORD named")
    records = [record for record in parser.parse_args().record if record.exists()]
    rows = [json.loads(line) for record in records for line in record.read_text().splitlines()]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{rest.partition(END)[2]}")


def table(rows: list[dict[str, Any]]) -> str:
    """Format the rows of a record as Markdown, sorted by number, below a line about the machine."""
    latest = {row["test"]: row for row in rows}  # a test that ran twice counts once
    numbers = sorted({row["number"] for row in latest.values()})
    drills = [[row for row in latest.values() if row["number"] == number] for number in numbers]
    passed = sum(all(row["passed"] for row in each) for each in drills)
    lines = [f"{passed} of {len(drills)} drills passed, on {machine()}, by `make drills` and `make simulate`.", ""]
    lines += [line(HEADER), line(["---"] * 4 + ["---:"] * 2), *(line(_cells(each)) for each in drills)]
    return "\n".join(lines)


def machine() -> str:
    """Describe this machine."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    kilobytes = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())
    name = model[1].strip() if model else platform.machine()
    memory = f"{int(kilobytes[1]) / 1e6:.0f} GB" if kilobytes else "?"
    return f"{os.cpu_count()} cores of {name}, {memory}, Python {platform.python_version()}"


def _cells(tests: list[dict[str, Any]]) -> list[str]:
    def joined(name: str) -> str:
        return "; ".join(dict.fromkeys(row[name] for row in tests if row.get(name)))

    recover = [row["recover_seconds"] for row in tests if "recover_seconds" in row]
    return [
        tests[0]["number"],
        joined("injects"),
        joined("holds") if all(row["passed"] for row in tests) else "**failed**",
        joined("measured"),
        f"{max(recover):.1f}" if recover else "",
        f"{sum(row['wall_seconds'] for row in tests):.0f}",
    ]


def line(cells: Any) -> str:
    """Format a row of a table in Markdown."""
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


if __name__ == "__main__":
    main()
