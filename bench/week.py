"""Run a week of nights over a small archive that changes, and compare all that they say with a plain recount.

    python -m bench.week [--no-copy] [--keep FOLDER]

Recordings are added, replaced, removed, brought back, renamed and erased, in loose files and in tars; a second head
judges all, the first one comes back; two nights run at the same time. After each step, these must agree with
`bench/recount.py`, which knows the files of the archive and nothing else: the last lines of the log, the run's record,
its page, the documented queries on the output and on its compacted copy, the history of every row, the audio that the
encoder heard, and the Iceberg tables. `verify` must end with 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.agreement import FIRST, SECOND, Week

BROKEN = b"<html>404</html>" * 20

Step = Callable[[Week], None]


def first_night(week: Week) -> None:
    """The first night"""
    week.put(*(f"calls/{number}.flac" for number in range(6)))
    week.put_tar("a.tar", "0.flac", "1.flac", "2.flac")
    (week.archive / "calls" / "broken.flac").write_bytes(BROKEN)
    week.night("2026-11-23")


def again(week: Week) -> None:
    """The same night again"""
    week.night(week.date, week.active)


def grow(week: Week) -> None:
    """More loose files and another tar"""
    week.put("calls/6.flac", "calls/7.flac", "radio/0.flac", "radio/1.flac")
    week.put_tar("b.tar", "0.flac", "1.flac")
    week.night("2026-11-24")


def replace_some(week: Week) -> None:
    """A file of a group, and a member of a tar, are replaced"""
    week.put("calls/2.flac")
    week.put_tar("a.tar", "1.flac")
    week.night("2026-11-25")


def same_day(week: Week) -> None:
    """Another night on the same date, with one more file"""
    week.put("calls/8.flac")
    week.night("2026-11-25")


def remove(week: Week) -> None:
    """A file is removed, and nothing else changes"""
    (week.archive / "calls" / "0.flac").rename(week.archive.parent / "kept.flac")
    week.night("2026-11-26")


def come_back(week: Week) -> None:
    """The file comes back as it was"""
    (week.archive.parent / "kept.flac").rename(week.archive / "calls" / "0.flac")
    week.night("2026-11-27")


def mend(week: Week) -> None:
    """A broken file is replaced by a good one, and a good one breaks"""
    week.put("calls/broken.flac")
    (week.archive / "calls" / "6.flac").write_bytes(BROKEN)
    week.night("2026-11-27")


def second_head(week: Week) -> None:
    """A second head judges all"""
    week.night("2026-11-27", SECOND)


def second_head_grows(week: Week) -> None:
    """With the second head, one file is new, one replaced, one gone, one breaks"""
    week.put("radio/2.flac", "radio/0.flac")
    (week.archive / "radio" / "1.flac").unlink()
    (week.archive / "calls" / "7.flac").write_bytes(BROKEN)
    week.night("2026-11-28", SECOND)


def second_head_goes_on(week: Week) -> None:
    """And another one of the same group breaks"""
    (week.archive / "calls" / "6.flac").write_bytes(BROKEN + BROKEN)
    week.put("calls/1.flac")
    week.night("2026-11-28", SECOND)


def first_head_again(week: Week) -> None:
    """The first head comes back"""
    week.night("2026-11-28", FIRST)


def and_once_more(week: Week) -> None:
    """The second head comes back, and has nothing to do"""
    week.night("2026-11-28", SECOND)


def rename(week: Week) -> None:
    """A file gets another name"""
    (week.archive / "calls" / "3.flac").rename(week.archive / "calls" / "three.flac")
    week.night("2026-11-28", SECOND)


def erase(week: Week) -> None:
    """A recording is erased, and the next night has nothing to do"""
    (week.archive / "calls" / "4.flac").unlink()
    week.night("2026-11-28", SECOND)
    week.erase("calls/4.flac")
    week.night("2026-11-29", SECOND)


def erase_present(week: Week) -> None:
    """A recording is removed and erased before a night has missed it"""
    (week.archive / "calls" / "5.flac").unlink()
    week.erase("calls/5.flac")
    week.night("2026-11-29", SECOND)


def lose_too_much(week: Week) -> None:
    """A whole folder is empty: refused, then accepted"""
    for path in sorted(week.archive.rglob("*.flac")):
        path.unlink()
    for path in sorted(week.archive.rglob("*.tar")):
        path.unlink()
    week.refused("2026-11-29")
    week.put("radio/9.flac")
    week.night("2026-11-29", SECOND, "--max-removed", "1")


def prune(week: Week) -> None:
    """Rows of what is gone are taken out"""
    week.night("2026-11-30", SECOND, "--prune")


def two_at_once(week: Week) -> None:
    """Two nights run at the same time"""
    week.put(*(f"late/{number}.flac" for number in range(4)))
    week.put_tar("c.tar", "0.flac", "1.flac")
    week.night("2026-11-30", SECOND, at_once=2)


STEPS: tuple[Step, ...] = (
    first_night,
    again,
    grow,
    replace_some,
    same_day,
    remove,
    come_back,
    mend,
    second_head,
    second_head_grows,
    second_head_goes_on,
    first_head_again,
    and_once_more,
    rename,
    erase,
    erase_present,
    lose_too_much,
    prune,
    two_at_once,
)


def walk(week: Week, steps: Sequence[Step] = STEPS) -> Iterator[str]:
    """Take steps one after the other; yield what each did once all agrees."""
    for step in steps:
        try:
            step(week)
        except AssertionError as error:
            raise AssertionError(f"{step.__doc__}: {error}") from error
        yield str(step.__doc__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Walk through the week, and print a line for each step; return 0 if all agrees."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.week", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-copy", action="store_true", help="leave out `compact` and `register`")
    parser.add_argument("--keep", type=Path, help="new folder for archive, output, copy and catalog")
    known = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bonafide-bench-") as temporary:
        folder = known.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for text in walk(Week(folder.resolve(), with_copy=not known.no_copy)):
            print(f"{text}: all agree", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
