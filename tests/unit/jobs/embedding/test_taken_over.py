"""An output of an earlier version, which counted versions of libraries into the fingerprint, is taken over as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from detector.errors import ConfigError
from jobs.config import RunConfig
from jobs.scoring.shards import score_shards
from tests.support.canaries import RECIPE, add, archive_in, embed, imitate, objects
from tests.support.heads import some_head
from tests.support.runner import InProcessRunner

FORMER = (("decode", "libsndfile 1.2.2, libavcodec 62.28.102"), ("resample", "soxr HQ 1.1.0"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return archive_in(tmp_path / "archive")


@pytest.fixture
def old(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An output as an earlier version leaves it: under its fingerprint, without canaries."""
    imitate({"libsndfile": "1.2.2", "libavcodec": "62.28.102", "soxr": "1.1.0"}, monkeypatch)
    output = tmp_path / "old"
    embed(archive, output, replace(RECIPE, former=FORMER))
    for name in [name for name in objects(output) if name.startswith("_canaries")]:
        (output / name).unlink()
    return output


def test_an_output_of_an_earlier_version_keeps_its_fingerprint_and_its_rows(archive: Path, old: Path) -> None:
    before, fingerprint = objects(old), replace(RECIPE, former=FORMER).fingerprint
    assert embed(archive, old).markers == []
    add(archive)

    run = embed(archive, old)

    assert len(run.markers) == 1
    assert set(pq.read_table(old / "embeddings")["fingerprint"].to_pylist()) == {fingerprint}
    assert {name for name in objects(old) if name.startswith("_canaries")} == {
        f"_canaries/embeddings-{fingerprint}/000001.json"
    }
    assert objects(old).items() >= before.items()


@pytest.mark.parametrize("former", [(), FORMER, (("decode", "libsndfile 1.0"), ("resample", "soxr HQ 1.0"))])
def test_heads_of_every_version_judge_its_rows(former: tuple[tuple[str, str], ...], archive: Path, old: Path) -> None:
    head = some_head(replace(RECIPE, former=former))
    source = embed(archive, old)

    run = score_shards(
        InProcessRunner(), source.ledger, source.committed(), head, None, str(old), RunConfig(), "head.json"
    )

    scores = pq.read_table(old / "scores")
    assert len(scores) == 2
    assert set(scores["head_id"].to_pylist()) == {head.head_id}
    assert len(run.slots) == 2


def test_an_output_of_other_libraries_without_canaries_cannot_be_measured_and_is_accepted_by_flag_only(
    archive: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(archive)
    before = objects(old)
    imitate({"soxr": "1.1.1"}, monkeypatch)

    with pytest.raises(ConfigError, match=r"resample was 'soxr HQ 1\.1\.0', now 'soxr HQ 1\.1\.1'"):
        embed(archive, old)

    assert objects(old) == before
    assert len(embed(archive, old, accept_drift=True).markers) == 1


def test_another_recipe_is_refused_without_a_word_of_versions(archive: Path, old: Path) -> None:
    other = recipe_of(EmbedConfig(backbone="melstats", segment_seconds=3.0), None)

    with pytest.raises(ConfigError, match=r"segment_seconds 3\.0, not 2\.0\. Run as before"):
        embed(archive, old, other)
