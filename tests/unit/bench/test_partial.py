"""Splices are where the parts say, as loud as their host, and the same every time; what is near one is told."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.partial import Case, Heard, near, row
from bench.splices import FADE, LEVEL, RATE, Corpus, Splice, laid, quantised, rms, write
from detector.head import Head
from jobs.inputs.parts import by_utterance, read_parts

HOST_SECONDS = 20.0


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Noise for recordings of one voice, tones for two systems of it, and a voice with too little speech."""
    rows = []

    def add(samples: np.ndarray, label: str, system: str, speaker: str) -> None:
        name = f"{len(rows)}.flac"
        soundfile.write(tmp_path / name, samples, RATE)
        rows.append([name, "eval", label, system, speaker, f"{len(samples) / RATE}"])

    rng = np.random.default_rng(0)
    for _ in range(8):
        add(rng.normal(0.0, 0.02, 3 * RATE), "bonafide", "-", "ljspeech")
    for system, number in itertools.product(("a", "b"), range(4)):
        add(0.5 * np.sin(np.arange(2 * RATE) * (0.1 + 0.01 * number)), "spoof", system, "ljspeech")
    add(rng.normal(0.0, 0.02, 3 * RATE), "bonafide", "-", "thorsten")
    add(np.sin(np.arange(2 * RATE) * 0.1), "spoof", "c", "thorsten")
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "split", "label", "system", "speaker", "seconds"], *rows])
    return Corpus(tmp_path)


def test_only_the_part_that_is_spliced_differs_from_the_host(corpus: Corpus) -> None:
    for host, splice in corpus.splices(6, (0.5, 2.0, 4.0), HOST_SECONDS, seed=1):
        changed = np.flatnonzero(host != splice.samples)

        assert len(host) == len(splice.samples) == round(HOST_SECONDS * RATE)
        assert splice.start <= changed[0] / RATE < splice.start + 0.005
        assert splice.end - 0.005 < (changed[-1] + 1) / RATE <= splice.end


def test_lengths_and_systems_come_in_turn_and_voices_with_too_little_speech_do_not(corpus: Corpus) -> None:
    made = [splice for _, splice in corpus.splices(8, (0.5, 2.0), HOST_SECONDS, seed=1)]

    assert [splice.seconds for splice in made] == [0.5, 2.0] * 4
    assert [splice.system for splice in made] == ["a", "a", "b", "b"] * 2
    assert len({splice.start for splice in made}) == 8


def test_a_splice_is_as_loud_as_what_is_around(corpus: Corpus) -> None:
    host, splice = next(corpus.splices(1, (2.0,), HOST_SECONDS, seed=1))
    start, end = round(splice.start * RATE) + FADE, round(splice.end * RATE) - FADE

    assert rms(host) == pytest.approx(LEVEL, rel=0.05)
    assert rms(splice.samples[start:end]) == pytest.approx(LEVEL, rel=0.05)


def test_a_crossfade_of_unlike_sounds_keeps_the_power() -> None:
    rng = np.random.default_rng(0)
    powers = []
    for _ in range(400):
        target, clip = (rng.normal(size=2 * FADE).astype(np.float32) for _ in range(2))
        laid(target, clip, FADE // 2)
        powers.append(target[FADE // 2 : FADE // 2 + FADE] ** 2)

    assert np.mean(powers, axis=0).mean() == pytest.approx(1.0, abs=0.02)


def test_what_is_written_is_what_is_heard_and_its_parts_say_where(corpus: Corpus, tmp_path: Path) -> None:
    made = list(write(tmp_path / "set", corpus.splices(2, (0.5, 2.0), HOST_SECONDS, seed=1)))
    again = list(corpus.splices(2, (0.5, 2.0), HOST_SECONDS, seed=1))

    parts = dict(by_utterance(read_parts(str(tmp_path / "set" / "parts.csv"))))
    for (host, splice), (_, same) in zip(made, again, strict=True):
        samples, _ = soundfile.read(tmp_path / "set" / "spliced" / f"{splice.name}.flac", dtype="float32")
        assert np.array_equal(samples, splice.samples)
        assert np.array_equal(samples, same.samples)
        of_splice = parts[f"spliced/{splice.name}.flac"]
        assert [part.label for part in of_splice] == ["bonafide", "spoof", "bonafide"]
        assert (of_splice[1].start_seconds, of_splice[1].end_seconds) == (splice.start, splice.end)
        assert [part.label for part in parts[f"hosts/{splice.name}.flac"]] == ["bonafide"]
        assert np.array_equal(host, quantised(host))
    with (tmp_path / "set" / "manifest.csv").open() as file:
        assert [line["label"] for line in csv.DictReader(file)] == ["bonafide", "spoof"] * 2


def test_a_window_is_near_if_its_middle_is_within_two_seconds_of_the_splice() -> None:
    starts = np.arange(0.0, 20.0, 2.0)
    splice = Splice("", "", "", 9.0, 9.5, np.zeros(0, np.float32))

    # middles at 2, 4, 6 … s; from 7 to 11.5 s are near
    assert near(np.column_stack([starts, starts + 4.0]), splice).tolist() == [False] * 3 + [True] * 2 + [False] * 5


def test_the_most_suspicious_window_is_found_by_the_head() -> None:
    head = Head.starter()
    away = np.array(head.weights) / np.array(head.scale)
    cells = np.zeros((10, len(head.weights))) + np.array(head.mean)
    cells[4] -= 5.0 * away / np.square(away).sum()  # lowers the logit of windows 3 and 4, that is from 6 to 12 s
    heard = Heard(cells, np.zeros((5, 1)))
    right, wrong = (Splice("", "v", "s", at, at + 1.0, np.zeros(0, np.float32)) for at in (8.5, 16.5))

    assert row("s", [Case(right, heard, heard)], head)[2].startswith("100.0")
    assert row("s", [Case(wrong, heard, heard)], head)[2].startswith("0.0")
