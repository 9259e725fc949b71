"""The doctor: a line for each check, an exit code by what failed, and nothing left behind."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from jobs import storage
from jobs.reports import doctor
from tests.support.storage import forget_clients

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def states(out: str) -> dict[str, str]:
    """The state of each check by its subject."""
    return {line.split()[0]: line.split()[1] for line in out.splitlines()}


def test_a_sound_machine_and_folder_have_a_line_each_and_nothing_is_left_behind(tmp_path: Path, bonafide: Run) -> None:
    (tmp_path / "runs").mkdir()

    code, out, _ = bonafide("doctor", "--output", tmp_path)

    assert code == 0
    assert list(states(out)) == [
        *("bonafide", "packages", "confinement", "GPUs", "temporary", "memory", "Ray", "output"),
    ]
    assert "failed" not in states(out).values()
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "runs"]
    code, out, _ = bonafide("doctor", "--output", tmp_path / "new" / "tables")
    assert (code, states(out)["output"]) == (0, "ok")
    assert not (tmp_path / "new").exists()


def test_a_place_that_cannot_be_an_output_fails_as_the_run_would(tmp_path: Path, bonafide: Run) -> None:
    (tmp_path / "file").write_text("")

    code, out, _ = bonafide("doctor", "--output", tmp_path / "file" / "tables")

    assert (code, states(out)["output"]) == (65, "failed")
    assert "is a file, not a folder. Name another place." in out


def test_a_store_is_asked_for_all_rights_and_has_nothing_more_afterwards(
    store: fsspec.AbstractFileSystem, s3_environment: dict[str, str], bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    before = store.find("archive")

    code, out, _ = bonafide("doctor", "--output", "s3://archive/doctored")
    assert (code, states(out)["output"]) == (0, "ok")
    assert store.find("archive") == before

    code, out, _ = bonafide("doctor", "--output", "s3://no-such-bucket-here/tables")
    assert (code, states(out)["output"]) == (65, "failed")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    forget_clients()
    code, out, _ = bonafide("doctor", "--output", "s3://archive/doctored")
    assert (code, states(out)["output"]) == (69, "failed")
    assert "permission denied" in out
    forget_clients()


class _Careless(storage.STORES["file"]):  # type: ignore[misc, name-defined]
    """A store that writes whatever the condition says."""

    def put(self, uri: str, content: bytes, expected: str) -> None:
        self.write(uri, content)


def test_a_store_that_ignores_conditions_fails_and_keeps_no_probe(
    tmp_path: Path, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(storage.STORES, "file", _Careless)
    forget_clients()

    code, out, _ = bonafide("doctor", "--output", tmp_path)

    assert (code, states(out)["output"]) == (69, "failed")
    assert "ignores the condition of a PUT" in out
    assert list(tmp_path.iterdir()) == []
    forget_clients()


def test_a_cluster_that_does_not_answer_fails_with_75_and_the_other_checks_go_on(
    tmp_path: Path, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.execution.ray_session.START_SECONDS", 0.2)
    with socket.socket() as taken:  # bound, and it does not listen
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{taken.getsockname()[1]}")
        code, out, _ = bonafide("doctor", "--output", tmp_path)

    assert (code, states(out)["Ray"], states(out)["output"]) == (75, "failed", "ok")


def test_an_old_package_is_a_line_that_fails(bonafide: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.refuse_old_packages.__defaults__[0], "numpy", "99")

    code, out, _ = bonafide("doctor")

    assert (code, states(out)["packages"]) == (65, "failed")
    assert "expected 99 or later: pip install 'numpy>=99'" in out


def test_little_room_is_a_warning_that_fails_nothing(tmp_path: Path) -> None:
    found = doctor._space(str(tmp_path), 1 << 60, "Free some")

    assert (found.state, found.code) == ("warning", 0)
    assert found.text.endswith("expected 1,099,511,627,776 MiB or more. Free some")
