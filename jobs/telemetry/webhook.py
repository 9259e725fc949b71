"""The webhook: a signed HTTP request that tells a server how a run ended.

It follows the Standard Webhooks specification, 1.0 (standardwebhooks.com): the headers `webhook-id`,
`webhook-timestamp` and `webhook-signature`; the last is `v1,` and the base64 of an HMAC-SHA256 over
`id.timestamp.body`. A request that fails is tried again a few times, and never changes how the run ends.

All tries are made in a thread that the run waits for until one deadline, and then leaves behind. A timeout of the
socket alone would not do: it begins anew with each byte that the server sends.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import ipaddress
import json
import logging
import queue
import threading
import time
import uuid
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from detector.errors import ConfigError

TRIES = 3
DEADLINE_SECONDS = 14.0  # of all tries together: names looked up, connections made, answers read
ANSWER_SECONDS = 4.0  # of one try, until the server sends its next byte
PAUSE_SECONDS = 0.5  # after the first try; doubled after each further one

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Webhook:
    """The URL to send to, and the key to sign with.

    Parameters
    ----------
    url : str
        `https://…`; `http://` is for loopback only.
    key : bytes
    """

    url: str
    key: bytes

    @classmethod
    def read(cls, path: str) -> Webhook:
        """Read a file of two lines: the URL, and the secret as the specification writes it, `whsec_` and base64.

        A URL may itself be a secret, so no setting, log line or record contains it.

        Raises
        ------
        ConfigError
            If it is no file, cannot be read, does not hold these two lines, or the URL is none that can be posted to.
        """
        from jobs.storage import path_of  # only now: --help needs none of it

        file = Path(path_of(path))
        if file.exists() and not file.is_file():
            raise ConfigError(
                f"{path}: not a file; a pipe is empty at the run's second look, and may have no writer. Put the two "
                f"lines into a file that only you can read."
            )
        try:
            url, secret = file.read_text().split()
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path}: not a webhook file ({type(error).__name__}). Expected two lines: the URL, and whsec_ with "
                f"the secret in base64."
            ) from error
        if fault := _fault_of(url):
            raise ConfigError(f"{path}: the URL {fault}.")
        if len(key) < 24:
            raise ConfigError(f"{path}: a secret of {len(key)} bytes; expected 24 or more.")
        return cls(url, key)

    def send(self, kind: str, data: dict[str, Any]) -> bool:
        """Send an event; log a warning if the server does not accept it.

        Parameters
        ----------
        kind : str
            Type of the event, such as `bonafide.run.ended`.
        data : dict
            Content of the event; JSON values.

        Returns
        -------
        bool
            True if the server answered with 2xx to one of a few tries, before :data:`DEADLINE_SECONDS`.
        """
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        event = {"type": kind, "timestamp": now.isoformat().replace("+00:00", "Z"), "data": data}
        body = json.dumps(event, sort_keys=True).encode()
        headers = self.headers(f"msg_{uuid.uuid4().hex}", int(now.timestamp()), body)
        last: queue.SimpleQueue[str] = queue.SimpleQueue()
        # a daemon, so that a server that never ends its answer cannot keep this process either
        threading.Thread(target=lambda: last.put(self._try(body, headers)), name="webhook", daemon=True).start()
        try:
            answer = last.get(timeout=DEADLINE_SECONDS)
        except queue.Empty:
            log.warning("the webhook was not accepted within %g s, and is left", DEADLINE_SECONDS)
            return False
        if not answer.startswith("2"):
            log.warning("the webhook was not accepted, after %d tries: %s", TRIES, answer)
        return answer.startswith("2")

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """Return the headers of a message, with its signature.

        Examples
        --------
        >>> key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")  # the specification's own example
        >>> hook = Webhook("https://example.org", key)
        >>> hook.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')["webhook-signature"]
        'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
        """
        signed = hmac.digest(self.key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
        return {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        }

    def _try(self, body: bytes, headers: dict[str, str]) -> str:
        """Try a few times; return the last status, or the name of the last error."""
        answer = ""
        for attempt in range(TRIES):
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1) if attempt else 0.0)
            try:
                answer = self._post(body, headers)
            except Exception as error:  # whatever a server can cause is an answer, not the end of the run
                answer = type(error).__name__
            if answer.startswith("2"):
                break
        return answer

    def _post(self, body: bytes, headers: dict[str, str]) -> str:
        """Try once; return the status. Redirects are not followed, and what follows the headers is not read."""
        parts = urlsplit(self.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
        try:
            connection.request("POST", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", body, headers)
            return str(connection.getresponse().status)
        finally:
            connection.close()


def _fault_of(url: str) -> str:
    """Return what keeps a URL from being posted to, in words that do not repeat it; empty if nothing does."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:  # of a port that is no number, a bracket that is not closed, a label that is too long
        return "has a host or a port that cannot be; expected https://host[:port]/path"
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        return "does not begin with https:// (http:// is for loopback only)"
    if not host or port == 0:
        return "names no host, or port 0; expected https://host[:port]/path"
    if parts.username is not None or parts.password is not None:
        return "holds a user name, which is not sent; put what authorises the run into its path or query"
    if not (url.isascii() and url.isprintable()):
        return "holds characters that a URL spells as %XX; spell them so"
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
