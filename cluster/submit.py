"""Submit a verb to a Ray cluster, follow its log, repeat it if it ends with 75, and end with its exit code.

    bonafide submit --address http://127.0.0.1:8265 -- nightly --input s3://archive/ …

The job carries the code of this installation, so the machines run the code that submitted it. Other packages come from
the machines' image, or in the exact versions that `--requirements` lists. The job's environment contains no secret: the
machines have a role. Clusters should require a token: set `RAY_AUTH_MODE=token`, and keep the token in
`~/.ray/auth_token` or in the file that `RAY_AUTH_TOKEN_PATH` names.

Jobs are named by what they do, the verb and its settings, and numbered. Submitting the same again follows the job that
is at work, and runs the next one where none is: two schedulers that fire at once share one job, and objects that came
since are scored on the same day. A job that ends with 75 is repeated, as that exit code requests.

```
bonafide-nightly-c922e2dc      ended                  ◄── the newest has ended: both submit .3, and one of them is
bonafide-nightly-c922e2dc.2    ended                      told that it exists already, and follows it
```
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import RayError
from ray.job_submission import JobInfo, JobStatus, JobSubmissionClient

PACKAGES = ("detector", "jobs", "cluster")
START_SECONDS = 60.0  # a starting cluster's dashboard answers before its nodes accept jobs
PATIENCE_SECONDS = 60.0  # how long a cluster may leave requests unanswered while a job runs
PAUSE_SECONDS = 10.0  # before a job is repeated; doubles each time
AGAIN = os.EX_TEMPFAIL
EXIT_CODES = (0, 2, 3, os.EX_DATAERR, os.EX_UNAVAILABLE, os.EX_SOFTWARE, AGAIN)  # those that bonafide ends with
PINNED = re.compile(r"[A-Za-z0-9._\[\],-]+==[^=\s;]+(\s*;.*)?")


def run_job(
    address: str, verb: Sequence[str], job_id: str | None = None, attempts: int = 3, requirements: str | None = None
) -> int:
    """Submit a verb, follow it, and return its exit code; an error is named in one line on stderr.

    Parameters
    ----------
    address : str
        URL of the cluster's dashboard.
    verb : sequence of str
        The verb and its settings.
    job_id : str, optional
        Runs once: nothing is submitted after a job of this id ended with 0. By default the id is made of the verb and
        its settings (:func:`submission_id`), and each call runs the next number of it.
    attempts : int
        Number of times the job is started while it ends with 75.
    requirements : str, optional
        Path of a file of packages that every machine installs for the job: see :func:`pinned`.
    """
    packages = None
    if requirements is not None:
        try:
            packages = pinned(requirements)
        except (OSError, ValueError) as error:
            return _end(os.EX_DATAERR, str(error))
    try:
        return submit(address, verb, job_id, attempts, packages)
    except (ConnectionError, RuntimeError, RayError) as error:
        return _end(os.EX_UNAVAILABLE, f"{address}: {_one_line(error)}")
    except KeyboardInterrupt:
        return _end(AGAIN, "no longer followed; the job goes on, and the same command follows it again")


def submit(
    address: str, verb: Sequence[str], job_id: str | None, attempts: int = 3, packages: Sequence[str] | None = None
) -> int:
    """Run ``python -m jobs VERB …`` on a cluster, wait for it, and repeat it while it ends with 75.

    Parameters
    ----------
    address : str
        URL of the cluster's dashboard.
    verb : sequence of str
        The verb and its settings.
    job_id : str or None
        Id of the first job; later ones get `.2`, `.3` … appended. None names and numbers jobs by what they do.
    attempts : int
        How many jobs are run at most.
    packages : sequence of str, optional
        Packages that every machine installs for the job.

    Returns
    -------
    int
        The job's own exit code; 75 if it ended without one (it was stopped, or its machine was lost).

    Raises
    ------
    ConnectionError, RuntimeError, ray.exceptions.RayError
        If the cluster is unreachable, or refuses the job or the token.
    """
    client = JobSubmissionClient(address)
    name = job_id or submission_id(verb)
    number = 1 if job_id else _number(client, name)
    jobs = _Night(client, address, f"python -m jobs {shlex.join(verb)}", name, packages, number)
    for attempt in range(1, attempts + 1):
        code, again = jobs.attempt()
        if not again or attempt == attempts:
            break
        pause = PAUSE_SECONDS * 2 ** (attempt - 1)
        print(f"attempt {attempt} of {attempts} ended with {code}; again in {pause:.0f} s", file=sys.stderr)
        time.sleep(pause)
    return code


def submission_id(verb: Sequence[str]) -> str:
    """Return the id of a job, made of what it does: the verb and its settings.

    Examples
    --------
    >>> submission_id(["nightly", "--input", "s3://archive/"])
    'bonafide-nightly-c922e2dc'
    """
    return f"bonafide-{verb[0]}-{hashlib.sha256(shlex.join(verb).encode()).hexdigest()[:8]}"


def pinned(path: str) -> list[str]:
    """Return the packages of a requirements file, each with its exact version.

    Raises
    ------
    ValueError
        If a line is not `package==version`; the message names the first one.
    """
    lines = [line.split(" #")[0].strip() for line in Path(path).read_text().splitlines()]
    packages = [line for line in lines if line and not line.startswith("#")]
    for line in packages:
        if not PINNED.fullmatch(line):
            raise ValueError(
                f"{path}: {line!r} names no exact version; expected package==version, so that each night "
                f"runs the same code. `pip freeze` writes such a file."
            )
    return packages


def _number(client: JobSubmissionClient, name: str) -> int:
    """Return the number of the job of this name that is at work; where none is, the first number that is free."""
    numbered = re.compile(rf"{re.escape(name)}(?:\.(\d+))?")
    at_work = {
        int(match[1] or 1): not job.status.is_terminal()
        for job in client.list_jobs()
        if (match := numbered.fullmatch(job.submission_id or ""))
    }
    latest = max(at_work, default=0)
    return latest if at_work.get(latest) else latest + 1


@dataclass
class _Night:
    """The jobs of one name, from a number on: the first one and its repetitions."""

    client: JobSubmissionClient
    address: str
    entrypoint: str
    night: str
    packages: Sequence[str] | None
    number: int = 1

    def attempt(self) -> tuple[int, bool]:
        """Start the next job, or find it running or done; return its exit code, and True if it must be repeated."""
        while True:
            job = self.night if self.number == 1 else f"{self.night}.{self.number}"
            if self._started(job):
                print(f"submitted {job} to {self.address}", file=sys.stderr)
                break
            info = self.client.get_job_info(job)
            if info.status == JobStatus.SUCCEEDED:
                print(f"{job} ended with 0 already: nothing submitted")
                return 0, False
            if not info.status.is_terminal():
                print(f"{job} is at work on {self.address} already: following it", file=sys.stderr)
                break
            self.number += 1  # it failed or was stopped, and is submitted once more
        found = self._followed(job)
        if found is None:
            return AGAIN, False
        code = found.driver_exit_code
        if code in EXIT_CODES:
            return int(code), code == AGAIN
        if code is not None and code >= 0:
            cause = f"job {job} ended with {code}, before bonafide began; check the Python of the cluster's machines"
            return _end(os.EX_SOFTWARE, cause), False
        _end(AGAIN, f"job {job} ended without an exit code: {_one_line(found.message)}")
        return AGAIN, found.status != JobStatus.STOPPED  # a job that a person stopped is not repeated

    def _started(self, job: str) -> bool:
        """Submit the job, and retry for a while if the cluster is starting; return False if the job exists already."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    self.client.submit_job(
                        entrypoint=self.entrypoint, submission_id=job, runtime_env=self._environment(folder)
                    )
            except RuntimeError as error:  # Ray raises this class for every refusal
                if "already exists" in str(error):
                    return False
                if "try again later" not in str(error) or time.monotonic() > deadline:
                    raise
            else:
                return True
            time.sleep(1.0)

    def _environment(self, folder: str) -> dict[str, Any]:
        """Return the job's runtime environment: the code and the names of packages, but no environment variables."""
        here = Path(__file__).parents[1]
        for name in PACKAGES:
            shutil.copytree(here / name, Path(folder, name), ignore=shutil.ignore_patterns("__pycache__"))
        return {"working_dir": folder} | ({"pip": {"packages": list(self.packages)}} if self.packages else {})

    def _followed(self, job: str) -> JobInfo | None:
        """Print a job's log until it ends; return None if the cluster stops answering."""
        log = _Log(self.client, job)
        unanswered = time.monotonic()
        while True:
            try:
                asyncio.run(log.follow())
                info = self.client.get_job_info(job)
                if info.status.is_terminal():
                    return info
                unanswered = time.monotonic()
            except Exception as error:  # Ray raises many classes; the job runs on without us
                if time.monotonic() - unanswered > PATIENCE_SECONDS:
                    _end(AGAIN, f"{self.address} does not answer; ask it about job {job}: {_one_line(error)}")
                    return None
            time.sleep(1.0)


class _Log:
    """A job's log, printed as it grows."""

    def __init__(self, client: JobSubmissionClient, job: str) -> None:
        self._client, self._job = client, job
        self._n_printed = 0

    async def follow(self) -> None:
        """Print the part that was not printed yet, until the job ends or the connection breaks."""
        n_seen = 0  # every connection sends the log from its beginning
        async for lines in self._client.tail_job_logs(self._job):
            print(lines[max(self._n_printed - n_seen, 0) :], end="", flush=True)
            n_seen += len(lines)
            self._n_printed = max(n_seen, self._n_printed)


def _end(code: int, cause: str) -> int:
    """Print the cause in one line on stderr, and return the exit code."""
    print(f"error {code}: {' '.join(cause.split())}", file=sys.stderr)
    return code


def _one_line(found: object) -> str:
    """Return the last line with words in it: Ray's errors are tracebacks of several processes."""
    lines = [line.strip() for line in str(found).splitlines()]
    return next((line for line in reversed(lines) if any(map(str.isalnum, line))), type(found).__name__)
