"""Measure the starter's speed on one core: against the old one, against Whisper's padding, and as a whole command.

    python -m bench.starter.speed [--rounds 7] [--work build/starter]

All encoders run in one process on one thread, in turn, forwards and backwards; a round's figure is seconds of audio per
second. Last, `bonafide score` runs on a folder of 100 recordings of 3 s, from the start of the command to its end. The
tables are written to docs/performance.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from bench.dev_corpus import ROOT
from bench.marked import write_between
from bench.processes import run
from bench.starter.head import encoders
from detector import starter
from detector.backbones import Backbone, load_backbone
from detector.config import OWN, PADDED, EmbedConfig

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- starter: begin -->", "<!-- starter: end -->"
SECONDS = (1.0, 2.0, 4.0, 10.0, 29.0)
N_FILES, FILE_SECONDS = 100, 3.0
Samples = list[np.ndarray]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the tables; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.starter.speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--work", type=Path, default=Path("build/starter"), help="folder for the old encoder")
    parser.add_argument("--no-write", action="store_true", help="print the tables, leave docs/performance.md alone")
    known = parser.parse_args(arguments)
    known.work.mkdir(parents=True, exist_ok=True)
    encoders(known.work)
    text = "\n\n".join([segments(known.rounds, known.work), command(max(3, known.rounds // 2))])
    print(text)
    if not known.no_write:
        write_between(PAGE, BEGIN, END, text)
    return 0


def segments(rounds: int, work: Path) -> str:
    """Table of real-time factors by length of segment: medians, and the range over the rounds."""
    of_whisper = {context: _loaded(str(starter.ENCODER), context=context) for context in (OWN, PADDED)}
    found = {"starter": of_whisper[OWN], "padded to 30 s": of_whisper[PADDED]}
    found["old starter"] = _loaded(str(work / "old-encoder"), layer=4)
    lines = [
        f"`python -m bench.starter.speed`, {datetime.datetime.now(datetime.UTC).date()}, one thread of "
        f"{os.cpu_count()} × {platform.machine()}, {rounds} rounds; seconds of audio per second, median and range.",
        "",
        f"| segment | {' | '.join(found)} | starter over padded | starter over old |",
        "| --- " * (3 + len(found)) + "|",
    ]
    rng = np.random.default_rng(0)
    for seconds in SECONDS:
        batch = [
            rng.normal(0, 0.1, round(16_000 * seconds)).astype(np.float32) for _ in range(max(1, int(16 / seconds)))
        ]
        paces: dict[str, list[float]] = {name: [] for name in found}
        for number in range(rounds):
            for name in list(found) if number % 2 else reversed(list(found)):
                paces[name].append(_pace(found[name], batch))
        cells = [f"{np.median(each):.0f} ({min(each):.0f} to {max(each):.0f})" for each in paces.values()]
        own = np.array(paces["starter"])
        ratios = [f"{np.median(own / np.array(paces[name])):.1f}" for name in ("padded to 30 s", "old starter")]
        lines.append(f"| {seconds:g} s | {' | '.join([*cells, *ratios])} |")
    return "\n".join(lines)


def command(rounds: int) -> str:
    """One sentence on `bonafide score` over a folder of short files."""
    with tempfile.TemporaryDirectory(prefix="bonafide-bench-") as folder:
        rng, recordings = np.random.default_rng(0), Path(folder, "recordings")
        recordings.mkdir()
        for number in range(N_FILES):
            samples = rng.normal(0, 0.1, round(16_000 * FILE_SECONDS))
            soundfile.write(recordings / f"{number:03d}.flac", samples, 16_000, subtype="PCM_16")
        took = []
        for _ in range(rounds):
            output = Path(folder, "tables")
            arguments = ["score", "--input", str(recordings), "--output", str(output)]
            took.append(run([sys.executable, "-m", "jobs", *arguments], dict(os.environ)).seconds)
            shutil.rmtree(output)
    return (
        f"`bonafide score` on a folder of {N_FILES} recordings of {FILE_SECONDS:g} s, from the start of the command to "
        f"its end: {np.median(took):.1f} s ({min(took):.1f} to {max(took):.1f}, {rounds} runs)."
    )


def _loaded(folder: str, layer: int = -1, context: str | None = None) -> Backbone:
    config = EmbedConfig(backbone="huggingface", layer=layer, segment_seconds=29, context=context)
    return load_backbone(config, folder)


def _pace(backbone: Backbone, batch: Samples) -> float:
    started = time.perf_counter()
    backbone.embed(batch)
    return sum(map(len, batch)) / 16_000 / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
