"""Sources of several inputs that would have one id: all else is done, and the run ends with 65."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.errors import ConfigError
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.config import EmbeddingConfig
from jobs.embedding.result import EmbeddingRun
from jobs.embedding.run import write_records
from jobs.erasure.erasing import erase
from jobs.erasure.request import ErasureRequest
from jobs.inputs.config import InputConfig
from jobs.reports.nightly.redrawing import redraw_pages
from jobs.tables import run_records
from jobs.tables.id_rule import id_roots_of
from jobs.tables.shared_ids import SharedIdError
from jobs.tables.verification import verify_tables
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.embedding_runs import embed_archive
from tests.support.runner import InProcessRunner

RECIPE = recipe_of(EmbedConfig(backbone="melstats", segment_seconds=2.0), None)
ONE, OTHER, THIRD = (encoded(tone(0.5, seed=seed)) for seed in range(3))


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return folder(tmp_path / "a", {"x.flac": ONE, "y.flac": OTHER})


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return folder(tmp_path / "b", {"x.flac": OTHER, "z.flac": THIRD})


def folder(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir()
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


class Output:
    """An output, and nights over inputs."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.n_nights = 0

    def night(self, *inputs: Path) -> tuple[EmbeddingRun, list[int]]:
        """Embed inputs, and return the exit codes of the records, or that of the run if it has ids to complain of."""
        self.n_nights += 1
        day, where = f"2026-12-{self.n_nights:02}", tuple(map(str, inputs))
        output = OutputConfig(output=str(self.place))
        config = RunConfig(run_date=day, max_removed=1.0)
        run = embed_archive(InProcessRunner(), InputConfig(input=where), RECIPE, ModelConfig(), output, config)
        settings = EmbeddingConfig(backbone="melstats", input=where, output=str(self.place), run_date=day)
        records = write_records(run, "embed", run_records.now(), settings)
        if run.unheard.n_sources:
            with pytest.raises(SharedIdError):
                run.unheard.raise_any()
            assert {record["unheard"]["count"] for record in records} <= {run.unheard.n_sources}
            return run, [65]
        assert not any("unheard" in record for record in records)
        return run, [record["exit_code"] for record in records]

    def heard(self) -> dict[str, str]:
        """Where each recording lies that the archive has, by id."""
        return {row["utterance_id"]: row["uri"] for row in self._rows("embeddings") if row["removed_at"] is None}

    def failures(self) -> dict[str, tuple[str, str]]:
        return {row["utterance_id"]: (row["error"], row["message"]) for row in self._rows("failures")}

    def _rows(self, table: str) -> list[dict[str, Any]]:
        found = [row for path in (self.place / table).rglob("*.parquet") for row in pq.read_table(path).to_pylist()]
        assert len({row["utterance_id"] for row in found}) == len(found)
        return found


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path / "output")


def test_of_two_new_files_of_one_path_none_is_heard_and_all_else_is(a: Path, b: Path, output: Output) -> None:
    _, codes = output.night(a, b)

    assert codes == [65]
    assert output.heard() == {"y.flac": f"{a}/y.flac", "z.flac": f"{b}/z.flac"}
    assert {name: error for name, (error, _) in output.failures().items()} == {
        f"{a}/x.flac": "bad_name",
        f"{b}/x.flac": "bad_name",
    }
    assert f"'x.flac', which is the id of {b}/x.flac, too" in output.failures()[f"{a}/x.flac"][1]
    again, codes = output.night(a, b)
    assert (again.names, again.unheard.n_sources, codes) == ([], 2, [65])  # nothing new, and still not heard
    assert verify_tables(str(output.place)) == []


def test_a_recording_keeps_its_id_when_a_file_of_its_path_comes_into_another_input(
    a: Path, b: Path, output: Output
) -> None:
    output.night(a)

    _, codes = output.night(a, b)

    assert codes == [65]
    assert output.heard() == {"x.flac": f"{a}/x.flac", "y.flac": f"{a}/y.flac", "z.flac": f"{b}/z.flac"}
    assert list(output.failures()) == [f"{b}/x.flac"]
    (a / "x.flac").write_bytes(THIRD)
    assert output.night(a, b)[1] == [65]  # until somebody acts
    assert output.heard()["x.flac"] == f"{a}/x.flac"


def test_containers_of_one_path_are_refused_as_files_are(tmp_path: Path, output: Output) -> None:
    for name in ("a", "b"):
        write_tar(folder(tmp_path / name, {f"{name}.flac": ONE}) / "0.tar", {"m.flac": OTHER})

    assert output.night(tmp_path / "a", tmp_path / "b")[1] == [65]

    assert output.heard().keys() == {"a.flac", "b.flac"}
    assert output.failures().keys() == {f"{tmp_path}/a/0.tar", f"{tmp_path}/b/0.tar"}


@pytest.mark.parametrize("other", ["renamed", "removed"])
def test_a_source_is_heard_on_the_first_night_on_which_no_other_has_its_id(
    a: Path, b: Path, output: Output, other: str
) -> None:
    output.night(a, b)
    if other == "renamed":
        (b / "x.flac").rename(b / "w.flac")
    else:
        (b / "x.flac").unlink()

    assert output.night(a, b)[1] == [0]

    assert output.heard()["x.flac"] == f"{a}/x.flac"
    assert ("w.flac" in output.heard()) == (other == "renamed")
    assert output.failures() == {}
    (b / "x.flac").write_bytes(OTHER)
    assert output.night(a, b)[1] == [65]
    assert output.heard()["x.flac"] == f"{a}/x.flac"
    assert list(output.failures()) == [f"{b}/x.flac"]


def test_an_input_that_a_night_leaves_out_still_claims_its_ids(a: Path, b: Path, output: Output) -> None:
    output.night(a, b)

    assert output.night(a)[1] == [65]

    assert "x.flac" not in output.heard()
    assert len(output.failures()) == 2


@pytest.mark.parametrize("first", [[], ["a"]], ids=["both are new", "one has the id"])
def test_the_folder_that_the_error_names_ends_it_and_ids_stay(tmp_path: Path, output: Output, first: list[str]) -> None:
    both = folder(tmp_path / "both", {})
    a, b = folder(both / "a", {"x.flac": ONE, "y.flac": OTHER}), folder(both / "b", {"x.flac": OTHER, "z.flac": THIRD})
    for each in first:
        output.night(both / each)
    run, codes = output.night(a, b)
    assert codes == [65]
    with pytest.raises(SharedIdError, match=rf"Give {both}/ as --input, keep whole paths by --ids absolute in a new"):
        run.unheard.raise_any()
    assert all(f"Give {both}/ as --input" in message for _, message in output.failures().values())

    assert output.night(both)[1] == [0]

    heard = {"x.flac" if first else "a/x.flac": f"{a}/x.flac", "b/x.flac": f"{b}/x.flac"}
    heard |= {"y.flac": f"{a}/y.flac", "z.flac": f"{b}/z.flac"}
    assert output.heard() == heard
    assert output.failures() == {}
    assert output.night(a, b)[1] == []  # nothing new, and nothing to complain of
    assert output.heard() == heard
    assert verify_tables(str(output.place)) == []


def test_a_file_in_the_folder_that_both_are_in_is_told_of_the_folder_above(tmp_path: Path, output: Output) -> None:
    top = folder(tmp_path / "top", {})
    whole = folder(top / "whole", {"x.flac": OTHER})
    output.night(folder(whole / "a", {"x.flac": ONE}))
    run, _ = output.night(whole)
    with pytest.raises(SharedIdError, match=rf"Give {top}/ as --input"):
        run.unheard.raise_any()

    assert output.night(top)[1] == [0]

    assert output.heard() == {"x.flac": f"{whole}/a/x.flac", "whole/x.flac": f"{whole}/x.flac"}


def test_a_third_file_of_the_path_is_refused_too(a: Path, b: Path, tmp_path: Path, output: Output) -> None:
    output.night(a, b)
    c = folder(tmp_path / "c", {"x.flac": THIRD})

    assert output.night(a, b, c)[1] == [65]

    assert output.failures().keys() == {f"{each}/x.flac" for each in (a, b, c)}


def test_a_folder_above_does_not_take_the_id_of_a_file_in_the_folder_that_came_first(
    a: Path, tmp_path: Path, output: Output
) -> None:
    output.night(a)
    whole = folder(tmp_path / "whole", {"x.flac": OTHER, "v.flac": THIRD})
    shutil.move(str(a), whole / "a")
    first = Output(tmp_path / "first")
    first.night(whole / "a")

    assert first.night(whole)[1] == [65]

    assert first.heard() == {
        "x.flac": f"{whole}/a/x.flac",
        "y.flac": f"{whole}/a/y.flac",
        "v.flac": f"{whole}/v.flac",
    }


def test_what_a_list_names_by_an_id_has_it_unless_it_is_planned_for_another(
    a: Path, b: Path, tmp_path: Path, output: Output
) -> None:
    (b / "list.csv").write_text("uri,utterance_id\nz.flac,x.flac\n")

    assert output.night(a, b / "list.csv")[1] == [65]

    assert output.heard() == {"x.flac": f"{b}/z.flac", "y.flac": f"{a}/y.flac"}
    later = Output(tmp_path / "later")
    later.night(a)
    with pytest.raises(
        ConfigError, match=rf"^{a}/x.flac and {b}/z.flac share the utterance id 'x\.flac', and the rows"
    ):
        later.night(b / "list.csv")


def test_an_erasure_leaves_nothing_of_what_was_refused_nor_of_what_it_was_refused_for(
    a: Path, b: Path, output: Output
) -> None:
    output.night(a)
    output.night(a, b)
    roots = id_roots_of(str(output.place))

    erase(str(output.place), ErasureRequest([f"{b}/x.flac"], roots), redraw_pages)
    assert not mentions(output.place, f"{b}/x.flac")
    erase(str(output.place), ErasureRequest(["x.flac"], roots), redraw_pages)
    assert not mentions(output.place, "x.flac")
    assert output.heard().keys() == {"y.flac", "z.flac"}


def test_an_erasure_of_the_one_that_has_the_id_takes_the_row_of_the_other_with_it_until_the_next_night(
    a: Path, b: Path, output: Output
) -> None:
    output.night(a)
    output.night(a, b)

    erase(str(output.place), ErasureRequest(["x.flac"], id_roots_of(str(output.place))), redraw_pages)

    assert not mentions(output.place, "x.flac")
    assert output.failures() == {}
    (a / "x.flac").unlink()
    assert output.night(a, b)[1] == [0]
    assert output.heard()["x.flac"] == f"{b}/x.flac"


def mentions(place: Path, text: str) -> list[Path]:
    found = []
    for path in place.rglob("*"):
        if path.suffix == ".parquet":
            content = str(pq.read_table(path).to_pylist())
        else:
            content = path.read_text(errors="replace") if path.is_file() else ""
        found += [path] if text in content else []
    return found


def test_what_was_erased_is_refused_again_by_the_next_night_as_it_is_still_there(
    a: Path, b: Path, output: Output
) -> None:
    output.night(a)
    output.night(a, b)
    erase(str(output.place), ErasureRequest([f"{b}/x.flac"], id_roots_of(str(output.place))), redraw_pages)

    assert output.night(a, b)[1] == [65]

    assert list(output.failures()) == [f"{b}/x.flac"]


def test_a_source_that_was_heard_after_another_one_of_its_id_is_erased_with_what_it_was_before(
    a: Path, b: Path, output: Output
) -> None:
    output.night(a, b)
    (a / "x.flac").unlink()
    assert output.night(a, b)[1] == [0]
    assert output.heard()["x.flac"] == f"{b}/x.flac"
    (b / "x.flac").unlink()

    erase(str(output.place), ErasureRequest(["x.flac"], id_roots_of(str(output.place))), redraw_pages)

    assert not mentions(output.place, f"{b}/x.flac")
    assert verify_tables(str(output.place)) == []
    assert output.night(a, b)[0].names == []
