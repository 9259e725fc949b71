"""Without the token, a cluster's dashboard refuses every route that Ray knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.execution.preflight import refuse_open_dashboard
from tests.integration.cluster.dashboard import asked, routes

# The routes that answer without a token, and why that is harmless: none reveals or changes anything about the cluster.
OPEN = {
    ("GET", "/"): "the page without data, which asks for the token",
    ("GET", "/favicon.ico"): "its icon",
    ("GET", "/api/authentication_mode"): "says that a token is wanted",
    ("GET", "/api/gcs_healthz"): "whether the cluster lives, for probes",
    ("POST", "/api/authenticate"): "takes the token, and refuses a wrong one",
}


@pytest.mark.parametrize(("token", "refusal"), [(None, 401), ("0" * 64, 403)])
def test_every_route_refuses_a_caller_without_the_token(cluster: str, token: str | None, refusal: int) -> None:
    answers = {route: asked(cluster, *route, token)[0] for route in routes()}

    assert len(answers) > 50
    assert {("POST", "/api/jobs/"), ("GET", "/api/jobs/"), ("GET", "/api/v0/logs/1"), ("GET", "/logical/actors")} < set(
        answers
    )
    assert set(answers) > set(OPEN)
    assert {route for route, status in answers.items() if status != refusal} <= set(OPEN)
    assert answers["POST", "/api/authenticate"] in (401, 403)


def test_who_has_the_token_is_let_in(cluster: str, environment: dict[str, str]) -> None:
    token = Path(environment["RAY_AUTH_TOKEN_PATH"]).read_text()

    assert asked(cluster, "GET", "/api/jobs/", token)[0] == 200


def test_a_dashboard_that_asks_for_a_token_may_listen_anywhere(cluster: str) -> None:
    everywhere = cluster.removeprefix("http://").replace("127.0.0.1", "0.0.0.0")

    refuse_open_dashboard(everywhere)
