"""Submit a verb to a Ray cluster, follow its log, and end with its exit code.

    python -m cluster.submit --address http://127.0.0.1:8265 -- nightly --input s3://archive/ …

The cluster's machines have bonafide installed (an image, say); nothing is shipped with the job, and no secret
stands in its environment: machines take theirs from their role. A cluster with token authentication, as it
should have, is reached with `RAY_AUTH_MODE=token` and the token in `~/.ray/auth_token` or `RAY_AUTH_TOKEN`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
import time
from collections.abc import Sequence

from ray.exceptions import RayError
from ray.job_submission import JobSubmissionClient

DASHBOARD = "http://127.0.0.1:8265"
START_SECONDS = 60.0  # a cluster's dashboard answers before its nodes take jobs
PATIENCE_SECONDS = 60.0  # with a cluster that does not answer while a job is at work


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit, follow, and return the job's exit code (69 where the cluster cannot be reached)."""
    parser = argparse.ArgumentParser(prog="python -m cluster.submit", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--address",
        default=os.environ.get("RAY_API_SERVER_ADDRESS", DASHBOARD),
        help="the cluster's dashboard [default: $RAY_API_SERVER_ADDRESS, else %(default)s]",
    )
    parser.add_argument("--submission-id", help="id of the job; a second job of the same id is refused")
    parser.add_argument("verb", nargs=argparse.REMAINDER, help="-- VERB and its settings")
    settings = parser.parse_args(arguments)
    verb = settings.verb[1:] if settings.verb[:1] == ["--"] else settings.verb
    if not verb:
        parser.error("nothing to submit: give -- VERB and its settings")
    try:
        return submit(settings.address, verb, settings.submission_id)
    except (ConnectionError, RuntimeError, RayError) as error:
        print(f"error 69: {settings.address}: {_one_line(error)}", file=sys.stderr)
        return 69


def submit(address: str, verb: Sequence[str], submission_id: str | None = None) -> int:
    """Run ``python -m jobs VERB …`` on a cluster and wait for it.

    Parameters
    ----------
    address : str
        URL of the cluster's dashboard.
    verb : sequence of str
        The verb and its settings.
    submission_id : str, optional

    Returns
    -------
    int
        The job's own exit code; 75 where it ended without one (stopped, or its machine was lost).

    Raises
    ------
    ConnectionError, RuntimeError, ray.exceptions.RayError
        Where the cluster cannot be reached, or refuses the job or the token.
    """
    client = JobSubmissionClient(address)
    job = _submitted(client, f"python -m jobs {shlex.join(verb)}", submission_id)
    print(f"submitted {job} to {address}", file=sys.stderr)
    log = _Log(client, job)
    unanswered = time.monotonic()
    while True:
        try:
            asyncio.run(log.follow())
            info = client.get_job_info(job)
            if info.status.is_terminal():
                break
            unanswered = time.monotonic()
        except Exception as error:  # of many classes; the job goes on without us
            if time.monotonic() - unanswered > PATIENCE_SECONDS:
                print(
                    f"error 75: {address} does not answer; ask it about job {job}: {_one_line(error)}", file=sys.stderr
                )
                return 75
        time.sleep(1.0)
    code = info.driver_exit_code
    if code is not None and code >= 0:
        return int(code)
    print(f"error 75: job {job} ended without an exit code: {_one_line(info.message)}", file=sys.stderr)
    return 75


def _submitted(client: JobSubmissionClient, entrypoint: str, submission_id: str | None) -> str:
    """Hand the job over; for a while again and again to a cluster that is only starting."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return client.submit_job(entrypoint=entrypoint, submission_id=submission_id)
        except RuntimeError as error:  # of this class, whatever it is
            if "try again later" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(1.0)


class _Log:
    """A job's log, printed as it grows."""

    def __init__(self, client: JobSubmissionClient, job: str) -> None:
        self._client, self._job = client, job
        self._n_printed = 0

    async def follow(self) -> None:
        """Print what was not printed yet, until the job ends or the line to the cluster breaks."""
        n_seen = 0  # it comes from its beginning every time
        async for lines in self._client.tail_job_logs(self._job):
            print(lines[max(self._n_printed - n_seen, 0) :], end="", flush=True)
            n_seen += len(lines)
            self._n_printed = max(n_seen, self._n_printed)


def _one_line(found: object) -> str:
    """What is said in the last line that says anything: Ray's errors are tracebacks of several processes."""
    lines = [line.strip() for line in str(found).splitlines()]
    return next((line for line in reversed(lines) if any(map(str.isalnum, line))), type(found).__name__)


if __name__ == "__main__":
    sys.exit(main())
