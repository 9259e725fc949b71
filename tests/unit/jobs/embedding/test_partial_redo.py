"""Rows of a codec are embedded again from all inputs of an output or from none, wherever these lie and are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from detector.errors import ConfigError
from jobs import storage
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding.result import EmbeddingRun
from jobs.inputs.config import InputConfig
from tests.support import storage as stores
from tests.support.audio import encoded, tone
from tests.support.canaries import RECIPE, drift_of_gsm
from tests.support.embedding_runs import embed_archive
from tests.support.runner import InProcessRunner

GSM = "wav/gsm610"
NAMES = ("a/0.wav", "a/1.wav", "b/2.wav")

Embed = Callable[..., EmbeddingRun]


@pytest.fixture(params=["a folder", "a store of objects"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Two folders of recordings of GSM, on a local disk or in S3."""
    root = str(tmp_path / "archive") if request.param == "a folder" else request.getfixturevalue("s3_root")
    for seed, name in enumerate(NAMES):
        content = encoded(tone(2.0, seed=seed), kind="WAV", subtype="GSM610", rate=8_000)
        storage.write_bytes(storage.join(root, name), content)
    return root


@pytest.fixture
def embed(tmp_path: Path) -> Embed:
    """Embed inputs of the archive into one output, each night on a date of its own."""
    n_nights = 0

    def run(*inputs: str, redo: str | None = None, missing: str = "refuse") -> EmbeddingRun:
        nonlocal n_nights
        n_nights += 1
        config = RunConfig(run_date=f"2026-12-{n_nights:02}", max_removed=1.0, redo=redo)
        where = OutputConfig(output=str(tmp_path / "output"))
        given = InputConfig(input=inputs, missing=missing)
        return embed_archive(InProcessRunner(), given, RECIPE, ModelConfig(), where, config)

    return run


def new_rows(output: Path, run: EmbeddingRun) -> list[str]:
    """Names of the recordings that a run has embedded."""
    rows = pq.read_table(output / "embeddings", columns=["uri", "run_id"]).to_pylist()
    ids = {marker.detail["run_id"] for marker in run.markers}
    return sorted("/".join(row["uri"].split("/")[-2:]) for row in rows if row["run_id"] in ids)


@pytest.mark.parametrize("part", ["", "a/"])
def test_a_recording_that_was_found_to_be_gone_need_not_be_given(
    place: str, embed: Embed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    embed(f"{place}/b/")
    embed(f"{place}/a/")
    stores.remove(storage.join(place, "b/2.wav"))
    embed(f"{place}/")
    drift_of_gsm(monkeypatch)

    run = embed(f"{place}/{part}", redo=GSM)

    assert new_rows(tmp_path / "output", run) == ["a/0.wav", "a/1.wav"]


@pytest.mark.parametrize("part", ["a/", "a/*.wav", "[a]/*", "a/0.wav", "list.csv", "a*"])
def test_an_input_that_leaves_some_out_is_refused_however_it_is_named(
    place: str, embed: Embed, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    embed(f"{place}/b/")
    embed(f"{place}/a/")
    storage.write_bytes(f"{place}/list.csv", f"uri\n{place}/a/0.wav\n{place}/a/1.wav\n".encode())
    drift_of_gsm(monkeypatch)

    with pytest.raises(ConfigError, match=rf"1 sources that have such rows .* such as {place}/b/2.wav, .* every input"):
        embed(storage.join(place, part), redo=GSM)


@pytest.mark.parametrize("whole", ["*/*.wav", "[ab]", "list.csv"])
def test_an_input_that_names_all_is_taken_however_it_is_named(
    place: str, embed: Embed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: str
) -> None:
    embed(f"{place}/b/")
    embed(f"{place}/a/")
    storage.write_bytes(f"{place}/list.csv", "".join(["uri\n", *(f"{place}/{name}\n" for name in NAMES)]).encode())
    stores.remove(storage.join(place, "b/2.wav"))
    drift_of_gsm(monkeypatch)

    run = embed(f"{place}/{whole}", redo=GSM, missing="row")

    assert new_rows(tmp_path / "output", run) == ["a/0.wav", "a/1.wav"]
