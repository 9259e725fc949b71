"""Measure what nights cost before the encoder over an archive of many shards: `python -m bench.plans`.

    python -m bench.plans [--shards 1000000] [--new 10000] [--loose] [--made-up] [--place FOLDER] [--profile]

An archive of containers is made on a local disk (of one byte each: no recording is read), or with `--loose` one of
recordings, in groups; and an output beside it. With `--made-up`, there is no archive, but a store that lists one: so
the memory of a night over a hundred million recordings can be measured. `nightly` is run as far as the encoders, or the
head, would begin, each night in a process of its own:

    first      all is new
    scores     all is embedded: the markers are found, and folded; all is to be scored
    folding    all is scored, and folded
    nothing    nothing is new
    new        `--new` are new among the old ones

Between them, markers are written as commits write them. A night's seconds, its peak memory, and its requests to the
store are printed. Disks must be able to hold a file of no size for each shard, and two links to one.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import os
import pstats
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from jobs import storage
from jobs.config import extract_config
from jobs.inputs.config import InputConfig
from jobs.inputs.shards import Amount
from jobs.reports.nightly.config import NightlyConfig
from jobs.scoring import run as scoring
from jobs.storage.local import Local
from jobs.storage.objects import ABSENT, LeaveOut, Listing, Sieve, Stored
from jobs.tables.checksummed_json import dump_checksummed
from jobs.tables.ledger import ledgers
from jobs.tables.protocol import Marker
from tests.support.nightly_runs import head

FOLDER_FILES = 10_000
ARCHIVE, MADE_UP = "made-up://archive", "BONAFIDE_BENCH_MADE_UP"
MADE_UP_BYTES = 32_000  # a second of 16-bit samples
LINKS = 30_000  # to one file: some disks allow 65,000
RECIPE = recipe_of(EmbedConfig(backbone="melstats"), None)
NIGHTS = ("first", "scores", "folding", "nothing", "new")


class PlannedError(Exception):
    """The night is planned: its encoders would begin, or its head."""


class NoRunner:
    """In place of a runner: it is asked for a pool when planning has ended, and has none."""

    chosen: ClassVar[dict[str, str]] = {}
    requests: ClassVar[dict[str, int]] = {}

    def __init__(self, _settings: Any) -> None:
        pass

    def __enter__(self) -> NoRunner:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def pool(self, amount: Amount) -> Any:
        """End the night, and say how many shards it found."""
        raise PlannedError(f"{amount.n_shards:9,} to embed")

    def map_items(self, _function: Any, items: Sequence[str], **_how: Any) -> Any:
        """End the night, and say how many shards it found."""
        raise PlannedError(f"{len(items):9,} to score")


class MadeUp:
    """A store that lists an archive and holds none."""

    def __init__(self) -> None:
        self._numbers, self._suffix = range(int(os.environ[MADE_UP].split()[0])), os.environ[MADE_UP].split()[1]

    def stat(self, uri: str, *, as_source: bool = False) -> Stored | None:  # noqa: ARG002
        """Nothing is looked at."""
        return None if uri == ARCHIVE else Stored(uri, 0, ABSENT)

    def listing(self, folder: str, follow: str, leave_out: LeaveOut = None) -> Listing:  # noqa: ARG002
        """List all of it."""
        sieve = Sieve(leave_out)
        for number in self._numbers:
            sieve.take(Stored(f"{folder}/{name_of(number, self._suffix)}", MADE_UP_BYTES, "made up"))
        return Listing(sorted(sieve.kept), n_left_out=sieve.n_left_out)


class Counting(Local):
    """The store of local paths; it counts requests."""

    requests: ClassVar[Counter[str]] = Counter()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if callable(found) and not name.startswith("_"):
            Counting.requests[name] += 1
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a line for each night; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.plans", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, default=1_000_000, help="containers, or recordings with --loose")
    parser.add_argument("--new", type=int, default=10_000)
    parser.add_argument("--loose", action="store_true", help="recordings instead of containers")
    parser.add_argument("--made-up", action="store_true", help="an archive that is listed, and is not there")
    parser.add_argument("--place", help="a folder to make archive and output in, and to leave them in")
    parser.add_argument("--profile", action="store_true", help="print where each night's time goes")
    parser.add_argument("--night", choices=NIGHTS, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.night:
        _measure(Path(asked.place), asked.night, profile=asked.profile)
        return 0
    with contextlib.ExitStack() as stack:
        place = Path(asked.place or stack.enter_context(tempfile.TemporaryDirectory(prefix="bonafide-bench-")))
        suffix = "wav" if asked.loose else "tar"
        place.mkdir(exist_ok=True)
        make(place, range(asked.shards), suffix, made_up=asked.made_up)
        (place / "head.json").write_text(head(recipe=RECIPE).to_json())
        for night in NIGHTS:
            if night == "new":
                make(place, range(asked.shards, asked.shards + asked.new), suffix, made_up=asked.made_up)
            command = [sys.executable, "-m", "bench.plans", "--night", night, "--place", str(place)]
            subprocess.run([*command, *(["--profile"] if asked.profile else [])], check=True)
            if night in ("first", "scores"):
                write_markers(place / "tables")
    return 0


def make(place: Path, numbers: range, suffix: str, *, made_up: bool) -> None:
    """Make recordings or containers of these numbers, each with one byte; or let them be listed."""
    if made_up:
        os.environ[MADE_UP] = f"{numbers.stop} {suffix}"
    else:
        link((place / "archive" / name_of(number, suffix) for number in numbers), b"0")


def name_of(number: int, suffix: str) -> str:
    """Return the name of a recording or container of the archive."""
    return f"{number // FOLDER_FILES:06d}/recordings-{number:09d}.{suffix}"


def link(names: Iterable[Path], content: bytes) -> None:
    """Make files of the same content, many of which are one file: that takes the disk less time."""
    original, below = None, None
    for number, name in enumerate(names):
        if name.parent != below:
            below = name.parent
            below.mkdir(parents=True, exist_ok=True)
        if original is None or number % LINKS == 0:
            name.write_bytes(content)
            original = name
        else:
            os.link(original, name)


def write_markers(output: Path) -> None:
    """Commit all that is planned: markers as commits write them, of shards without rows; and the records."""
    (output / "runs").mkdir(exist_ok=True)
    for table in ledgers(str(output)):
        history = table.history()
        missing = history.current.lacking(table.done())
        detail = {"run_id": "", "audio_seconds": 1.0, "recipe": RECIPE.describe(), "passed_over": {}}
        marker = Marker("", "", {}, {}, {"embeddings": 0, "failures": 0}, {}, detail)
        folder = output / "_commits" / table.name
        link((folder / f"{name}.json" for name in missing.names), marker.to_json())
        for plan in history.plans:
            record = {"run_id": plan.run_id, "verb": "nightly", "exit_code": 0, "abandoned": True}
            (output / "runs" / f"{plan.run_id}.json").write_bytes(dump_checksummed(record, indent=1))


def plan_night(place: Path) -> str:
    """Plan a night; return what it would do."""
    settings = NightlyConfig(
        input=(ARCHIVE if MADE_UP in os.environ else str(place / "archive"),),
        head=str(place / "head.json"),
        output=str(place / "tables"),
        run_date="2026-11-29",
    )
    vars(scoring).update(ChosenRunner=NoRunner)
    try:
        scoring.embed_and_score(extract_config(settings, InputConfig), head(recipe=RECIPE), settings, "nightly")
    except PlannedError as planned:
        return str(planned)
    return "  nothing to do   "


def _measure(place: Path, night: str, *, profile: bool) -> None:
    storage.STORES |= {"file": Counting, "made-up": MadeUp}  # type: ignore[dict-item]
    head(recipe=RECIPE)  # fitted now, as a night reads it
    before = peak_mb()
    begun, cpu = time.perf_counter(), time.process_time()
    found = profiled(lambda: plan_night(place)) if profile else plan_night(place)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    asked = ", ".join(f"{count:,} {name}" for name, count in sorted(Counting.requests.items()))
    print(
        f"{night:8} {found}  {seconds:7.1f} s  {cpu:7.1f} s CPU  peak {peak_mb():6,.0f} MB "
        f"(of which {before:,.0f} before)  requests: {asked}",
        flush=True,
    )


def profiled(work: Callable[[], str]) -> str:
    """Do some work, and print where its time went."""
    with cProfile.Profile() as profile:
        done = work()
    pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(45)
    return done


def peak_mb() -> float:
    """Return the most memory that this process has had resident, without that of the one that started it."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024 / 1e6


if __name__ == "__main__":
    raise SystemExit(main())
