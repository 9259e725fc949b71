"""Make partial spoofs of a corpus, and measure how often and how well an encoder and a head find them.

    python -m bench.partial [--corpus FOLDER …] [--output FOLDER] [--splices 200] [--head FILE]
    python -m bench.partial --hours 3 [--corpus FOLDER] [--splices 200] [--head FILE]

For each corpus (`dev` if none is given), writes `hosts/*.flac`, `spliced/*.flac`, `manifest.csv` and `parts.csv` into a
folder of `--output`, which is no place of the project, and tables into docs/results.md (not with `--no-write`). How the
recordings are made: bench/splices.py. A recording is embedded in segments of 4 s; a window is 4 s, every 2 s, and has
the mean of its frames. The most suspicious window is right if its middle is at most 2 s from the splice, that is, if
they touch. With `--hours`, all splices are in turn put into one host of so many hours instead, which is not written.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.dev_corpus import CORPUS, RESULTS
from bench.marked import write_between
from bench.splices import RATE, Corpus, Samples, Splice, spliced, write
from detector.backbones import Backbone, load_backbone
from detector.head import Head
from detector.metrics import (
    Floats,
    cell_labels,
    cell_scores,
    equal_error_rate,
    range_score,
    ranges_of,
    segment_equal_error_rate,
    share_interval,
)
from detector.metrics.intervals import quantile_range
from detector.pooling import POOLINGS, Pooling, join_means

MARKS = ("<!-- partial: begin -->", "<!-- partial: end -->")
MARKS_OF_HOURS = ("<!-- partial hours: begin -->", "<!-- partial hours: end -->")
LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
HOST_SECONDS = 60.0
SEGMENT_SECONDS, HOP_SECONDS = 4.0, 2.0
NEAR_SECONDS = 2.0
RESOLUTIONS = (0.16, 0.64, 2.0, 4.0)
THRESHOLD = 0.0  # nats: as likely spoof as bona fide
N_DRAWS, SEED = 200, 0
BATCH, PIECE = 20, 60 * RATE  # hosts, and samples of a long one, that are embedded at once
FRAMES = "every frame"


@dataclass(frozen=True)
class Heard:
    """What the encoder makes of a recording whose length is a multiple of a segment.

    Parameters
    ----------
    cells : array of shape (n_cells, dim)
        Mean of the frames of every 2 s.
    steps : array of shape (n_segments, n_frames - 1)
        Length of the difference of neighbouring frames.
    """

    cells: Floats
    steps: Floats

    @property
    def windows(self) -> Floats:
        """Starts and ends."""
        starts = np.arange(len(self.cells) - 1) * HOP_SECONDS
        return np.column_stack([starts, starts + SEGMENT_SECONDS])

    def scores(self, head: Head) -> Floats:
        """Scores of the windows."""
        return head.scores((self.cells[:-1] + self.cells[1:]) / 2.0)

    def put(self, other: Heard, segment: int) -> Heard:
        """Return it with the segments of another in the place of its own, from one on."""
        cells, steps = self.cells.copy(), self.steps.copy()
        cells[2 * segment : 2 * segment + len(other.cells)] = other.cells
        steps[segment : segment + len(other.steps)] = other.steps
        return Heard(cells, steps)


@dataclass(frozen=True)
class Case:
    """A host, and the same with its splice, as heard."""

    splice: Splice
    host: Heard
    changed: Heard


class Ears:
    """An encoder that returns frames: its pooling lays them side by side, for segments of one length."""

    def __init__(self, head: Head, processes: int) -> None:
        config = head.embed_config
        pooled = load_backbone(config)
        ((_, n_frames),) = zip(*pooled.embed([np.zeros(round(SEGMENT_SECONDS * RATE), np.float32)]), strict=True)
        self._n_frames = int(n_frames)
        POOLINGS[FRAMES] = Pooling(lambda frames, _: frames.reshape(len(frames), -1), join_means, self._n_frames)
        self._encoder: Backbone = load_backbone(replace(config, pooling=FRAMES, segment_seconds=SEGMENT_SECONDS))
        HEARING.append(self)
        self._pool = multiprocessing.get_context("fork").Pool(processes) if processes > 1 else None

    def hear_all(self, recordings: list[Samples]) -> list[Heard]:
        """Embed recordings, in several processes if asked."""
        if self._pool is None:
            return [self.hear(each) for each in recordings]
        return self._pool.map(_hear, recordings, chunksize=1)

    def hear(self, samples: Samples) -> Heard:
        """Embed a recording, some segments at a time."""
        segments = np.split(samples, len(samples) // round(SEGMENT_SECONDS * RATE))
        cells, steps = [], []
        for at in range(0, len(segments), 15):
            vectors, _ = self._encoder.embed(segments[at : at + 15])
            frames = vectors.reshape(len(vectors), self._n_frames, -1).astype(np.float64)
            halves = np.split(frames, 2, axis=1)
            cells.append(np.stack([half.mean(axis=1) for half in halves], axis=1).reshape(2 * len(frames), -1))
            steps.append(np.linalg.norm(np.diff(frames, axis=1), axis=2))
        return Heard(np.concatenate(cells), np.concatenate(steps))


HEARING: list[Ears] = []  # of this process; its forks find it here


def _hear(samples: Samples) -> Heard:
    return HEARING[-1].hear(samples)


def changed_by(splice: Splice) -> tuple[int, Samples]:
    """Return the segments of a host that its splice changed: the number of the first, and their samples."""
    first, last = int(splice.start // SEGMENT_SECONDS), int(np.ceil(splice.end / SEGMENT_SECONDS))
    at, end = (round(number * SEGMENT_SECONDS * RATE) for number in (first, last))
    return first, splice.samples[at:end]


def cases_of(made: Iterator[tuple[Samples, Splice]], ears: Ears) -> Iterator[Case]:
    """Embed hosts, and again the segments of each that its splice changed; the samples are not kept."""
    while batch := list(itertools.islice(made, BATCH)):
        parts = [changed_by(splice) for _, splice in batch]
        heard = ears.hear_all([*(host for host, _ in batch), *(samples for _, samples in parts)])
        for (_, splice), (first, _), host, again in zip(
            batch, parts, heard[: len(batch)], heard[len(batch) :], strict=True
        ):
            yield Case(replace(splice, samples=splice.samples[:0]), host, host.put(again, first))


def main(arguments: Sequence[str] | None = None) -> int:
    """Make, measure, and write the tables; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.partial", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, action="append", help="folder with metadata.csv; repeatable")
    parser.add_argument("--output", type=Path, help="folder for the recordings; without it, they are not kept")
    parser.add_argument("--splices", type=int, default=200)
    parser.add_argument("--hours", type=float, default=0.0, help="one host of so many hours, of the first corpus")
    parser.add_argument("--processes", type=int, default=1, help="processes that embed [default: 1]")
    parser.add_argument("--head", type=Path, help="a head of the starter's encoder [default: the starter's]")
    parser.add_argument("--no-write", action="store_true", help="print the tables, leave docs/results.md alone")
    known = parser.parse_args(arguments)
    head = Head.starter() if known.head is None else Head.from_json(known.head.read_bytes(), str(known.head))
    ears, folders = Ears(head, known.processes), known.corpus or [CORPUS]
    if known.hours:
        texts = long_host(Corpus(folders[0]), ears, head, known)
    else:
        texts = (text for folder in folders for text in short_hosts(folder, ears, head, known))
    text = "\n\n".join(texts)
    print(text)
    if not known.no_write:
        command = f"`python -m bench.partial {' '.join(sys.argv[1:])}`"
        write_between(RESULTS, *(MARKS_OF_HOURS if known.hours else MARKS), f"{command}\n\n{text}")
    return 0


def short_hosts(folder: Path, ears: Ears, head: Head, known: argparse.Namespace) -> Iterator[str]:
    """Make and hear the hosts of a corpus and their splices, and yield the tables."""
    corpus = Corpus(folder)
    with tempfile.TemporaryDirectory(prefix="bonafide-partial-") as unkept:
        place = known.output / folder.name if known.output else Path(unkept)
        made = write(place, corpus.splices(known.splices, LENGTHS, HOST_SECONDS, SEED))
        cases = list(cases_of(made, ears))
    yield f"**`{folder.name}`**, {known.splices} splices in hosts of 60 s:"
    yield from tables(cases, head)


def tables(cases: list[Case], head: Head) -> Iterator[str]:
    """Yield the tables of the short hosts: where, by resolution, and whether."""
    lengths = sorted({case.splice.seconds for case in cases})
    systems = sorted({case.splice.system for case in cases})
    rows = [row(f"{length:g} s", [case for case in cases if case.splice.seconds == length], head) for length in lengths]
    rows += [row(system, [case for case in cases if case.splice.system == system], head) for system in systems]
    header = ("splices", "number", "found, %", "by chance, %", "rank of the best window, median")
    yield table(header, [*rows, row("all", cases, head)])
    yield by_resolution(cases, head)
    yield whole(cases, head)


def row(name: str, cases: list[Case], head: Head) -> list[str]:
    """One line of how often the most suspicious window is right."""
    right = [near(case.changed.windows, case.splice) for case in cases]
    scores = [case.changed.scores(head) for case in cases]
    ranks = [int(np.argmax(is_near[np.argsort(score)])) + 1 for is_near, score in zip(right, scores, strict=True)]
    found = share_interval(sum(rank == 1 for rank in ranks), len(ranks))
    chance = float(np.mean([is_near.mean() for is_near in right]))
    shares = (percent(found.value, found.low, found.high), f"{100 * chance:.1f}")
    return [name, str(len(cases)), *shares, f"{np.median(ranks):g}"]


def near(windows: Floats, splice: Splice) -> np.ndarray:
    """True for windows whose middle is at most 2 s from the splice."""
    middles = windows.mean(axis=1)
    return np.asarray((middles >= splice.start - NEAR_SECONDS) & (middles <= splice.end + NEAR_SECONDS))


def by_resolution(cases: list[Case], head: Head) -> str:
    """Segment EER and range precision, recall and F1."""
    scored = [(case, case.changed.scores(head)) for case in cases]
    lines = []
    for seconds in RESOLUTIONS:
        n_cells = int(HOST_SECONDS / seconds)
        cells = [cell_scores(case.changed.windows, scores, n_cells, seconds) for case, scores in scored]
        labels = [labels_of(case.splice, n_cells, seconds) for case in cases]

        def eer(drawn: np.ndarray, labels: list[np.ndarray] = labels, cells: list[Floats] = cells) -> float:
            return segment_equal_error_rate(*(np.concatenate([each[i] for i in drawn]) for each in (labels, cells)))

        found = range_score(
            (np.array([[case.splice.start, case.splice.end]]), ranges_of(scores < THRESHOLD, seconds))
            for case, scores in zip(cases, cells, strict=True)
        )
        lines.append(
            [f"{seconds:g} s", percent(*with_range(eer, len(cases)))]
            + [f"{100 * value:.1f}" for value in (found.precision, found.recall, found.f1)]
        )
    return table(("cells of", "segment EER, %", "range precision, %", "range recall, %", "range F1, %"), lines)


def labels_of(splice: Splice, n_cells: int, seconds: float) -> np.ndarray:
    """Labels of the cells of a host with a splice."""
    bonafide = np.array([[0.0, splice.start], [splice.end, HOST_SECONDS]])
    return cell_labels(np.array([[splice.start, splice.end]]), bonafide, n_cells, seconds)


def lowest(n: int) -> Callable[[Heard, Head], float]:
    """Mean score of the n most suspicious windows."""
    return lambda heard, head: float(np.sort(heard.scores(head))[:n].mean())


def kurtosis(heard: Heard) -> float:
    """Excess kurtosis of the steps between frames."""
    steps = (heard.steps - heard.steps.mean()) / heard.steps.std()
    return float(np.mean(steps**4) - 3.0)


RULES: dict[str, Callable[[Heard, Head], float]] = {
    "mean over frames": lambda heard, head: float(head.scores(heard.cells.mean(axis=0, keepdims=True))[0]),
    "most suspicious window": lowest(1),
    "mean of the 3 most suspicious": lowest(3),
    "mean of the 10 % most suspicious": lambda heard, head: lowest(max(1, len(heard.cells) // 10))(heard, head),
    "largest step between frames, without the head": lambda heard, _: -float(heard.steps.max()),
    "kurtosis of the steps, without the head": lambda heard, _: -kurtosis(heard),
}


def whole(cases: list[Case], head: Head) -> str:
    """EER of hosts without a splice and with one, by the rule that makes one score of a recording."""
    lengths = sorted({case.splice.seconds for case in cases})
    lines = []
    for name, rule in RULES.items():
        hosts = np.array([rule(case.host, head) for case in cases])
        changed = np.array([rule(case.changed, head) for case in cases])

        def eer(drawn: np.ndarray, hosts: Floats = hosts, changed: Floats = changed) -> float:
            return equal_error_rate(hosts[drawn], changed[drawn])

        cells = [percent(*with_range(eer, len(cases)))]
        for length in lengths:
            mine = np.array([case.splice.seconds == length for case in cases])
            cells.append(f"{100 * equal_error_rate(hosts, changed[mine]):.1f}")
        lines.append([name, *cells])
    return table(("rule", "EER, %", *(f"{length:g} s" for length in lengths)), lines)


def long_host(corpus: Corpus, ears: Ears, head: Head, known: argparse.Namespace) -> Iterator[str]:
    """Splices of every length in one host of hours, each alone in it."""
    rng = np.random.default_rng([SEED, 1_000_000])
    voice = max(corpus.real, key=lambda each: sum(clip.seconds for clip in corpus.real[each]))
    host = corpus.host(rng, voice, known.hours * 3_600.0)
    pieces = np.array_split(host, np.arange(1, math.ceil(len(host) / PIECE)) * PIECE)
    heard = joined_up(ears.hear_all([np.asarray(each) for each in pieces]))
    moved: list[Splice] = []
    parts: list[tuple[int, Samples]] = []
    systems = [system for system, of in sorted(corpus.made) if of == voice]
    for number in range(known.splices):
        system, length = systems[(number // len(LENGTHS)) % len(systems)], LENGTHS[number % len(LENGTHS)]
        at = int(rng.integers((len(host) - round(HOST_SECONDS * RATE)) // round(SEGMENT_SECONDS * RATE)))
        excerpt = host[at * round(SEGMENT_SECONDS * RATE) :][: round(HOST_SECONDS * RATE)]
        empty = Splice(str(number), voice, system, 0.0, 0.0, excerpt)
        splice = spliced(rng, excerpt, corpus.synthesis(rng, system, voice, length), empty)
        first, samples = changed_by(splice)
        parts.append((at + first, samples))
        shift = at * SEGMENT_SECONDS
        moved.append(replace(splice, start=splice.start + shift, end=splice.end + shift, samples=excerpt[:0]))
    again = ears.hear_all([samples for _, samples in parts])
    cases = [
        (splice, heard.put(each, first).scores(head))
        for splice, (first, _), each in zip(moved, parts, again, strict=True)
    ]
    lines = []
    names = [f"{length:g} s" for length in LENGTHS] + systems + ["all"]
    for name in names:
        mine = [
            (near(heard.windows, splice)[np.argsort(scores)])
            for splice, scores in cases
            if name in (f"{splice.seconds:g} s", splice.system, "all")
        ]
        shares = (share_interval(sum(bool(order[:n].any()) for order in mine), len(mine)) for n in (1, 10, 100))
        lines.append([name, str(len(mine)), *(percent(share.value, share.low, share.high) for share in shares)])
    yield f"**One host of {known.hours:g} h ({voice}, {len(heard.windows):,} windows), each splice alone in it:**"
    yield table(
        ("splices", "number", "first in the queue, %", "among the first 10, %", "among the first 100, %"), lines
    )


def joined_up(heard: list[Heard]) -> Heard:
    """What the encoder makes of recordings one behind the other."""
    return Heard(np.concatenate([each.cells for each in heard]), np.concatenate([each.steps for each in heard]))


def with_range(metric: Callable[[np.ndarray], float], n: int) -> tuple[float, float, float]:
    """A metric of all cases, and its 95 % range over draws of cases."""
    rng = np.random.default_rng(SEED)
    drawn = np.array([metric(rng.integers(n, size=n)) for _ in range(N_DRAWS)])
    return metric(np.arange(n)), *quantile_range(drawn, 0.95, n)


def percent(value: float, low: float, high: float) -> str:
    """A share with its interval."""
    return f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
