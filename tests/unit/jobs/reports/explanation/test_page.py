"""The page of an explanation: pictures of what was heard, stretches of what is marked, of a bounded size."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from detector.api import Verdict
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.contributions import FrameLogits
from detector.errors import ConfigError
from detector.overview import Overview
from jobs.reports.explanation import page
from jobs.reports.explanation.picture import draw_contributions, draw_marks, draw_windows, picture
from jobs.reports.explanation.png import palette, png
from jobs.reports.review.label_studio import read_regions
from jobs.reports.review.label_track import read_track
from jobs.scoring.config import ExplainConfig
from jobs.scoring.explanation import Explanation, explain
from jobs.scoring.marks import Window, most_suspicious
from jobs.verbs.explain import run
from tests.support.audio import encoded, tone
from tests.support.heads import some_head

VERDICT = Verdict(10_800.0, -0.5, 0.5, 0.62, "spoof", 0.95, 0.2, False, None)


def explained(folder: Path, samples: np.ndarray, **recipe: Any) -> str:
    head = some_head()
    if recipe:
        config = EmbedConfig(backbone="melstats", **recipe)
        head = some_head(recipe_of(config, None), dim=160 if recipe["pooling"] == "mean+std" else 80)
    (folder / "head.json").write_text(head.to_json())
    (folder / "a.flac").write_bytes(encoded(samples))
    run(ExplainConfig(head=str(folder / "head.json"), uri=str(folder / "a.flac"), page=str(folder / "page.html")))
    return (folder / "page.html").read_text()


def stretches_in(text: str) -> list[tuple[float, int]]:
    """Seconds and rate of each stretch that a page holds."""
    found = [
        base64.b64decode(each) for each in re.findall(r'src="data:audio/flac;base64,([^"]*)"', html.unescape(text))
    ]
    facts = [soundfile.info(io.BytesIO(each)) for each in found]
    return [(each.duration, each.samplerate) for each in facts]


def test_a_page_holds_stretches_of_what_is_marked_and_a_short_recording_as_a_whole(tmp_path: Path) -> None:
    text = explained(tmp_path, tone(30.0))

    lengths = stretches_in(text)
    assert lengths[0] == (30.0, 16_000)
    assert 2 <= len(lengths) <= 9
    assert all(seconds <= 8.0 for seconds, _ in lengths[1:])
    assert "all of them sum to" in text


@pytest.mark.parametrize("pooling", ["mean+std", "max"])
def test_a_pooling_without_contributions_is_named_and_its_segments_are_shown(
    tmp_path: Path, pooling: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = explained(tmp_path, tone(9.0), pooling=pooling, segment_seconds=3.0)

    says = f"pooling {pooling}: its logit is no sum over frames, so only windows are shown"
    assert f"No contributions of frames: {says}" in html.unescape(text)
    assert f"no contributions of frames: {says}" in capsys.readouterr().out
    assert "added to the logit" not in text
    assert "score of each window" in text


def test_a_silent_recording_has_a_page_that_says_why_it_has_no_score(tmp_path: Path) -> None:
    text = explained(tmp_path, np.zeros(32_000))

    assert "It has no score: silent." in text
    assert "score of each window" not in text


def test_the_page_of_three_hours_is_of_bounded_size() -> None:
    rng = np.random.default_rng(0)
    overview, frames = Overview(), FrameLogits()
    overview.add(rng.normal(0.0, 0.1, 511_680).astype(np.float32))  # as many columns as any length has at most
    frames.add(rng.normal(size=540_000), 0.0, 10_800.0)
    windows = tuple(
        Window(2.0 * n, 2.0 * n + 4.0, float(s), float(s < 0)) for n, s in enumerate(rng.normal(size=5_399))
    )
    explanation = Explanation("a.flac", some_head(), VERDICT, windows, frames, None, overview)
    stretches = [page.Stretch(each.start_seconds, rng.uniform(-1, 1, 128_000)) for each in explanation.marked]

    text = page.render(explanation, stretches, None, "/archive/a.flac")

    assert len(stretches) == 8
    assert len(overview.lowest) == 1_599
    assert len(text) < 5_000_000  # of noise, which no codec makes smaller
    assert len(page.render(explanation, [], None, None)) < 700_000


def test_bars_of_contributions_sum_to_the_logit_whatever_the_stretch() -> None:
    frames = FrameLogits()
    frames.add(np.random.default_rng(0).normal(size=5_000), 0.0, 100.0)
    drawn = picture("whole", 0.0, 100.0)

    seconds = draw_contributions(drawn, frames)

    (row,) = drawn.rows
    zero, largest = row.lines[0], row.ticks[-1]
    heights = {colour: [float(each) for each in re.findall(r"V([\d.]+)", path)] for colour, path in row.paths}
    sums = [(zero - y) / (zero - largest[0]) * float(largest[1]) for found in heights.values() for y in found]
    assert sum(sums) == pytest.approx(frames.logit, abs=0.05 * float(largest[1]) * np.sqrt(len(sums)))
    assert seconds == pytest.approx(100.0 / len(sums), rel=0.02)
    assert all(y <= zero for y in heights["bonafide"])
    assert all(y >= zero for y in heights["spoof"])


def test_a_mark_can_be_seen_and_hit_in_three_hours() -> None:
    windows = [Window(5_025.0, 5_029.0, -3.0, 0.95), Window(20.0, 24.0, 2.0, 0.1)]
    drawn = picture("whole", 0.0, 10_800.0)
    draw_windows(drawn, windows, 0.0)
    draw_marks(drawn, most_suspicious(windows))

    (mark,) = drawn.marks
    assert mark["width"] >= 4.0
    assert mark["x"] + mark["width"] / 2 == pytest.approx(drawn.time.at(5_027.0), abs=0.2)
    assert [bool(path) for _, path in drawn.rows[0].paths] == [True, True]


def test_a_png_holds_the_colours_of_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(40, 301)).astype(np.uint8)

    with av.open(io.BytesIO(png(pixels))) as image:
        found = next(image.decode(video=0)).to_ndarray(format="rgb24")

    np.testing.assert_array_equal(found, palette()[pixels])


@pytest.mark.parametrize("suffix", [".txt", ".json"])
def test_spans_are_written_for_people_to_correct(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "head.json").write_text(some_head().to_json())
    (tmp_path / "a.flac").write_bytes(encoded(tone(12.0)))
    spans, uri = tmp_path / f"spans{suffix}", str(tmp_path / "a.flac")

    run(ExplainConfig(head=str(tmp_path / "head.json"), uri=uri, spans=str(spans)))

    marked = explain(ExplainConfig(head=str(tmp_path / "head.json"), uri=uri)).marked
    if suffix == ".txt":
        name, parts = read_track(spans.read_bytes().replace(b"unsure", b"spoof"), str(spans))
        assert {part.label for part in parts} == {"spoof"}
    else:
        (task,) = json.loads(spans.read_bytes())
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]
        ((name, parts),) = read_regions(json.dumps([task]).encode(), str(spans))
    assert name == uri
    assert [(part.start_seconds, part.end_seconds) for part in parts] == [window[:2] for window in marked]


def test_spans_of_a_recording_without_a_score_are_refused(tmp_path: Path) -> None:
    (tmp_path / "head.json").write_text(some_head().to_json())
    (tmp_path / "a.flac").write_bytes(encoded(np.zeros(32_000)))

    with pytest.raises(ConfigError, match=r"no score \(silent\), so there are no spans"):
        run(
            ExplainConfig(
                head=str(tmp_path / "head.json"), uri=str(tmp_path / "a.flac"), spans=str(tmp_path / "spans.txt")
            )
        )


@pytest.mark.parametrize(
    "settings",
    [{}, {"utterance": "a"}, {"uri": "a", "spans": "a.csv"}, {"utterance": "a", "output": "o", "channel": 1}],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ExplainConfig(head="head.json", **settings)


@pytest.mark.parametrize("channel", [0, 1])
def test_one_side_of_a_call_is_explained_by_its_channel(tmp_path: Path, channel: int) -> None:
    sides = np.stack([tone(5.0), 0.1 * tone(5.0, hertz=1_500.0, seed=1)], axis=1)
    (tmp_path / "head.json").write_text(some_head().to_json())
    files = {"call.flac": sides, "side.flac": sides[:, channel]}
    for name, samples in files.items():
        (tmp_path / name).write_bytes(encoded(samples))
    how = {"head": str(tmp_path / "head.json")}

    call = explain(ExplainConfig(uri=str(tmp_path / "call.flac"), channel=channel, **how))
    side = explain(ExplainConfig(uri=str(tmp_path / "side.flac"), **how))

    assert call.windows == side.windows
    assert call.verdict == side.verdict
