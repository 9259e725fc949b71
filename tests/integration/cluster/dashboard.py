"""Ray's dashboard as a stranger or a user asks it."""

from __future__ import annotations

import re
from http.client import HTTPConnection

from aiohttp.web import RouteDef
from ray.dashboard import http_server_head  # noqa: F401 - its import registers the routes of the page itself
from ray.dashboard.optional_utils import DashboardHeadRouteTable
from ray.dashboard.subprocesses.module import SubprocessModule
from ray.dashboard.subprocesses.routes import SubprocessRouteTable
from ray.dashboard.utils import DashboardHeadModule, get_all_modules

MOST_BYTES = 64 << 20


def routes(parameter: str = "1") -> list[tuple[str, str]]:
    """Method and path of every route of this Ray's dashboard, with a value in place of each parameter."""
    get_all_modules(DashboardHeadModule)
    get_all_modules(SubprocessModule)
    known = [*DashboardHeadRouteTable.routes(), *SubprocessRouteTable.routes()]
    found = {(each.method, re.sub(r"{[^}]*}", parameter, each.path)) for each in known if isinstance(each, RouteDef)}
    return sorted(found)


def asked(cluster: str, method: str, path: str, token: str | None = None) -> tuple[int, bytes]:
    """Status and body of an answer."""
    connection = HTTPConnection(cluster.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_BYTES)
    finally:
        connection.close()
