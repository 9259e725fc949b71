"""What plans keep of objects that are no recordings is bounded by what an archive has, not by what it had."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, digest_of
from jobs import storage
from jobs.config import RunConfig
from jobs.embedding.canaries import RunCanaries
from jobs.embedding.planning import Planner
from jobs.embedding.speed import GroupSize
from jobs.inputs.config import InputConfig
from jobs.inputs.contents import DIGEST_BYTES, Contents
from jobs.storage import Stored
from jobs.tables import others as of_plans
from jobs.tables.frozen_plan import Plan
from jobs.tables.ledger import Ledger
from jobs.tables.others import ONLY, OTHERS, Others, newest
from jobs.tables.plan_history import PlanHistory
from tests.support.audio import encoded, tone

RECIPE = recipe_of(EmbedConfig(backbone="melstats"), None)
WAV = encoded(tone(0.1), kind="WAV")


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder; a new beginning is worth it for any digest."""
    monkeypatch.setattr(of_plans, "SPARED", 0)
    (tmp_path / "archive").mkdir()
    return tmp_path / "archive"


def night(archive: Path, *inputs: str) -> PlanHistory:
    """Plan what is no recording below some inputs; return all plans."""

    def propose(history: PlanHistory) -> Plan:
        contents = Contents(inputs or [str(archive)])
        contents.learn(lambda _: False, Others(history))
        for uri in inputs or [str(archive)]:
            assert contents.recordings(storage.listing(uri) or []) == []
        return Plan(f"run-{len(history.plans)}", "2026-11-30", (), Others(history).detail(contents.others))

    table = Ledger(str(archive.parent / "output"), "embeddings", RECIPE.fingerprint)
    table.freeze(propose)
    return table.history()


def n_known(history: PlanHistory) -> int:
    return sum(len(base64.b64decode(text)) for plan in history.plans for text in plan.detail.get(OTHERS, {}).values())


def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that fills with the names of objects that are looked at."""
    found: list[str] = []
    first_bytes = storage.first_bytes
    monkeypatch.setattr(
        storage, "first_bytes", lambda each, n: (found.append(storage.name_of(each.uri)), first_bytes(each, n))[1]
    )
    return found


def test_an_object_that_is_replaced_each_night_takes_no_more_room_than_one(archive: Path) -> None:
    table = Ledger(str(archive.parent / "output"), "embeddings", RECIPE.fingerprint)
    settings, config = InputConfig(input=(str(archive),)), RunConfig(run_date="2026-11-30", max_removed=1.0)
    counts = []
    for number in range(4):
        (archive / "x.bin").write_bytes(b"numbers" * number + b"1")
        (archive / f"{number}.wav").write_bytes(WAV)
        Planner(table, settings, RECIPE, config, Contents(settings.input), RunCanaries(), GroupSize(config)).run()
        counts.append(n_known(table.history()) // DIGEST_BYTES)

    assert counts == [1, 2, 3, 1]  # of the fourth, as there were more than two for each that is there


def test_objects_that_come_and_go_take_no_more_room_than_those_that_are_there(archive: Path) -> None:
    for number in range(50):
        (archive / f"{number}.dat").write_bytes(b"text")
        history = night(archive)
        (archive / f"{number}.dat").unlink()

        assert n_known(history) <= 3 * DIGEST_BYTES


def test_what_is_still_there_is_not_looked_at_again_after_a_new_beginning(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abcdefghij":
        (archive / f"{name}.bin").write_bytes(b"numbers")
    night(archive)
    for name in "defghij":
        (archive / f"{name}.bin").unlink()
    found = asked(monkeypatch)

    history = night(archive)
    later = night(archive)

    assert ONLY in history.plans[-1].detail
    assert ONLY not in later.plans[-1].detail
    assert n_known(history) == n_known(later) == 3 * DIGEST_BYTES
    assert found == []


def test_other_inputs_keep_what_is_known_of_them(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b"):
        (archive / folder).mkdir()
        for number in range(4):
            (archive / folder / f"{number}.bin").write_bytes(b"numbers")
    night(archive, str(archive / "b"))
    night(archive, str(archive / "a"))
    for number in range(3):
        (archive / "a" / f"{number}.bin").unlink()
    found = asked(monkeypatch)

    history = night(archive, str(archive / "a"))
    night(archive, str(archive / "b"))
    night(archive, str(archive / "a"), str(archive / "b"))

    assert ONLY in history.plans[-1].detail
    assert found == []


def test_plans_of_earlier_releases_are_known_until_a_plan_has_all(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (archive / f"{name}.bin").write_bytes(b"numbers")
    night(archive)
    former = [digest_of([each.uri, each.size, each.etag]) for each in storage.listing(str(archive)) or []]
    (path,) = (archive.parent / "output" / "_plans").rglob("*.json")
    path.write_bytes(Plan("run-0", "2026-11-30", (), {OTHERS: sorted(former)}).to_json())
    found = asked(monkeypatch)

    second = night(archive)
    third = night(archive)

    assert found == []
    assert second.plans[-1].detail[ONLY]
    assert n_known(third) == 2 * DIGEST_BYTES


def test_two_runs_that_plan_at_once_write_the_same() -> None:
    objects = [Stored(f"s3://archive/{number}.bin", 1, "tag") for number in range(100)]
    digests = [hashlib.sha256(each.uri.encode()).digest()[:DIGEST_BYTES] for each in objects]
    one, other = Others(PlanHistory()), Others(PlanHistory())

    assert one.detail({"k": _packed(digests)}) == other.detail({"k": _packed(digests[::-1] * 2)})


def test_a_digest_begins_with_that_of_earlier_releases() -> None:
    stored = Stored("s3://archive/caf\udce9.bin", 7, "tag")
    contents = Contents(["s3://archive/"])

    class Everything:
        def holds(self, inputs: str, digests: object) -> object:
            return [True]

    contents.learn(lambda _: False, Everything())  # type: ignore[arg-type]
    assert contents.recordings([stored]) == []
    (found,) = contents.others.values()
    assert found.tobytes().hex()[:16] == digest_of([stored.uri, stored.size, stored.etag])


def test_plans_without_what_later_ones_replace_have_their_seals() -> None:
    plans = [
        Plan("a", "2026-11-30", (), {OTHERS: ["0" * 16]}),
        Plan("b", "2026-11-30", (), {OTHERS: {"k": "AAAA", "l": "AAAA"}}),
        Plan("c", "2026-11-30", (), {OTHERS: {"k": "BBBB"}, ONLY: ["k"]}),
        Plan("d", "2026-11-30", (), {OTHERS: {"k": "CCCC"}}),
    ]
    stored = [Plan.from_json(each.to_json(), each.run_id) for each in plans]

    found = newest(stored)

    assert [each.detail[OTHERS] for each in found] == [{}, {"l": "AAAA"}, {"k": "BBBB"}, {"k": "CCCC"}]
    assert [each.seal for each in found] == [each.seal for each in plans]


def _packed(digests: list[bytes]) -> of_plans.Digests:
    return of_plans._unpacked(base64.b64encode(b"".join(digests)).decode(), DIGEST_BYTES)
