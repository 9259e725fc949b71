"""Settings that cannot work are refused, and a fingerprint depends on everything that decides a value."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from detector.backbones import BACKBONES
from detector.config import CHANNELS, EmbedConfig, Recipe, digest_of, layers_of
from detector.errors import ConfigError

CONFIG = EmbedConfig(backbone="huggingface", layer=9)
RECIPE = Recipe(CONFIG, "facebook/wav2vec2-xls-r-2b", "ab" * 32)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_can_be_configured(backbone: str) -> None:
    assert EmbedConfig(backbone=backbone).backbone == backbone


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"backbone": "whisper"}, "backbone 'whisper' is not known"),
        ({"pooling": "median"}, "pooling 'median' is not known"),
        ({"layer": -2}, "layer -2 does not exist"),
        ({"dtype": "int8"}, "dtype 'int8' is not known"),
        ({"dtype": "float16"}, "one dtype"),
        ({"backbone": "my.encoders"}, "package.module:loader"),
        ({"segment_seconds": 0.5}, "segment_seconds 0.5 is out of range; expected 1 to"),
        ({"segment_seconds": -30.0}, "segment_seconds"),
        ({"segment_seconds": math.nan}, "segment_seconds"),
        ({"segment_seconds": math.inf}, "segment_seconds"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        EmbedConfig(**{"backbone": "melstats"} | settings)


@pytest.mark.parametrize(
    "other",
    [
        replace(RECIPE, config=replace(CONFIG, layer=10)),
        replace(RECIPE, config=replace(CONFIG, segment_seconds=20.0)),
        replace(RECIPE, config=replace(CONFIG, backbone="melstats", layer=-1)),
        replace(RECIPE, config=replace(CONFIG, pooling="max")),
        replace(RECIPE, config=replace(CONFIG, dtype="bfloat16")),
        replace(RECIPE, weights="cd" * 32),
    ],
)
def test_every_setting_that_decides_a_value_changes_the_fingerprint(other: Recipe) -> None:
    assert other.fingerprint != RECIPE.fingerprint


def test_a_model_s_name_does_not_change_the_fingerprint() -> None:
    assert replace(RECIPE, model="/local/copy").fingerprint == RECIPE.fingerprint


def test_a_whole_number_of_seconds_is_the_same_setting_with_and_without_a_point() -> None:
    whole = replace(RECIPE, config=replace(CONFIG, segment_seconds=20))
    point = replace(RECIPE, config=replace(CONFIG, segment_seconds=20.0))

    assert whole.fingerprint == point.fingerprint


def test_a_recipe_names_no_version_of_a_library_and_its_fingerprint_is_the_digest_of_what_it_names() -> None:
    described = RECIPE.describe()

    assert not [value for value in described.values() if "." in str(value) and str(value)[0].isalpha()]
    assert digest_of(described) == RECIPE.fingerprint


def test_a_recipe_of_an_earlier_version_keeps_the_fingerprint_that_it_had() -> None:
    stored = RECIPE.describe() | {"decode": "libsndfile 1.2.2, libavcodec 62.28.102", "resample": "soxr HQ 1.1.0"}

    known = RECIPE.known_as(stored)

    assert known is not None
    assert (known.describe(), known.fingerprint) == (stored, digest_of(stored))
    assert known.known_as(RECIPE.describe()) == RECIPE
    assert RECIPE.known_as(stored | {"dtype": "float16"}) is None
    assert RECIPE.known_as({name: value for name, value in stored.items() if name != "code"}) is None


@pytest.mark.parametrize(
    ("model", "layer", "slug"),
    [
        ("facebook/wav2vec2-xls-r-2b", 9, "wav2vec2-xls-r-2b-layer9"),
        ("facebook/wav2vec2-xls-r-2b", -1, "wav2vec2-xls-r-2b-last"),
        ("s3://models/My Model=1/", 0, "my-model-1-layer0"),
    ],
)
def test_a_slug_is_a_folder_s_name(model: str, layer: int, slug: str) -> None:
    assert Recipe(EmbedConfig(backbone="huggingface", layer=layer), model, "").slug == slug


@pytest.mark.parametrize(
    ("how", "slug"),
    [
        ({"pooling": "mean+std"}, "m-layer9-mean-std"),
        ({"pooling": "max", "dtype": "float16"}, "m-layer9-max-float16"),
        ({"backbone": "my.encoders:load"}, "m-layer9"),
    ],
)
def test_settings_other_than_the_defaults_are_part_of_the_slug(how: dict[str, Any], slug: str) -> None:
    assert Recipe(replace(CONFIG, **how), "m", "").slug == slug


@pytest.mark.parametrize(
    ("text", "layers"),
    [("6", (6,)), ("12,6,9", (6, 9, 12)), ("-1,0", (0, -1)), ("all", tuple(range(25)))],
)
def test_layers_are_numbers_and_commas_or_all(text: str, layers: tuple[int, ...]) -> None:
    assert layers_of(text, 24) == layers


@pytest.mark.parametrize("text", ["", "6;9", "6,,9", "6,6", "25", "-2", "most"])
def test_invalid_layers_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="layers"):
        layers_of(text, 24)


def test_a_digest_is_the_start_of_sha_256_over_sorted_json() -> None:
    # printf '{"a": 1, "b": [2.5]}' | sha256sum
    assert digest_of({"b": [2.5], "a": 1}) == "85aab50d1927ebc0"


def test_channels_are_in_the_fingerprint_except_for_their_mean() -> None:
    prints = {each: replace(RECIPE, config=replace(CONFIG, channels=each)).fingerprint for each in CHANNELS}

    assert len(set(prints.values())) == len(CHANNELS)
    assert prints["mix"] == RECIPE.fingerprint
    assert set(RECIPE.describe()) == {
        "backbone", "weights", "layer", "pooling", "segment_seconds", "dtype", "code"
    }  # fmt: skip
    assert replace(RECIPE, config=replace(CONFIG, channels="each")).slug == f"{RECIPE.slug}-each"
