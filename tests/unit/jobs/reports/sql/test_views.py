"""Views: the same questions have the same answers however many heads have judged, and an empty table is no error."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlglot

from detector.errors import SchemaError
from jobs.reports.sql.session import connect, read_content
from jobs.reports.sql.views import STORED, Content, view_statements
from jobs.tables.checksummed_json import dump_checksummed
from jobs.tables.heads import activate
from tests.support import nightly_runs
from tests.support.permissions import denied

Run = Callable[..., tuple[int, str, str]]

URI = "s3://archive/2026/radio/0001.tar"
VIEWS = ("current", "recordings", "calls", "segments", "failures", "nights", "heads", "labels", "scores", "embeddings")


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Twelve recordings and a failure, judged by one head, and the next night by another."""
    output = str(tmp_path_factory.mktemp("tables"))
    shards = {URI: nightly_runs.recordings(nightly_runs.drawn(12, seed=5)[0])}
    first, second = nightly_runs.head(), dataclasses.replace(nightly_runs.head(), bias=0.25)
    for head, date, file in ((first, "2026-11-23", "calls.json"), (second, "2026-11-24", "s3://heads/v2/head.json")):
        nightly_runs.night(output, shards, {"a.flac": "truncated"}, judge=head, date=date, head_uri=file, pages=False)
        activate(output, head.head_id)
    return output


def asked(output: str, query: str) -> list[tuple]:
    return connect(read_content(output)).execute(query).fetchall()


def test_each_recording_counts_once_with_the_head_that_is_active(two_heads: str) -> None:
    second = dataclasses.replace(nightly_runs.head(), bias=0.25).head_id

    assert asked(two_heads, "SELECT count(*), count(DISTINCT utterance_id) FROM scores") == [(24, 12)]
    assert asked(two_heads, "SELECT count(*), any_value(head_id) FROM current") == [(12, second)]
    assert asked(two_heads, "SELECT head, count(*) FROM scores GROUP BY head ORDER BY head") == [
        ("calls", 12),
        (f"head-{second[:6]}", 12),
    ]


def test_the_night_that_went_back_to_a_head_makes_it_active_again(two_heads: str) -> None:
    first, second = nightly_runs.head(), dataclasses.replace(nightly_runs.head(), bias=0.25)
    try:
        activate(two_heads, first.head_id)
        assert asked(two_heads, "SELECT DISTINCT head FROM recordings") == [("calls",)]
        assert asked(two_heads, "SELECT head, state FROM heads ORDER BY state")[0] == ("calls", "active")
    finally:
        activate(two_heads, second.head_id)


def test_a_failure_counts_once_and_a_night_is_a_row(two_heads: str) -> None:
    assert asked(two_heads, "SELECT utterance_id, error FROM failures") == [(f"{URI}#a.flac", "truncated")]
    assert asked(two_heads, "SELECT night, head, recordings, failed FROM nights") == [
        ("2026-11-23", "calls", 13, 1),
        ("2026-11-24", asked(two_heads, "SELECT head FROM heads WHERE state = 'active'")[0][0], 13, 1),
    ]


def test_what_is_not_there_answers_with_no_rows_and_every_column(two_heads: str) -> None:
    connection = connect(
        dataclasses.replace(read_content(two_heads), present=frozenset(), active=None, heads=[], nights=[])
    )
    stored = connect(read_content(two_heads))
    for view in VIEWS:
        empty = connection.sql(f"SELECT * FROM {view}")
        assert empty.fetchall() == []
        assert set(stored.sql(f"SELECT * FROM {view}").columns) >= set(empty.columns) - {"backbone"}


@pytest.mark.parametrize("engine", ["duckdb", "spark", "trino"])
@pytest.mark.parametrize("present", [frozenset(), frozenset(folder for folder, _, _ in STORED.values())])
def test_every_engine_can_parse_the_statements_that_are_written_for_it(engine: str, present: frozenset[str]) -> None:
    heads = [{"head_id": "a" * 16, "head": "o'hara\\", "since": "2026-11-23", "state": "active", "eer": 0.1}]
    content = Content("s3://tables", present, "a" * 16, heads, [], None)

    parsed = [sqlglot.parse_one(text, dialect=engine) for text in view_statements(content, engine)]

    # no statement is one that sqlglot only passes on
    assert {each.key for each in parsed} == {"create"}
    texts = [each.this for view in parsed for each in view.find_all(sqlglot.exp.Literal) if each.is_string]
    assert "o'hara\\" in texts


def test_labels_are_a_view_however_they_are_stored(two_heads: str, tmp_path: Path, bonafide: Run) -> None:
    name = nightly_runs.recordings(nightly_runs.drawn(1, seed=5)[0])[0].utterance_id
    labels = tmp_path / "labels.csv"
    labels.write_text(f"utterance_id,label\n{name},spoof\n")

    query = "SELECT l.label, c.utterance_id FROM labels l JOIN current c USING (utterance_id)"
    code, out, _ = bonafide("sql", two_heads, query, "--labels", labels, "--format", "json")

    assert code == 0
    assert json.loads(out) == {"label": "spoof", "utterance_id": name}


def test_an_answer_of_no_rows_is_no_line_of_json(two_heads: str, bonafide: Run) -> None:
    assert bonafide("sql", two_heads, "SELECT * FROM labels", "--format", "json")[:2] == (0, "")


def test_a_mistake_names_what_there_is(two_heads: str, bonafide: Run) -> None:
    code, _, err = bonafide("sql", two_heads, "SELECT * FROM recordngs")

    assert code == 65
    assert "recordngs" in err.splitlines()[-1]
    assert "recordings" in err.splitlines()[-1]


def test_a_damaged_object_is_named(tmp_path: Path, bonafide: Run) -> None:
    output = str(tmp_path / "tables")
    nightly_runs.night(output, {URI: nightly_runs.recordings(nightly_runs.drawn(2, seed=5)[0])})
    (damaged,) = (tmp_path / "tables" / "scores").rglob("*.parquet")
    damaged.write_bytes(b"")

    code, _, err = bonafide("sql", output, "SELECT count(*) FROM recordings")

    assert code == 65
    assert damaged.name in err.splitlines()[-1]
    assert "`verify` says more" in err.splitlines()[-1]


def test_names_of_recordings_are_inert_in_every_format(tmp_path: Path, bonafide: Run) -> None:
    output = str(tmp_path / "tables")
    hostile = nightly_runs.recordings(nightly_runs.drawn(1, seed=5)[0])
    hostile[0].member = "=cmd()\x1b[2J\n\u202eforged.flac"
    nightly_runs.night(output, {URI: hostile}, pages=False)

    answers = [
        bonafide("sql", output, "SELECT member FROM current", "--format", each)[1] for each in ("table", "csv", "json")
    ]

    assert not any(mark in answer for answer in answers for mark in ("\x1b", "\u202e", "\nforged"))
    assert answers[1].splitlines()[1].startswith("'=cmd()")
    assert json.loads(answers[2])["member"] == hostile[0].member


def test_the_views_that_are_written_are_those_that_are_asked(two_heads: str, tmp_path: Path, bonafide: Run) -> None:
    import duckdb

    code, _, _ = bonafide("sql", two_heads, "--views", tmp_path / "views.sql")
    connection = duckdb.connect()
    connection.execute((tmp_path / "views.sql").read_text())

    assert code == 0
    for view in VIEWS:
        query = f"SELECT * FROM {view} ORDER BY ALL"
        assert str(connection.sql(query).fetchall()) == str(connect(read_content(two_heads)).sql(query).fetchall())


@pytest.mark.parametrize("value", [["'); DROP TABLE x; --"], {"a": 1}, b"x", "0.1); SELECT 1; --"])
def test_a_figure_that_is_no_number_never_becomes_a_statement(value: object) -> None:
    heads = [{"head_id": "a", "head": "b", "since": "2026-11-23", "state": "active", "risk": value}]

    with pytest.raises(SchemaError, match="another type"):
        view_statements(Content("/tables", frozenset(), "a", heads, []), "duckdb")


def test_the_name_of_an_output_is_no_pattern(tmp_path: Path, bonafide: Run) -> None:
    shards = {URI: nightly_runs.recordings(nightly_runs.drawn(3, seed=5)[0])}
    for name in ("a", "[ab]", "*"):
        nightly_runs.night(str(tmp_path / name), shards, pages=False)

    for name in ("[ab]", "*"):
        _, out, _ = bonafide("sql", tmp_path / name, "SELECT count(*) FROM scores", "--format", "csv")
        assert out.splitlines()[1] == "3"


def test_a_record_under_another_run_s_name_is_refused(two_heads: str, tmp_path: Path) -> None:
    output = shutil.copytree(two_heads, tmp_path / "tables")
    record = json.loads(next((output / "runs").glob("*.json")).read_bytes())
    forged = {key: value for key, value in record.items() if key != "checksum"} | {"run_id": "2099\nDROP TABLE x;--"}
    (output / "runs" / "2099-01-01-aaaaaaaa.json").write_bytes(dump_checksummed(forged))

    with pytest.raises(SchemaError, match=r"2099-01-01-aaaaaaaa\.json: is the record of"):
        read_content(str(output))


def test_no_name_ends_the_comment_of_a_file_of_views(two_heads: str, tmp_path: Path, bonafide: Run) -> None:
    output = shutil.copytree(two_heads, tmp_path / "tables\nDROP TABLE x;--")

    assert bonafide("sql", output, "--views", tmp_path / "views.sql")[0] == 0

    assert "\nDROP" not in (tmp_path / "views.sql").read_text().partition("\n\n")[0]


def test_a_mistake_is_named_in_one_line_with_the_views_that_there_are(two_heads: str, bonafide: Run) -> None:
    code, _, err = bonafide("sql", two_heads, "SELECT *\nFROM segmnts")

    assert code == 65
    assert 'Did you mean "segments"? The views: current recordings' in err.splitlines()[-1]


def test_a_name_of_a_column_is_as_inert_as_a_cell(two_heads: str, bonafide: Run) -> None:
    query = 'SELECT 1 AS "=HYPERLINK(\'x\')", 2 AS "a\nforged\x1b"'

    assert bonafide("sql", two_heads, "--format", "csv", query)[1] == "'=HYPERLINK('x'),a\\nforged\\x1b\n1,2\n"
    assert "a\\nforged\\x1b" in bonafide("sql", two_heads, query)[1].splitlines()[0]


def test_what_does_not_fit_in_memory_goes_to_a_folder_of_the_user_alone(two_heads: str) -> None:
    (folder,) = connect(read_content(two_heads)).execute("SELECT current_setting('temp_directory')").fetchone() or ()

    assert Path(folder).stat().st_mode & 0o777 == 0o700
    assert Path.cwd() not in Path(folder).parents


def test_who_may_read_scores_and_failures_alone_has_answers(
    two_heads: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = shutil.copytree(two_heads, tmp_path / "tables")
    queries = ("SELECT head, count(*) FROM current GROUP BY 1", "SELECT utterance_id, error FROM failures")
    answers = [asked(str(output), query) for query in queries]

    with denied(*(output / name for name in ("_plans", "_commits", "embeddings", "heads", "runs"))):
        assert [asked(str(output), query) for query in queries] == answers
        for view in ("nights", "embeddings", "heads"):
            assert asked(str(output), f"SELECT * FROM {view}") == []

    assert "this role does not read records of runs: `nights` has no rows" in caplog.text
    assert "this role does not read `embeddings`, which has no rows" in caplog.text
