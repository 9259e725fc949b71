"""A decode task reads one large shard, or several small ones; each is asked for when there is a task for it."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.execution.blocks import BLOCK_BYTES, BLOCK_PORTIONS, Blocks
from jobs.inputs.shards import Portion, Shard
from jobs.storage import Stored


def portions(sizes: list[int]) -> Iterator[Portion]:
    return (Portion(Shard("tar", (Stored(f"s3://b/{n}.tar", size, "e"),))) for n, size in enumerate(sizes))


def sizes_of(blocks: Blocks, n_tasks: int) -> list[int]:
    sizes = []
    while block := blocks.take(n_tasks):
        sizes.append(len(block))
    return sizes


def test_small_shards_go_together_once_every_task_has_had_some() -> None:
    sizes = sizes_of(Blocks(portions([1_000] * 5_000)), n_tasks=4)

    assert sizes[:16] == [1] * 16
    assert sizes == sorted(sizes[:-1]) + sizes[-1:]
    assert max(sizes) == BLOCK_PORTIONS
    assert sum(sizes) == 5_000
    assert len(sizes) < 5_000 / 12


def test_a_large_shard_is_a_block() -> None:
    assert sizes_of(Blocks(portions([BLOCK_BYTES] * 200)), n_tasks=1) == [1] * 200


def test_a_block_fills_the_window_of_an_encoder() -> None:
    sizes = sizes_of(Blocks(portions([BLOCK_BYTES] * 400), window_bytes=256 << 20), n_tasks=1)

    assert max(sizes) == (256 << 20) / (4 * BLOCK_BYTES)  # stored, FLAC has a fourth of its samples' bytes


def test_one_by_one_means_one_in_a_block() -> None:
    assert sizes_of(Blocks(portions([10] * 200), singly=True), n_tasks=1) == [1] * 200


def test_nothing_is_asked_for_before_there_is_a_task_for_it_nor_after_the_run_is_to_stop() -> None:
    asked = []

    def noted() -> Iterator[Portion]:
        for portion in portions([10] * 9):
            asked.append(portion)
            yield portion

    blocks = Blocks(noted())
    blocks.take(1)
    assert len(asked) == 1

    blocks.close()
    assert (blocks.take(1), len(asked)) == ([], 1)
