"""The webhook: a signed HTTP request that tells a server how a run ended.

It follows the Standard Webhooks specification, 1.0 (standardwebhooks.com): the headers `webhook-id`,
`webhook-timestamp` and `webhook-signature`; the last is `v1,` and the base64 of an HMAC-SHA256 over
`id.timestamp.body`. A request that fails is tried again a few times, and never changes how the run ends.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import ipaddress
import json
import logging
import time
import uuid
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from detector.errors import ConfigError

TRIES = 3
ANSWER_SECONDS = 4.0  # timeout of one try
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
            If the file cannot be read, or does not hold these two lines.
        """
        from jobs.storage import path_of  # only now: --help needs none of it

        try:
            url, secret = Path(path_of(path)).read_text().split()
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path}: not a webhook file ({type(error).__name__}). Expected two lines: the URL, and whsec_ with "
                f"the secret in base64."
            ) from error
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
            raise ConfigError(f"{path}: the URL does not begin with https:// (http:// is for loopback only).")
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
            True if the server answered with 2xx to one of a few tries, which take 14 s at most together.
        """
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        event = {"type": kind, "timestamp": now.isoformat().replace("+00:00", "Z"), "data": data}
        body = json.dumps(event, sort_keys=True).encode()
        headers = self.headers(f"msg_{uuid.uuid4().hex}", int(now.timestamp()), body)
        answer = ""
        for attempt in range(TRIES):
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1) if attempt else 0.0)
            answer = self._post(body, headers)
            if answer.startswith("2"):
                return True
        log.warning("the webhook was not accepted, after %d tries: %s", TRIES, answer)
        return False

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

    def _post(self, body: bytes, headers: dict[str, str]) -> str:
        """Try once; return the status, or the name of the error. Redirects are not followed."""
        parts = urlsplit(self.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
        try:
            connection.request("POST", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", body, headers)
            return str(connection.getresponse().status)
        except (OSError, HTTPException) as error:
            return type(error).__name__
        finally:
            connection.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
