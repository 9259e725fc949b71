"""A run that plans while recordings are erased begins anew: it writes no name of them back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.embedding import planning
from jobs.embedding.result import EmbeddingRun
from jobs.erasure.erasing import erase
from jobs.erasure.request import ErasureRequest
from jobs.errors import RunAgain
from jobs.inputs.config import InputConfig
from jobs.reports.nightly.redrawing import redraw_pages
from jobs.tables.erasures import LateNamesError, leave_note
from jobs.tables.id_rule import id_roots_of
from jobs.tables.ledger import Ledger
from tests.support.audio import encoded, tone
from tests.support.embedding_runs import embed_archive
from tests.support.runner import InProcessRunner

RECIPE = recipe_of(EmbedConfig(backbone="melstats"), None)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two loose files, which one night embedded as one group; one is gone since, and the other was replaced."""
    archive = tmp_path / "archive"
    archive.mkdir()
    for number, name in enumerate(("alice.flac", "b.flac")):
        (archive / name).write_bytes(encoded(tone(1.0, seed=number)))
    embed(archive)
    (archive / "alice.flac").unlink()
    (archive / "b.flac").write_bytes(encoded(tone(1.5, seed=2)))
    return archive


def embed(archive: Path) -> EmbeddingRun:
    where, config = OutputConfig(output=output_of(archive)), RunConfig(max_removed=1.0)
    return embed_archive(InProcessRunner(), InputConfig(input=(str(archive),)), RECIPE, ModelConfig(), where, config)


def output_of(archive: Path) -> str:
    return str(archive.parent / "output")


def act_while_it_lists(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any], times: int) -> None:
    pending, find = [act] * times, planning.archive.find

    def meanwhile(*given: Any, **named: Any) -> Any:
        found = find(*given, **named)
        if pending:
            pending.pop()()
        return found

    monkeypatch.setattr(planning.archive, "find", meanwhile)


def test_what_was_erased_while_a_run_listed_the_archive_stays_erased(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = output_of(archive)
    request = ErasureRequest(["alice.flac"], id_roots_of(output))
    act_while_it_lists(monkeypatch, lambda: erase(output, request, redraw_pages), 1)

    run = embed(archive)

    assert len(run.markers) == 1
    assert pq.read_table(f"{output}/embeddings")["utterance_id"].to_pylist() == ["b.flac"]
    assert [path for path in Path(output).rglob("*.json") if "alice" in path.read_text()] == []


def test_a_run_beside_one_erasure_after_the_other_is_to_be_run_again(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_plans = len(list(Path(output_of(archive)).glob("_plans/*/*.json")))
    act_while_it_lists(monkeypatch, lambda: leave_note(output_of(archive)), planning.ATTEMPTS)

    with pytest.raises(RunAgain, match="recordings were erased while it planned"):
        embed(archive)

    assert len(list(Path(output_of(archive)).glob("_plans/*/*.json"))) == n_plans
    assert len(embed(archive).markers) == 1


def test_a_plan_that_was_written_while_a_recording_was_erased_is_told(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze = Ledger.freeze

    def late(*given: Any) -> Any:
        history = freeze(*given)
        leave_note(output_of(archive))
        return history

    monkeypatch.setattr(Ledger, "freeze", late)

    with pytest.raises(LateNamesError, match=r"may name them\. Run the same `erase` again"):
        embed(archive)
