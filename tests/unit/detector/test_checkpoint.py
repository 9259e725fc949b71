"""The digest of a checkpoint depends on the content of its files, and on nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.checkpoint import recipe_of, weights_digest
from detector.config import EmbedConfig
from detector.errors import ConfigError

MELSTATS = EmbedConfig(backbone="melstats")
HUGGINGFACE = EmbedConfig(backbone="huggingface", layer=2)


@pytest.fixture
def folder(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return shutil.copytree(checkpoints["wav2vec2-group"], tmp_path / "copy")


def test_the_digest_does_not_depend_on_the_folder_s_path(checkpoints: dict[str, Path], folder: Path) -> None:
    assert weights_digest(folder) == weights_digest(str(checkpoints["wav2vec2-group"]))


def test_other_weights_have_another_digest(checkpoints: dict[str, Path]) -> None:
    assert len({weights_digest(checkpoint) for checkpoint in checkpoints.values()}) == len(checkpoints)


def flip_last_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


CHANGES: dict[str, Callable[[Path], object]] = {
    "one bit of the weights": lambda folder: flip_last_byte(folder / "model.safetensors"),
    "the name of a file": lambda folder: (folder / "model.safetensors").rename(folder / "other.safetensors"),
    "a setting": lambda folder: flip_last_byte(folder / "config.json"),
    "the preprocessing": lambda folder: flip_last_byte(folder / "preprocessor_config.json"),
    "one more file of weights": lambda folder: (folder / "more.safetensors").touch(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_every_file_that_is_read_changes_the_digest(what: str, folder: Path) -> None:
    before = weights_digest(folder)
    CHANGES[what](folder)

    assert weights_digest(folder) != before


def test_files_that_are_never_opened_do_not_change_the_digest(folder: Path) -> None:
    before = weights_digest(folder)
    (folder / "README.md").write_text("model card")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")

    assert weights_digest(folder) == before


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no checkpoint in this folder"):
        weights_digest(tmp_path)


def test_a_recipe_names_the_model_and_the_digest_of_its_files(folder: Path) -> None:
    recipe = recipe_of(HUGGINGFACE, folder, "facebook/wav2vec2-base")

    assert (recipe.model, recipe.weights, recipe.config) == (
        "facebook/wav2vec2-base",
        weights_digest(folder),
        HUGGINGFACE,
    )
    assert recipe_of(HUGGINGFACE, folder).model == str(folder)


def test_an_encoder_without_weights_has_none_in_its_recipe() -> None:
    recipe = recipe_of(MELSTATS, None)

    assert (recipe.model, recipe.weights) == ("melstats", "")


@pytest.mark.parametrize(("config", "has_folder"), [(MELSTATS, True), (HUGGINGFACE, False)])
def test_a_superfluous_or_missing_checkpoint_is_refused(config: EmbedConfig, has_folder: bool, folder: Path) -> None:
    with pytest.raises(ConfigError, match="--model"):
        recipe_of(config, folder if has_folder else None)
