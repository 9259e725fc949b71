"""Measure how much codecs and containers change a recording's score.

    python -m bench.codecs [--backbone huggingface --model FOLDER --layer 9 …]

Writes utterances of the corpus's `eval` split in each of :data:`CODECS`, and as FLAC in each kind of container. Embeds
and scores them all with a head that was fitted on `train`, and compares each score with that of the unchanged
recording. An encoding that keeps every sample must give the same score within 0.05 nats; for the others, the drift is
written into docs/inputs.md.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import os
import sys
import tarfile
import tempfile
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import soxr

from bench.dev_corpus import CORPUS, ROOT, check, job
from bench.marked import write_between
from jobs.inputs.containers import CONTAINERS
from jobs.inputs.containers.decompressed import zstd

PAGE = ROOT / "docs" / "inputs.md"
BEGIN, END = "<!-- codecs: begin -->", "<!-- codecs: end -->"
LOSSLESS_NATS = 0.05
FULL_SCALE = 32_768.0
SUBTYPES = {"GSM 6.10": "GSM610", "IMA ADPCM": "IMA_ADPCM", "MS ADPCM": "MS_ADPCM", "µ-law": "ULAW", "A-law": "ALAW"}

Recording = npt.NDArray[np.int16]
Encode = Callable[[Recording, int], bytes]


@dataclass(frozen=True)
class Codec:
    """An encoding of a recording: its file suffix, the function that writes it, and whether it keeps every sample."""

    name: str
    suffix: str
    encode: Encode
    lossless: bool = False


@dataclass(frozen=True)
class Way:
    """Utterances written in one encoding or container: their ids in the tables, by name."""

    name: str
    lossless: bool
    ids: dict[str, str]


def by_soundfile(kind: str, subtype: str, rate: int | None = None) -> Encode:
    """Encode with libsndfile (WAV, FLAC, CAF, …), resampled first if ``rate`` is given."""

    def encode(samples: Recording, native: int) -> bytes:
        file = io.BytesIO()
        stored = brought(samples, native, rate)
        soundfile.write(
            file,
            stored / FULL_SCALE
            if subtype in ("FLOAT", "DOUBLE")
            else stored,  # libsndfile does not scale integers to floating point
            rate or native,
            format=kind,
            subtype=subtype,
        )
        return file.getvalue()

    return encode


class Pipe:
    """A file that can only be written front to back, as a pipe can; a header keeps what it said at first."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, content: bytes) -> int:
        """Take the next bytes."""
        self._written.append(bytes(content))
        return len(content)

    def getvalue(self) -> bytes:
        """Return all that was written."""
        return b"".join(self._written)


def by_ffmpeg(
    kind: str,
    codec: str,
    rate: int | None = None,
    bits: int | None = None,
    *,
    film: bool = False,
    to: Callable[[], io.BytesIO | Pipe] = io.BytesIO,
) -> Encode:
    """Encode with FFmpeg through PyAV; with a video track if ``film``."""

    def encode(samples: Recording, native: int) -> bytes:
        file, there = to(), rate or native
        with av.open(file, "w", format=kind) as container:
            stream = cast(av.AudioStream, container.add_stream(codec, rate=there, layout="mono"))
            if bits is not None:
                stream.bit_rate = bits
            picture = container.add_stream("mpeg4", rate=25, width=32, height=32, pix_fmt="yuv420p") if film else None
            if picture is not None:
                blank = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                container.mux([*picture.encode(blank), *picture.encode(None)])
            frame = av.AudioFrame.from_ndarray(brought(samples, native, rate)[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = there, 0
            container.mux([*stream.encode(frame), *stream.encode(None)])
        return file.getvalue()

    return encode


def brought(samples: Recording, native: int, rate: int | None) -> Recording:
    """Resample to ``rate``."""
    if rate in (None, native):
        return samples
    return np.asarray(np.clip(soxr.resample(samples, native, rate), -32_768, 32_767), np.int16)


CODECS = (
    *(
        Codec(f"WAV {word}", ".wav", by_soundfile("WAV", subtype), lossless=True)
        for word, subtype in {"PCM 16": "PCM_16", "PCM 24": "PCM_24", "PCM 32": "PCM_32", "float": "FLOAT"}.items()
    ),
    Codec("WAV double", ".wav", by_soundfile("WAV", "DOUBLE"), lossless=True),
    Codec("RF64 PCM 16", ".wav", by_soundfile("RF64", "PCM_16"), lossless=True),
    Codec("FLAC 16", ".flac", by_soundfile("FLAC", "PCM_16"), lossless=True),
    Codec("FLAC 24", ".flac", by_soundfile("FLAC", "PCM_24"), lossless=True),
    Codec("AIFF", ".aiff", by_soundfile("AIFF", "PCM_16"), lossless=True),
    Codec("AU", ".au", by_soundfile("AU", "PCM_16"), lossless=True),
    Codec("CAF PCM", ".caf", by_soundfile("CAF", "PCM_16"), lossless=True),
    Codec("CAF ALAC", ".caf", by_soundfile("CAF", "ALAC_16"), lossless=True),
    Codec("W64", ".w64", by_soundfile("W64", "PCM_16"), lossless=True),
    Codec("NIST SPHERE", ".sph", by_soundfile("NIST", "PCM_16"), lossless=True),
    Codec("M4A ALAC", ".m4a", by_ffmpeg("ipod", "alac"), lossless=True),
    Codec("Matroska FLAC", ".mka", by_ffmpeg("matroska", "flac"), lossless=True),
    Codec("QuickTime PCM", ".mov", by_ffmpeg("mov", "pcm_s16le"), lossless=True),
    Codec("WAV PCM 8", ".wav", by_soundfile("WAV", "PCM_U8")),
    *(Codec(f"WAV {word}", ".wav", by_soundfile("WAV", subtype)) for word, subtype in SUBTYPES.items()),
    *(
        Codec(f"WAV {word}, 8 kHz", ".wav", by_soundfile("WAV", subtype, 8_000))
        for word, subtype in (("PCM 16", "PCM_16"), ("µ-law", "ULAW"), ("A-law", "ALAW"), ("GSM 6.10", "GSM610"))
    ),
    Codec("MP3 32 kbit/s", ".mp3", by_ffmpeg("mp3", "libmp3lame", bits=32_000)),
    Codec("MP3 128 kbit/s", ".mp3", by_ffmpeg("mp3", "libmp3lame", bits=128_000)),
    Codec("Ogg Vorbis", ".ogg", by_soundfile("OGG", "VORBIS")),
    Codec("Ogg Opus 16 kbit/s", ".opus", by_ffmpeg("ogg", "libopus", 48_000, 16_000)),
    Codec("Ogg Opus 64 kbit/s", ".opus", by_ffmpeg("ogg", "libopus", 48_000, 64_000)),
    Codec("WebM Opus 32 kbit/s", ".webm", by_ffmpeg("webm", "libopus", 48_000, 32_000)),
    Codec("M4A AAC 32 kbit/s", ".m4a", by_ffmpeg("ipod", "aac", bits=32_000)),
    Codec("M4A AAC 128 kbit/s", ".m4a", by_ffmpeg("ipod", "aac", bits=128_000)),
    Codec("AAC in ADTS", ".aac", by_ffmpeg("adts", "aac", bits=64_000)),
    Codec("film, MP4 AAC", ".mp4", by_ffmpeg("mp4", "aac", bits=64_000, film=True)),
    Codec("film, QuickTime AAC", ".mov", by_ffmpeg("mov", "aac", bits=64_000, film=True)),
    Codec("AMR narrow band", ".amr", by_ffmpeg("amr", "libopencore_amrnb", 8_000, 12_200)),
    Codec("3GP AMR", ".3gp", by_ffmpeg("3gp", "libopencore_amrnb", 8_000, 12_200)),
    Codec("WMA 64 kbit/s", ".wma", by_ffmpeg("asf", "wmav2", bits=64_000)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write, embed and score; print and store the table. Return 0, or raise if a lossless encoding changes a score."""
    parser = argparse.ArgumentParser(prog="python -m bench.codecs", description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="folder with metadata.csv [default: %(default)s]")
    parser.add_argument("--count", type=int, default=10, help="utterances of each class [default: %(default)s]")
    parser.add_argument("--no-write", action="store_true", help="print the table, leave docs/inputs.md alone")
    known, embed = parser.parse_known_args(arguments)
    embed = embed or ["--backbone", "melstats"]
    with tempfile.TemporaryDirectory(prefix="bonafide-codecs-") as folder:
        head = fitted(known.corpus, Path(folder), embed)
        written = write(chosen(known.corpus, known.count), Path(folder) / "codecs")
        rows = scored(Path(folder), embed, head)
    found = [drift(way, written[0], rows) for way in written]
    command = f"python -m bench.codecs {' '.join(embed)}"
    text = table(command, 2 * known.count, found)
    print(text)
    if not known.no_write:
        write_between(PAGE, BEGIN, END, text)
    worst = max((each.largest, each.name) for each in found if each.lossless)
    check(worst[0] <= LOSSLESS_NATS, f"{worst[1]} changes a score by {worst[0]:.3f} nats")
    return 0


def fitted(corpus: Path, folder: Path, embed: list[str]) -> str:
    """Fit a head on the `train` split; return its path."""
    labels, tables, head = str(folder / "labels.csv"), str(folder / "train"), str(folder / "head.json")
    names = ("label", "split", "system", "speaker", "source", "language")
    with Path(labels).open("w", newline="") as file, (corpus / "metadata.csv").open(newline="") as listed:
        rows = csv.writer(file)
        rows.writerow(["utterance_id", *names])
        for row in csv.DictReader(listed):
            rows.writerow([row["file"], *(row[name] for name in names)])
    job(dict(os.environ), "embed", "--input", str(corpus), *embed, "--output", tables)
    job(dict(os.environ), "fit", "--embeddings", tables, "--labels", labels, "--output", head)
    return head


def chosen(corpus: Path, count: int) -> list[tuple[str, Recording, int]]:
    """Return the first ``count`` utterances of each class of `eval`, each of another speaker or system."""
    found: list[tuple[str, Recording, int]] = []
    seen: set[tuple[str, str]] = set()
    with (corpus / "metadata.csv").open(newline="") as listed:
        for row in sorted(csv.DictReader(listed), key=lambda row: row["file"]):
            kind = (row["label"], row["system"] + row["speaker"])
            of_class = sum(label == row["label"] for label, _ in seen)
            if row["split"] != "eval" or kind in seen or of_class == count:
                continue
            samples, rate = soundfile.read(corpus / row["file"], dtype="int16")
            if samples.ndim == 1 and rate in (16_000, 22_050, 24_000, 44_100, 48_000):
                seen.add(kind)
                found.append((f"{row['label']}{of_class:02d}", samples, rate))
    return found


def write(utterances: list[tuple[str, Recording, int]], folder: Path) -> list[Way]:
    """Write the utterances in every encoding and container."""
    ways = []
    for number, codec in enumerate(CODECS):
        here = folder / f"{number:02d}"
        here.mkdir(parents=True)
        ids = {}
        for name, samples, rate in utterances:
            path = here / f"{name}{codec.suffix}"
            path.write_bytes(codec.encode(samples, rate))
            ids[name] = f"{here.name}/{path.name}"
        ways.append(Way(codec.name, codec.lossless, ids))
    flac = by_soundfile("FLAC", "PCM_16")
    members = {f"{name}.flac": flac(samples, rate) for name, samples, rate in utterances}
    for kind, content in packed(members):
        path = folder / f"all{CONTAINERS[kind].suffixes[0]}"
        path.write_bytes(content)
        ids = {name: f"{path.name}#{name}.flac" for name, _, _ in utterances}
        ways.append(Way(f"FLAC in {CONTAINERS[kind].suffixes[0]}", lossless=True, ids=ids))
    return ways


def packed(members: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Pack the same members into every kind of container."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    yield "tar", file.getvalue()
    yield "tar.gz", gzip.compress(file.getvalue())
    yield "tar.zst", zstd.compress(file.getvalue())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    yield "zip", file.getvalue()
    file = io.BytesIO()
    pq.write_table(pa.table({"audio": [{"bytes": each, "path": name} for name, each in members.items()]}), file)
    yield "parquet", file.getvalue()


def scored(folder: Path, embed: list[str], head: str) -> dict[str, dict[str, Any]]:
    """Embed and score everything that was written; return rows of `scores` by id."""
    output = str(folder / "out")
    job(dict(os.environ), "embed", "--input", str(folder / "codecs"), *embed, "--output", output)
    job(dict(os.environ), "score", "--embeddings", output, "--head", head, "--output", output)
    table = duckdb.connect().sql(f"SELECT * FROM read_parquet('{output}/scores/**/*.parquet')").to_arrow_table()
    return {row["utterance_id"]: row for row in table.to_pylist()}


@dataclass(frozen=True)
class Drift:
    """Differences between the scores of one encoding and those of the unchanged recordings, in nats."""

    name: str
    lossless: bool
    n_lost: int
    median: float
    largest: float
    mean: float
    n_changed: int
    n_rejected: int


def drift(way: Way, as_it_is: Way, rows: dict[str, dict[str, Any]]) -> Drift:
    """Compare two encodings of the same utterances. A score that exists in only one of them differs infinitely."""
    pairs = [(rows.get(way.ids[name]), rows[each]) for name, each in as_it_is.ids.items()]
    judged = [(here, there) for here, there in pairs if here is not None]
    moved = [_moved(here["score"], there["score"]) for here, there in judged] or [np.inf]
    return Drift(
        name=way.name,
        lossless=way.lossless,
        n_lost=len(pairs) - len(judged),
        median=float(np.median(np.abs(moved))),
        largest=float(np.abs(moved).max()) if len(judged) == len(pairs) else np.inf,
        mean=float(np.mean(moved)),
        n_changed=sum(here["label"] != there["label"] for here, there in judged),
        n_rejected=sum(here["reject"] for here, _ in judged),
    )


def _moved(here: float | None, there: float | None) -> float:
    if here is None or there is None:
        return 0.0 if here is there else np.inf
    return here - there


def table(command: str, n_utterances: int, found: Sequence[Drift]) -> str:
    """Format the results as Markdown: one line for all lossless encodings, one for each of the others."""
    lossless = [each for each in found if each.lossless]
    largest = max(each.largest for each in lossless)
    lines = [
        f"`{command}`: {n_utterances} utterances of the dev corpus's `eval`, in {len(found)} ways.",
        "",
        textwrap.fill(
            f"{len(lossless)} ways keep every sample: {', '.join(each.name for each in lossless)}. Their scores are "
            f"within **{largest:.2g} nats** of those of the recordings as they are.",
            120,
        ),
        "",
        "| way | median change, nats | largest | mean (above 0: more bona fide) | labels changed | rejected | no row |",
        "| --- |" + " ---: |" * 6,
    ]
    for each in (found[0], *(each for each in found if not each.lossless)):
        counts = (each.n_changed, each.n_rejected, each.n_lost)
        changes = (f"{each.median:.2f}", f"{each.largest:.2f}", f"{each.mean:+.2f}")
        lines.append(f"| {' | '.join([each.name, *changes, *(f'{count} of {n_utterances}' for count in counts)])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
