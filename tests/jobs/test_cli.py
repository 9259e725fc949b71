"""jobs.cli: flags made from settings, and exit codes that schedulers act on."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.errors import ConfigError
from jobs.cli import VERBS
from jobs.config import RunConfig
from jobs.errors import TROUBLES, from_text, to_text
from jobs.pipeline import _Apply, _Decode, _Encode, fit_pool
from tests.conftest import encoded, tone, write_tar

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("verb", VERBS)
def test_help_lists_every_setting(verb: str, bonafide: Run) -> None:
    code, out, _ = bonafide(verb, "--help")

    settings = importlib.import_module(f"jobs.{verb}").Settings
    assert code == 0
    for field in dataclasses.fields(settings):
        assert f"--{field.name.replace('_', '-')}" in out
        if isinstance(field.default, int | float | str) and not isinstance(field.default, bool):
            assert f"[default: {field.default}]" in " ".join(out.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("sing",),
        (),
        ("fit", "--embeddings", "x"),
        ("demo", "--colour", "red"),
        ("fit", "--c", "much"),
        ("demo", "--out", "x"),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...], bonafide: Run) -> None:
    code, _, err = bonafide(*arguments)

    assert code == 2
    assert err.strip()


def test_a_setting_that_does_not_fit_is_65_and_the_last_line_names_it(tmp_path: Path, bonafide: Run) -> None:
    out = ("--output", tmp_path / "out")
    refused = {
        "give either --input": ("embed", "--backbone", "melstats", *out),
        "backbone 'magic'": ("embed", "--backbone", "magic", "--input", tmp_path, *out),
        "needs a checkpoint": ("embed", "--backbone", "huggingface", "--input", tmp_path, *out),
        "no such folder": ("embed", "--backbone", "huggingface", "--model", "./none", "--input", tmp_path, *out),
        "40 hexadecimal digits": ("embed", "--backbone", "huggingface", "--model", "a/b", "--input", tmp_path, *out),
        "prior 2.0": ("nightly", "--input", tmp_path, "--head", "h.json", "--prior", 2, *out),
        "h.json: not found": ("nightly", "--input", tmp_path, "--head", tmp_path / "h.json", *out),
        "device 'tpu'": ("embed", "--backbone", "melstats", "--input", tmp_path, "--device", "tpu", *out),
        "run_date 'today'": ("embed", "--backbone", "melstats", "--input", tmp_path, "--run-date", "today", *out),
        "0 tables of embeddings": ("fit", "--embeddings", tmp_path, "--labels", "l.csv", *out),
    }
    for cause, arguments in refused.items():
        code, _, err = bonafide(*arguments)

        assert (code, cause in err.splitlines()[-1]) == (65, True), err


def test_a_demo_s_folder_is_never_somebody_else_s(tmp_path: Path, bonafide: Run) -> None:
    (tmp_path / "thesis.txt").write_text("precious")

    code, _, err = bonafide("demo", "--output", tmp_path)

    assert code == 65
    assert "not made by the demo" in err
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("kind", TROUBLES.values())
def test_a_worker_s_trouble_keeps_its_class_as_text(kind: type[Exception]) -> None:
    error = from_text(to_text(kind("where: what: remedy")))

    assert type(error) is kind
    assert str(error) == "where: what: remedy"


def test_a_pool_leaves_room_for_decode_or_is_refused() -> None:
    assert fit_pool(RunConfig(), cpus=8, gpus=0).encoders == 8
    assert fit_pool(RunConfig(), cpus=8, gpus=0).encoder_cpus == pytest.approx(7.5 / 8, abs=0.01)
    on_gpu = fit_pool(RunConfig(encoder_gpus=0.5), cpus=16, gpus=2)
    assert (on_gpu.device, on_gpu.encoders, on_gpu.encoder_gpus, on_gpu.encoder_cpus) == ("cuda", 4, 0.5, 1.0)
    assert fit_pool(RunConfig(device="cpu"), cpus=16, gpus=2).device == "cpu"
    for config in (RunConfig(encoders=2, encoder_cpus=1), RunConfig(device="cuda"), RunConfig(decode_cpus=3)):
        with pytest.raises(ConfigError):
            fit_pool(config, cpus=2, gpus=0)


def test_decode_and_encode_work_as_plain_objects(tmp_path: Path) -> None:
    import pyarrow as pa

    from detector.checkpoint import recipe_of
    from detector.config import EmbedConfig
    from jobs import storage
    from jobs.archive import Shard
    from jobs.config import ModelConfig
    from jobs.gathering import Gatherer

    write_tar(tmp_path / "0.tar", {"a.flac": encoded(tone(1.0)), "b.wav": b"?"})
    stored = storage.stat(str(tmp_path / "0.tar"))
    assert stored is not None
    item = pa.table({"item": [Shard("tar", (stored,)).to_json()]})
    recipe = recipe_of(EmbedConfig(backbone="melstats"), None)

    (decoded,) = _Decode(30.0)(item)
    (whole,) = Gatherer().add(_Encode(recipe, ModelConfig(), "cpu", 1)(decoded))

    embeddings, failures = whole.tables(-1, recipe.fingerprint, "run")
    assert (embeddings["member"].to_pylist(), failures["member"].to_pylist()) == (["a.flac"], ["b.wav"])
    (tmp_path / "0.tar").unlink()
    (troubled,) = _Decode(30.0)(item)
    assert troubled["trouble"].to_pylist()[0].startswith("RunAgain: ")
    other = recipe_of(EmbedConfig(backbone="melstats", segment_seconds=7), None)
    refused = _Encode(other, ModelConfig(model=str(tmp_path)), "cpu", 1)(decoded)
    assert refused["trouble"].to_pylist()[0].startswith("ConfigError: ")


def test_a_task_s_trouble_travels_as_a_row() -> None:
    import pyarrow as pa

    def refuse(item: str) -> dict[str, object]:
        raise ConfigError(f"{item} does not fit")

    assert _Apply(refuse)(pa.table({"item": ["x"]}))["trouble"].to_pylist() == ["ConfigError: x does not fit"]
