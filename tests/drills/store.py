"""The store of the drills as a file system."""

from __future__ import annotations

from typing import Any

import fsspec

BUCKET = "drills"


def file_system(environment: dict[str, str], *, retries: bool = True) -> Any:
    """Return the store of an environment as a file system without caches and, if asked, retries."""
    fs = fsspec.filesystem(
        "s3",
        key=environment["AWS_ACCESS_KEY_ID"],
        secret=environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        use_listings_cache=False,
        skip_instance_cache=True,
        config_kwargs={} if retries else {"retries": {"total_max_attempts": 1}},
    )
    if not retries:
        fs.retries = 1
    return fs


def key_of(uri: str) -> str:
    """Return a URI without its scheme, as the file system names it."""
    return uri.removeprefix("s3://")
