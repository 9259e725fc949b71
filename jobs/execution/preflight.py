"""Preflight checks: a run refuses packages with known holes, and clusters that anybody could run commands on."""

from __future__ import annotations

import importlib.metadata
import ipaddress
import json
import logging
from http.client import HTTPConnection, HTTPException

from packaging.version import Version

from detector.errors import ConfigError

# Older versions have holes that a recording, a checkpoint or a stranger on the network could use.
FLOORS = {
    "ray": "2.56.0",  # CVE-2026-57516, CVE-2026-41486, CVE-2026-27482, CVE-2025-62593
    "torch": "2.10.0",  # CVE-2026-24747, CVE-2025-32434
    "pyarrow": "14.0.1",  # CVE-2023-47248
}
PATIENCE_SECONDS = 5.0

log = logging.getLogger(__name__)


def refuse_old_packages(floors: dict[str, str] = FLOORS) -> None:
    """Raise if an installed package is older than its floor.

    Parameters
    ----------
    floors : dict of str
        The oldest accepted version of each package.

    Raises
    ------
    ConfigError
        With package, version, floor and remedy.
    """
    for name, floor in floors.items():
        version = importlib.metadata.version(name)
        if Version(version) < Version(floor):
            raise ConfigError(
                f"{name} {version} has known security holes; expected {floor} or later: pip install '{name}>={floor}'."
            )


def refuse_open_dashboard(address: str | None) -> None:
    """Raise if anybody who reaches a cluster's dashboard could run commands on its machines.

    That is a dashboard that listens beyond this machine and asks for no token. If a dashboard does not say whether it
    asks for one, a warning is logged.

    Parameters
    ----------
    address : str or None
        `host:port`, from Ray; None or empty if the cluster has no dashboard.

    Raises
    ------
    ConfigError
        With address and remedy.

    Examples
    --------
    >>> refuse_open_dashboard(None)
    >>> refuse_open_dashboard("127.0.0.1:8265")
    """
    if not address or _is_loopback(address):
        return
    mode = _authentication_mode(address)
    if mode is None:
        log.warning("the cluster's dashboard at %s does not say whether it asks for a token; see that it does", address)
    elif mode != "token":
        raise ConfigError(
            f"the cluster's dashboard listens on {address} and asks for no token: whoever reaches it can run commands "
            f"on every machine. Start the cluster with RAY_AUTH_MODE=token and a token, or with its dashboard on "
            f"127.0.0.1."
        )


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _authentication_mode(address: str) -> str | None:
    """Return the mode that a dashboard reports without a token; None if it reports none."""
    connection = HTTPConnection(address, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/api/authentication_mode")
        return str(json.loads(connection.getresponse().read(4096))["authentication_mode"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
