"""Webhook: tells somebody's server that a run has ended, and how. Signed, tried a few times, and never in the way.

It follows the Standard Webhooks specification, 1.0 (standardwebhooks.com): the headers `webhook-id`,
`webhook-timestamp` and `webhook-signature`, the last `v1,` and the base64 of an HMAC-SHA256 over
`id.timestamp.body`.
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
ANSWER_SECONDS = 4.0  # of one try
PAUSE_SECONDS = 0.5  # after the first try; twice as long after each

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Webhook:
    """Where to tell it, and the key to sign with.

    Parameters
    ----------
    url : str
        `https://…`; `http://` on loopback only.
    key : bytes
    """

    url: str
    key: bytes

    @classmethod
    def read(cls, path: str) -> Webhook:
        """Read the two lines of a file: the URL, and the secret, `whsec_` and base64 as the specification writes it.

        A URL may itself be a secret, so it stands in no setting, log or record.

        Raises
        ------
        ConfigError
            Where the file cannot be read, or is not that.
        """
        try:
            url, secret = Path(path).read_text().split()
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path}: no webhook ({type(error).__name__}). Expected a file of two lines: the URL, and whsec_ with "
                f"the secret in base64."
            ) from error
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
            raise ConfigError(f"{path}: the webhook's URL is no https://; expected one (http:// is for loopback).")
        if len(key) < 24:
            raise ConfigError(f"{path}: a secret of {len(key)} bytes; expected 24 or more.")
        return cls(url, key)

    def tell(self, kind: str, data: dict[str, Any]) -> bool:
        """Send an event; say in a warning where nobody took it.

        Parameters
        ----------
        kind : str
            Type of the event, as `bonafide.run.ended`.
        data : dict
            What goes with it; JSON.

        Returns
        -------
        bool
            Whether it was taken: answered with 2xx, in one of a few tries that take 14 s at most together.
        """
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        event = {"type": kind, "timestamp": now.isoformat().replace("+00:00", "Z"), "data": data}
        body = json.dumps(event, sort_keys=True).encode()
        headers = self.headers(f"msg_{uuid.uuid4().hex}", int(now.timestamp()), body)
        answer = ""
        for attempt in range(TRIES):
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1) if attempt else 0.0)
            answer = self._sent(body, headers)
            if answer.startswith("2"):
                return True
        log.warning("the webhook was not taken, after %d tries: %s", TRIES, answer)
        return False

    def headers(self, number: str, timestamp: int, body: bytes) -> dict[str, str]:
        """Headers of a message, its signature among them.

        Examples
        --------
        >>> key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")  # the specification's own example
        >>> hook = Webhook("https://example.org", key)
        >>> hook.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')["webhook-signature"]
        'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
        """
        signed = hmac.digest(self.key, f"{number}.{timestamp}.".encode() + body, hashlib.sha256)
        return {
            "content-type": "application/json",
            "webhook-id": number,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        }

    def _sent(self, body: bytes, headers: dict[str, str]) -> str:
        """Status of one try, or what kept it; redirects are not followed."""
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
