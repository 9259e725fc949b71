"""From a night to labels, and back into a head that was fitted on them."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.inputs.labels import read_labels
from jobs.reports.review import config, label_list
from jobs.reports.review.csv_sheet import escape_formula, read_csv, unescape_formula
from jobs.reports.review.formats import FORMATS
from jobs.reports.review.label_studio import LABELLING_INTERFACE
from tests.support import nightly_runs

Run = Callable[..., tuple[int, str, str]]
URI = "s3://archive/2026/radio/0001.tar"
FORMULAS = ['=HYPERLINK("x","y")', "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=1", "''", "＝1"]
FORMULAS += [" =1+1", "\xa0=1+1", "\ufeff=1+1", "\u3000@SUM(A1)", "\x85-1"]
HOSTILE = [*FORMULAS, 'a"b;c,d', "två\nrader", "\x1b[2J.wav", "\u202egpj.wav", "\u2066x", r"C:\new.wav", r"caf\xe9.wav"]


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """An output with a night of 120 recordings, some of them with formulas as names, and a file of true labels."""
    vectors, is_bonafide = nightly_runs.drawn(120, seed=11)
    vectors[: len(HOSTILE), 0] = 0.0  # at the threshold: these are in every queue
    rows = nightly_runs.recordings(vectors, URI)
    for row, name in zip(rows, HOSTILE, strict=False):
        row.uri, row.member = name, None  # ids are then what they are called
    (tmp_path / "head.json").write_text(nightly_runs.head(target_coverage=0.2).to_json())
    nightly_runs.night(
        str(tmp_path / "tables"),
        {URI: rows},
        judge=nightly_runs.head(target_coverage=0.2),
        head_uri=str(tmp_path / "head.json"),
        pages=False,
    )
    truth = {row.utterance_id: "bonafide" if each else "spoof" for row, each in zip(rows, is_bonafide, strict=True)}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    return tmp_path


def truth_of(night: Path) -> dict[str, str]:
    return dict(json.loads((night / "truth.json").read_text()))


def fill(path: Path, say: Callable[[str], str], reviewer: str = "ann", separator: str = ",") -> Path:
    """Fill in a CSV as a spreadsheet does, that saves what it read."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    filled = path.with_name(f"{reviewer}.csv")
    with filled.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=separator)
        table.writeheader()
        table.writerows(
            {**row, "label": say(unescape_formula(row["utterance_id"])), "reviewer": reviewer} for row in rows
        )
    return filled


def test_labels_go_round_from_a_night_to_the_next_fit(night: Path, bonafide: Run) -> None:
    truth = truth_of(night)
    vectors, known = nightly_runs.drawn(50, seed=12)
    first = nightly_runs.recordings(vectors, "s3://training/first.tar")
    nightly_runs.embed(str(night / "training"), {"first": first}, {}, "2026-11-01")
    older = night / "older.csv"
    rows = [
        f"{row.utterance_id},{'bonafide' if each else 'spoof'},train" for row, each in zip(first, known, strict=True)
    ]
    older.write_text("\n".join(["utterance_id,label,split", *rows, "elsewhere/b.flac,spoof,eval"]))

    exported = bonafide("review", "export", "--output", night / "tables", "--to", night / "queue.csv")
    filled = fill(night / "queue.csv", lambda name: truth[name])
    where = ("--output", night / "tables", "--labels", night / "labels.parquet")
    imported = bonafide("review", "import", "--from", filled, "--older", older, *where)
    tables = ("--embeddings", night / "training", "--embeddings", night / "tables")
    fitted = bonafide("fit", *tables, "--labels", night / "labels.parquet", "--output", night / "new.json")

    assert [code for code, _, _ in (exported, imported, fitted)] == [0, 0, 0], (exported, imported, fitted)
    labels = {row["utterance_id"]: row for row in pq.read_table(night / "labels.parquet").to_pylist()}
    n_queue = len(labels) - 51
    assert len({name for name, row in labels.items() if row["label"] == truth.get(name)}) == n_queue
    assert labels["2026/radio/0001.tar#0050.flac"]["source"] == "radio"
    assert {row["split"] for name, row in labels.items() if name != "elsewhere/b.flac"} == {"train"}
    report = json.loads((night / "new.report.json").read_text())
    assert report["training"]["trained_on"]["rows"] == n_queue + 50 > 110
    assert f"{n_queue} recordings labelled" in imported[1]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_ids_that_are_formulas_are_harmless_outside_and_come_back_exactly(
    night: Path, bonafide: Run, separator: str
) -> None:
    bonafide("review", "export", "--output", night / "tables", "--to", night / "queue.csv", "--rows", 500)
    with (night / "queue.csv").open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.DictReader(file) for name, cell in row.items() if name in ("utterance_id", "uri")]
    filled = fill(night / "queue.csv", lambda _: "spoof", separator=separator)

    code, _, err = bonafide(
        "review", "import", "--from", filled, "--output", night / "tables", "--labels", night / "labels.parquet"
    )

    assert code == 0, err
    assert [cell for cell in cells if cell.startswith(tuple("=+-@\t\r＝"))] == []
    assert len([cell for cell in cells if cell.lstrip(" ").startswith(("'", "\\"))]) >= 2 * len(FORMULAS)
    assert all(map(str.isprintable, cells))
    names = set(read_labels(str(night / "labels.parquet"))["utterance_id"].to_pylist())
    assert set(HOSTILE) <= names


def test_any_text_is_harmless_and_comes_back() -> None:
    rng = random.Random(0)
    letters = "=+-@\t\r\n'＝a \"\\x5cnu20e\x1b\x85\xa0\u202e\ufeff"
    texts = ["".join(rng.choices(letters, k=rng.randrange(8))) for _ in range(20_000)]

    assert [unescape_formula(escape_formula(text)) for text in texts] == texts
    # whatever a spreadsheet trims, no sign of a formula comes first
    assert [text for text in map(escape_formula, texts) if text.strip().startswith(tuple("=+-@＝"))] == []
    assert all(map(str.isprintable, map(escape_formula, texts)))


def test_what_a_reviewer_types_is_taken_as_it_is() -> None:
    sheet = b"utterance_id,label,system\na\\x5cnb.wav,spoof,C:\\new\n"

    (annotation,) = read_csv(sheet, "q.csv")

    assert (annotation.utterance_id, annotation.facts) == (r"a\nb.wav", {"system": r"C:\new"})


def annotated(task: dict[str, Any], *said: tuple[str | None, Any], cancelled: bool = False) -> dict[str, Any]:
    """A task as Label Studio exports it, with fields as its documentation shows them."""
    results = [
        [] if choice is None else [
            {"id": "Dx_aB91ISN", "from_name": "label", "to_name": "audio", "type": "choices", "origin": "manual",
             "value": {"choices": [choice]}}
        ]
        for choice, _ in said
    ]  # fmt: skip
    annotations = [
        {"id": 1001 + number, "completed_by": who, "result": result, "was_cancelled": cancelled, "lead_time": 4.2}
        for number, (result, (_, who)) in enumerate(zip(results, said, strict=True))
    ]
    return {**task, "id": 1, "project": 83, "annotations": annotations, "created_at": "2021-03-09T21:52:49.513742Z"}


def test_label_studio_tasks_go_out_with_the_guess_and_come_back_with_the_choice(night: Path, bonafide: Run) -> None:
    truth = truth_of(night)
    code, _, _ = bonafide("review", "export", "--output", night / "tables", "--to", night / "queue.json", "--rows", 200)
    tasks = json.loads((night / "queue.json").read_text())
    done = [
        annotated(task, (truth[task["data"]["utterance_id"]], {"id": 7, "email": "ann@example.org"})) for task in tasks
    ]
    done[0] = annotated(tasks[0], ("Unsure", 7))
    done[1] = annotated(tasks[1], ("spoof", 7), cancelled=True)
    done[2] = annotated(tasks[2], (None, 7))
    (night / "export.json").write_text(json.dumps(done))

    imported, out, err = bonafide(
        "review", "import", "--from", night / "export.json", "--output", night / "tables", "--labels", night / "l.jsonl"
    )

    assert (code, imported) == (0, 0), err
    first = tasks[0]
    (prediction,) = first["predictions"]
    (result,) = prediction["result"]
    assert result["value"]["choices"] == ["spoof" if first["data"]["p_spoof"] > 0.5 else "bonafide"]
    assert prediction["score"] == pytest.approx(max(first["data"]["p_spoof"], 1 - first["data"]["p_spoof"]))
    # what a result points at are the names of the tags in the interface that is documented
    assert f'<Choices name="{result["from_name"]}" toName="{result["to_name"]}"' in LABELLING_INTERFACE
    assert f'<Audio name="{result["to_name"]}" value="$audio"/>' in LABELLING_INTERFACE
    assert all("audio" in task["data"] for task in tasks)
    assert next(t for t in tasks if t["data"]["uri"] == URI)["data"]["audio"] == URI
    assert "1 unsure, left out; 2 not labelled yet" in out
    labels = read_labels(str(night / "l.jsonl")).to_pylist()
    assert {row["utterance_id"]: row["label"] for row in labels}.items() <= truth.items()
    assert len(labels) == len(tasks) - 3


def test_two_reviewers_who_disagree_are_both_named(night: Path, bonafide: Run) -> None:
    bonafide("review", "export", "--output", night / "tables", "--to", night / "queue.csv")
    first = next(csv.DictReader((night / "queue.csv").open(encoding="utf-8-sig", newline="")))
    name = unescape_formula(first["utterance_id"])
    ann = fill(night / "queue.csv", lambda each: "spoof")
    ben = fill(night / "queue.csv", lambda each: "bonafide" if each == name else "spoof", "ben")
    cid = fill(night / "queue.csv", lambda each: "unsure" if each == name else "", "cid")
    where = ("--output", night / "tables", "--labels", night / "labels.parquet")

    code, _, err = bonafide("review", "import", "--from", ann, "--from", ben, *where)
    settled, out, _ = bonafide("review", "import", "--from", cid, "--from", ann, *where)

    assert code == 65
    assert "1 recording(s) have two labels" in err
    assert f"spoof by ann ({ann} row 2), bonafide by ben ({ben} row 2)" in err
    assert settled == 0
    assert "1 unsure, left out" in out
    assert not set(read_labels(str(night / "labels.parquet"))["label"].to_pylist()) - {"spoof"}


@pytest.mark.parametrize(
    ("table", "cause"),
    [
        ("utterance_id,label\nnobody,spoof\n", "1 id(s) have no score in"),
        (
            "utterance_id,label\n2026/radio/0001.tar#0050.flac,fake\n",
            "row 2: label 'fake'; expected bonafide, spoof, unsure",
        ),
        ("utterance_id,label\n2026/radio/0001.tar#0050.flac,\n", "no row has a label yet"),
        ("utterance_id,label\n2026/radio/0001.tar#0050.flac,unsure\n", "no row has a label yet"),
        ("id,label\nx,spoof\n", "no column `utterance_id`; found id, label"),
        ("", "no column `utterance_id`; found none"),
        ("label,utterance_id\nspoof\n", "1 id(s) have no score in"),
        ('utterance_id,label\n"x"y,spoof\n', "not a CSV table in UTF-8"),
        (b"\xff\xfe", "not a CSV table in UTF-8"),
    ],
    ids=range(9),
)
def test_an_invalid_filled_table_is_refused(night: Path, bonafide: Run, table: str | bytes, cause: str) -> None:
    path = night / "filled.csv"
    path.write_bytes(table if isinstance(table, bytes) else table.encode())

    code, _, err = bonafide(
        "review", "import", "--from", path, "--output", night / "tables", "--labels", night / "labels.parquet"
    )

    assert code == 65
    assert cause in " ".join(err.split())
    assert not (night / "labels.parquet").exists()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("{}", "expected a list of tasks"),
        ("[1]", "expected data.utterance_id and annotations"),
        ('[{"id": 1, "utterance_id": "a", "label": "spoof"}]', "not as JSON-MIN"),
        ('[{"data": {"utterance_id": 3}, "annotations": []}]', "expected text"),
        ("[" * 100_000, "not JSON"),
        (json.dumps([annotated({"data": {"utterance_id": "a"}}, ("fake", 1))]), "label 'fake'"),
        ('[{"data": {"utterance_id": "a"}, "annotations": [{"result": [{"from_name": "label", '
         '"value": {"choices": ["spoof", "bonafide"]}}]}]}]', "expected one choice"),
    ],
    ids=range(7),
)  # fmt: skip
def test_an_invalid_export_is_refused(night: Path, bonafide: Run, content: str, cause: str) -> None:
    (night / "export.json").write_text(content)

    code, _, err = bonafide(
        "review",
        "import",
        "--from",
        night / "export.json",
        "--output",
        night / "tables",
        "--labels",
        night / "l.parquet",
    )

    assert code == 65
    assert cause in " ".join(err.split())


def test_a_label_that_an_older_list_contradicts_is_refused(night: Path, bonafide: Run) -> None:
    bonafide("review", "export", "--output", night / "tables", "--to", night / "queue.csv")
    filled = fill(night / "queue.csv", lambda _: "spoof")
    older = night / "older.csv"
    older.write_text("utterance_id,label\n2026/radio/0001.tar#0050.flac,bonafide\n")

    code, _, err = bonafide(
        "review", "import", "--from", filled, "--older", older,
        "--output", night / "tables", "--labels", night / "labels.parquet",
    )  # fmt: skip

    assert code == 65
    assert "'2026/radio/0001.tar#0050.flac': spoof now" in err


def test_a_list_that_fit_reads_unchanged_holds_no_formula(night: Path, bonafide: Run) -> None:
    bonafide("review", "export", "--output", night / "tables", "--to", night / "queue.csv")
    where = ("--output", night / "tables", "--labels", night / "labels.csv")

    code, _, err = bonafide("review", "import", "--from", fill(night / "queue.csv", lambda _: "spoof"), *where)
    plain = fill(night / "queue.csv", lambda name: "spoof" if name.startswith("2026") else "")
    accepted, _, _ = bonafide("review", "import", "--from", plain, *where)

    assert code == 65
    assert "Write .parquet" in err
    assert accepted == 0
    assert len(read_labels(str(night / "labels.csv"))) > 40


def test_the_head_that_judged_must_be_the_one_that_is_named(night: Path, bonafide: Run) -> None:
    (night / "other.json").write_text(nightly_runs.head().to_json())

    code, _, err = bonafide(
        "review", "export", "--output", night / "tables", "--to", night / "q.csv", "--head", night / "other.json"
    )

    assert code == 65
    assert nightly_runs.head().head_id in err


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("--run", "2020-01-01-00000000"), "no complete run 2020-01-01-00000000"),
        (("--rows", "0"), "expected 1 or more"),
    ],
)
def test_a_queue_that_is_not_there_is_refused(
    night: Path, bonafide: Run, arguments: tuple[str, str], cause: str
) -> None:
    code, _, err = bonafide("review", "export", "--output", night / "tables", "--to", night / "q.csv", *arguments)

    assert code == 65
    assert cause in err


def test_every_format_writes_an_empty_queue_and_reads_it_again() -> None:
    assert {name: each.read(each.write([]), name) for name, each in FORMATS.items()} == {"csv": [], "label-studio": []}


def test_empty_lines_of_a_spreadsheet_are_passed_over() -> None:
    heard = FORMATS["csv"].read(b"utterance_id;label\na;spoof\n;\n\n;\n", "filled.csv")

    assert [(each.utterance_id, each.label) for each in heard] == [("a", "spoof")]


def test_the_table_is_one_that_spreadsheets_take_for_utf_8() -> None:
    content = FORMATS["csv"].write([{"utterance_id": "日本.flac"}])

    assert content.startswith(b"\xef\xbb\xbf")
    assert next(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))["utterance_id"] == "日本.flac"


def test_the_settings_name_every_format() -> None:
    assert tuple(FORMATS) == config.FORMATS
    assert tuple(label_list.WRITERS) == config.LABEL_SUFFIXES
