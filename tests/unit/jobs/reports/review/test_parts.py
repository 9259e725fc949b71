"""Marked windows go out to Audacity and Label Studio, and come back as labels of parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.errors import SchemaError
from jobs.inputs.parts import Part, by_utterance, read_parts
from jobs.reports.review.label_studio import LABELLING_INTERFACE, read_regions, read_tasks, write_tasks
from jobs.reports.review.label_track import read_track, write_track
from jobs.scoring.marks import Window
from tests.support import nightly_runs

Run = Callable[..., tuple[int, str, str]]

WINDOWS = [Window(5_025.25, 5_029.25, -3.2, 0.96), Window(10.0, 14.0, 1.5, 0.2)]
HOSTILE = [
    *(
        "calls/a.flac",
        "tab\tin it",
        "two\nlines",
        "\r",
        "recording recording",
        "spoof",
        r"C:\notes\x09",
        r"caf\xe9.wav",
    ),
    *("\u202egpj.wav", "<b>&amp;", "", " ", "\ufeffx", "a\x85b\u2028c", "=1+1", "0\t1\tspoof\n2\t3\tbonafide"),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_label_track_of_any_name_comes_back(name: str) -> None:
    track = write_track(name, WINDOWS)

    lines = track.decode().splitlines()
    judged = track.decode().replace("unsure, score -3.20", "Spoof, a click at its end").encode()
    assert len(lines) == 3
    assert all(line.count("\t") == 2 for line in lines)
    assert "".join(lines).replace("\t", "").isprintable()
    assert read_track(track, "labels.txt") == (name, [])  # nobody has judged anything yet
    assert read_track(judged, "labels.txt") == (name, [Part(5_025.25, 5_029.25, "spoof")])


def test_a_track_of_an_excerpt_has_times_of_its_file_and_comes_back_in_those_of_the_recording() -> None:
    track = write_track("a.flac@100.5-9000", WINDOWS, 100.5).decode()
    judged = track.replace("unsure, score -3.20", "spoof")

    assert [float(line.split("\t")[0]) for line in track.splitlines()] == [100.5, 5_125.75, 110.5]
    assert read_track(judged.encode(), "labels.txt") == ("a.flac@100.5-9000", [Part(5_025.25, 5_029.25, "spoof")])


def test_what_audacity_adds_is_passed_over() -> None:
    # frequencies of a spectral selection below their label, line ends of Windows, and a byte order mark
    text = "\ufeff0.000000\t0.000000\trecording a.flac\r\n1.5\t2.25\tbonafide\r\n\\\t120.5\t3000.0\r\n\r\n"

    assert read_track(text.encode(), "labels.txt") == ("a.flac", [Part(1.5, 2.25, "bonafide")])


NAMED = "0\t0\trecording a.flac\n"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("1\t2\tspoof\n", "0 recordings are named"),
        (f"{NAMED}0\t0\trecording b.flac\n1\t2\tspoof\n", "2 recordings are named"),
        (f"{NAMED}1\t2\tfake\n", "line 2: label 'fake'; expected bonafide, spoof or unsure"),
        (f"{NAMED}1\t2\t\n", "line 2: label ''"),
        (f"{NAMED}1\t2\t<script>alert(1)</script>\n", "line 2: label '<script>"),
        (f"{NAMED}1\t2\n", "line 2: '1\\\\t2'; expected a start, an end and a label"),
        (f"{NAMED}1\t2\tspoof\tmore\n", "line 2: "),
        (f"{NAMED}2\t1\tspoof\n", "line 2: "),
        (f"{NAMED}-1\t1\tspoof\n", "line 2: "),
        (f"{NAMED}nan\t1\tspoof\n", "line 2: "),
        (f"{NAMED}0\tinf\tspoof\n", "line 2: "),
        (f"{NAMED}0\t1e300\tspoof\n", "line 2: "),
        (f"{NAMED}0,5\t1,5\tspoof\n", "line 2: "),
        (f"{NAMED}1\t1\tspoof\n", "line 2: a point, not a part"),
        ("9\t9\trecording a.flac\n4\t7\tspoof\n", "line 2: starts 5 s before the label `recording ID`"),
        (NAMED + "1\t2\tspoof\n" * 100_001, "100,003 lines; expected 100,000 at most"),
        ("", "0 recordings are named"),
    ],
)
def test_a_track_that_is_none_is_refused_with_its_line(text: str, cause: str) -> None:
    with pytest.raises(SchemaError, match=cause):
        read_track(text.encode(), "labels.txt")
    with pytest.raises(SchemaError, match="not UTF-8"):
        read_track(b"\xff\xfe1\x00", "labels.txt")


def task_of(name: str, start: float | None = None) -> dict[str, Any]:
    row = {
        "utterance_id": name,
        "uri": "s3://archive/a.flac",
        "head_id": "h",
        "p_spoof": 0.9,
        "predicted_label": "spoof",
    }
    (task,) = json.loads(write_tasks([row | {"start": start, "marked": WINDOWS}]))
    return dict(task)


def annotated(task: dict[str, Any], **changes: Any) -> bytes:
    """A task as Label Studio exports it once a reviewer has submitted what was predicted."""
    regions = [each | {"origin": "manual"} for each in task["predictions"][0]["result"]]
    regions[1]["value"] = regions[1]["value"] | changes
    return json.dumps([task | {"annotations": [{"id": 1, "completed_by": 7, "result": regions}]}]).encode()


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("start", [None, 100.5])
def test_regions_of_label_studio_come_back_in_times_of_the_recording(name: str, start: float | None) -> None:
    task = task_of(name, start)

    ((found, parts),) = read_regions(annotated(task), "export.json")

    regions = task["predictions"][0]["result"][1:]
    assert [each["value"]["start"] for each in regions] == [(start or 0.0) + window.start_seconds for window in WINDOWS]
    assert found == name
    assert parts == [Part(5_025.25, 5_029.25, "spoof"), Part(10.0, 14.0, "bonafide")]
    assert read_tasks(annotated(task), "export.json")[0].label == "spoof"  # the choice beside the regions
    for each in regions:
        assert f'<Labels name="{each["from_name"]}" toName="{each["to_name"]}">' in LABELLING_INTERFACE
        assert f'<Label value="{each["value"]["labels"][0]}"/>' in LABELLING_INTERFACE


@pytest.mark.parametrize(
    "changes",
    [
        *({"labels": ["fake"]}, {"labels": ["spoof", "bonafide"]}, {"labels": "spoof"}, {"labels": []}),
        *({"start": 9_000.0}, {"start": float("nan")}, {"end": float("inf")}, {"start": -5.0}),
        *({"end": None}, {"end": []}, {"start": "early"}),
    ],
)
def test_a_region_that_is_none_is_refused_with_its_task(changes: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match=r"export\.json task 1: "):
        read_regions(annotated(task_of("a.flac"), **changes), "export.json")


@pytest.mark.parametrize("content", [b"{}", b"[1]", b"\xff", b'[{"data": {}}]', b"[" * 100_000])
def test_an_export_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(SchemaError, match=r"export\.json"):
        read_regions(content, "export.json")


def test_parts_of_several_files_become_one_table_and_unknown_recordings_are_refused(
    tmp_path: Path, bonafide: Run
) -> None:
    rows = nightly_runs.recordings(nightly_runs.drawn(4, seed=1)[0])
    nightly_runs.night(str(tmp_path / "tables"), {"one": rows}, pages=False)
    first, second, third = (row.utterance_id for row in rows[:3])
    (tmp_path / "a.txt").write_bytes(write_track(first, WINDOWS).replace(b"unsure", b"spoof"))
    (tmp_path / "b.txt").write_text(f"0\t0\trecording {first}\n5029.0\t5031\tspoof\n0\t10\tbonafide\n")
    (tmp_path / "c.txt").write_bytes(write_track(third, WINDOWS))  # left unsure
    (tmp_path / "export.json").write_bytes(annotated(task_of(second)))
    files = [word for name in ("a.txt", "b.txt", "c.txt", "export.json") for word in ("--from", tmp_path / name)]
    command = ("review", "parts", "--output", tmp_path / "tables", "--to", tmp_path / "parts.parquet")

    code, out, err = bonafide(*command, *files)

    assert code == 0, err
    assert (
        "2 recordings with labelled parts: 2 bonafide, 3 spoof; " in out
    )  # as in the table, where touching ones are one
    assert "1 recordings without" in out
    assert dict(by_utterance(read_parts(str(tmp_path / "parts.parquet")))) == {
        first: [Part(0.0, 10.0, "bonafide"), Part(10.0, 14.0, "spoof"), Part(5_025.25, 5_031.0, "spoof")],
        second: [Part(10.0, 14.0, "bonafide"), Part(5_025.25, 5_029.25, "spoof")],
    }
    (tmp_path / "d.txt").write_text("0\t0\trecording none.flac\n1\t2\tspoof\n")
    (tmp_path / "e.txt").write_text(f"0\t0\trecording {first}\n5026\t5027\tbonafide\n")
    for name, cause in (("d.txt", "'none.flac'"), ("e.txt", "is both bonafide and spoof")):
        code, _, err = bonafide(*command, *files, "--from", tmp_path / name)
        assert code == 65
        assert cause in err
