"""What a shard costs at the store, once a run is under way: requests are counted on their way to a real server."""

from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig
from jobs.config import ModelConfig, OutputConfig, RunConfig
from jobs.inputs.config import InputConfig
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.embedding_runs import embed_archive
from tests.support.proxy import FaultProxy
from tests.support.runner import InProcessRunner

RECIPE = recipe_of(EmbedConfig(backbone="melstats"), None)


def test_a_shard_costs_three_puts_and_neither_a_get_nor_a_listing(
    proxy: FaultProxy, bucket: str, tmp_path: Path
) -> None:
    def requests(n_shards: int) -> Counter[str]:
        folder = tmp_path / str(n_shards)
        folder.mkdir()
        for number in range(n_shards):  # each has a row in both tables
            write_tar(folder / f"{number}.tar", {"a.flac": encoded(tone(1.0, seed=number)), "page.mp3": b"<html>"})
        proxy.log.clear()
        output = OutputConfig(output=f"s3://{bucket}/{uuid.uuid4().hex}")
        inputs = InputConfig(input=(str(folder),))
        run = embed_archive(InProcessRunner(), inputs, RECIPE, ModelConfig(), output, RunConfig())
        assert len(run.names) == n_shards
        return Counter(each.kind for each in proxy.log)

    requests(1)  # the first of a process finds out what the store can do

    assert requests(7) - requests(3) == {"table PUT": 8, "marker PUT": 4}
