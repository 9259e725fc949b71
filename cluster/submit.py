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
from collections.abc import Sequence

from ray.exceptions import RayError
from ray.job_submission import JobSubmissionClient

DASHBOARD = "http://127.0.0.1:8265"


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
        print(f"error 69: {settings.address}: {error}", file=sys.stderr)
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
    job = client.submit_job(entrypoint=f"python -m jobs {shlex.join(verb)}", submission_id=submission_id)
    print(f"submitted {job} to {address}", file=sys.stderr)
    asyncio.run(_follow(client, job))
    code = client.get_job_info(job).driver_exit_code
    return 75 if code is None or code < 0 else int(code)


async def _follow(client: JobSubmissionClient, job: str) -> None:
    """Print the job's log until it ends."""
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
