"""Measure a training-free second opinion: do steps between neighbouring frames of an encoder betray a splice?

    python -m bench.second_opinion [--corpus ../shared/corpus/dev] [--hosts 200]

A host is a single recording of 3 s, without a joint. It is heard as it is, with a part replaced by synthesis of the
same voice, and with the same part replaced by another recording of the voice: a statistic that tells splices apart,
whoever spoke, has an EER near 50 % between the last two. Prints a table; changes no page.

References
----------
Khan et al., TRACE: training-free partial audio deepfake detection via embedding trajectory analysis, arXiv 2604.01083,
2026.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.dev_corpus import CORPUS
from bench.partial import SEED, percent, table, with_range
from bench.splices import RATE, Corpus, Samples, Splice, joined, quantised, spliced
from detector.backbones import load_backbone
from detector.head import Head
from detector.metrics import Floats, equal_error_rate
from detector.pooling import POOLINGS, Pooling, join_means

SECONDS = 3.0
LENGTHS = (0.5, 1.0)
FRAMES = "every frame of 3 s"


def kurtosis(steps: Floats) -> Floats:
    """Excess kurtosis of the steps of each recording."""
    centred = steps - steps.mean(axis=1, keepdims=True)
    return np.asarray((centred**4).mean(axis=1) / (centred**2).mean(axis=1) ** 2 - 3.0)


STATISTICS: dict[str, Callable[[Floats], Floats]] = {
    "largest step": lambda steps: steps.max(axis=1),
    "largest over median": lambda steps: steps.max(axis=1) / np.median(steps, axis=1),
    "mean of the 2 % largest": lambda steps: np.sort(steps, axis=1)[:, -max(1, steps.shape[1] // 50) :].mean(axis=1),
    "kurtosis": kurtosis,
    "deviation": lambda steps: steps.std(axis=1),
}
"""Statistics of steps of shape (n, n_steps), of which a splice is to raise each."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.second_opinion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="folder with metadata.csv [default: %(default)s]")
    parser.add_argument("--hosts", type=int, default=200)
    known = parser.parse_args(arguments)
    head, heard = Head.starter(), {}
    for kind, recordings in made(Corpus(known.corpus), known.hosts).items():
        heard[kind] = frames_of(head, recordings)
    print(figures(head, heard))
    return 0


def made(corpus: Corpus, n: int) -> dict[str, list[Samples]]:
    """Make the recordings: as they are, with synthesis, and with other speech of the voice at the same place."""
    n_samples, kinds = round(SECONDS * RATE), sorted(corpus.made)
    found: dict[str, list[Samples]] = {"host": [], "synthesis": [], "speech": []}
    for number in range(n):
        rng = np.random.default_rng([SEED, 2_000_000 + number])
        system, voice = kinds[number % len(kinds)]
        long = [clip for clip in corpus.real[voice] if clip.seconds >= SECONDS]
        if len(long) < 2:
            continue
        first, other = (long[index] for index in rng.permutation(len(long))[:2])
        host, length = quantised(first.samples()[:n_samples]), LENGTHS[number // len(kinds) % len(LENGTHS)]
        part = corpus.synthesis(rng, system, voice, length)
        start = int(rng.integers(n_samples - len(part)))
        speech = joined(iter([other.samples()]), n_samples)[start : start + len(part)]
        place, about = int(rng.integers(1 << 31)), Splice("", voice, system, 0.0, 0.0, host)
        found["host"].append(host)
        for kind, replaced in (("synthesis", part), ("speech", speech)):
            found[kind].append(spliced(np.random.default_rng(place), host, replaced, about).samples)
    return found


def frames_of(head: Head, recordings: list[Samples]) -> Floats:
    """Return frames of recordings of 3 s: array of shape (n, n_frames, dim)."""
    config = head.embed_config
    ((_, counted),) = zip(*load_backbone(config).embed([recordings[0]]), strict=True)
    n_frames = int(counted)
    POOLINGS[FRAMES] = Pooling(lambda frames, _: frames.reshape(len(frames), -1), join_means, n_frames)
    vectors, _ = load_backbone(replace(config, pooling=FRAMES)).embed(recordings)
    return vectors.reshape(len(vectors), n_frames, -1).astype(np.float64)


def figures(head: Head, heard: dict[str, Floats]) -> str:
    """Return the table: EER of each statistic, and of it and the head's score together."""
    scores = {kind: head.scores(frames.mean(axis=1)) for kind, frames in heard.items()}
    steps = {kind: np.linalg.norm(np.diff(frames, axis=1), axis=2) for kind, frames in heard.items()}
    n = len(scores["host"])

    def eer(of: dict[str, Floats], real: str = "host") -> Callable[[np.ndarray], float]:
        return lambda drawn: equal_error_rate(of[real][drawn], of["synthesis"][drawn])

    lines = [
        ["score of the head", *(percent(*with_range(each, n)) for each in (eer(scores), eer(scores, "speech"))), "–"]
    ]
    for name, statistic in STATISTICS.items():
        of = {kind: -statistic(each) for kind, each in steps.items()}
        both = {kind: standard(scores, kind) + standard(of, kind) for kind in of}

        def gain(drawn: np.ndarray, both: dict[str, Floats] = both) -> float:
            return eer(both)(drawn) - eer(scores)(drawn)

        shown = [percent(*with_range(each, n)) for each in (eer(of), eer(of, "speech"), gain)]
        lines.append([name, *shown])
    header = ("statistic", "host or synthesis spliced in: EER, %", "speech or synthesis spliced in: EER, %")
    return f"{n} hosts of 3 s\n\n" + table((*header, "with the score, less the score alone, points"), lines)


def standard(of: dict[str, Floats], kind: str) -> Floats:
    """Return values of a kind in deviations of the hosts'."""
    return np.asarray((of[kind] - of["host"].mean()) / of["host"].std())


if __name__ == "__main__":
    sys.exit(main())
