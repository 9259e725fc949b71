"""submit: run a verb on a Ray cluster, and follow it to its end."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Annotated

from jobs.errors import UsageError

DASHBOARD = "http://127.0.0.1:8265"


def _address() -> str:
    return os.environ.get("RAY_API_SERVER_ADDRESS", DASHBOARD)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Submit a verb to a Ray cluster, follow its log, and end with its exit code.

    The code of this installation is sent with the job, so the cluster runs the version that submitted it. Other
    packages are those of the machines' image, or the exact versions in --requirements. No secret is part of the job:
    machines take theirs from their role. For a cluster with token authentication, which every cluster should have,
    set RAY_AUTH_MODE=token; the token is read from ~/.ray/auth_token, or from the file in RAY_AUTH_TOKEN_PATH.

    If a job of the same verb and settings is running, submit follows that job, so two schedulers that fire at once
    share it. If it has ended, the next one runs: on the same day too, for the objects that came since. A job that ends
    with 75 is started again.
    """

    command: Annotated[tuple[str, ...], "VERB and its settings"] = field(metadata={"positional": True, "rest": True})
    address: Annotated[str, f"URL of the cluster's dashboard [default: $RAY_API_SERVER_ADDRESS, else {DASHBOARD}]"] = (
        field(default_factory=_address)
    )
    submission_id: Annotated[
        str | None,
        "id of a job that runs once: nothing is submitted after it ended with 0 [default: made of the verb and its "
        "settings, and numbered]",
    ] = None
    attempts: Annotated[int, "number of times the job is started while it ends with 75"] = 3
    requirements: Annotated[
        str | None,
        "file of packages that every machine installs for the job, each pinned by == [default: the image's own]",
    ] = None

    def __post_init__(self) -> None:
        if not self.verb:
            raise UsageError("nothing to submit: give -- VERB and its settings")
        if self.attempts < 1:
            raise UsageError(f"--attempts {self.attempts}: expected 1 or more")

    @property
    def verb(self) -> tuple[str, ...]:
        """The verb and its settings, without the `--` before them."""
        words = tuple(self.command)
        return words[1:] if words[:1] == ("--",) else words


def run(settings: Settings) -> int:
    """Submit the verb, follow it, and return its exit code (69 if the cluster cannot be reached or refuses it)."""
    from cluster.submit import run_job  # only now: it imports ray

    return run_job(settings.address, settings.verb, settings.submission_id, settings.attempts, settings.requirements)
