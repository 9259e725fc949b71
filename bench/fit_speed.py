"""Compare the speed of `fit` between this checkout and another one: few rows, several layers, the same head.

    git worktree add ../before COMMIT
    python -m bench.fit_speed --before ../before [--rows 260] [--dim 1024] [--layers 5]

Draws a table for each layer as bench/fit.py does, the more noisy the higher the layer, and fits a head on all of them
with each checkout in turn. Prints processor seconds, which other work on the machine changes less than the time of a
clock, their ratio, and whether head.json is the same, byte for byte. Changes no page of docs/.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.dev_corpus import ROOT
from bench.fit import write
from bench.processes import run
from detector.config import EmbedConfig, Recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit with both checkouts, print a line for each, and return 0 if the heads are the same."""
    parser = argparse.ArgumentParser(prog="python -m bench.fit_speed", description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="folder of the other checkout")
    parser.add_argument("--rows", type=int, default=260)
    parser.add_argument("--dim", type=int, default=1_024)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--embeddings", help="fit on this output instead of a drawn one; needs --labels")
    parser.add_argument("--labels")
    known = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bonafide-bench-") as folder:
        embeddings, labels = known.embeddings or folder, known.labels or f"{folder}/labels.parquet"
        if not known.embeddings:
            for layer in range(1, known.layers + 1):
                recipe = Recipe(EmbedConfig(backbone="huggingface", layer=layer), "drawn", "")
                write(Path(folder), known.rows, known.dim, recipe, noise=0.1 * layer)
        places = ("--embeddings", embeddings, "--labels", labels)
        seconds, heads = {}, {}
        for name, checkout in (("before", known.before), ("now", ROOT)):
            output = Path(folder) / name / "head.json"
            seconds[name] = fit(checkout, (*places, "--output", str(output)))
            heads[name] = output.read_bytes()
    same = heads["before"] == heads["now"]
    print(f"{seconds['before'] / seconds['now']:.1f} times as fast; head.json is {'the same' if same else 'ANOTHER'}")
    return 0 if same else 1


def fit(checkout: Path, arguments: Sequence[str]) -> float:
    """Fit with a checkout's code; return the processor seconds that it took."""
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"PYTHONPATH": str(checkout.absolute())}
    done = run([sys.executable, "-P", "-m", "jobs", "fit", *arguments], environment)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
    print(f"{checkout}: {taken:.1f} processor seconds, {done.seconds:.1f} s, peak {max(done.peak_mb.values()):.0f} MB")
    return taken


if __name__ == "__main__":
    sys.exit(main())
