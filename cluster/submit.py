"""Submit a verb to a Ray cluster, follow its log, start it again where it asks for that; end with its exit code.

    bonafide submit --address http://127.0.0.1:8265 -- nightly --input s3://archive/ …

The code of this installation travels with the job, so that machines run what submitted it; other packages are those of
the machines' image, or exact versions that `--requirements` names. No secret stands in the job's environment: machines
take theirs from their role. A cluster with token authentication, as it should have, is reached with
`RAY_AUTH_MODE=token` and the token in `~/.ray/auth_token`, or in a file that `RAY_AUTH_TOKEN_PATH` names.

A submit of the same verb, settings and day while the job is at work follows that job; after it ended with 0, there is
nothing to do. A job that ends with 75 is started again, as that code asks for.
"""

from __future__ import annotations

import asyncio
import datetime
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
START_SECONDS = 60.0  # a cluster's dashboard answers before its nodes take jobs
PATIENCE_SECONDS = 60.0  # with a cluster that does not answer while a job is at work
PAUSE_SECONDS = 10.0  # before a job is started again; twice as long each time
AGAIN = os.EX_TEMPFAIL
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
        By default made of the verb, its settings and the day: see :func:`submission_id`.
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
    job_id = job_id or submission_id(verb, datetime.datetime.now(datetime.UTC).date().isoformat())
    try:
        return submit(address, verb, job_id, attempts, packages)
    except (ConnectionError, RuntimeError, RayError) as error:
        return _end(os.EX_UNAVAILABLE, f"{address}: {_one_line(error)}")
    except KeyboardInterrupt:
        return _end(AGAIN, "no longer followed; the job goes on, and the same command follows it again")


def submit(
    address: str, verb: Sequence[str], night: str, attempts: int = 3, packages: Sequence[str] | None = None
) -> int:
    """Run ``python -m jobs VERB …`` on a cluster and wait for it, again while it ends with 75.

    Parameters
    ----------
    address : str
        URL of the cluster's dashboard.
    verb : sequence of str
        The verb and its settings.
    night : str
        Id of the job; those that are started again get `.2`, `.3` … behind it.
    attempts : int
        How often a job that ends with 75 is waited for.
    packages : sequence of str, optional
        What every machine installs for the job.

    Returns
    -------
    int
        The job's own exit code; 75 where it ended without one (stopped, or its machine was lost).

    Raises
    ------
    ConnectionError, RuntimeError, ray.exceptions.RayError
        Where the cluster cannot be reached, or refuses the job or the token.
    """
    jobs = _Night(JobSubmissionClient(address), address, f"python -m jobs {shlex.join(verb)}", night, packages)
    for attempt in range(1, attempts + 1):
        code, again = jobs.attempt()
        if not again or attempt == attempts:
            break
        pause = PAUSE_SECONDS * 2 ** (attempt - 1)
        print(f"attempt {attempt} of {attempts} ended with {code}; again in {pause:.0f} s", file=sys.stderr)
        time.sleep(pause)
    return code


def submission_id(verb: Sequence[str], today: str) -> str:
    """The id of a night's job: of its verb, its day and its settings.

    Parameters
    ----------
    verb : sequence of str
        The verb and its settings; where `--run-date` is one of them, it is the day.
    today : str
        YYYY-MM-DD.

    Examples
    --------
    >>> submission_id(["nightly", "--input", "s3://archive/"], "2026-11-23")
    'bonafide-nightly-2026-11-23-c922e2dc'
    >>> submission_id(["nightly", "--run-date", "2026-11-22"], "2026-11-23")[:27]
    'bonafide-nightly-2026-11-22'
    """
    told = shlex.join(verb)
    day = re.search(r" --run-date[ =](\d{4}-\d\d-\d\d)\b", told)
    return f"bonafide-{verb[0]}-{day[1] if day else today}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def pinned(path: str) -> list[str]:
    """The packages that a requirements file names, each with its exact version.

    Raises
    ------
    ValueError
        Naming the first line that is no `package==version`.
    """
    lines = [line.split(" #")[0].strip() for line in Path(path).read_text().splitlines()]
    packages = [line for line in lines if line and not line.startswith("#")]
    for line in packages:
        if not PINNED.fullmatch(line):
            raise ValueError(
                f"{path}: {line!r} names no exact version; expected package==version. A night is to run tomorrow what "
                f"it ran today: `pip freeze` writes such a file."
            )
    return packages


@dataclass
class _Night:
    """The jobs of one id: the first, and those that were started again."""

    client: JobSubmissionClient
    address: str
    entrypoint: str
    night: str
    packages: Sequence[str] | None
    number: int = 1

    def attempt(self) -> tuple[int, bool]:
        """Start the next job, or find it at work or done; follow it; its exit code, and whether it asks for another."""
        while True:
            job = self.night if self.number == 1 else f"{self.night}.{self.number}"
            if self._started(job):
                print(f"submitted {job} to {self.address}", file=sys.stderr)
                break
            info = self.client.get_job_info(job)
            if info.status == JobStatus.SUCCEEDED:
                print(f"{job} ended with 0 already: nothing submitted; another --submission-id runs it once more")
                return 0, False
            if not info.status.is_terminal():
                print(f"{job} is at work on {self.address} already: following it", file=sys.stderr)
                break
            self.number += 1  # it failed, or was stopped: somebody wants it again
        found = self._followed(job)
        if found is None:
            return AGAIN, False
        code = found.driver_exit_code
        if code is not None and code >= 0:
            return int(code), code == AGAIN
        _end(AGAIN, f"job {job} ended without an exit code: {_one_line(found.message)}")
        return AGAIN, found.status != JobStatus.STOPPED  # somebody who stopped it does not want it again

    def _started(self, job: str) -> bool:
        """Hand the job over, for a while again and again to a cluster that is only starting; False: it is there."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    self.client.submit_job(
                        entrypoint=self.entrypoint, submission_id=job, runtime_env=self._environment(folder)
                    )
            except RuntimeError as error:  # of this class, whatever it is
                if "already exists" in str(error):
                    return False
                if "try again later" not in str(error) or time.monotonic() > deadline:
                    raise
            else:
                return True
            time.sleep(1.0)

    def _environment(self, folder: str) -> dict[str, Any]:
        """What travels with the job: the code, and the names of packages; no values of variables."""
        here = Path(__file__).parents[1]
        for name in PACKAGES:
            shutil.copytree(here / name, Path(folder, name), ignore=shutil.ignore_patterns("__pycache__"))
        return {"working_dir": folder} | ({"pip": {"packages": list(self.packages)}} if self.packages else {})

    def _followed(self, job: str) -> JobInfo | None:
        """Print a job's log until it ends; None where the cluster no longer answers."""
        log = _Log(self.client, job)
        unanswered = time.monotonic()
        while True:
            try:
                asyncio.run(log.follow())
                info = self.client.get_job_info(job)
                if info.status.is_terminal():
                    return info
                unanswered = time.monotonic()
            except Exception as error:  # of many classes; the job goes on without us
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
        """Print what was not printed yet, until the job ends or the line to the cluster breaks."""
        n_seen = 0  # it comes from its beginning every time
        async for lines in self._client.tail_job_logs(self._job):
            print(lines[max(self._n_printed - n_seen, 0) :], end="", flush=True)
            n_seen += len(lines)
            self._n_printed = max(n_seen, self._n_printed)


def _end(code: int, cause: str) -> int:
    """Name the cause in one line on stderr."""
    print(f"error {code}: {' '.join(cause.split())}", file=sys.stderr)
    return code


def _one_line(found: object) -> str:
    """What is said in the last line that says anything: Ray's errors are tracebacks of several processes."""
    lines = [line.strip() for line in str(found).splitlines()]
    return next((line for line in reversed(lines) if any(map(str.isalnum, line))), type(found).__name__)
