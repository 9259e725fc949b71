"""An archive that is planned in instalments, while it is listed, is planned as one that is listed whole."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from detector.errors import ConfigError
from jobs.config import RunConfig
from jobs.embedding.canaries import RunCanaries
from jobs.embedding.planning import Planner
from jobs.embedding.result import EmbeddingRun, MissingShards
from jobs.embedding.speed import GroupSize
from jobs.inputs import shards
from jobs.inputs.config import InputConfig
from jobs.inputs.contents import Contents
from jobs.inputs.shards import Shard
from jobs.storage import objects
from jobs.tables import instalments
from jobs.tables.ledger import Ledger
from tests.support.nightly_runs import RECIPE

CONFIG = RunConfig(run_date="2026-11-29", max_removed=1.0)
SUFFIXES = (".wav", ".wav", ".flac", ".tar", ".zip", ".txt", "", ".17")


def night(output: Path, *folders: Path, table: Ledger | None = None, ids: str | None = None) -> EmbeddingRun:
    table = table or Ledger(str(output), "embeddings", RECIPE.fingerprint)
    inputs = InputConfig(input=tuple(map(str, folders)), ids=ids)
    return Planner(table, inputs, RECIPE, CONFIG, Contents(), RunCanaries(), GroupSize(CONFIG)).run()


def one_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let slots be those of sixteen digests, where whoever names sources finds two of one digest at once."""
    slot = Shard.slot.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Shard, "slot", property(lambda shard: slot(shard)[0] if shard.number < 9 else slot(shard)))


def ids_of(run: EmbeddingRun) -> Counter[tuple[str, str]]:
    shards = [Shard.from_content(planned.entry.work) for planned in run.history.current.values()]
    return Counter(pair for shard in shards for pair in shard.ids())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listings that are thinned after four objects, and plans of three entries or so."""
    monkeypatch.setattr(objects, "THINNED_FROM", 4)
    monkeypatch.setattr(instalments, "PLAN_BYTES", 600)


def write_some(folder: Path, rng: random.Random, n: int) -> None:
    for _ in range(n):
        below = folder / rng.choice(["", "a", "a/b", "c"])
        below.mkdir(parents=True, exist_ok=True)
        content = rng.choice([b"RIFF\x00\x00\x00\x00WAVEfmt ", b"text"])
        (below / f"{rng.randrange(10**6)}{rng.choice(SUFFIXES)}").write_bytes(content)


@pytest.mark.parametrize("seed", range(8))
def test_the_same_recordings_are_planned_once_with_the_same_ids(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed > 5:
        one_digit(monkeypatch)
    rng, archive, ids = random.Random(seed), tmp_path / "archive", ["relative", "absolute"][seed % 2]
    n_plans = 0
    for _ in range(3):
        write_some(archive, rng, rng.randrange(5, 40))
        whole = night(tmp_path / "whole", archive, ids=ids)
        with monkeypatch.context() as patched:
            patched.setattr(objects, "THINNED_FROM", 4)
            patched.setattr(instalments, "PLAN_BYTES", 600)
            run = night(tmp_path / "parts", archive, ids=ids)
        assert ids_of(run) == ids_of(whole)
        assert set(ids_of(run).values()) == {1}
        assert run.slots == run.history.current.slots
        assert run.passed_over.total == whole.passed_over.total
        n_plans += len(run.history.plans) - len(whole.history.plans)
        missing = MissingShards([run])
        assert missing.amount.n_shards == len(run.history.current) == len(list(missing.shards()))
    assert n_plans > 0
    assert len(night(tmp_path / "parts", archive).history.plans) == len(run.history.plans)


@pytest.mark.usefixtures("small")
def test_groups_are_as_large_as_they_may_be(tmp_path: Path) -> None:
    write_some(tmp_path / "archive", random.Random(1), 200)
    assert len(list(MissingShards([night(tmp_path / "o", tmp_path / "archive")]).shards())) > 3
    few = tmp_path / "few"
    few.mkdir()
    for number in range(100):
        (few / f"{number}.wav").write_bytes(b"")
    (shard,) = MissingShards([night(tmp_path / "p", few)]).shards()
    assert len(shard.sources) == 100


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["0.tar", "0.wav"])
def test_two_recordings_of_one_id_are_set_apart_and_all_others_planned(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "MAX_SHARD_FILES", 2)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number in range(5):
            (tmp_path / folder / f"{folder}{number}{name}").write_bytes(b"")
        (tmp_path / folder / name).write_bytes(b"")

    run = night(tmp_path / "tables", tmp_path / "a", tmp_path / "b")

    found = {uri.removeprefix(f"{tmp_path}/"): own for uri, own in ids_of(run)}
    apart = {f"{folder}/{name}": f"{tmp_path}/{folder}/{name}" for folder in ("a", "b")}
    assert found == apart | {f"{each}/{each}{n}{name}": f"{each}{n}{name}" for each in ("a", "b") for n in range(5)}
    assert len(run.history.plans) > 1
    assert len(night(tmp_path / "tables", tmp_path / "a", tmp_path / "b").history.plans) == len(run.history.plans)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["0.tar", "0.wav"])
def test_of_many_new_recordings_one_that_has_the_id_of_a_planned_one_is_set_apart(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "MAX_SHARD_FILES", 2)
    for folder, n in (("a", 1), ("b", 9)):
        (tmp_path / folder).mkdir()
        for number in range(n):
            (tmp_path / folder / f"{number}{name}").write_bytes(b"")
    night(tmp_path / "tables", tmp_path / "a")

    run = night(tmp_path / "tables", tmp_path / "a", tmp_path / "b")

    found = {uri.removeprefix(f"{tmp_path}/"): own for uri, own in ids_of(run)}
    planned = {f"a/0{name}": f"0{name}", f"b/0{name}": f"{tmp_path}/b/0{name}"}
    assert found == planned | {f"b/{number}{name}": f"{number}{name}" for number in range(1, 9)}


@pytest.mark.usefixtures("small")
def test_of_inputs_one_within_another_no_recording_is_planned_twice(tmp_path: Path) -> None:
    write_some(tmp_path / "archive", random.Random(3), 60)
    run = night(tmp_path / "tables", tmp_path / "archive" / "a", tmp_path / "archive")
    assert ids_of(run) == ids_of(night(tmp_path / "others", tmp_path / "archive"))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("pattern", ["*/a", "x/a/*", "[x]/*"])
def test_of_a_folder_and_a_pattern_that_matches_in_it_no_recording_is_planned_twice(
    tmp_path: Path, pattern: str
) -> None:
    write_some(tmp_path / "archive" / "x", random.Random(3), 60)
    run = night(tmp_path / "tables", tmp_path / "archive" / "x", tmp_path / "archive" / pattern)
    assert set(Counter(uri for uri, _ in ids_of(run)).values()) == {1}


@pytest.mark.usefixtures("small")
def test_a_run_whose_plan_is_forestalled_between_two_parts_looks_again(tmp_path: Path) -> None:
    archive, output = tmp_path / "archive", tmp_path / "tables"
    write_some(archive, random.Random(4), 60)

    class Forestalled(Ledger):
        n_plans = 0

        def freeze(self, *how: Any) -> Any:
            if len(how) > 1 and not self.n_plans:
                write_some(archive, random.Random(5), 20)
                self.n_plans = len(night(output, archive).history.plans)
            return super().freeze(*how)

    table = Forestalled(str(output), "embeddings", RECIPE.fingerprint)
    run = night(output, archive, table=table)
    assert table.n_plans > 2
    assert set(ids_of(run).values()) == {1}
    assert ids_of(run) == ids_of(night(tmp_path / "others", archive))
    assert len({plan.run_id for plan in run.history.plans}) == len(run.history.plans)


@pytest.mark.usefixtures("small")
def test_an_archive_without_a_recording_is_refused(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"no audio found.*found 20 .txt"):
        night(tmp_path / "tables", tmp_path)
