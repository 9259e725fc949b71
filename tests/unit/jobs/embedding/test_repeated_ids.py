"""Members of one name in a container: none of them is taken, all else is done, and the run ends with 65."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.audio import WHOLE, Excerpt
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.failures import FAILURE_ERRORS
from jobs import storage
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.config import EmbeddingConfig
from jobs.embedding.result import EmbeddingRun
from jobs.embedding.run import write_records
from jobs.erasure.erasing import erase
from jobs.erasure.request import ErasureRequest
from jobs.execution.assembly import ShardRows
from jobs.inputs.config import InputConfig
from jobs.inputs.containers import container_kind
from jobs.inputs.shard_reader import read_shard
from jobs.inputs.shards import Portion, Selection, Shard
from jobs.reports.nightly.redrawing import redraw_pages
from jobs.scoring.shards import score_shards
from jobs.tables import run_records
from jobs.tables.repeated_ids import RepeatedIdError, raise_repeated
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.embedding_runs import embed_archive
from tests.support.heads import some_head
from tests.support.runner import InProcessRunner

Members = list[tuple[str, bytes]]

ONE, OTHER, THIRD = (encoded(tone(0.5, seed=seed)) for seed in range(3))
TWICE: Members = [("a.flac", ONE), ("b.flac", OTHER), ("a.flac", THIRD)]
DAY = "2026-11-30"


def tarred(path: Path, members: Members) -> Path:
    return write_tar(path, members)


def zipped(path: Path, members: Members) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in members:
            with (
                pytest.warns(UserWarning, match="Duplicate name")
                if name in packed.namelist()
                else contextlib.nullcontext()
            ):
                packed.writestr(name, content)
    return path


def in_parquet(path: Path, members: list[tuple[Any, bytes]]) -> Path:
    rows = [{"bytes": content, "path": name} for name, content in members]
    pq.write_table(pa.table({"audio": pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))}), path)
    return path


def outcomes(
    path: Path, channels: str = "mix", selections: list[tuple[str, Selection]] | None = None
) -> dict[str, str | None]:
    """Read a container, put it together as an assembler does, and return the error of each id, without the path."""
    stored, kind = storage.stat(str(path)), container_kind(str(path))
    assert stored is not None
    assert kind is not None
    shard = Shard(kind, (stored,)) if selections is None else Shard.selecting(kind, (stored,), selections)
    rows = ShardRows(shard.shard_id)
    pieces = list(read_shard(Portion(shard), 2.0, channels))
    for piece in pieces:
        if "outcome" in piece:
            rows.outcomes[piece["ordinal"]] = piece["outcome"]
            rows.repeated |= {piece["ordinal"]} if piece.get("is_repeated") else set()
    assert pieces[-1]["n_utterances"] == len(rows.outcomes)
    rows.refuse_repeated()
    found = [each["utterance_id"] for each in rows.outcomes.values()]
    assert len(set(found)) == len(found)
    return {each["utterance_id"].rpartition("#")[2]: each.get("error") for each in rows.outcomes.values()}


@pytest.mark.parametrize(
    ("name", "pack"), [("0.tar", tarred), ("0.zip", zipped), ("0.parquet", in_parquet)], ids=["tar", "zip", "parquet"]
)
def test_no_member_is_taken_whose_name_another_one_has_and_all_others_are(
    tmp_path: Path, name: str, pack: Callable[[Path, Members], Path]
) -> None:
    assert outcomes(pack(tmp_path / name, TWICE)) == {"a.flac": "bad_name", "b.flac": None}
    thrice = [*TWICE, ("a.flac", OTHER), ("c.flac", ONE)]
    assert outcomes(pack(tmp_path / name, thrice)) == {"a.flac": "bad_name", "b.flac": None, "c.flac": None}


def test_a_row_without_a_name_may_share_its_number_with_a_row_of_that_name(tmp_path: Path) -> None:
    found = outcomes(in_parquet(tmp_path / "0.parquet", [(None, ONE), ("00000000", OTHER), (None, THIRD)]))

    assert found == {"00000000": "bad_name", "00000002": None}


def test_broken_members_of_one_name_are_one_failure_too(tmp_path: Path) -> None:
    assert outcomes(tarred(tmp_path / "0.tar", [("a.flac", b""), ("a.flac", b"")])) == {"a.flac": "bad_name"}


def test_no_channel_is_taken_of_a_member_whose_name_another_one_has(tmp_path: Path) -> None:
    stereo = encoded(np.stack([tone(0.5), tone(0.5, seed=1)], axis=1))
    path = tarred(tmp_path / "0.tar", [("a.flac", stereo), ("b.flac", stereo), ("a.flac", ONE)])

    assert outcomes(path, "each") == {"b.flac/ch0": None, "b.flac/ch1": None, "a.flac": "bad_name"}


def test_a_list_takes_no_excerpt_of_a_member_whose_name_another_one_has(tmp_path: Path) -> None:
    excerpts = [("a.flac", Selection(f"#a.flac{each}", each)) for each in (Excerpt(0.0, 0.2), Excerpt(0.2, 0.4))]
    listed = [*excerpts, ("b.flac", Selection("#b.flac", WHOLE)), ("c.flac", Selection("#c.flac", WHOLE))]

    found = outcomes(tarred(tmp_path / "0.tar", TWICE), selections=listed)

    assert found == {"a.flac@0-0.2": "bad_name", "a.flac@0.2-0.4": "bad_name", "b.flac": None, "c.flac": "missing"}


def test_two_members_of_which_a_list_names_neither_are_nothing(tmp_path: Path) -> None:
    listed = [("b.flac", Selection("#b.flac", WHOLE))]

    assert outcomes(tarred(tmp_path / "0.tar", TWICE), selections=listed) == {"b.flac": None}


def test_the_error_is_in_the_closed_list() -> None:
    assert "another member" in FAILURE_ERRORS["bad_name"]


RECIPE = recipe_of(EmbedConfig(backbone="melstats", segment_seconds=2.0), None)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    tarred(folder / "dup.tar", TWICE)
    (folder / "good.flac").write_bytes(ONE)
    return folder


def night(archive: Path, output: Path, day: str = DAY) -> tuple[EmbeddingRun, list[dict[str, Any]]]:
    """Embed and score an archive, and return the records of the embedding."""
    config, where = RunConfig(run_date=day), OutputConfig(output=str(output))
    run = embed_archive(InProcessRunner(), InputConfig(input=(str(archive),)), RECIPE, ModelConfig(), where, config)
    settings = EmbeddingConfig(backbone="melstats", input=(str(archive),), output=str(output), run_date=day)
    records = write_records(run, "nightly", run_records.now(), settings)
    head = some_head(RECIPE, dim=dimension(run))
    score_shards(InProcessRunner(), run.ledger, run.committed(), head, None, str(output), config, "head.json")
    return run, records


def dimension(run: EmbeddingRun) -> int:
    _, tables = run.ledger.read_all("embeddings")
    return int(tables[0].schema.field("embedding").type.list_size)


def ids(output: Path, table: str) -> list[str]:
    found = (pq.read_table(path)["utterance_id"].to_pylist() for path in (output / table).rglob("*.parquet"))
    return sorted(name for names in found for name in names)


def test_a_night_does_all_else_and_ends_with_65_all_day(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"

    _, records = night(archive, output)

    assert ids(output, "scores") == ["dup.tar#b.flac", "good.flac"]
    assert ids(output, "failures") == ["dup.tar#a.flac"]
    assert [record["exit_code"] for record in records] == [65]
    where = f"{archive}/dup.tar: utterance id 'dup.tar#a.flac' occurs twice, as utterance 0 and 2 of the shard"
    with pytest.raises(RepeatedIdError, match=f"^{where}.*rename one, and write the shard again.*are done"):
        raise_repeated(records)

    again, records = night(archive, output)
    assert (again.markers, records) == ([], [])
    same_day = run_records.records_of_date(str(output), again.history, DAY)
    assert run_records.exit_code_of(same_day) == 65
    with pytest.raises(RepeatedIdError, match=f"^{where}"):
        raise_repeated(same_day)

    tarred(archive / "dup.tar", [*TWICE[:2], ("c.flac", THIRD)])
    _, records = night(archive, output, "2026-12-01")
    raise_repeated(records)
    assert [record["exit_code"] for record in records] == [0]
    assert ids(output, "scores") == ["dup.tar#a.flac", "dup.tar#b.flac", "dup.tar#c.flac", "good.flac"]
    assert ids(output, "failures") == []


def test_a_member_that_gets_a_double_loses_its_row_until_one_is_renamed(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    tarred(archive / "dup.tar", TWICE[:2])
    night(archive, output)
    assert ids(output, "scores") == ["dup.tar#a.flac", "dup.tar#b.flac", "good.flac"]

    tarred(archive / "dup.tar", TWICE)  # as `tar --append` updates a file
    night(archive, output, "2026-12-01")

    assert ids(output, "scores") == ["dup.tar#b.flac", "good.flac"]
    assert ids(output, "failures") == ["dup.tar#a.flac"]


def test_an_erasure_takes_a_refused_id_out_of_markers_and_records(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    night(archive, output)

    erase(str(output), ErasureRequest(["dup.tar#a.flac"], [f"{archive}/"]), redraw_pages)

    assert ids(output, "failures") == []
    assert not [path for path in output.rglob("*") if path.is_file() and b"#a.flac" in path.read_bytes()]
