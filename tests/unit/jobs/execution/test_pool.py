"""The encoder pool fills a cluster, and leaves room for decode."""

from __future__ import annotations

from typing import Any

import pytest

from detector.errors import ConfigError
from jobs.config import RunConfig
from jobs.execution.pool import Pool, fit_pool, store_mib


@pytest.mark.parametrize(
    ("settings", "cpus", "gpus", "expected"),
    [
        # an encoder a CPU, and half a CPU left for decode: (2 - 0.5) / 2, (8 - 0.5) / 8 rounded down
        ({}, 2, 0, Pool(2, 2, 0.75, 0.0, 0.5, "cpu", 160.0, 2)),
        ({}, 8, 0, Pool(8, 8, 0.93, 0.0, 0.5, "cpu", 160.0, 2)),
        ({"encoders": "1"}, 8, 0, Pool(1, 1, 1.0, 0.0, 0.5, "cpu", 160.0, 2)),
        ({"decode_cpus": 1.0, "encoder_cpus": 0.5}, 2, 0, Pool(2, 2, 0.5, 0.0, 1.0, "cpu", 160.0, 2)),
        # an encoder a GPU, or a share of one
        ({"batch_seconds": 40.0}, 16, 2, Pool(2, 2, 1.0, 1.0, 0.5, "cuda", 40.0, 32)),
        ({"encoder_gpus": 0.25}, 16, 2, Pool(8, 8, 1.0, 0.25, 0.5, "cuda", 160.0, 32)),
        ({"encoders": "1"}, 16, 2, Pool(1, 1, 1.0, 1.0, 0.5, "cuda", 160.0, 32)),
        ({"window_mib": 64}, 16, 1, Pool(1, 1, 1.0, 1.0, 0.5, "cuda", 160.0, 64)),
        ({"device": "cpu"}, 4, 2, Pool(4, 4, 0.87, 0.0, 0.5, "cpu", 160.0, 2)),
        # a range begins with what there is room for, and on GPUs asks for the rest
        ({"encoders": "2:64"}, 8, 4, Pool(2, 64, 1.0, 1.0, 0.5, "cuda", 160.0, 256)),
        ({"encoders": "2:64", "encoder_cpus": 0.0}, 1, 2, Pool(2, 64, 0.0, 1.0, 0.5, "cuda", 160.0, 256)),
        ({"encoders": "2:3"}, 16, 8, Pool(2, 3, 1.0, 1.0, 0.5, "cuda", 160.0, 32)),
        ({"encoders": "2:64"}, 8, 0, Pool(2, 8, 0.93, 0.0, 0.5, "cpu", 160.0, 2)),
        ({"encoders": "1:64", "encoder_cpus": 2.0}, 8, 0, Pool(1, 3, 2.0, 0.0, 0.5, "cpu", 160.0, 2)),
        # seats for the least decode tasks are left, and no more than the most are taken
        ({"decoders": "4:6"}, 8, 0, Pool(8, 8, 0.75, 0.0, 0.5, "cpu", 160.0, 2, decoders=6)),
        ({"decoders": "3", "decode_cpus": 1.0}, 4, 2, Pool(2, 2, 0.5, 1.0, 1.0, "cuda", 160.0, 32, decoders=3)),
        # less than a CPU each where decode would starve, with a GPU too
        ({}, 4, 4, Pool(4, 4, 0.87, 1.0, 0.5, "cuda", 160.0, 32)),
    ],
    ids=str,
)
def test_the_pool_fills_the_cluster_and_leaves_room_for_decode(
    settings: dict[str, Any], cpus: float, gpus: float, expected: Pool
) -> None:
    assert fit_pool(RunConfig(**settings), cpus, gpus) == expected


@pytest.mark.parametrize(
    ("settings", "cpus", "gpus", "cause"),
    [
        ({"device": "cuda"}, 8, 0, r"the cluster has 0 GPU\(s\), an encoder wants 1"),
        ({"encoder_gpus": 2.0}, 8, 1, r"the cluster has 1 GPU\(s\), an encoder wants 2"),
        ({"encoders": "3"}, 8, 2, "do not fit"),
        ({"encoders": "2", "encoder_cpus": 1.0}, 2, 0, "do not fit"),
        ({"encoders": "3:64"}, 8, 2, "do not fit"),
        ({"encoders": "1:4", "encoder_cpus": 1.0}, 4, 4, "4 encoder.* do not fit"),
        ({"decoders": "5:9"}, 2, 0, r"5 decode task\(s\) .* do not fit"),
        ({"decode_cpus": 3.0}, 2, 0, "do not fit"),
        ({}, 0, 0, "do not fit"),
    ],
    ids=str,
)
def test_a_pool_that_would_wait_for_ever_is_refused(
    settings: dict[str, Any], cpus: float, gpus: float, cause: str
) -> None:
    with pytest.raises(ConfigError, match=cause):
        fit_pool(RunConfig(**settings), cpus, gpus)


def test_the_default_pool_fits_every_machine() -> None:
    for quarters in range(2, 1_024):
        pool = fit_pool(RunConfig(), quarters / 4, 0)
        assert pool.encoders * pool.encoder_cpus + pool.decode_cpus <= quarters / 4


@pytest.mark.parametrize(
    ("settings", "cpus", "gpus", "expected"),
    [
        # 16 windows of 2 MiB for each encoder on a CPU, of 32 MiB on a GPU
        ({}, 2, 0, 256),
        ({}, 16, 0, 16 * 16 * 2),
        ({"encoders": "8"}, 16, 0, 256),
        ({"encoders": "8", "window_mib": 8}, 16, 0, 16 * 8 * 8),
        ({}, 16, 1, 16 * 32),
        ({}, 16, 8, 4_096),
        ({"encoders": "2:64"}, 16, 8, 4_096),
        # what is chosen counts, and what cannot run has the least until it is refused
        ({"object_store_mib": 100}, 16, 8, 100),
        ({"device": "cuda"}, 16, 0, 256),
    ],
    ids=str,
)
def test_the_object_store_has_room_for_what_its_encoders_do_next(
    settings: dict[str, Any], cpus: float, gpus: float, expected: int
) -> None:
    assert store_mib(RunConfig(**settings), cpus, gpus) == expected
