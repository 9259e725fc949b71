"""Fuzz a target with atheris, guided by the lines that its inputs reach.

    python -m tests.fuzz.run tar --seconds 60

Ends with 0 if nothing was found. Otherwise it ends with the exit code of atheris, and the input is in a file `crash-…`
in the folder `--artifacts`. An input may take 10 s and 2 GB. The corpus starts from the target's seeds, and is kept if
`--corpus` names a folder.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import atheris

INPUT_SECONDS, MEMORY_MB, MAX_BYTES = 10, 2_048, 64 << 10


def main() -> None:
    """Fuzz for the requested number of seconds."""
    with atheris.instrument_imports(include=["detector", "jobs", "tarfile", "json"]):
        from tests.fuzz.targets import TARGETS
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description="Fuzz a target.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--artifacts", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--corpus", type=Path, help="[default: a new folder]")
    asked = parser.parse_args()
    target = TARGETS[asked.target]
    corpus = asked.corpus or Path(tempfile.mkdtemp(prefix=f"fuzz-{asked.target}-"))
    for folder in (corpus, asked.artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:02d}").write_bytes(seed)
    options = {
        "max_total_time": asked.seconds,
        "timeout": INPUT_SECONDS,
        "rss_limit_mb": MEMORY_MB,
        "max_len": MAX_BYTES,
        "artifact_prefix": f"{asked.artifacts}{os.sep}",
        "close_fd_mask": 2,  # hides what decoders in C print
        "verbosity": 0,
        "print_final_stats": 1,
    }
    print(f"fuzzing {asked.target} for {asked.seconds} s; corpus in {corpus}", flush=True)
    atheris.Setup([sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), str(corpus)], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
