"""Nothing outside of a local archive is planned, whatever takes the place of what was planned in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import storage
from jobs.config import RunConfig
from jobs.embedding.canaries import RunCanaries
from jobs.embedding.planning import Planner
from jobs.embedding.speed import GroupSize
from jobs.inputs.config import InputConfig
from jobs.inputs.contents import Contents
from jobs.tables.ledger import Ledger
from tests.support.audio import encoded, tone
from tests.support.nightly_runs import RECIPE

CONFIG = RunConfig(run_date="2026-11-29", max_removed=1.0)


def planned(tmp_path: Path, follow: str) -> dict[str, storage.Stored]:
    """Plan the archive; the sources of what is current by name."""
    inputs = InputConfig(input=(str(tmp_path / "archive"),), follow_links=follow)
    table = Ledger(str(tmp_path / "tables"), "embeddings", RECIPE.fingerprint)
    run = Planner(table, inputs, RECIPE, CONFIG, Contents(), RunCanaries(), GroupSize(CONFIG)).run()
    shards = [each.shard for each in run.history.current.values() if each.entry.has_sources]
    return {storage.name_of(source.uri): source for shard in shards for source in shard.sources}


@pytest.mark.parametrize(("follow", "is_read"), [("no", False), ("inside", False), ("anywhere", True)])
def test_a_planned_file_that_becomes_a_link_out_of_the_archive_is_gone(
    tmp_path: Path, follow: str, is_read: bool
) -> None:
    for name, seconds in (("archive/a.wav", 1.0), ("archive/b.wav", 1.1), ("private.wav", 1.5)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded(tone(seconds), kind="WAV"))
    before = planned(tmp_path, follow)  # and nothing of it is committed: the run was killed
    (tmp_path / "archive" / "b.wav").unlink()
    (tmp_path / "archive" / "b.wav").symlink_to(tmp_path / "private.wav")

    now = planned(tmp_path, follow)

    outside = (tmp_path / "private.wav").stat().st_size
    assert now["a.wav"] == before["a.wav"]
    assert (now["b.wav"].size == outside) == is_read
