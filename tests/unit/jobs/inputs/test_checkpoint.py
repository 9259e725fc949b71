"""An encoder's files, brought to this machine once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from detector.checkpoint import weights_digest
from detector.errors import ConfigError
from jobs import storage
from jobs.config import ModelConfig
from jobs.inputs.checkpoint import local_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b"{}", "preprocessor_config.json": b"{}", "model.safetensors": b"weights"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bonafide"


def put(folder: str, **changes: bytes) -> str:
    for name, content in {**FILES, **changes}.items():
        storage.write_bytes(f"{folder}/{name}", content)
    return folder


def test_no_model_is_no_folder() -> None:
    assert local_folder(ModelConfig()) is None


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_local_folder_is_used_in_place(tmp_path: Path, cache: Path, scheme: str) -> None:
    assert local_folder(ModelConfig(model=f"{scheme}{put(f'{tmp_path}/model')}")) == f"{tmp_path}/model"
    assert not cache.exists()


def test_a_prefix_is_fetched_once_without_what_is_never_read(
    s3_root: str, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jobs.inputs.checkpoint")
    uri = put(f"{s3_root}/model", **{"pytorch_model.bin": b"a pickle", "modeling.py": b"code"})

    first = local_folder(ModelConfig(model=uri))
    assert first is not None
    second = local_folder(ModelConfig(model=f"{uri}/"))

    assert {path.name: path.read_bytes() for path in Path(first).iterdir()} == FILES
    assert weights_digest(first) == weights_digest(put(f"{tmp_path}/same"))
    assert second == first
    assert [str(path) for path in cache.iterdir()] == [first]
    assert caplog.messages == [f"fetching {uri} to {first}"]


def test_a_prefix_that_changed_is_another_folder(s3_root: str, cache: Path) -> None:
    uri = put(f"{s3_root}/model")
    before = local_folder(ModelConfig(model=uri))
    put(uri, **{"model.safetensors": b"trained further"})
    after = local_folder(ModelConfig(model=uri))

    assert before is not None
    assert after is not None
    assert (Path(before) / "model.safetensors").read_bytes() == b"weights"
    assert (Path(after) / "model.safetensors").read_bytes() == b"trained further"


def test_a_prefix_without_anything_is_refused_by_name(s3_root: str, cache: Path) -> None:
    with pytest.raises(ConfigError, match=f"--model {s3_root}/none: no files there"):
        local_folder(ModelConfig(model=f"{s3_root}/none"))


def test_credentials_in_a_checkpoint_s_uri_are_refused_and_not_repeated(s3_root: str, cache: Path) -> None:
    with pytest.raises(ConfigError, match="credentials in a URI") as refused:
        local_folder(ModelConfig(model="s3://id:hush@bucket/model"))

    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("model", ["./none", "none", "/none/at/all", "../owner/name", "file:///none"])
def test_a_missing_folder_is_not_taken_for_a_hub_name(model: str) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        local_folder(ModelConfig(model=model))


@pytest.mark.parametrize("revision", [None, "main", COMMIT[:12], COMMIT.upper()])
def test_a_name_on_the_hub_needs_a_commit(revision: str | None) -> None:
    with pytest.raises(ConfigError, match="40 hexadecimal digits"):
        local_folder(ModelConfig(model="owner/name", revision=revision))


@pytest.mark.parametrize("held", [True, False])
def test_a_commit_of_the_hub_comes_from_its_cache_where_there_is_no_network(tmp_path: Path, held: bool) -> None:
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / COMMIT
    if held:
        put(str(snapshot))
    # a process of its own, because the hub's library reads its settings when it is imported
    program = (
        "from jobs.inputs.checkpoint import local_folder; from jobs.config import ModelConfig\n"
        f"print(local_folder(ModelConfig(model='owner/name', revision='{COMMIT}')))"
    )
    offline = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}

    done = subprocess.run([sys.executable, "-c", program], env=offline, capture_output=True, text=True, timeout=60)

    if held:
        assert done.stdout.strip() == str(snapshot)
    else:
        assert "ConfigError: --model owner/name: cannot be fetched from the hub" in done.stderr
