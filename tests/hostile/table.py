"""Write and print the table of bad inputs in docs/hostile-inputs.md from the record of a test run.

`make hostile` runs `python -m tests.hostile.table RECORD` afterwards. Tests with the same number and the same input are
one row, which shows the largest CPU time and memory of any of them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tests.drills.table import line, machine
from tests.support import ROOT

PAGE = ROOT / "docs" / "hostile-inputs.md"
BEGIN, END = "<!-- hostile: begin -->", "<!-- hostile: end -->"
HEADER = ("", "given", "expected", "seen", "CPU, s", "decoder, MB", "reader, + MB")


def main() -> None:
    """Rewrite the table, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("record", type=Path, help="JSON lines that BONAFIDE_HOSTILE_RECORD named")
    text = table([json.loads(row) for row in parser.parse_args().record.read_text().splitlines()])
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
    print(text)


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows of a record as Markdown, sorted by number, after a line about the machine."""
    cases: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in {row["test"]: row for row in rows}.values():  # a test that was run twice counts once
        cases.setdefault((row["number"], row["given"]), []).append(row)
    n_passed = sum(row["passed"] for tests in cases.values() for row in tests)
    n_tests = sum(map(len, cases.values()))
    said = f"{n_passed} of {n_tests} inputs ended as expected, on {machine()}, by `make hostile`."
    shown = [line(HEADER), line(["---"] * 4 + ["---:"] * 3)]
    return "\n".join([said, "", *shown, *(line(_cells(tests)) for _, tests in sorted(cases.items()))])


def _cells(tests: list[dict[str, Any]]) -> list[str]:
    seen = "; ".join(dict.fromkeys(row["seen"] for row in tests if row["seen"]))
    return [
        tests[0]["number"],
        tests[0]["given"] + (f" ({len(tests)})" if len(tests) > 1 else ""),
        tests[0]["expected"],
        seen if all(row["passed"] for row in tests) else f"**failed** {seen}",
        f"{max(row['cpu_seconds'] for row in tests):.1f}",
        f"{max(row['decoder_mb'] for row in tests):.0f}",
        f"{max(row['reader_mb'] for row in tests):.0f}",
    ]


if __name__ == "__main__":
    main()
