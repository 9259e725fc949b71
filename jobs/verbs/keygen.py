"""keygen: a key pair that signs heads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from detector import signature
from detector.errors import ConfigError
from jobs.storage import path_of
from jobs.telemetry.names import say


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Make a key pair: NAME.pem signs heads (a secret), NAME.pub verifies them."""

    output: Annotated[str, "NAME, a local path without ending; nothing that is there is overwritten"]
    shared: Annotated[bool, "let others read NAME.pub, as the umask allows; NAME.pem is for you alone"] = False


def run(settings: Settings) -> int:
    """Write the pair, the private key readable by its owner alone; return the exit code."""
    private, public = signature.key_pair()
    pem, pub = (Path(path_of(f"{settings.output}.{ending}")) for ending in ("pem", "pub"))
    if (
        pub.exists() and not pem.exists()
    ):  # a private key beside another pair's public one would sign what nobody can verify
        raise ConfigError(f"{pub}: cannot be written: File exists. Give another --output.")
    for path, content, mode in ((pem, private, 0o600), (pub, public, 0o644)):
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}. Give another --output.") from error
    say(f"private key: {settings.output}.pem", f"public key: {settings.output}.pub")
    return 0
