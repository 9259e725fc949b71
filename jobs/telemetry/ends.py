"""Ends: the exit code and the time of each verb's end, left where Prometheus finds them after the process.

Two ways, by the environment: a file for the textfile collector of node_exporter (`BONAFIDE_METRICS_FOLDER`), and a
Pushgateway (`BONAFIDE_PUSHGATEWAY`). `BONAFIDE_METRICS_NAME` tells several archives apart. Nothing that fails here
changes how a run ends.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from jobs.errors import UsageError
from jobs.telemetry.metrics import Metric

FOLDER, GATEWAY, NAME = "BONAFIDE_METRICS_FOLDER", "BONAFIDE_PUSHGATEWAY", "BONAFIDE_METRICS_NAME"
COMPLETE = (0, 3)
"""Exit codes of a run that did all there was to do."""

PUSH_SECONDS = 3.0  # for the whole exchange
MOST_BYTES = 1 << 16  # of a file that was written before

ENDS = {
    "bonafide_exit_code": Metric("gauge", "exit code of the verb's last end", ("name", "verb")),
    "bonafide_ended_timestamp_seconds": Metric("gauge", "time of the verb's last end", ("name", "verb")),
    "bonafide_completed_timestamp_seconds": Metric(
        "gauge", "time of the verb's last end with 0 or 3", ("name", "verb")
    ),
}
"""Metrics of ends, by the names that `cluster/prometheus` uses; Ray does not export them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ends:
    """Where the ends of verbs are written.

    Parameters
    ----------
    folder : Path or None
        Of the textfile collector.
    gateway : str or None
        URL of a Pushgateway.
    name : str
        Value of the label `name`.
    """

    folder: Path | None = None
    gateway: str | None = None
    name: str = "bonafide"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Ends:
        """Read where to write.

        Raises
        ------
        UsageError
            If the folder is none, the URL is not one, or the name has other characters than letters, digits and `_.-`.
        """
        folder, gateway = environment.get(FOLDER), environment.get(GATEWAY)
        name = environment.get(NAME, cls.name)
        if folder and not Path(folder).is_dir():
            raise UsageError(f"{FOLDER} {folder!r}: no such folder; make it, where node_exporter looks for *.prom.")
        if gateway:
            _check(gateway)
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
            raise UsageError(f"{NAME} {name!r}; expected 1 to 64 letters, digits or any of _.-")
        return cls(Path(folder) if folder else None, gateway or None, name)

    def write(self, verb: str, code: int) -> None:
        """Write the end of a verb; a failure is a warning."""
        values = {"bonafide_exit_code": float(code), "bonafide_ended_timestamp_seconds": round(time.time(), 3)}
        if code in COMPLETE:
            values["bonafide_completed_timestamp_seconds"] = values["bonafide_ended_timestamp_seconds"]
        if self.folder is not None:
            try:
                self._write_file(self.folder / f"bonafide-{self.name}-{verb}.prom", verb, values)
            except OSError as error:
                log.warning("the metrics of this end were not written: %s", error)
        if self.gateway is not None:
            # a server that drips keeps the thread, not the run
            body = _text(values, "")
            thread = threading.Thread(target=_push, args=(self.gateway, f"{verb}/name/{self.name}", body), daemon=True)
            thread.start()
            thread.join(PUSH_SECONDS)
            if thread.is_alive():
                log.warning("the metrics of this end were not pushed within %g s", PUSH_SECONDS)

    def _write_file(self, path: Path, verb: str, values: dict[str, float]) -> None:
        completed = "bonafide_completed_timestamp_seconds"
        if completed not in values and path.is_file():  # the last end that was complete stays known
            with path.open(encoding="utf-8", errors="replace") as file:
                found = re.search(rf"^{completed}{{[^}}]*}} (\d+(?:\.\d+)?)$", file.read(MOST_BYTES), re.MULTILINE)
            values = values | ({completed: float(found[1])} if found else {})
        draft = path.with_name(f".{path.name}.{os.getpid()}")  # no *.prom, so the collector passes it over
        draft.unlink(missing_ok=True)  # of a process that had our number
        with draft.open("x") as file:  # no link is followed
            file.write(_text(values, f'{{name="{self.name}",verb="{verb}"}}'))
        draft.chmod(0o644)  # node_exporter is another user
        draft.replace(path)


def _text(values: dict[str, float], labels: str) -> str:
    """Return values in Prometheus' text format.

    Examples
    --------
    >>> print(_text({"bonafide_exit_code": 75.0}, '{verb="embed"}'), end="")
    # HELP bonafide_exit_code exit code of the verb's last end
    # TYPE bonafide_exit_code gauge
    bonafide_exit_code{verb="embed"} 75
    """
    lines = []
    for name, value in values.items():
        declared = ENDS[name]
        lines += [
            f"# HELP {name} {declared.about}",
            f"# TYPE {name} {declared.kind}",
            f"{name}{labels} {value:.15g}",
        ]
    return "".join(f"{line}\n" for line in lines)


def _check(gateway: str) -> None:
    """Raise unless this is a URL of a server; the message does not repeat it, since it may hold a password."""
    try:
        url = urlsplit(gateway)
        is_url = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        is_url = False
    if not is_url:
        raise UsageError(f"{GATEWAY}: not a URL of a server; expected such as http://pushgateway.monitoring:9091")


def _push(gateway: str, group: str, body: str) -> None:
    """Send a group of metrics; POST leaves those of other names as they are."""
    url = urlsplit(gateway)
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=PUSH_SECONDS)
    try:
        path = f"{url.path.rstrip('/')}/metrics/job/bonafide/verb/{group}"
        connection.request("POST", path, body.encode(), {"Content-Type": "text/plain; version=0.0.4"})
        status = connection.getresponse().status
        if status // 100 != 2:
            log.warning("the Pushgateway answered %d to the metrics of this end", status)
    except (OSError, HTTPException) as error:
        log.warning("the metrics of this end were not pushed: %s", error)
    finally:
        connection.close()
