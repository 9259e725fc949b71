"""Copying: `compact` after a night, in a process of its own with bounds of time and memory.

The night is committed and recorded by then. If the copy cannot be brought up to date, the log says so, a record of its
own, and the metrics of `compact`. The exit code of the night changes only if that is asked for. `compact` may be ended
at any moment: the next one goes on from what stands.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import subprocess
import sys

from jobs import storage
from jobs.errors import RunAgain
from jobs.reports.nightly.config import NightlyConfig
from jobs.tables import run_records
from jobs.telemetry import logs
from jobs.telemetry.ends import Ends

END_SECONDS = 10.0  # for what is asked to stop, before it is killed

log = logging.getLogger(__name__)


def with_copy(settings: NightlyConfig, code: int) -> int:
    """Bring the copy up to date that a night names, if it names one; return the exit code of the night.

    Parameters
    ----------
    code : int
        Exit code of the night so far.
    """
    if settings.compact_to is None:
        return code
    try:
        copied = compacted(settings)
    except OSError as error:
        log.warning("`compact` could not be run: %s", error)
        copied = os.EX_TEMPFAIL
        Ends.from_environment().write("compact", copied)
    if copied == os.EX_OK:
        return code
    log.error(
        "%s: was not brought up to date, as `compact` ended with %d; the night itself is complete, and the next "
        "one goes on from here",
        settings.compact_to,
        copied,
    )
    _record(settings.output, copied)
    return copied if settings.compact_required and code == os.EX_OK else code


def compacted(settings: NightlyConfig) -> int:
    """Run `compact` within its bounds; return its exit code, 75 if it was stopped, and 70 if it was killed."""
    command = [sys.executable, "-P", "-m", "jobs", "compact", settings.output, "--to", str(settings.compact_to)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    code = None
    with subprocess.Popen(  # noqa: S603 - the command is ours
        [*command, *(["--shared"] if settings.shared else [])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,  # ctrl-c in a terminal reaches us only
    ) as process:
        limit(process.pid, settings.compact_mib << 20, settings.compact_minutes * 60.0)
        try:
            said = process.communicate(timeout=settings.compact_minutes * 60.0)[0]
        except subprocess.TimeoutExpired:
            log.warning("`compact` takes longer than --compact-minutes %g allows: stopped", settings.compact_minutes)
            code, said = os.EX_TEMPFAIL, _stopped(process)
        except (RunAgain, KeyboardInterrupt):
            log.warning("asked to stop: `compact` is stopped; the night itself is complete")
            code, said = os.EX_TEMPFAIL, _stopped(process)
    for line in said.splitlines():
        log.info("compact: %s", line)
    if process.returncode < 0:  # a process that is killed writes no end of its own
        Ends.from_environment().write("compact", code or os.EX_SOFTWARE, settings.output)
        return code or os.EX_SOFTWARE
    return code or process.returncode


def limit(pid: int, n_bytes: int, seconds: float) -> None:
    """Bound the memory of a process; and its time on all cores, in case that this process is killed before it."""
    n_seconds = int(seconds * (os.cpu_count() or 1)) + 1
    with contextlib.suppress(ProcessLookupError):
        for which, wanted in ((resource.RLIMIT_DATA, n_bytes), (resource.RLIMIT_CPU, n_seconds)):
            _, hard = resource.prlimit(pid, which)
            bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)  # who may not raise it may lower it
            resource.prlimit(pid, which, (bound, bound))


def _stopped(process: subprocess.Popen[str]) -> str:
    """Ask a process to stop, and kill it if it does not; return what it printed."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.communicate(timeout=END_SECONDS)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]


def _record(output: str, code: int) -> None:
    """Write how `compact` ended into `runs/ended`; a failure is a warning."""
    run_id = logs.bound("run_id")
    if run_id is None:
        return
    try:
        run_records.write_end(storage.normal(output), run_id, "compact", code, "the copy is not up to date")
    except Exception as error:
        log.warning("that `compact` failed was not recorded: %s", error)
