"""Secrets that a run needs or merely sees are in nothing that it leaves behind."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import fsspec
import pyarrow.parquet as pq
import pytest

from tests.integration.cluster.conftest import Submit
from tests.integration.cluster.dashboard import asked, routes


def spellings(secret: str) -> list[bytes]:
    """How a secret may appear in a text: as it is, in a URL, in hexadecimal digits, and in base64 at any place."""
    data = secret.encode()
    inside = [base64.b64encode(b"\0" * shift + data)[4 if shift else 0 :][: len(data) - 4] for shift in range(3)]
    return [data, quote(secret, safe="").encode(), data.hex().encode(), *inside]


def leaks(secrets: dict[str, str], found: dict[str, bytes]) -> list[tuple[str, str]]:
    """Names of secrets, and where they stand."""
    wanted = [(name, text) for name, secret in secrets.items() for text in spellings(secret)]
    return [(name, where) for where, content in found.items() for name, text in wanted if text in content]


def cells(path: Path) -> bytes:
    """All that a Parquet file says, without its compression."""
    table = pq.read_table(path)
    return repr((table.schema.metadata, table.drop_columns([]).to_pydict())).encode()


@pytest.mark.parametrize("shift", range(3))
def test_a_leak_is_found_in_any_spelling(shift: int) -> None:
    secret = "the-tests-secret/Zq8+Vw7K"
    for text in (secret, quote(secret, safe=""), secret.encode().hex()):
        assert leaks({"key": secret}, {"log": b"x" * shift + text.encode()})
    assert leaks({"key": secret}, {"log": base64.b64encode(b"x" * shift + secret.encode() + b"yz")})
    assert not leaks({"key": secret}, {"log": b"nothing of the kind"})


@pytest.mark.long
def test_a_night_leaves_no_secret_behind(
    submit: Submit,
    bucket: fsspec.AbstractFileSystem,
    head: str,
    cluster: str,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    token = Path(environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    canaries = {"the cluster's token": token} | {
        name: environment[name] for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN")
    }
    night = ("nightly", "--input", "s3://night/archive/", "--head", head, "--output", "s3://night/canary")
    job = submit(*night)
    out, err = job.communicate(timeout=200)
    assert job.returncode == 0, out + err
    number = next(line.split()[1] for line in err.splitlines() if line.startswith("submitted "))

    bucket.get("night/canary", str(tmp_path), recursive=True)
    stored = [path for path in tmp_path.rglob("*") if path.is_file()]
    logs = [path for path in Path(environment["RAY_TMPDIR"]).rglob("*") if path.is_file()]
    answers = {path: asked(cluster, "GET", path, token)[1] for method, path in routes(number) if method == "GET"}
    found = {"stdout": out.encode(), "stderr": err.encode()} | answers
    found |= {str(path): path.read_bytes() for path in [*stored, *logs]}
    found |= {f"cells of {path}": cells(path) for path in stored if path.suffix == ".parquet"}

    assert len(stored) > 8
    assert len(logs) > 20
    assert number.encode() in b"".join(answers.values())  # they do say something of the run
    assert leaks(canaries, found) == []
