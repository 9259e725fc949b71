"""jobs.telemetry.webhook, against a real server on loopback."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from detector.errors import ConfigError
from jobs.telemetry import webhook
from jobs.telemetry.webhook import Webhook

KEY = b"a key that nobody guesses, of 32"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


class Server:
    """Answers with the given statuses, repeating the last one; keeps the requests that it received."""

    def __init__(self, *statuses: int) -> None:
        received: list[tuple[dict[str, str], bytes]] = []
        left = list(statuses)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                received.append(
                    ({name.lower(): value for name, value in self.headers.items()}, self.rfile.read(length))
                )
                status = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("location", f"http://127.0.0.1:{self.server.server_address[1]}/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quietly."""

        self.received = received
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?to=me"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers; end them."""
    servers: list[Server] = []

    def start(*statuses: int) -> Server:
        servers.append(Server(*statuses))
        return servers[-1]

    yield start
    for each in servers:
        each.server.shutdown()
        each.server.server_close()


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PAUSE_SECONDS", 0.01)


def test_an_event_is_signed_as_the_specification_says(serve: Callable[..., Server]) -> None:
    server = serve(204)

    assert Webhook(server.url, KEY).send("bonafide.run.ended", {"exit_code": 0})

    ((headers, body),) = server.received
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    event = json.loads(body)
    assert (event["type"], event["data"]) == ("bonafide.run.ended", {"exit_code": 0})


def test_a_server_that_fails_is_tried_again_with_the_same_message(serve: Callable[..., Server]) -> None:
    server = serve(500, 503, 200)

    assert Webhook(server.url, KEY).send("bonafide.run.ended", {})

    assert len(server.received) == 3
    assert len({headers["webhook-id"] for headers, _ in server.received}) == 1


@pytest.mark.parametrize("status", [500, 302, 404])
def test_a_server_that_does_not_accept_it_is_a_warning(
    status: int, serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(status)

    assert not Webhook(server.url, KEY).send("bonafide.run.ended", {})

    assert len(server.received) == webhook.TRIES  # no redirect was followed
    assert f"not accepted, after 3 tries: {status}" in caplog.text


def test_a_server_that_never_answers_does_not_delay_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhook, "ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not Webhook(f"http://127.0.0.1:{silent.getsockname()[1]}/", KEY).send("bonafide.run.ended", {})

    assert "not accepted, after 3 tries: TimeoutError" in caplog.text


@pytest.mark.parametrize("dripped", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 "])
def test_a_server_that_drips_its_answer_is_left_at_the_deadline(
    dripped: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # each byte comes well within the timeout of a socket, which begins anew with it
    monkeypatch.setattr(webhook, "DEADLINE_SECONDS", 0.5)
    ended = threading.Event()

    def drip() -> None:
        connection, _ = server.accept()
        with connection:
            for number in range(10_000):
                rest = dripped[number : number + 1] or (b"x" if dripped.endswith(b"OK\r\n") else b" ")
                if ended.wait(0.02):
                    return
                connection.sendall(rest)

    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip)
        dripping.start()
        began = time.monotonic()
        sent = Webhook(f"http://127.0.0.1:{server.getsockname()[1]}/", KEY).send("bonafide.run.ended", {})
        seconds = time.monotonic() - began
        ended.set()
        dripping.join()

    assert not sent
    assert 0.5 <= seconds < 3.0
    assert "not accepted within 0.5 s, and is left" in caplog.text


@pytest.mark.parametrize("sent", [b"", b"\xff\x00" * 50, b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200, b"SSH-2.0\r\n"])
def test_a_server_that_answers_nonsense_is_a_warning(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(webhook.TRIES):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(sent)

        threading.Thread(target=answer, daemon=True).start()
        assert not Webhook(f"http://127.0.0.1:{server.getsockname()[1]}/", KEY).send("bonafide.run.ended", {})

    assert "not accepted, after 3 tries" in caplog.text


@pytest.mark.parametrize(
    ("content", "because"),
    [
        ("", "two lines"),
        ("https://example.org/", "two lines"),
        (f"https://example.org/ {SECRET} more", "two lines"),
        ("https://example.org/ whsec_!!!", "two lines"),
        (f"http://example.org/ {SECRET}", "does not begin with https"),
        (f"ftp://127.0.0.1/ {SECRET}", "does not begin with https"),
        (f"file:///etc/passwd {SECRET}", "does not begin with https"),
        (f"http://127.0.0.1:notaport/ {SECRET}", "a host or a port that cannot be"),
        (f"http://127.0.0.1:99999/ {SECRET}", "a host or a port that cannot be"),
        (f"https://[::1/ {SECRET}", "a host or a port that cannot be"),
        (f"https://a..b/ {SECRET}", "a host or a port that cannot be"),
        (f"https:///hook {SECRET}", "names no host"),
        (f"https://example.org:0/ {SECRET}", "names no host, or port 0"),
        (f"https://me:secret@example.org/ {SECRET}", "holds a user name"),
        (f"https://example.org/caf\xe9 {SECRET}", "characters that a URL spells as %XX"),
        ("https://example.org/ whsec_c2hvcnQ=", "5 bytes; expected 24"),
    ],
)
def test_another_file_is_refused_and_its_content_not_shown(content: str, because: str, tmp_path: Path) -> None:
    path = tmp_path / "webhook"
    path.write_text(content)

    with pytest.raises(ConfigError, match=because) as refused:
        Webhook.read(str(path))

    assert "example.org" not in str(refused.value)


def test_the_end_of_a_failed_run_is_sent_with_its_code_and_nothing_of_the_archive(
    serve: Callable[..., Server], bonafide: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    server = serve(200)
    hook = tmp_path / "webhook"
    hook.write_text(f"{server.url}\n{SECRET}\n")

    code, _, err = bonafide(
        "embed", "--input", tmp_path / "nowhere", "--backbone", "melstats", "--output", tmp_path, "--webhook", hook
    )

    ((_, body),) = server.received
    data = json.loads(body)["data"]
    assert code == data["exit_code"] == 65
    assert data["meaning"] == "a setting, table or head that does not fit"
    assert "nowhere" in err.splitlines()[-1]
    assert b"nowhere" not in body
    assert (data["verb"], data["output"]) == ("embed", str(tmp_path))


def test_a_webhook_that_cannot_be_read_ends_a_run_before_it_begins(
    bonafide: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    arguments = ("--backbone", "melstats", "--output", tmp_path / "out", "--webhook", tmp_path / "none")
    code, _, err = bonafide("embed", "--input", tmp_path, *arguments)

    assert code == 65
    assert "none: not a webhook file (FileNotFoundError)" in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_webhook_that_is_a_pipe_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for a writer

    with pytest.raises(ConfigError, match="pipe: not a file; a pipe is empty at the run's second look"):
        Webhook.read(str(tmp_path / "pipe"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:notaport/", "https:///hook", "ftp://127.0.0.1/"])
def test_an_address_that_cannot_be_posted_to_ends_a_run_before_it_begins(
    url: str, bonafide: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    hook = tmp_path / "webhook"
    hook.write_text(f"{url}\n{SECRET}\n")
    arguments = ("--backbone", "melstats", "--output", tmp_path / "out", "--webhook", hook)

    code, _, err = bonafide("embed", "--input", tmp_path, *arguments)

    assert code == 65
    assert err.splitlines()[-1].startswith(f"error 65: {hook}: the URL ")
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
