"""What a run refuses before it begins."""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from detector.errors import ConfigError
from jobs.execution import preflight
from jobs.execution.preflight import FLOORS, refuse_old_packages, refuse_open_dashboard


class Dashboard(BaseHTTPRequestHandler):
    """Says what Ray's dashboard says of itself where it asks for no token."""

    body = b'{"authentication_mode": "disabled"}'

    def do_GET(self) -> None:
        assert self.path == "/api/authentication_mode"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Quietly."""


@pytest.fixture
def open_dashboard() -> Iterator[str]:
    """A dashboard on loopback, under the address 0.0.0.0, by which it can be reached from here, too."""
    with HTTPServer(("127.0.0.1", 0), Dashboard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"0.0.0.0:{server.server_port}"
        server.shutdown()


def test_a_dashboard_that_is_open_to_the_network_is_refused(open_dashboard: str) -> None:
    with pytest.raises(ConfigError, match=f"{open_dashboard} and asks for no token.*RAY_AUTH_MODE=token"):
        refuse_open_dashboard(open_dashboard)


def test_a_dashboard_on_loopback_needs_no_token(open_dashboard: str) -> None:
    refuse_open_dashboard(open_dashboard.replace("0.0.0.0", "127.0.0.1"))


def test_a_dashboard_that_does_not_answer_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    refuse_open_dashboard("0.0.0.0:9")

    assert "0.0.0.0:9 does not say whether it asks for a token" in caplog.text


def test_packages_here_are_above_their_floors() -> None:
    refuse_old_packages()


@pytest.mark.parametrize("name", FLOORS)
def test_a_package_below_its_floor_ends_a_verb_with_65(
    name: str, bonafide: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.metadata.version(name)
    monkeypatch.setitem(preflight.FLOORS, name, "999.1")

    code, _, err = bonafide("keygen", "--output", "unused")

    assert code == 65
    assert err.splitlines()[-1].startswith(
        f"error 65: {name} {found} has known security holes; expected 999.1 or later"
    )
