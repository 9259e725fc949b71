"""An object that its uploader made unreadable is a row beside all others; a role that reads nothing ends the run."""

from __future__ import annotations

import io
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from jobs import storage
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.result import EmbeddingRun
from jobs.errors import StorageError
from jobs.inputs import refusals
from jobs.inputs.config import InputConfig
from tests.support.audio import encoded, tone
from tests.support.containers import PACKED
from tests.support.embedding_runs import embed_archive
from tests.support.proxy import FaultProxy
from tests.support.runner import InProcessRunner

RECIPE = recipe_of(EmbedConfig(backbone="melstats"), None)
WAV = encoded(tone(1.0), kind="WAV")
ANSWERS = {
    "a cold tier": (403, "InvalidObjectState"),
    "a key of its uploader": (400, "InvalidRequest"),
    "a key that this role may not use": (403, "AccessDenied"),
    "a key that was deleted": (400, "KMS.NotFoundException"),
}


@pytest.fixture
def archive(proxy: FaultProxy, bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix with two good recordings; this process has read nothing yet."""
    monkeypatch.setattr(refusals, "_read", {})
    root = f"s3://{bucket}/{uuid.uuid4().hex}"
    for name in ("a.wav", "c.wav"):
        storage.write_bytes(f"{root}/{name}", WAV)
    return root


def embedded(archive: str, folder: Path) -> EmbeddingRun:
    output = OutputConfig(output=str(folder / "output"))
    settings = InputConfig(input=(archive,))
    return embed_archive(InProcessRunner(), settings, RECIPE, ModelConfig(), output, RunConfig())


def rows(run: EmbeddingRun, archive: str) -> dict[str, str | None]:
    """Return what is committed: the error of each recording, or None for one that is embedded."""
    read = (run.ledger.read_all(table)[1] for table in ("embeddings", "failures"))
    every = [row for tables in read for each in tables for row in each.to_pylist()]
    return {row["uri"].removeprefix(f"{archive}/"): row.get("error") for row in every}


@pytest.mark.parametrize("why", ANSWERS)
def test_a_recording_that_a_store_refuses_is_a_row_until_it_gives_it(
    archive: str, proxy: FaultProxy, tmp_path: Path, why: str
) -> None:
    storage.write_bytes(f"{archive}/b.wav", WAV)
    proxy.when("GET", r"/b\.wav").reply(*ANSWERS[why])

    run = embedded(archive, tmp_path)
    again = embedded(archive, tmp_path)
    proxy.clear()
    healed = embedded(archive, tmp_path)

    assert sum(marker.detail.get("no_permission", 0) for marker in run.markers) == 1
    assert again.markers == []
    assert rows(healed, archive) == dict.fromkeys(["a.wav", "b.wav", "c.wav"])


def test_containers_are_rows_too_and_what_lies_around_tells_that_the_role_may_read(
    archive: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    embedded(archive, tmp_path)
    refusals._read.clear()  # a process that has read nothing has to read what is new, which nothing lies beside
    column = io.BytesIO()
    pq.write_table(pa.table({"audio": [WAV]}), column)
    for name, content in {"new/0.tar": PACKED["0.tar"]({"m.wav": WAV}), "new/1.parquet": column.getvalue()}.items():
        storage.write_bytes(f"{archive}/{name}", content)
    proxy.when("GET", "/new/").reply(403, "AccessDenied")

    run = embedded(archive, tmp_path)

    expected = {"a.wav": None, "c.wav": None, "new/0.tar": "no_permission", "new/1.parquet": "no_permission"}
    assert rows(run, archive) == expected


def test_a_role_that_may_read_nothing_ends_the_run(archive: str, proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.when("GET", r"\.wav").reply(403, "AccessDenied")

    with pytest.raises(StorageError, match=r"a\.wav: permission denied .*403"):
        embedded(archive, tmp_path)


def test_tables_of_an_output_do_not_tell_that_a_role_may_read_the_archive(
    archive: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    storage.write_bytes(f"{archive}/embeddings/0.parquet", WAV)
    proxy.when("GET", r"\.wav").reply(403, "AccessDenied")

    with pytest.raises(StorageError, match=r"a\.wav: permission denied .*403"):
        embedded(archive, tmp_path)
