"""Windows are what pooling over their own frames gives, and cost the recording's embedding not a bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.audio import SAMPLE_RATE
from detector.backbones import Backbone, load_backbone
from detector.backbones.melstats import MelStats
from detector.config import HUGGINGFACE, MELSTATS, EmbedConfig
from detector.embedding import embed_cells, embed_segments
from detector.errors import ConfigError
from detector.level import Meter
from detector.pooling import POOLINGS
from detector.recording import cut
from detector.windows import CellPart, Windows
from tests.support.audio import tone

FOUR_TWO = Windows(4.0, 2.0)


@pytest.fixture(params=[MELSTATS, HUGGINGFACE])
def backbone(request: pytest.FixtureRequest, checkpoints: dict[str, Path], pooling: str) -> Backbone:
    folder = None if request.param == MELSTATS else str(checkpoints["wav2vec2-layer"])
    return load_backbone(EmbedConfig(backbone=request.param, pooling=pooling), folder)


@pytest.fixture(params=POOLINGS)
def pooling(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    ("seconds", "n_windows"), [(0.3, 1), (4.0, 1), (4.99, 1), (5.0, 2), (6.99, 2), (7.0, 3), (12.0, 5)]
)
def test_a_tail_under_a_second_stays_with_the_window_before_it(seconds: float, n_windows: int) -> None:
    spans = FOUR_TWO.spans(seconds)  # counted by hand: 0-4, 2-6, 4-8, …; a next one begins if 1 s of it is new

    assert len(spans) == n_windows
    assert spans[-1][1] == seconds
    assert [start for start, _ in spans] == [2.0 * number for number in range(n_windows)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *(
            (text, f"segments '{text}'; expected WINDOW:HOP, two numbers")
            for text in ("4", "4:", "a:b", "nan:2", "4:2:1")
        ),
        ("-4:2", "expected WINDOW:HOP, two numbers"),
        ("0:1", "segments 0:1: the window has 0 s; expected 1 to 60: a shorter one is too little to judge"),
        ("0.5:0.5", "the window has 0.5 s; expected 1 to 60"),
        ("100:50", "the window has 100 s; expected 1 to 60"),
        (f"{'9' * 400}:2", "the window has inf s; expected 1 to 60"),
        ("4:8", "segments 4:8: the hop is longer than the window; expected at most 4 s, or gaps would stay"),
        ("4:0", "the hop has 0 s; expected a multiple of 0.5"),
        ("4:0.3", "the hop has 0.3 s; expected a multiple of 0.5"),
        ("4:3", "the window is no multiple of the hop; expected one, as windows are joined of parts of 3 s"),
    ],
)
def test_windows_that_cells_cannot_make_are_refused_with_what_is_allowed(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match="such as 4:2") as refused:
        Windows.parse(text)

    assert why in str(refused.value)


@pytest.mark.parametrize("hop", [float("nan"), float("inf"), -2.0])
def test_a_stored_hop_that_is_no_such_number_is_refused(hop: float) -> None:
    with pytest.raises(ConfigError, match="the hop"):
        Windows(4.0, hop)


def test_every_frame_of_a_recording_is_in_one_cell() -> None:
    windows = Windows(1.0, 0.5)
    starts = [0, 48_000, 96_000]  # 3 s of 4,799 frames, which no cell is a multiple of
    found = [(start // windows.hop_samples, windows.cells_of(start, 48_000, 149)) for start in starts]

    assert [int(counts.sum()) for _, counts in found] == [149, 149, 149]
    assert [first for first, _ in found] == [0, 6, 12]
    assert all(24 <= n <= 26 for _, counts in found for n in counts)


def test_cells_join_to_what_pooling_over_the_frames_of_each_window_gives(pooling: str) -> None:
    # melstats' frames are at hand: 10 ms each, in segments of 3 s that the cells of 2 s lie across
    seconds, backbone = 10.5, MelStats(EmbedConfig(backbone=MELSTATS, pooling=pooling))
    samples = tone(seconds, seed=3).astype(np.float32)
    segments = list(cut([samples], 3 * SAMPLE_RATE))
    starts = [3 * SAMPLE_RATE * number for number in range(len(segments))]

    _, _, parts = embed_cells(backbone, segments, starts, FOUR_TWO)
    found = FOUR_TWO.joined(parts, seconds, pooling)

    frames = [backbone._frames(segment) for segment in segments]
    middles = [
        start + (np.arange(len(each)) + 0.5) * len(segment) / len(each)
        for start, each, segment in zip(starts, frames, segments, strict=True)
    ]
    spans = FOUR_TWO.spans(seconds)
    assert found.shape == (len(spans), backbone.dim)
    for vector, (start, end) in zip(found, spans, strict=True):
        inside = np.concatenate([(start <= each / SAMPLE_RATE) & (each / SAMPLE_RATE < end) for each in middles])
        own = np.concatenate(frames).astype(np.float64)[inside]
        expected = POOLINGS[pooling].pool(own[None], np.ones((1, len(own))))[0]
        assert vector == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_the_embedding_of_a_recording_keeps_its_bits_beside_cells(backbone: Backbone) -> None:
    segments = [tone(length, seed=4).astype(np.float32) for length in (3.0, 2.2, 0.01)]

    embeddings, n_frames, parts = embed_cells(backbone, segments, [0, 48_000, 96_000], FOUR_TWO)
    alone, n_alone = embed_segments(backbone, segments)

    assert embeddings.tobytes() == alone.tobytes()
    assert n_frames.tolist() == n_alone.tolist()
    assert [int(part.n_frames.sum()) for part in parts] == n_frames.tolist()
    assert [len(part.vectors) for part in parts] == [len(part.n_frames) for part in parts]


def test_all_cells_of_a_segment_join_to_its_embedding(backbone: Backbone, pooling: str) -> None:
    (embedding,), _, (part,) = embed_cells(backbone, [tone(5.0, seed=5).astype(np.float32)], [0], Windows(1.0, 0.5))
    per_frame = POOLINGS[pooling].join(part.vectors.astype(np.float64), part.n_frames)

    assert len(part.n_frames) == 10
    assert per_frame == pytest.approx(embedding, rel=1e-5, abs=1e-5)


def test_cells_do_not_depend_on_the_batch(checkpoints: dict[str, Path]) -> None:
    config, folder = EmbedConfig(backbone=HUGGINGFACE), str(checkpoints["wav2vec2-layer"])
    backbone = load_backbone(config, folder)
    segments = [tone(length, seed=6).astype(np.float32) for length in (4.0, 2.5, 3.9, 1.0)]

    together = embed_cells(backbone, segments, [0] * 4, FOUR_TWO)[2]

    for segment, part in zip(segments, together, strict=True):
        (alone,) = embed_cells(backbone, [segment], [0], FOUR_TWO)[2]
        assert part.vectors.tobytes() == alone.vectors.tobytes()


def test_a_window_without_a_frame_is_not_a_number() -> None:
    part = CellPart(0, np.ones((1, 2), np.float32), np.array([50]))

    found = FOUR_TWO.joined([part], 9.0, "mean")

    assert np.isnan(found).tolist() == [[False, False], [True, True], [True, True], [True, True]]


def test_an_encoder_without_cells_is_refused_by_name() -> None:
    class Own:
        pass

    with pytest.raises(ConfigError, match="Own: this encoder of your own has no embed_cells"):
        embed_cells(Own(), [], [], FOUR_TWO)  # type: ignore[arg-type]


def test_the_speech_of_windows_is_that_of_the_recording() -> None:
    meter = Meter()
    sound, silence = tone(6.0, seed=7).astype(np.float32), np.zeros(6 * SAMPLE_RATE, np.float32)
    for samples in (sound, silence):
        meter.add(samples)

    found = Windows(4.0, 4.0).measured(meter.energies, 12.0)

    assert np.mean(found["window_speech_shares"]) == pytest.approx(meter.levels.speech_share)
    assert found["window_speech_shares"] == pytest.approx([1.0, 2.2 / 4.0, 0.0])  # sound is held for 0.2 s
    level = 10 * np.log10(np.mean(np.square(sound, dtype=np.float64)))
    assert found["window_levels"] == pytest.approx([level, level - 10 * np.log10(2.0), -120.0], abs=0.05)
