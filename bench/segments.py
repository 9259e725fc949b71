"""Measure what `--segments` costs: the encoder's pass with and without cells, and the bytes of an hour.

python -m bench.segments --backbone starter --minutes 10

One process embeds the same recordings, noise of log-normal lengths with a median of 5 s and one of ten minutes, without
windows and with them, in the order A B B A in each round. The time with windows includes their levels and their join.
The bytes are a count: those of the object with the rows of `embeddings`, and of that with the rows of `segments`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bench.encoder import interval, machine, noise
from detector.audio import SAMPLE_RATE
from detector.backbones import Backbone, load_backbone
from detector.config import EmbedConfig
from detector.decoders import Samples
from detector.embedding import embed_cells, embed_segments, join_segments
from detector.level import Meter
from detector.recording import cut
from detector.schema import SEGMENTS, embeddings_schema
from detector.windows import COLUMNS, Windows
from jobs.tables.parquet import parquet_bytes

LONG_SECONDS = 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.segments", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="starter", help="melstats, starter, or huggingface with --model")
    parser.add_argument("--model", help="a checkpoint folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=10.0, help="of recordings beside the long one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", default="4:2")
    options = parser.parse_args(arguments)
    config = EmbedConfig(backbone=options.backbone)
    backbone = load_backbone(config, options.model, device=options.device)
    recordings = [*noise(60.0 * options.minutes, seed=0), np.concatenate(noise(LONG_SECONDS, seed=1))]
    windows = Windows.parse(options.windows)
    seconds = sum(map(len, recordings)) / SAMPLE_RATE
    times: dict[bool, list[float]] = {False: [], True: []}
    rows: dict[bool, list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for is_asked in (False, True, True, False):
            start = time.perf_counter()
            rows[is_asked] = [embedded(backbone, config, each, windows if is_asked else None) for each in recordings]
            times[is_asked].append(time.perf_counter() - start)
    without, with_them = (np.array(times[each]) for each in (False, True))
    print(
        f"{options.backbone}, {seconds / 60:.1f} min of audio in {len(recordings)} recordings; "
        f"{machine(options.device)}"
        f"\nwithout: {interval(seconds / without)} audio-seconds a second"
        f"\n{windows}: {interval(seconds / with_them)} audio-seconds a second"
        f"\nwith / without: {np.median(with_them) / np.median(without):.3f}"
    )
    for name, n_bytes in sizes(rows[True], backbone.dim).items():
        print(f"{name}: {n_bytes / seconds * 3600 / 1e6:.2f} MB an hour")
    return 0


def embedded(backbone: Backbone, config: EmbedConfig, samples: Samples, windows: Windows | None) -> dict[str, Any]:
    """Return a row of `embeddings` of one recording, as far as it is computed here."""
    segments = list(cut([samples], round(config.segment_seconds * SAMPLE_RATE)))
    seconds = len(samples) / SAMPLE_RATE
    if windows is None:
        vectors, n_frames = embed_segments(backbone, segments)
        return {"seconds": seconds, "embedding": join_segments(vectors, n_frames, config.pooling)}
    starts = np.cumsum([0, *map(len, segments[:-1])]).tolist()
    vectors, n_frames, parts = embed_cells(backbone, segments, starts, windows)
    meter = Meter()
    for segment in segments:
        meter.add(segment)
    return {
        "seconds": seconds,
        "embedding": join_segments(vectors, n_frames, config.pooling),
        "window_seconds": windows.window_seconds,
        "hop_seconds": windows.hop_seconds,
        **windows.measured(meter.energies, seconds),
        "window_embeddings": windows.joined(parts, seconds, config.pooling).reshape(-1),
    }


def sizes(rows: list[dict[str, Any]], dim: int) -> dict[str, int]:
    """Return the bytes of the objects that hold rows with windows, rows without, and segments of these.

    Examples
    --------
    >>> row = {"seconds": 8.0, "embedding": [0.5], "window_seconds": 4.0, "hop_seconds": 2.0}
    >>> row |= {"window_speech_shares": [1.0] * 3, "window_levels": [-20.0] * 3, "window_embeddings": [0.5] * 3}
    >>> list(sizes([row], dim=1))
    ['embeddings without windows', 'embeddings with windows', 'segments']
    """
    named = [row | {"utterance_id": f"archive/{number:06d}.flac"} for number, row in enumerate(rows)]
    schema = pa.schema([field.with_nullable(True) for field in embeddings_schema(dim)])  # the rest is left out
    plain = [{name: value for name, value in row.items() if name not in COLUMNS} for row in named]
    rng = np.random.default_rng(0)
    segments = [
        {"utterance_id": row["utterance_id"], "segment": number, "start_seconds": start, "end_seconds": end}
        | {"score": rng.normal(), "p_spoof": rng.random(), "entropy_bits": rng.random(), "reject": False}
        | {"speech_share": rng.random(), "head_id": "0" * 16, "fingerprint": "0" * 16, "run_id": "2026-01-01-00000000"}
        for row in named
        for number, (start, end) in enumerate(Windows(row["window_seconds"], row["hop_seconds"]).spans(row["seconds"]))
    ]
    tables = {
        "embeddings without windows": pa.Table.from_pylist(plain, schema),
        "embeddings with windows": pa.Table.from_pylist(named, schema),
        "segments": pa.Table.from_pylist(segments, SEGMENTS),
    }
    return {name: len(parquet_bytes(table)) for name, table in tables.items()}


if __name__ == "__main__":
    sys.exit(main())
