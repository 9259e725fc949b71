"""Ends: the exit code and the time of each verb's end, left where Prometheus finds them after the process.

Two ways, by the environment: a file for the textfile collector of node_exporter (`BONAFIDE_METRICS_FOLDER`), and a
Pushgateway (`BONAFIDE_PUSHGATEWAY`). `BONAFIDE_METRICS_NAME` tells several archives apart. Nothing that fails here
changes how a run ends.
"""

from __future__ import annotations

import base64
import hashlib
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

from detector.errors import ConfigError
from jobs.errors import UsageError
from jobs.telemetry import alarms
from jobs.telemetry.metrics import Metric

FOLDER, GATEWAY, NAME = "BONAFIDE_METRICS_FOLDER", "BONAFIDE_PUSHGATEWAY", "BONAFIDE_METRICS_NAME"
COMPLETED, ALARM = "bonafide_completed_timestamp_seconds", "bonafide_alarm_timestamp_seconds"
COMPLETE = (0, 3)
"""Exit codes of a run that did all there was to do."""

PUSH_SECONDS = 3.0  # for the whole exchange
MOST_BYTES = 1 << 16  # of a file that was written before
MOST_CHARACTERS = 4_096  # of an output, in a label

OF_TABLES = ("nightly", "embed", "score", "verify", "gc", "compact", "erase")
"""Verbs whose ends are told apart by their output: a good end for a copy says nothing of the original."""
LABELS = ("name", "verb", "output")

ENDS = {
    "bonafide_exit_code": Metric("gauge", "exit code of the verb's last end", LABELS),
    "bonafide_ended_timestamp_seconds": Metric("gauge", "time of the verb's last end", LABELS),
    COMPLETED: Metric("gauge", "time of the verb's last end with 0 or 3", LABELS),
    ALARM: Metric("gauge", "time of the verb's last end with a shard computed twice, differently", LABELS),
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

    def write(self, verb: str, code: int, output: str | None = None) -> None:
        """Write the end of a verb; a failure is a warning.

        Parameters
        ----------
        output : str, optional
            Where its tables are; unknown where the command line was not understood. What was written without it is
            removed by an end with it.
        """
        place = _place(output) if output and verb in OF_TABLES else ""
        values = {"bonafide_exit_code": float(code), "bonafide_ended_timestamp_seconds": round(time.time(), 3)}
        happened = {COMPLETED: code in COMPLETE, ALARM: alarms.raised()}
        values |= {name: values["bonafide_ended_timestamp_seconds"] for name in happened if happened[name]}
        if self.folder is not None:
            try:
                self._write_file(self.folder, verb, place, values)
            except OSError as error:
                log.warning("the metrics of this end were not written: %s", error)
        if self.gateway is not None:
            # a server that drips keeps the thread, not the run
            group = f"{verb}/name/{self.name}"
            requests = [("POST", group, _text(values, ""))]
            if place:
                of_output = base64.urlsafe_b64encode(place.encode()).decode()
                requests = [("POST", f"{group}/output@base64/{of_output}", requests[0][2]), ("DELETE", group, "")]
            thread = threading.Thread(target=_push, args=(self.gateway, requests), daemon=True)
            thread.start()
            thread.join(PUSH_SECONDS)
            if thread.is_alive():
                log.warning("the metrics of this end were not pushed within %g s", PUSH_SECONDS)

    def _write_file(self, folder: Path, verb: str, place: str, values: dict[str, float]) -> None:
        without_output = folder / f"bonafide-{self.name}-{verb}.prom"
        path = without_output
        labels = f'name="{self.name}",verb="{verb}"'
        if place:
            path = path.with_stem(f"{path.stem}-{hashlib.sha256(place.encode()).hexdigest()[:16]}")
            labels += f',output="{_escaped(place)}"'
        if path.is_file():  # the last end that was complete, and the last with an alarm, stay known
            with path.open(encoding="utf-8", errors="replace") as file:
                before = file.read(MOST_BYTES)
            found = re.findall(rf"^({COMPLETED}|{ALARM}){{.*}} (\d+(?:\.\d+)?)$", before, re.MULTILINE)
            values = {name: float(value) for name, value in found} | values
        draft = path.with_name(f".{path.name}.{os.getpid()}")  # no *.prom, so the collector passes it over
        draft.unlink(missing_ok=True)  # of a process that had our number
        with draft.open("x") as file:  # no link is followed
            file.write(_text(values, f"{{{labels}}}"))
            os.fchmod(file.fileno(), 0o644)  # node_exporter is another user
        draft.replace(path)
        if place:
            without_output.unlink(missing_ok=True)


def _place(output: str) -> str:
    """Return the one spelling of an output; empty if it is none."""
    from jobs.storage import normal  # only now: --help needs none of it

    try:
        return normal(output).rstrip("/")[:MOST_CHARACTERS]
    except (ConfigError, ValueError):
        return ""


def _escaped(value: str) -> str:
    """Return the value of a label as Prometheus' text format writes it.

    Examples
    --------
    >>> print(_escaped('/say "a"'))
    /say \\"a\\"
    """
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


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


def _push(gateway: str, requests: list[tuple[str, str, str]]) -> None:
    """Send groups of metrics, each by a method, its labels and a body; POST leaves those of other names as they are."""
    for request in requests:
        _request(gateway, *request)


def _request(gateway: str, method: str, group: str, body: str) -> None:
    url = urlsplit(gateway)
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=PUSH_SECONDS)
    try:
        path = f"{url.path.rstrip('/')}/metrics/job/bonafide/verb/{group}"
        connection.request(method, path, body.encode(), {"Content-Type": "text/plain; version=0.0.4"})
        status = connection.getresponse().status
        if status // 100 != 2:
            log.warning("the Pushgateway answered %d to the metrics of this end", status)
    except (OSError, HTTPException) as error:
        log.warning("the metrics of this end were not pushed: %s", error)
    finally:
        connection.close()
