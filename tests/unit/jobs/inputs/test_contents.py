"""Objects whose suffixes say nothing are looked at once, in small requests; what is known is not asked for again."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import storage
from jobs.inputs.contents import Contents
from jobs.storage import Stored
from jobs.tables.frozen_plan import Plan
from jobs.tables.others import Others
from jobs.tables.plan_history import PlanHistory
from tests.support.audio import encoded, tone

WAV = encoded(tone(1.0), kind="WAV")


def put(root: str, contents: dict[str, bytes]) -> list[Stored]:
    for name, content in contents.items():
        storage.write_bytes(f"{root}/{name}", content)
    return storage.listing(root) or []


def known(contents: Contents) -> Others:
    """Return what is known once a plan has been made of what was found."""
    detail = Others(PlanHistory()).detail(contents.others)
    return Others(PlanHistory((Plan("run", "2026-11-30", (), detail),)))


def n_others(contents: Contents) -> int:
    return sum(map(len, contents.others.values()))


def refuse_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "first_bytes", lambda stored, _: pytest.fail(f"asked for {stored.uri}"))


def test_a_look_is_a_request_of_4_kib_whatever_the_size_of_the_object(
    s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stored,) = put(s3_root, {"voice": WAV})
    asked: list[int] = []
    first_bytes = storage.first_bytes
    monkeypatch.setattr(
        storage, "first_bytes", lambda each, n: asked.append(len(content := first_bytes(each, n))) or content
    )

    assert Contents().recordings([stored]) == [stored]
    assert asked == [4_096]
    assert len(WAV) == 44 + 32_000


def test_what_earlier_plans_know_is_not_looked_at_again(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = put(root, {"voice": WAV, "weights": b"numbers", "empty": b""})
    first = Contents()
    (voice,) = first.recordings(objects)

    later = Contents()
    later.learn([voice.uri].__contains__, known(first))
    refuse_requests(monkeypatch)

    assert later.recordings(objects) == [voice]
    assert n_others(first) == n_others(later) == 1


def test_an_object_that_was_replaced_is_looked_at_again(root: str) -> None:
    contents = Contents()
    assert contents.recordings(put(root, {"voice": b"numbers"})) == []

    (voice,) = contents.recordings(put(root, {"voice": WAV}))

    assert voice.uri == f"{root}/voice"


def test_a_planned_recording_stays_one_whatever_replaces_it(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # its rows say what it is now; without a row, those of the file before it would stay
    (stored,) = put(root, {"voice": b"numbers"})
    contents = Contents()
    contents.learn([stored.uri].__contains__, Others(PlanHistory()))
    refuse_requests(monkeypatch)

    assert contents.recordings([stored]) == [stored]


def test_an_object_that_is_gone_since_it_was_listed_is_left_out_and_not_remembered(root: str) -> None:
    (stored,) = put(root, {"upload": WAV})
    storage.remove(stored.uri)
    contents = Contents()

    assert contents.recordings([stored]) == []
    assert n_others(contents) == 0


def test_a_file_that_may_not_be_looked_at_is_kept_as_a_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stored,) = put(str(tmp_path), {"voice": WAV})

    def denied(path: str, _mode: str, **_: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", denied)

    assert Contents().recordings([stored]) == [stored]


def test_inputs_are_the_same_however_they_are_written_and_others_if_they_match_less() -> None:
    def keys(*inputs: str) -> list[str]:
        return sorted(Contents(inputs).others)

    assert keys("s3://a/b") == keys("s3://a/b/") == keys("s3://a/b", "s3://a/b")
    assert keys("s3://a/b", "s3://a/c") == sorted(keys("s3://a/b") + keys("s3://a/c"))
    assert keys("s3://a/b/*.bin") != keys("s3://a/b/")
    assert len(keys("s3://a/b/*.bin", "s3://a/b/")) == 1
