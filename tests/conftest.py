"""What tests share: tones and noise, and small archives made of them."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile

from tests.seaweedfs import s3_server

RATE = 16_000
collect_ignore = ["fuzz/run.py"]  # needs atheris, which only `make fuzz` installs


def tone(seconds: float, *, hertz: float = 220.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A tone with a little noise: float64 array of shape (n_samples,), peak below 0.6."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0.0, 0.02, len(time))
    return 0.5 * np.sin(2 * np.pi * hertz * time) + noise


def encoded(samples: np.ndarray, *, rate: int = RATE, kind: str = "FLAC", subtype: str | None = None) -> bytes:
    """Samples as the bytes of an audio file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes] | list[tuple[str, bytes]]) -> Path:
    """Write a tar shard; members in the order given, a name twice where the list has it twice."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items() if isinstance(members, dict) else members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A SeaweedFS server on loopback, as the environment of its clients."""
    with s3_server(tmp_path_factory.mktemp("seaweedfs")) as environment:
        yield environment


@pytest.fixture(scope="session")
def store(s3_environment: dict[str, str]) -> fsspec.AbstractFileSystem:
    """The S3 server as a file system, with a bucket `archive`."""
    store = fsspec.filesystem(
        "s3",
        key=s3_environment["AWS_ACCESS_KEY_ID"],
        secret=s3_environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=s3_environment["AWS_ENDPOINT_URL"],
        use_listings_cache=False,
    )
    store.mkdir("archive")
    return store


@pytest.fixture(scope="session")
def job_environment(s3_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a job's process gets: the store's address and keys, a home of its own, and our commands on its path."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{mine['PATH']}"
    return mine | s3_environment | {"HOME": str(tmp_path_factory.mktemp("home")), "PATH": path}


@pytest.fixture
def bonafide(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a verb in this process: (exit code, stdout, stderr)."""
    from jobs.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse's way out
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return run
