"""Every verb's output, and every page, with names that would act on a terminal, a page or a sheet."""

from __future__ import annotations

import csv
import html
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli import VERBS
from jobs.telemetry.names import printable
from tests.support import nightly_runs
from tests.support.audio import encoded, tone
from tests.support.heads import some_head

Run = Callable[..., tuple[int, str, str]]

# a formula, a forged line, a clipboard, a colour by C1, text from right to left, an isolate, and no-break spaces
HOSTILE = "\xa0=1+1\n\x1b]52;c;eA==\x07\x9b31m\u202egpj\u2066\u200f\ufeff\u2028שלום"
ON_A_CLUSTER = {"embed", "score", "nightly", "retrain", "submit", "demo"}
"""Verbs that need a Ray. The night is walked without one; tests/hostile/test_whole_run.py runs `score` on one."""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder of a hostile name, with an archive, a head and a night whose names are all hostile."""
    lab = tmp_path / f"lab{HOSTILE}"
    (lab / "archive" / HOSTILE).mkdir(parents=True)
    (lab / "archive" / HOSTILE / f"{HOSTILE}.flac").write_bytes(encoded(tone(3.0)))
    vectors, is_bonafide = nightly_runs.drawn(200, seed=11)
    vectors[:5, 0] = 0.0
    rows = nightly_runs.recordings(vectors, f"s3://archive/2026/{HOSTILE}/0001.tar")
    for number, row in enumerate(rows):
        row.member = f"{number}{HOSTILE}.flac"
    judge = nightly_runs.head(target_coverage=0.5)
    (lab / "head.json").write_text(judge.to_json())
    nightly_runs.night(
        str(lab / "tables"),
        {f"s3://archive/2026/{HOSTILE}/0001.tar": rows},
        {f"x{HOSTILE}.flac": "not_audio"},
        judge=judge,
        head_uri=str(lab / "head.json"),
        players="link",
        found={"passed_over": {f".{HOSTILE}": {"count": 1, "examples": [HOSTILE]}}},
    )
    labels = [
        {
            "utterance_id": row.utterance_id,
            "label": "bonafide" if each else "spoof",
            "system": None if each else f"s{number % 10}{HOSTILE}",
            "speaker": f"p{number % 10}{HOSTILE}" if each else None,
            "source": f"{number % 4}{HOSTILE}",
        }
        for number, (row, each) in enumerate(zip(rows, is_bonafide, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(labels), str(lab / "labels.parquet"))
    return lab


def hidden(text: str) -> set[str]:
    """Characters that act or hide: controls, formats, separators of lines, all spaces but two."""
    kinds = {each for each in text if unicodedata.category(each) in ("Cc", "Cf", "Zl", "Zp", "Zs", "Cs", "Co", "Cn")}
    return kinds - set("\n \xa0")


def test_no_name_acts_in_the_output_of_any_verb(lab: Path, bonafide: Run, capfd: pytest.CaptureFixture[str]) -> None:
    printed = capfd.readouterr()
    said = {"the night": printed.out + printed.err}
    recording = lab / "archive" / HOSTILE / f"{HOSTILE}.flac"
    (lab / "melstats.json").write_text(some_head().to_json())
    first = nightly_runs.storage.key_of(f"s3://archive/2026/{HOSTILE}/0001.tar") + f"#0{HOSTILE}.flac"
    tables, labels = ("--output", lab / "tables"), ("--labels", lab / "labels.parquet")
    judged = ("--scores", lab / "tables", *labels, "--draws", 2)
    commands = {
        "manifest": ("manifest", "--input", lab / "archive", "--output", lab / "manifest.parquet"),
        "fit": ("fit", "--embeddings", lab / "tables", *labels, "--output", lab / "fitted"),
        "check": ("check", "--head", lab / "melstats.json", recording),
        "explain": ("explain", lab / "melstats.json", recording),
        "evaluate": ("evaluate", *judged, "--output", lab / "report"),
        "review export": ("review", "export", *tables, "--to", lab / "queue.csv"),
        "keygen": ("keygen", "--output", lab / f"key{HOSTILE}"),
        "verify": ("verify", lab / "tables"),
        "sql": ("sql", lab / "tables", "SELECT * FROM current"),
        "heads": ("heads", lab / "tables"),
        "doctor": ("doctor", *tables),
        "gc": ("gc", lab / "tables"),
        "gc --dry-run": ("gc", lab / "tables", "--dry-run"),
        "compact": ("compact", lab / "tables", "--to", lab / "copy"),
        "register": ("register", lab / "copy", "--catalog", f"sqlite:///{lab.parent}/catalog.db"),
        "erase --dry-run": ("erase", first, *tables, "--dry-run"),
        "erase": ("erase", first, *tables),
    }
    for name, command in commands.items():
        code, out, err = bonafide(*command)
        said[name] = out + err
        assert code in ((0, 1, 3) if name == "check" else (0,)), (name, err)
        assert out, name
    refusals = {
        "no recording": ("explain", lab / "melstats.json", lab / f"none{HOSTILE}"),
        "a folder": ("check", lab / "archive", lab / f"none{HOSTILE}"),
        "no id": ("erase", f"none{HOSTILE}", *tables),
        "no flag": ("verify", lab / "tables", f"--{HOSTILE}"),
        "no table": ("evaluate", "--scores", lab / "archive", *labels, "--output", lab / "none"),
        "no labels": ("review", "import", "--from", lab / "queue.csv", *tables, "--labels", lab / "l.csv"),
    }
    for name, command in refusals.items():
        code, out, err = bonafide(*command)
        said[name] = out + err
        assert code in (2, 65), (name, err)

    assert {name.split()[0] for name in commands} == set(VERBS) - ON_A_CLUSTER
    assert {name: hidden(text) - {"\t"} for name, text in said.items() if hidden(text)} == {}
    assert {name for name, text in said.items() if re.search(r"^(\x1b|=1|.?\]52)", text, re.MULTILINE)} == set()
    assert printable(HOSTILE) in said["erase"]


def test_no_name_acts_on_a_page_or_in_a_sheet(lab: Path, bonafide: Run) -> None:
    labels = ("--labels", lab / "labels.parquet")
    bonafide("evaluate", "--scores", lab / "tables", *labels, "--draws", 2, "--output", lab / "report")
    bonafide("review", "export", "--output", lab / "tables", "--to", lab / "queue.csv")
    (night,) = (lab / "tables" / "runs").glob("*.html")
    (lab / "melstats.json").write_text(some_head().to_json())
    written = ("--page", lab / "explained.html", "--spans", lab / "spans.txt")
    bonafide("explain", lab / "melstats.json", lab / "archive" / HOSTILE / f"{HOSTILE}.flac", *written)

    assert hidden((lab / "spans.txt").read_text()) - {"\t"} == set()
    for page in (night, lab / "report" / "report.html", lab / "explained.html"):
        text = html.unescape(page.read_text())
        assert hidden(text) == set(), page
        assert printable(HOSTILE) in text
        # each name is isolated, or stands in an attribute
        outside = re.sub(r"<bdi\b.*?</bdi>|\"[^\"]*\"", "", page.read_text())
        assert "שלום" not in outside, re.findall(".{60}שלום", outside)[:3]
    with (lab / "queue.csv").open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert hidden("".join(cells)) == set()
    assert [cell for cell in cells if cell.strip().startswith(tuple("=+@"))] == []
    assert np.count_nonzero([printable(HOSTILE) in cell for cell in cells]) > 100
