"""The worker registry counts progress, shows tasks, and stops new ones."""

from __future__ import annotations

from jobs.execution.worker_registry import TASKS_KNOWN, WorkerRegistry


def test_the_registry_counts_steps_begun_for_the_first_time_and_shows_each_worker_s_task() -> None:
    registry = WorkerRegistry()
    assert registry.begin("decode 1", "reading a.tar", 0)
    registry.begin("encode 2", "encoding shard s", 10_000)
    begun = registry.progress_steps()

    registry.begin("decode 3", "reading a.tar", 0)  # the same again, after a crash

    assert registry.progress_steps() == begun
    registry.begin("decode 3", "reading a.tar", 1)
    assert registry.progress_steps() > begun
    registry.idle("decode 1")
    assert {worker: task for worker, (task, _) in registry.current_tasks().items()} == {
        "encode 2": "encoding shard s, 10000",
        "decode 3": "reading a.tar, 1",
    }
    registry.close()
    assert not registry.begin("decode 4", "reading b.tar", 0)


def test_requests_are_counted_once_for_each_process() -> None:
    registry = WorkerRegistry()

    registry.idle("decode 1 on a", {"put": 0, "get": 3})
    registry.idle("encode 1 on a", {"put": 2, "get": 5})  # the same process, later
    registry.idle("decode 1 on b", {"put": 0, "get": 7})
    registry.idle("decode 1 on b")

    assert registry.requests() == {"put": 2, "get": 12}


def test_a_registry_of_a_million_tasks_stays_small_and_its_progress_grows() -> None:
    registry, before = WorkerRegistry(), -1

    for number in range(3 * TASKS_KNOWN):
        registry.begin("decode 1", f"reading {number}.tar", 0)
        registry.begin("decode 1", f"reading {number}.tar", 1)
        if number % TASKS_KNOWN == 0:
            before, earlier = registry.progress_steps(), before
            assert before > earlier

    assert registry.progress_steps() == 2 * 3 * TASKS_KNOWN  # a task, and one step
    assert len(registry._highest_step) == TASKS_KNOWN
