"""Every end of every verb leaves its exit code and time in a file or a Pushgateway, and never harms the run."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs import storage
from jobs.errors import UsageError
from jobs.tables.checksummed_json import load_checksummed
from jobs.telemetry import alarms, ends
from jobs.telemetry.ends import ALARM, COMPLETED, ENDS, FOLDER, GATEWAY, NAME, Ends
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone

Run = Callable[..., tuple[int, str, str]]
Pushes = list[tuple[str, str]]
Values = dict[tuple[str, str, str], float]


def values(text: str) -> Values:
    """Values by metric, name and verb, as Prometheus reads them."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(each.name, each.labels.get("name", ""), each.labels.get("verb", "")): each.value for each in samples}


def in_folder(folder: Path) -> Values:
    found: Values = {}
    for path in folder.glob("*.prom"):
        found |= values(path.read_text())
    assert [path.name for path in folder.iterdir() if path.suffix != ".prom"] == []
    return found


@pytest.fixture
def gateway() -> Iterator[tuple[str, Pushes]]:
    """A server that takes pushes, as a Pushgateway does."""
    pushes: Pushes = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            pushes.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(200)
            self.end_headers()

        def do_DELETE(self) -> None:
            pushes.append((self.path, "DELETE"))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", pushes
    server.shutdown()
    server.server_close()


def test_a_file_holds_the_last_end_of_each_verb_and_when_it_was_last_complete(tmp_path: Path) -> None:
    before = time.time()
    Ends(tmp_path, name="radio").write("nightly", 3)
    complete = in_folder(tmp_path)
    Ends(tmp_path, name="radio").write("nightly", 69)
    Ends(tmp_path, name="radio").write("verify", 65)

    found = in_folder(tmp_path)

    completed = "bonafide_completed_timestamp_seconds", "radio", "nightly"
    assert found["bonafide_exit_code", "radio", "nightly"] == 69
    assert found["bonafide_exit_code", "radio", "verify"] == 65
    assert before - 1e-3 <= complete[completed] <= time.time()
    assert found[completed] == complete[completed] <= found["bonafide_ended_timestamp_seconds", "radio", "nightly"]
    assert ("bonafide_completed_timestamp_seconds", "radio", "verify") not in found
    assert {name for name, _, _ in found} == set(ENDS) - {ALARM}


def test_a_good_end_for_a_copy_leaves_the_bad_end_of_the_original(tmp_path: Path) -> None:
    Ends(tmp_path).write("verify", 65, str(tmp_path / "tables"))
    Ends(tmp_path).write("verify", 0, str(tmp_path / "backup" / ".." / "backup") + "/")

    codes = {
        sample.labels["output"]: sample.value
        for path in tmp_path.glob("*.prom")
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
        if sample.name == "bonafide_exit_code"
    }

    assert codes == {str(tmp_path / "tables"): 65, str(tmp_path / "backup"): 0}


def test_an_end_with_an_output_removes_what_was_written_without_one(tmp_path: Path) -> None:
    Ends(tmp_path).write("nightly", 2)
    Ends(tmp_path).write("nightly", 0, "s3://archive/tables")

    assert in_folder(tmp_path)["bonafide_exit_code", "bonafide", "nightly"] == 0
    assert len(list(tmp_path.iterdir())) == 1


def test_any_output_is_a_label_and_keeps_the_time_of_its_last_complete_end(tmp_path: Path) -> None:
    output = '/tables "of"} 7\n\\2027\u00e9'
    Ends(tmp_path).write("gc", 0, output)
    (path,) = tmp_path.iterdir()
    complete = in_folder(tmp_path)
    Ends(tmp_path).write("gc", 75, output)

    (family, *_) = text_string_to_metric_families(path.read_text())

    assert family.samples[0].labels["output"] == storage.normal(output)
    completed = "bonafide_completed_timestamp_seconds", "bonafide", "gc"
    assert in_folder(tmp_path)[completed] == complete[completed]


def test_credentials_in_an_output_are_in_no_metric(tmp_path: Path) -> None:
    Ends(tmp_path).write("gc", 65, "s3://me:secret@bucket/tables")

    assert "secret" not in "".join(path.read_text() for path in tmp_path.iterdir())


@pytest.mark.parametrize("there", ["", "\0" * 100_000, "bonafide_completed_timestamp_seconds{} NaN\n"])
def test_a_damaged_file_is_replaced(tmp_path: Path, there: str) -> None:
    (tmp_path / "bonafide-radio-embed.prom").write_text(there)

    Ends(tmp_path, name="radio").write("embed", 75)

    assert in_folder(tmp_path)["bonafide_exit_code", "radio", "embed"] == 75


def test_a_push_leaves_the_time_of_the_last_complete_end_alone(gateway: tuple[str, Pushes]) -> None:
    url, pushes = gateway

    Ends(gateway=f"{url}/prefix/", name="radio").write("nightly", 0)
    Ends(gateway=url, name="radio").write("nightly", 70)

    paths, bodies = zip(*pushes, strict=True)
    group = "/metrics/job/bonafide/verb/nightly/name/radio"
    assert paths == (f"/prefix{group}", group)
    assert {name for name, _, _ in values(bodies[0])} == set(ENDS) - {ALARM}
    # a POST replaces metrics of the same name only
    assert {name for name, _, _ in values(bodies[1])} == set(ENDS) - {COMPLETED, ALARM}


def test_a_push_is_of_an_output_and_deletes_what_was_pushed_without_one(gateway: tuple[str, Pushes]) -> None:
    url, pushes = gateway

    Ends(gateway=url, name="radio").write("verify", 65, "s3://archive/tables/")

    group = "/metrics/job/bonafide/verb/verify/name/radio"
    # printf s3://archive/tables | base64
    assert [path for path, _ in pushes] == [f"{group}/output@base64/czM6Ly9hcmNoaXZlL3RhYmxlcw==", group]
    assert pushes[1][1] == "DELETE"


def test_an_alarm_is_in_the_end_of_its_run_and_its_time_stays(tmp_path: Path) -> None:
    alarms.begin()
    Ends(tmp_path).write("nightly", 75, "/tables")
    assert ALARM not in {name for name, _, _ in in_folder(tmp_path)}

    alarms.sound("s3://archive/7.tar", ["scores"])
    Ends(tmp_path).write("nightly", 75, "/tables")
    alarms.begin()
    Ends(tmp_path).write("nightly", 0, "/tables")

    found = in_folder(tmp_path)
    assert 0 < found[ALARM, "bonafide", "nightly"] <= found[COMPLETED, "bonafide", "nightly"]


def test_a_gateway_that_never_answers_holds_the_end_for_the_deadline_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import socket

    monkeypatch.setattr(ends, "PUSH_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        Ends(gateway=f"http://127.0.0.1:{silent.getsockname()[1]}").write("embed", 0)
        assert time.monotonic() - began < 2.0

    assert "not pushed" in caplog.text


@pytest.mark.parametrize(
    "environment",
    [
        {FOLDER: "/no/such/folder"},
        {GATEWAY: "http://127.0.0.1:notaport/"},
        {GATEWAY: "file:///etc/passwd"},
        {GATEWAY: "http://"},
        {NAME: "two words"},
        {NAME: 'a"}'},
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_the_run(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(environment))):
        Ends.from_environment(environment)


def test_a_password_in_the_url_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        Ends.from_environment({GATEWAY: "ftp://user:hunter2@host"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("embed", "--nonsense"), 2),
        (("embed", "--input", "{0}", "--output", "{0}/out", "--backbone", "melstats", "--layer", "7"), 65),
        (("manifest", "--input", "a\0.flac", "--output", "{0}/m.parquet"), 70),
        (("manifest", "--input", "{0}", "--output", "{0}/m.parquet"), 0),
    ],
)
def test_each_end_of_a_verb_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bonafide: Run, arguments: tuple[str, ...], code: int
) -> None:
    archive, folder = tmp_path / "archive", tmp_path / "metrics"
    archive.mkdir()
    folder.mkdir()
    write_tar(archive / "0.tar", {"a.flac": encoded(tone(1.0))})
    monkeypatch.setenv(FOLDER, str(folder))

    found, _, err = bonafide(*(each.replace("{0}", str(archive)) for each in arguments))

    assert found == code, err
    assert in_folder(folder)["bonafide_exit_code", "bonafide", arguments[0]] == code


@pytest.mark.parametrize(
    "words", ["sql {0} SELEC", "heads {0}", "nightly --dry-run --inptu x", "check --nonsense", "keygen --nonsense"]
)
def test_verbs_for_people_and_looks_ahead_write_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bonafide: Run, words: str
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))

    code, _, _ = bonafide(*words.replace("{0}", f"{tmp_path}/tables").split())

    assert code in (2, 65)
    assert in_folder(tmp_path) == {}


def test_the_end_of_a_verb_names_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bonafide: Run) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))

    code, _, err = bonafide("verify", f"{tmp_path}/tables/")

    (path,) = tmp_path.glob("*.prom")
    assert (
        f'bonafide_exit_code{{name="bonafide",verb="verify",output="{tmp_path}/tables"}} {code}\n' in path.read_text()
    )
    assert code == 65, err


def test_an_attempt_that_ends_after_planning_leaves_a_record_that_names_no_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs import cli
    from jobs.telemetry import logs

    monkeypatch.setattr(logs, "_bound", {"run_id": "2026-11-23-5af19c2f"})

    for code in (0, 3):
        cli._record_end({"output": str(tmp_path)}, "embed", code)
    assert list(tmp_path.iterdir()) == []
    for code in (65, 69, 70, 75):
        cli._record_end({"output": str(tmp_path)}, "embed", code)

    paths = sorted((tmp_path / "runs" / "ended").iterdir())
    found = [load_checksummed(path.read_bytes(), path.name) for path in paths]
    assert [each["exit_code"] for each in found] == [65, 69, 70, 75]
    assert [each["meaning"] for each in found] == [cli.MEANINGS[code] for code in (65, 69, 70, 75)]
    assert all(re.fullmatch(r"2026-11-23-5af19c2f-\d{8}T\d{12}Z\.json", path.name) for path in paths)
    assert set(found[0]) == {"run_id", "verb", "exit_code", "meaning", "ended", "versions"}
    assert str(tmp_path) not in json.dumps(found)
