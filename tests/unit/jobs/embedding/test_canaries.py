"""Canaries decide whether a run may add rows to an output: by what it hears and computes, not by versions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from detector import canaries
from detector.backbones import Backbone
from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, Recipe
from detector.errors import ConfigError
from jobs import storage
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.decoding import idle
from jobs.decoding.canaries import hear
from jobs.embedding import canaries as run_canaries
from jobs.embedding.archive import embed_layers
from jobs.embedding.config import EmbeddingConfig
from jobs.embedding.redo import VERSIONS
from jobs.embedding.result import EmbeddingRun
from jobs.embedding.run import write_records
from jobs.erasure.mentions import problem_with
from jobs.erasure.request import ErasureRequest
from jobs.execution import stages
from jobs.inputs.config import InputConfig
from jobs.tables import run_records
from jobs.tables.canaries import Reference, read_references, write_reference
from jobs.tables.ledger import Ledger
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.canaries import RECIPE, add, archive_in, drift_of_gsm, embed, imitate, objects
from tests.support.heads import some_head
from tests.support.runner import InProcessRunner

SETTINGS = EmbeddingConfig(backbone="melstats", input=("archive",), output="output")

OTHER_RESAMPLER = """
import sys
if "jobs.decoding.process" in sys.orig_argv:
    import soxr
    stream = soxr.ResampleStream
    soxr.ResampleStream = lambda *rest, **how: stream(*rest, **how | {"quality": "MQ"})
"""
OTHER_DECODER = """
import sys
if "jobs.decoding.process" in sys.orig_argv:
    import numpy as np
    import detector.decoders as decoders
    joined = decoders._pyav_frames
    def shifted(container, stream):
        shift = int(stream.codec_context.name == "aac")
        for frame in joined(container, stream):
            yield frame._replace(channels=np.roll(frame.channels, shift, axis=1))
    decoders._pyav_frames = shifted
"""


@pytest.fixture(autouse=True)
def _fresh_decoders() -> Iterator[None]:
    hear.cache_clear()
    idle.end_all()
    yield
    hear.cache_clear()
    idle.end_all()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return archive_in(tmp_path / "archive")


@pytest.fixture
def patched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give every decoder process from now on another library."""

    def patch(code: str) -> None:
        folder = tmp_path / "libraries"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(code)
        monkeypatch.syspath_prepend(str(folder))
        hear.cache_clear()
        idle.end_all()

    return patch


def test_the_first_run_keeps_what_the_canaries_gave_where_no_glob_over_tables_finds_it(
    archive: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"

    run = embed(archive, output)

    (kept,) = (name for name in objects(output) if name.startswith("_canaries"))
    assert kept == f"_canaries/embeddings-{RECIPE.fingerprint}/000001.json"
    (reference,) = read_references(run.ledger)
    assert set(reference.heard) == set(reference.vectors) == set(canaries.contents())
    assert reference.versions == canaries.versions()
    assert run.canaries == {"largest": {"samples": 0.0, "embedding": 0.0}, "accepted": []}


def test_a_patch_release_that_changes_nothing_is_accepted(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "output"
    embed(archive, output)
    before = objects(output)
    add(archive)
    imitate(dict.fromkeys(canaries.LIBRARIES, "99.1"), monkeypatch)

    run = embed(archive, output, head=some_head(RECIPE))

    assert len(run.markers) == 1
    assert run.canaries == {"largest": {"samples": 0.0, "embedding": 0.0, "score": 0.0}, "accepted": []}
    assert objects(output).items() >= before.items()
    (record, *_) = write_records(run, "embed", run_records.now(), SETTINGS)
    assert (record["versions"]["soxr"], record["canaries"]) == ("99.1", run.canaries)
    assert set(pq.read_table(output / "embeddings")["fingerprint"].to_pylist()) == {RECIPE.fingerprint}


@pytest.mark.parametrize(
    ("code", "named"),
    [(OTHER_RESAMPLER, ("by soxr", "soxr 1.1.0 then, 9.9 now", "--redo soxr")), (OTHER_DECODER, ("aac", "libavcodec"))],
)
def test_a_decoder_or_resampler_that_changes_samples_ends_the_run_before_it_writes_anything(
    code: str,
    named: tuple[str, ...],
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    patched: Callable[[str], None],
) -> None:
    output = tmp_path / "output"
    imitate({"soxr": "1.1.0"}, monkeypatch)
    embed(archive, output)
    before = objects(output)
    add(archive)
    patched(code)
    imitate({"soxr": "9.9"}, monkeypatch)

    with pytest.raises(ConfigError, match="canaries do not give what they gave") as refused:
        embed(archive, output)

    for word in (*named, "0.0001 is allowed", "--accept-drift"):
        assert word in str(refused.value)
    assert objects(output) == before


def less_precise(backbone: Backbone, segments: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """As another library might compute: each number up to a fiftieth off."""
    vectors, n_frames = STAGES_EMBED(backbone, segments)
    return vectors * np.linspace(0.98, 1.02, vectors.shape[1], dtype=np.float32), n_frames


STAGES_EMBED = stages.embed_segments


def test_an_encoder_that_changes_numbers_ends_the_run_before_it_writes_a_row(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "output"
    embed(archive, output)
    before = objects(output)
    add(archive)
    monkeypatch.setattr(stages, "embed_segments", less_precise)

    with pytest.raises(ConfigError, match=r"embedding .* of 1 - cosine away by torch or transformers or numpy"):
        embed(archive, output)

    written = objects(output).keys() - before.keys()
    assert {name.partition("/")[0] for name in written} == {"_plans"}


def test_scores_are_compared_where_a_head_judges(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, head = tmp_path / "output", some_head(RECIPE)
    embed(archive, output)
    add(archive)

    def scaled(backbone: Backbone, segments: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        vectors, n_frames = STAGES_EMBED(backbone, segments)
        return vectors * np.float32(1.01), n_frames  # which no cosine shows

    monkeypatch.setattr(stages, "embed_segments", scaled)

    with pytest.raises(ConfigError, match=r"score .* nats away"):
        embed(archive, output, head=head)


def test_a_drift_is_accepted_once_is_recorded_and_needs_no_flag_from_then_on(
    archive: Path, tmp_path: Path, patched: Callable[[str], None]
) -> None:
    output = tmp_path / "output"
    embed(archive, output)
    add(archive)
    patched(OTHER_DECODER)

    run = embed(archive, output, accept_drift=True)

    (record,) = write_records(run, "embed", run_records.now(), SETTINGS)[-1:]
    assert {each["codec"] for each in record["canaries"]["accepted"]} == {"aac"}
    assert record["canaries"]["largest"]["samples"] > 0.01
    assert len(read_references(run.ledger)) == 2
    write_tar(archive / "3.tar", {"d.flac": encoded(tone(2.0, seed=3))})
    assert embed(archive, output).canaries == {"largest": {"samples": 0.0, "embedding": 0.0}, "accepted": []}


def test_only_shards_with_rows_of_a_codec_are_embedded_again_and_only_once(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "output"
    first = embed(archive, output)
    imitate({"libsndfile": "1.2.3"}, monkeypatch)
    heard = hear()
    moved = {name: replace(each, samples=each.samples + np.float32(0.01)) for name, each in heard.items()}
    drifted = heard | {"gsm610-8000.wav": moved["gsm610-8000.wav"]}
    monkeypatch.setattr(run_canaries, "hear", lambda: drifted)
    monkeypatch.setattr(stages, "hear", lambda _seconds: drifted)
    add(archive)
    with pytest.raises(ConfigError, match=r"--redo wav/gsm610;"):
        embed(archive, output)
    with pytest.raises(ConfigError, match=r"wav/gsm610"):
        embed(archive, output, redo="aac")

    run = embed(archive, output, redo="wav/gsm610")
    again = embed(archive, output, redo="wav/gsm610")

    assert sorted(marker.uri.rpartition("/")[2] for marker in run.markers) == ["1.tar", "2.tar"]
    assert again.markers == []
    assert sorted(pq.read_table(output / "embeddings")["member"].to_pylist()) == ["a.flac", "b.wav", "c.flac"]
    # what was computed before must not come back
    monkeypatch.setattr(run_canaries, "hear", lambda: heard)
    write_tar(archive / "3.tar", {"d.flac": encoded(tone(2.0, seed=3))})
    with pytest.raises(ConfigError, match="wav/gsm610"):
        embed(archive, output)
    assert len(first.markers) == 2


def test_what_another_build_of_the_same_version_gives_is_embedded_again_by_its_codec_alone(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "output"
    embed(archive, output)
    drift_of_gsm(monkeypatch, libsndfile=canaries.versions()["libsndfile"])
    add(archive)

    for redo in ("", "wav/gsm610", "libsndfile"):  # which leave alone what was begun with this version
        with pytest.raises(ConfigError, match=r"--redo codec=wav/gsm610;"):
            embed(archive, output, redo=redo)
    run = embed(archive, output, redo="codec=wav/gsm610")

    assert sorted(marker.uri.rpartition("/")[2] for marker in run.markers) == ["1.tar", "2.tar"]
    assert embed(archive, output).markers == []


def test_rows_of_a_codec_are_not_embedded_again_in_one_of_two_inputs(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, other = tmp_path / "output", archive_in(tmp_path / "other")
    for name in ("0.tar", "1.tar"):
        (other / name).rename(other / f"other-{name}")
    embed(archive, output)
    embed(other, output)
    drift_of_gsm(monkeypatch)

    with pytest.raises(
        ConfigError, match=rf"1 sources that have such rows .* such as {other}/other-1.tar, .* every input"
    ):
        embed(archive, output, redo="wav/gsm610")

    assert len(embed(tmp_path / "[ao][rt]*", output, redo="wav/gsm610").markers) == 2


def test_a_worker_that_hears_something_else_than_the_driver_ends_the_run(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = hear()
    shifted = replace(heard["gsm610-8000.wav"], samples=np.roll(heard["gsm610-8000.wav"].samples, 1))
    monkeypatch.setattr(run_canaries, "hear", lambda: heard | {"gsm610-8000.wav": shifted})

    with pytest.raises(ConfigError, match=r"this worker .* hears wav/gsm610 otherwise .* by libsndfile"):
        embed(archive, tmp_path / "output")

    assert not (tmp_path / "output" / "embeddings").exists()


def test_a_run_with_nothing_new_hears_no_canary(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(archive, tmp_path / "output")
    monkeypatch.setattr(run_canaries, "hear", lambda: pytest.fail("heard"))

    run = embed(archive, tmp_path / "output")

    assert (run.markers, run.canaries) == ([], None)


def test_of_two_first_runs_the_slower_compares_itself_with_the_faster(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = embed(archive, tmp_path / "other")
    (reference,) = read_references(other.ledger)
    vectors = {name: vector * np.linspace(0.9, 1.1, len(vector)) for name, vector in reference.vectors.items()}
    table = Ledger(str(tmp_path / "output"), "embeddings", RECIPE.fingerprint)
    read = iter([[], None])

    def between(asked: Ledger) -> list[Reference]:
        found = next(read, None)
        if found is not None:
            write_reference(table, replace(reference, vectors=vectors), [])
            return found
        return read_references(asked)

    monkeypatch.setattr(run_canaries, "read_references", between)

    with pytest.raises(ConfigError, match="embedding"):
        embed(archive, tmp_path / "output")


def test_layers_of_one_pass_keep_what_each_alone_would_keep(archive: Path, tmp_path: Path) -> None:
    inputs = InputConfig(input=(str(archive),))
    one, two = (recipe_of(EmbedConfig(backbone="starter", layer=each), None) for each in (1, 2))

    def run(recipes: tuple[Recipe, ...], output: str) -> list[EmbeddingRun]:
        where = OutputConfig(output=str(tmp_path / output))
        return embed_layers(InProcessRunner(), inputs, recipes, ModelConfig(), where, RunConfig())

    together = run((one, two), "together")
    alone = [*run((one,), "one"), *run((two,), "two")]

    for both, each in zip(together, alone, strict=True):
        (first,), (second,) = read_references(both.ledger), read_references(each.ledger)
        assert {name: vector.tolist() for name, vector in first.vectors.items()} == {
            name: vector.tolist() for name, vector in second.vectors.items()
        }
    add(archive)
    assert run((two,), "together")[0].canaries == {"largest": {"samples": 0.0, "embedding": 0.0}, "accepted": []}


def test_a_damaged_reference_is_refused_by_name(archive: Path, tmp_path: Path) -> None:
    run = embed(archive, tmp_path / "output")
    (path,) = (tmp_path / "output" / "_canaries" / run.ledger.name).iterdir()
    path.write_bytes(path.read_bytes().replace(b"soundfile", b"soundfool", 1))
    add(archive)

    with pytest.raises(ValueError, match=r"000001\.json: is damaged"):
        embed(archive, tmp_path / "output")


@pytest.mark.parametrize("name", ["amr-8000.amr", "0", "a", "Ab", "wav"])
def test_a_reference_is_no_mention_of_a_recording_that_is_called_like_a_canary(
    name: str, archive: Path, tmp_path: Path
) -> None:
    output = storage.normal(str(tmp_path / "output"))
    embed(archive, Path(output))
    (stored,) = storage.listing(storage.join(output, "_canaries")) or []

    content = storage.read_bytes(stored.uri)

    assert problem_with(output, stored, content, ErasureRequest([name])) == ""
    content += b'"calls/17.wav"'
    assert "calls/17.wav" in problem_with(output, stored, content, ErasureRequest(["calls/17.wav"]))


def test_references_are_small_and_text(archive: Path, tmp_path: Path) -> None:
    run = embed(archive, tmp_path / "output")
    uri = storage.listing(storage.join(run.ledger.output, "_canaries"))[0].uri

    content = storage.read_bytes(uri)

    assert len(content) < 600_000
    assert set(json.loads(content)) >= {"canaries", "versions", "kept_every"}
    assert VERSIONS in run.history.plans[0].detail
