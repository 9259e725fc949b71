"""Checkpoint: an encoder's files on this machine, taken from a folder, a prefix or the Hugging Face hub."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path

from detector.checkpoint import FILES
from detector.errors import ConfigError
from jobs import storage
from jobs.config import ModelConfig

log = logging.getLogger(__name__)


def local_folder(config: ModelConfig) -> str | None:
    """Return the checkpoint as a local folder; copy it to the cache first if it is stored elsewhere.

    Raises
    ------
    ConfigError
        If there is no such checkpoint, or if a hub name has no pinned revision.
    """
    if config.model is None:
        return None
    if "://" in config.model and not config.model.startswith("file://"):
        return _from_storage(storage.normal(config.model))
    folder = storage.path_of(storage.normal(config.model))
    if os.path.isdir(folder):
        return folder
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", config.model):
        return _from_hub(config.model, config.revision)
    raise ConfigError(f"--model {config.model}: no such folder, and not a hub name (owner/name).")


def _from_storage(uri: str) -> str:
    files = storage.listing(uri)
    if not files:
        raise ConfigError(f"--model {uri}: no files there. Expected {', '.join(FILES)}.")
    version = hashlib.sha256(repr(files).encode()).hexdigest()[:16]
    target = _cache() / f"{storage.name_of(uri)}-{version}"
    if not target.is_dir():
        log.info("fetching %s to %s", uri, target)
        draft = tempfile.mkdtemp(dir=_cache(), prefix=".fetch-")
        try:
            storage.download(uri, draft, FILES)
            with contextlib.suppress(OSError):  # another worker of this machine fetched it first
                os.rename(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return str(target)


def _from_hub(name: str, revision: str | None) -> str:
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ConfigError(
            f"--model {name}: a hub name needs --revision with a commit of 40 hexadecimal digits, not "
            f"{revision!r}: a branch can change overnight. (There is no local folder of that name.)"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return str(snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(f"--model {name}: cannot be fetched from the hub: {error}") from error


def _cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bonafide"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
