"""Partial spoofs, made of a corpus of short recordings: synthesis spliced into speech of the same voice or page.

A host is made of recordings of one voice, one after the other in random order, all of one loudness; each joint is
crossfaded over 20 ms. A splice replaces a part of a host by synthesis of the same voice, as loud as the 4 s around it,
with the same crossfades. So joints alone say nothing: hosts without a splice have as many.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from detector.schema import BONAFIDE, SPOOF
from jobs.inputs.parts import Part, parts_table, write_parts

RATE = 16_000
FADE = RATE // 50  # 20 ms
LEVEL = 0.05  # root mean square of each recording in a host: -26 dB re full scale
AROUND_SECONDS = 4.0  # of the host: what a splice is made as loud as
SHORTEST_HOST_SECONDS = 15.0  # of different speech: a voice with less has no hosts
VOICES = {
    "ljspeech": re.compile(r"lj|ljspeech|LJSpeech-.*"),
    "libritts": re.compile(r"lt-\d+|LibriTTS.*"),
    "aishell3": re.compile(r"AISHELL3.*"),
    "thorsten": re.compile(r"thorsten"),
}
"""Voices of `dev`: speakers, or sources of many speakers, of whom both recordings and synthesis are there."""

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """A short recording of the corpus: where it is, whose voice it is, and what synthesised it, if anything did."""

    path: Path
    voice: str
    system: str | None
    seconds: float

    def samples(self) -> Samples:
        """Read it, at the level of all."""
        samples, rate = soundfile.read(self.path, dtype="float32")
        if rate != RATE or samples.ndim != 1:
            raise SystemExit(f"{self.path}: {rate} Hz in {samples.ndim} dimension(s); expected 16 kHz, mono")
        return np.asarray(samples * (LEVEL / max(rms(samples), 1e-6)), dtype=np.float32)


@dataclass(frozen=True)
class Splice:
    """A splice that was made, in seconds of its host; ``samples`` are those of the host with it."""

    name: str
    voice: str
    system: str
    start: float
    end: float
    samples: Samples

    @property
    def seconds(self) -> float:
        """Its length, which is one of those that were asked for."""
        return round(self.end - self.start, 3)


class Corpus:
    """The voices of a corpus of which there are recordings and synthesis.

    Parameters
    ----------
    folder : Path
        With `metadata.csv`. Where it names pages, a page is a voice; else :data:`VOICES` says which speakers are.
    split : str
    """

    def __init__(self, folder: Path, split: str = "eval") -> None:
        with (folder / "metadata.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == split]
        clips = [
            Clip(
                folder / row["file"], voice, None if row["label"] == BONAFIDE else row["system"], float(row["seconds"])
            )
            for row in rows
            if (voice := row.get("page") or voice_of(row["speaker"])) is not None
        ]
        real = [clip for clip in clips if clip.system is None]
        seconds = {
            voice: sum(clip.seconds for clip in real if clip.voice == voice) for voice in {c.voice for c in clips}
        }
        voices = {voice for voice in seconds if seconds[voice] >= SHORTEST_HOST_SECONDS}
        self.real = {voice: [clip for clip in real if clip.voice == voice] for voice in sorted(voices)}
        self.made: dict[tuple[str, str], list[Clip]] = {}
        for clip in clips:
            if clip.system is not None and clip.voice in voices:
                self.made.setdefault((clip.system, clip.voice), []).append(clip)
        if not self.made:
            raise SystemExit(f"{folder}: no voice has {SHORTEST_HOST_SECONDS} s of recordings, and synthesis")

    def host(self, rng: np.random.Generator, voice: str, seconds: float) -> Samples:
        """Join recordings of a voice, in a random order, again and again until the host is long enough."""
        return joined(self._drawn(rng, self.real[voice]), round(seconds * RATE))

    def synthesis(self, rng: np.random.Generator, system: str, voice: str, seconds: float) -> Samples:
        """Take so many seconds of a system's synthesis, from a random place that is no pause."""
        n_samples = round(seconds * RATE)
        clips = [clip for clip in self.made[system, voice] if clip.seconds >= seconds] or self.made[system, voice]
        found = joined(self._drawn(rng, clips), max(n_samples, round(min(clip.seconds for clip in clips) * RATE)))
        for _ in range(20):
            start = int(rng.integers(len(found) - n_samples + 1))
            part = found[start : start + n_samples]
            if rms(part) > LEVEL / 2.0:
                break
        return part

    @staticmethod
    def _drawn(rng: np.random.Generator, clips: list[Clip]) -> Iterator[Samples]:
        while True:
            for index in rng.permutation(len(clips)):
                yield clips[index].samples()

    def splices(
        self, n: int, lengths: tuple[float, ...], host_seconds: float, seed: int
    ) -> Iterator[tuple[Samples, Splice]]:
        """Yield hosts, each with a splice: all lengths and systems in turn, all at random places."""
        kinds = sorted(self.made)
        for number in range(n):
            rng = np.random.default_rng([seed, number])
            system, voice = kinds[(number // len(lengths)) % len(kinds)]
            host = quantised(self.host(rng, voice, host_seconds))
            made = self.synthesis(rng, system, voice, lengths[number % len(lengths)])
            yield host, spliced(rng, host, made, Splice(f"{number:04d}", voice, system, 0.0, 0.0, host))


def voice_of(speaker: str) -> str | None:
    """Return the voice of :data:`VOICES` that a speaker of `dev` has.

    Examples
    --------
    >>> voice_of("LJSpeech-LJ006-0"), voice_of("lt-3575"), voice_of("-")
    ('ljspeech', 'libritts', None)
    """
    return next((voice for voice, speakers in VOICES.items() if speakers.fullmatch(speaker)), None)


def joined(clips: Iterator[Samples], n_samples: int) -> Samples:
    """Join clips by crossfades until they come to so many samples."""
    found = np.zeros(n_samples, dtype=np.float32)
    first = next(clips)
    end = min(len(first), n_samples)
    found[:end] = first[:end]
    while end < n_samples:
        end = laid(found, next(clips), end - FADE)
    return found


def laid(target: Samples, clip: Samples, start: int, fade_out: bool = False) -> int:
    """Lay a clip over samples from a place on, crossfaded at its start, and at its end if asked; return its end.

    The gains are sine and cosine, so that the power of two unlike sounds stays what it is.
    """
    clip = clip[: len(target) - start]
    angle = (np.arange(FADE, dtype=np.float32) + 0.5) / FADE * (np.pi / 2.0)
    new, old = np.ones(len(clip), np.float32), np.zeros(len(clip), np.float32)
    n = min(FADE, len(clip))
    new[:n], old[:n] = np.sin(angle[:n]), np.cos(angle[:n])
    if fade_out:
        new[-n:], old[-n:] = np.cos(angle[:n]), np.sin(angle[:n])
    end = start + len(clip)
    target[start:end] = old * target[start:end] + new * clip
    return end


def spliced(rng: np.random.Generator, host: Samples, made: Samples, about: Splice) -> Splice:
    """Replace a part of a host, at a random place, by something as long, as loud as what is around."""
    start = int(rng.integers(FADE, len(host) - len(made) - FADE))
    middle, half = start + len(made) // 2, round(AROUND_SECONDS * RATE) // 2
    loud = rms(host[max(0, middle - half) : middle + half])
    samples = host.copy()
    laid(samples, np.asarray(made * (loud / max(rms(made), 1e-6)), np.float32), start, fade_out=True)
    return replace(about, start=start / RATE, end=(start + len(made)) / RATE, samples=quantised(samples))


def quantised(samples: Samples) -> Samples:
    """Round to 16 bits, as the files have them."""
    return np.asarray(np.clip(np.round(samples * 32_768.0), -32_768, 32_767) / 32_768.0, dtype=np.float32)


def rms(samples: Samples) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def write(folder: Path, made: Iterator[tuple[Samples, Splice]]) -> Iterator[tuple[Samples, Splice]]:
    """Write hosts and their splices as FLAC while they are taken; then `manifest.csv` and `parts.csv`."""
    columns = ("uri", "utterance_id", "label", "split", "system", "speaker", "source")
    rows, parts = [], {}
    for kind in ("hosts", "spliced"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for host, splice in made:
        end = len(host) / RATE
        for kind, samples in (("hosts", host), ("spliced", splice.samples)):
            name = f"{kind}/{splice.name}.flac"
            soundfile.write(folder / name, samples, RATE, subtype="PCM_16")
            system, label = (splice.system, SPOOF) if kind == "spliced" else ("-", BONAFIDE)
            rows.append((name, name, label, "eval", system, splice.voice, "made"))
            parts[name] = [Part(0.0, end, BONAFIDE)]
        around = (
            Part(0.0, splice.start, BONAFIDE),
            Part(splice.start, splice.end, SPOOF),
            Part(splice.end, end, BONAFIDE),
        )
        parts[f"spliced/{splice.name}.flac"] = list(around)
        yield host, splice
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    write_parts(str(folder / "parts.csv"), parts_table(parts.items()))
