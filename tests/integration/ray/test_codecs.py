"""Codecs and containers that keep every sample keep the score; the others can still be read."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.codecs import CODECS, LOSSLESS_NATS, Codec, Drift, Way, drift, packed, table
from detector.api import Detector
from detector.audio import SAMPLE_RATE
from detector.backbones import load_backbone
from detector.config import EmbedConfig
from detector.recording import Recording
from jobs import storage
from jobs.inputs.containers import CONTAINERS
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import Portion, Shard
from tests.support.heads import some_head
from tests.support.voices import voice

RATE = 22_050
VOICE = np.asarray(voice(np.random.default_rng(0), 2.0, 120.0, 0.9) * 32_767, np.int16)
WAV = next(codec for codec in CODECS if codec.name == "WAV PCM 16").encode(VOICE, RATE)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(some_head(), load_backbone(EmbedConfig(backbone="melstats")))


@pytest.fixture(scope="module")
def expected(detector: Detector) -> float:
    return score(detector, WAV)


def score(detector: Detector, content: bytes) -> float:
    found = detector.score(content).score
    assert found is not None
    return found


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec.lossless], ids=lambda codec: codec.name)
def test_a_lossless_codec_keeps_the_score(codec: Codec, detector: Detector, expected: float) -> None:
    assert score(detector, codec.encode(VOICE, RATE)) == pytest.approx(expected, abs=LOSSLESS_NATS)


@pytest.mark.parametrize("codec", [codec for codec in CODECS if not codec.lossless], ids=lambda codec: codec.name)
def test_a_lossy_codec_is_read_to_its_end(codec: Codec) -> None:
    recording = Recording(io.BytesIO(codec.encode(VOICE, RATE)), 30.0)

    n_samples = sum(map(len, recording.segments()))

    assert n_samples / SAMPLE_RATE == pytest.approx(len(VOICE) / RATE, abs=0.15)  # encoders pad


def test_every_container_gives_the_same_samples(tmp_path: Path) -> None:
    found = set()
    for kind, content in packed({"a.wav": WAV}):
        path = tmp_path / f"0{CONTAINERS[kind].suffixes[0]}"
        path.write_bytes(content)
        stored = storage.stat(str(path))
        assert stored is not None
        rows = read_shard(Portion(Shard(kind, (stored,))), 30.0)
        found.add(b"".join(row["samples"] for row in rows if "samples" in row))

    assert len(found) == 1
    assert {kind for kind, _ in packed({"a.wav": WAV})} == CONTAINERS.keys()


def test_a_drift_is_of_scores_and_what_has_none_on_one_side_is_infinitely_far() -> None:
    def rows(way: Way, *scores: float | None) -> dict[str, dict[str, object]]:
        said = {True: "bonafide", False: "spoof"}
        return {
            each: {"score": value, "label": said[(value or 0.0) > 0], "reject": value is None}
            for each, value in zip(way.ids.values(), scores, strict=True)
        }

    reference = Way("as it is", lossless=True, ids={"a": "0/a", "b": "0/b", "c": "0/c"})
    other = Way("other", lossless=False, ids={"a": "1/a", "b": "1/b", "c": "1/c"})
    known = rows(reference, 1.0, -1.0, 2.0)

    found = drift(other, reference, known | rows(other, 1.5, 1.0, 2.0))

    assert found == Drift("other", False, n_lost=0, median=0.5, largest=2.0, mean=2.5 / 3, n_changed=1, n_rejected=0)
    assert drift(other, reference, known | rows(other, 1.0, None, 2.0)).largest == np.inf
    assert drift(other, reference, known | {"1/a": known["0/a"]}).n_lost == 2
    assert "| other | 0.50 | 2.00 | +0.83 | 1 of 3 | 0 of 3 | 0 of 3 |" in table(
        "…", 3, [replace(found, lossless=True), found]
    )
