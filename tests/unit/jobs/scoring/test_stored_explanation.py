"""A three-hour recording with four seconds of synthesis in it: the queue, the page and the spans name the time."""

from __future__ import annotations

import csv
import html
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detector.attribution import Attribution
from detector.windows import Windows
from jobs.inputs.parts import Part, by_utterance, read_parts
from jobs.reports.review.label_track import read_track
from jobs.scoring.config import ExplainConfig
from jobs.scoring.stored_explanation import stored_explanation
from jobs.verbs.explain import run
from tests.support import nightly_runs
from tests.support.audio import encoded, tone

Run = Callable[..., tuple[int, str, str]]

WINDOWS, HOURS, SPLICE = Windows(4.0, 2.0), 3, 5_025.3  # s; the synthesis lasts 4 s from there


def recording(uri: str, seconds: float, splice: float, seed: int, channel: int | None = None) -> nightly_runs.Recording:
    """A row near the threshold whose windows are of human speech, but for one in the share that is synthetic."""
    rng = np.random.default_rng(seed)
    spans = np.array(WINDOWS.spans(seconds))
    overlap = np.minimum(spans[:, 1], splice + 4.0) - np.maximum(spans[:, 0], splice)
    vectors = rng.normal(0.0, 0.3, size=(len(spans), nightly_runs.DIM))
    vectors[:, 0] += 2.0 - 5.0 * np.clip(overlap / 4.0, 0.0, 1.0)
    whole = rng.normal(size=nightly_runs.DIM).astype(np.float32)
    whole[0] = 0.0
    row = nightly_runs.Recording(uri, None, whole, seconds, channel)
    return row.with_windows(vectors.astype(np.float32), WINDOWS)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night of a long recording, of a short one that is there to be read, and of others without windows."""
    folder = tmp_path_factory.mktemp("night")
    (folder / "short.flac").write_bytes(encoded(tone(20.0)))
    rows = [
        recording("s3://archive/2026/long.flac", HOURS * 3_600.0, SPLICE, 1),
        recording(str(folder / "short.flac"), 20.0, 8.0, 2),
        *nightly_runs.recordings(nightly_runs.drawn(20, seed=4)[0]),
    ]
    judge = nightly_runs.head(target_coverage=0.5)
    (folder / "head.json").write_text(judge.to_json())
    nightly_runs.night(
        str(folder / "tables"), {"one": rows}, judge=judge, head_uri=str(folder / "head.json"), players="link",
        segments="4:2",
    )  # fmt: skip
    return folder


def explained(night: Path, **settings: str | None) -> ExplainConfig:
    return ExplainConfig(head=str(night / "head.json"), output=str(night / "tables"), **settings)  # type: ignore[arg-type]


def test_the_sheet_names_the_time_of_the_splice_within_two_seconds(night: Path, bonafide: Run, tmp_path: Path) -> None:
    code, _, err = bonafide("review", "export", "--output", night / "tables", "--to", tmp_path / "queue.csv")

    assert code == 0, err
    with (tmp_path / "queue.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["utterance_id"]: row for row in csv.DictReader(file)}
    found = rows["2026/long.flac"]
    assert float(found["listen_from"]) == pytest.approx(SPLICE, abs=2.0)
    assert float(found["listen_to"]) == pytest.approx(SPLICE + 4.0, abs=2.0)
    assert {row["listen_from"] for name, row in rows.items() if ".tar#" in name} == {""}


def test_tasks_of_label_studio_have_the_splice_as_a_region(night: Path, bonafide: Run, tmp_path: Path) -> None:
    bonafide("review", "export", "--output", night / "tables", "--to", tmp_path / "queue.json")

    tasks = {task["data"]["utterance_id"]: task for task in json.loads((tmp_path / "queue.json").read_bytes())}
    (region,) = tasks["2026/long.flac"]["predictions"][0]["result"][1:]
    assert region["value"] == {"start": 5_026.0, "end": 5_030.0, "channel": 0, "labels": ["spoof"]}
    assert tasks["2026/long.flac"]["data"]["listen_from"] == 5_026.0


def test_the_nightly_page_names_the_time_and_its_player_starts_there(night: Path) -> None:
    (page,) = (night / "tables" / "runs").glob("*.html")
    text = html.unescape(page.read_text())

    assert "<th>listen at</th>" in text
    assert '1:23:46.0<span class="range">to 1:23:50.0</span>' in text
    assert 'href="s3://archive/2026/long.flac#t=5026.0,5030.0"' in text


def test_a_stored_verdict_is_explained_without_the_encoder(night: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = stored_explanation(explained(night, utterance="2026/long.flac"))

    assert len(found.windows) == 5_399
    assert [(window.start_seconds, window.p_spoof > 0.5) for window in found.marked] == [(5_026.0, True)]
    assert found.verdict.seconds == 10_800.0
    said = capsys.readouterr().out
    assert "1:23:46.0 to 1:23:50.0   score -" in said
    assert "stored segments hold no frames" in said


@pytest.mark.parametrize("with_audio", [False, True])
def test_its_page_has_sound_only_if_the_recording_is_given(night: Path, tmp_path: Path, with_audio: bool) -> None:
    name = str(night / "short.flac")
    uri = str(night / "short.flac") if with_audio else None

    run(explained(night, utterance=name, uri=uri, page=str(tmp_path / "page.html")))

    text = (tmp_path / "page.html").read_text()
    assert text.count("<audio") == (2 if with_audio else 0)
    assert ('class="wave"' in text) == ("media-src" in text) == ("<script>" in text) == with_audio
    assert "0:08.0 to 0:12.0" in text
    assert "score of each window" in text


def test_spans_of_a_stored_verdict_come_back_as_parts_once_they_are_judged(
    night: Path, tmp_path: Path, bonafide: Run
) -> None:
    track = tmp_path / "labels.txt"
    run(explained(night, utterance="2026/long.flac", spans=str(track)))
    assert read_track(track.read_bytes(), "labels.txt") == ("2026/long.flac", [])
    track.write_bytes(track.read_bytes().replace(b"5026.000000", b"5025.300000").replace(b"unsure", b"spoof"))

    code, _, err = bonafide(
        "review", "parts", "--output", night / "tables", "--from", track, "--to", tmp_path / "parts.csv"
    )

    assert code == 0, err
    assert dict(by_utterance(read_parts(str(tmp_path / "parts.csv")))) == {
        "2026/long.flac": [Part(5_025.3, 5_030.0, "spoof")]
    }


def test_a_task_of_a_stored_verdict_plays_the_stored_object(night: Path, tmp_path: Path) -> None:
    spans = str(tmp_path / "task.json")

    for name, uri, member in (
        ("2026/long.flac", "s3://archive/2026/long.flac", None),
        ("2026/radio/0001.tar#0000.flac", "s3://archive/2026/radio/0001.tar", "0000.flac"),
    ):
        run(explained(night, utterance=name, spans=spans))
        (task,) = json.loads(Path(spans).read_bytes())
        assert (task["data"]["uri"], task["data"]["member"], task["data"]["audio"]) == (uri, member, uri)


def test_the_judgement_of_parts_and_the_nearest_system_are_explained_too(tmp_path: Path, bonafide: Run) -> None:
    # the second number tells systems apart; windows are of one spoofed row, so the lowest of them is its score
    vector = np.eye(nightly_runs.DIM, dtype=np.float32)[0] * -3.0 + np.eye(nightly_runs.DIM, dtype=np.float32)[1] * 9.0
    row = nightly_runs.Recording("s3://archive/2026/call.flac", None, vector, 8.0)
    rows = [row.with_windows(np.tile(vector, (3, 1)), WINDOWS), *nightly_runs.recordings(vector[None])]
    axes, zeros = np.eye(nightly_runs.DIM)[1:2], np.zeros(1)
    space = Attribution(("high", "low"), "cosine", axes, zeros, np.array([[1.0], [-1.0]]), 0.5, None, 0.05)
    ruled = {"contains_rule": "lowest", "contains_numbers": (1.0, 0.5, -9.0, 9.0)}
    judge = replace(nightly_runs.head(), max_ood=1.0, attribution=space.to_dict(), **ruled)
    (tmp_path / "head.json").write_text(judge.to_json())
    output = tmp_path / "tables"
    nightly_runs.night(
        str(output), {"one": rows}, judge=judge, head_uri=str(tmp_path / "head.json"), segments="4:2", pages=False
    )
    command = ("explain", tmp_path / "head.json", "--output", output, "--page", tmp_path / "page.html", "--utterance")

    code, out, err = bonafide(*command, "2026/call.flac")

    assert code == 0, err
    said = dict(line.split(maxsplit=1) for line in out.splitlines() if line.count("   "))
    assert float(said["contains_score"].split()[0]) == pytest.approx(float(said["score"].split()[0]) + 0.5, abs=0.01)
    assert said["nearest_system"].split()[:4] == ["high", "cosine", "similarity", "1.000;"]
    text = (tmp_path / "page.html").read_text()
    assert "<th>contains_score</th>" in text
    assert "<th>nearest_system</th><td>high</td>" in text

    code, out, err = bonafide(*command, "2026/radio/0001.tar#0000.flac")

    assert code == 0, err
    assert "contains_score         none   the head's rule needs stored windows" in out


def test_what_is_not_stored_is_said_to_be_so(night: Path, bonafide: Run) -> None:
    command = ("explain", night / "head.json", "--output", night / "tables", "--utterance")

    code, _, err = bonafide(*command, "none.flac")
    assert code == 65
    assert "has no score of 'none.flac'" in err
    code, out, _ = bonafide(*command, "2026/radio/0001.tar#0000.flac")
    assert code == 0
    assert "no windows are stored; embed with --segments" in out
    code, _, err = bonafide("explain", "haed", "--output", night / "tables", "--utterance", "none.flac")
    assert code == 65
    assert f"haed: neither a file nor the name of a head in {night / 'tables'}; the heads there: head-" in err
