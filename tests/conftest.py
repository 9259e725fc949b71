"""What tests share: tones and noise, and small archives made of them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.seaweedfs import s3_server

RATE = 16_000


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


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    """Write a tar shard; members in the order given."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A SeaweedFS server on loopback, as the environment of its clients."""
    with s3_server(tmp_path_factory.mktemp("seaweedfs")) as environment:
        yield environment


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
