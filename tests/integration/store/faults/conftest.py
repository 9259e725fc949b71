"""A store behind the fault proxy."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from jobs import storage
from jobs.storage import retry_budget
from jobs.storage.s3 import body
from tests.support.proxy import FaultProxy
from tests.support.storage import forget_clients
from tests.support.store_faults import BUDGET_SECONDS, SHORT


@pytest.fixture(scope="module")
def proxied(s3_environment: dict[str, str], bucket: str) -> Iterator[FaultProxy]:
    """The way to the store for this module; its client is made once."""
    with FaultProxy(s3_environment["AWS_ENDPOINT_URL"]) as proxy, pytest.MonkeyPatch.context() as patch:
        for name, value in (s3_environment | {"AWS_ENDPOINT_URL": proxy.url}).items():
            patch.setenv(name, value)
        forget_clients()
        yield proxy
    forget_clients()


@pytest.fixture
def proxy(proxied: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """The proxy, with short time limits and pauses, so that faults show quickly."""
    monkeypatch.setattr(body, "SLOW_SECONDS", 0.4)
    monkeypatch.setattr(body, "SLOW_BYTES", 64_000 * 0.4)
    monkeypatch.setattr(body, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(retry_budget, "FIRST_PAUSE_SECONDS", 0.05)
    storage.set_retry_budget(BUDGET_SECONDS)
    yield proxied
    proxied.clear()
    storage.set_retry_budget(retry_budget.BUDGET_SECONDS)


@pytest.fixture
def s3_root(proxy: FaultProxy, bucket: str) -> str:
    """A prefix of its own with one object."""
    root = f"s3://{bucket}/{uuid.uuid4().hex}"
    storage.write_bytes(f"{root}/a", SHORT)
    proxy.log.clear()
    return root


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Talk to another endpoint from now on, and afterwards to ours again."""

    def go(endpoint: str) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        forget_clients()

    yield go
    forget_clients()
