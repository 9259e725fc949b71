"""Write the table of hostile acts in docs/confinement.md: what each does, and at which levels it is refused.

python -m tests.attack.table
"""

from __future__ import annotations

from tests.attack.acts import ACTS, LANDLOCK, LIMITS
from tests.attack.acts.act import Act
from tests.drills.table import line
from tests.support import ROOT

PAGE = ROOT / "docs" / "confinement.md"
BEGIN, END = "<!-- acts: begin -->", "<!-- acts: end -->"


def main() -> None:
    """Rewrite the table."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}")


def table() -> str:
    """Return all acts as Markdown."""
    rows = [line(("act", "refused at")), line(["---"] * 2)]
    return "\n".join([*rows, *(line((each.about, levels(each))) for each in ACTS.values())])


def levels(each: Act) -> str:
    """Say at which levels an act is refused."""
    if LIMITS in each.refused_by:
        return "every level"
    first = next((version for version in LANDLOCK if version in each.refused_by), None)
    return "`full`, `seccomp`" + (f", `{first}` and later" if first else "")


if __name__ == "__main__":
    main()
