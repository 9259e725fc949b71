"""Tables are found by what their recipe computes, whatever versions an older fingerprint counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from detector.config import EmbedConfig, Recipe
from detector.errors import ConfigError
from jobs.fitting.choice import _tables
from jobs.fitting.config import FitConfig
from jobs.scoring.heads import check_recipe, embeddings_of
from jobs.tables.ledger import Ledger
from jobs.tables.protocol import Entry, Plan
from jobs.tables.recipes import as_stored, essences_in
from tests.support.heads import some_head

RECIPE = Recipe(EmbedConfig(backbone="huggingface", layer=9), "tiny", "00")
OLD = replace(RECIPE, former=(("decode", "libsndfile 1.2.1"), ("resample", "soxr HQ 1.0.0")))
OLDER = replace(RECIPE, former=(("decode", "libsndfile 1.1.0"), ("resample", "soxr HQ 1.0.0")))
OTHER = Recipe(EmbedConfig(backbone="huggingface", layer=8), "tiny", "00")


def planned(output: Path, *recipes: Recipe) -> str:
    """An output with a plan for each recipe, one a day."""
    for day, recipe in enumerate(recipes, start=1):
        date = f"2026-11-{day:02d}"
        plan = Plan(f"{date}-{day:08x}", date, (Entry("0" * 16, "made"),), {"recipe": recipe.describe()})
        Ledger(str(output), "embeddings", recipe.fingerprint).freeze(
            lambda history, plan=plan: None if history.plans else plan
        )
    return str(output)


def test_recipes_of_every_age_have_one_essence_and_others_another(tmp_path: Path) -> None:
    essences = essences_in(planned(tmp_path, OLD, OLDER, RECIPE, OTHER))

    assert len(essences) == 4
    assert {essences[each.fingerprint] for each in (OLD, OLDER, RECIPE)} == {RECIPE.fingerprint}
    assert essences[OTHER.fingerprint] == OTHER.fingerprint


@pytest.mark.parametrize(
    ("there", "preferred", "expected"),
    [
        ((), None, RECIPE),
        ((OTHER,), None, RECIPE),
        ((OLD, RECIPE), None, RECIPE),
        ((OLD,), None, OLD),
        ((OLDER, OLD), None, OLD),
        ((OLD, OLDER), None, OLDER),
        ((OLD, OLDER), OLD.fingerprint, OLD),
        ((OLD,), OLDER.fingerprint, OLD),
    ],
)
def test_a_recipe_has_the_fingerprint_that_the_output_has(
    there: tuple[Recipe, ...], preferred: str | None, expected: Recipe, tmp_path: Path
) -> None:
    assert as_stored(planned(tmp_path, *there), RECIPE, preferred) == expected


@pytest.mark.parametrize(("of_head", "expected"), [(RECIPE, OLDER), (OLD, OLD), (OLDER, OLDER)])
def test_a_head_takes_its_own_table_before_others_of_its_recipe(
    of_head: Recipe, expected: Recipe, tmp_path: Path
) -> None:
    output = planned(tmp_path, OTHER, OLD, OLDER)
    candidates = {each.fingerprint for each in (OLD, OLDER)}

    found = embeddings_of(output, some_head(of_head)).key

    assert found in candidates
    assert of_head is RECIPE or found == expected.fingerprint


def test_a_head_of_another_layer_is_refused(tmp_path: Path) -> None:
    expected = rf"the head is for .* {OTHER.fingerprint} .* these have {OLD.fingerprint} \(layer 8, not 9\)"
    with pytest.raises(ConfigError, match=expected):
        embeddings_of(planned(tmp_path, OLD), some_head(OTHER))
    with pytest.raises(ConfigError, match="or fit again"):
        check_recipe(some_head(OTHER), [RECIPE], "head.json")
    check_recipe(some_head(OLD), [RECIPE], "head.json")


@pytest.mark.parametrize("fingerprint", [None, OLD.fingerprint, RECIPE.fingerprint])
def test_outputs_of_different_age_are_fitted_on_together(fingerprint: str | None, tmp_path: Path) -> None:
    outputs = planned(tmp_path / "old", OLD), planned(tmp_path / "new", RECIPE)
    settings = FitConfig(embeddings=outputs, labels="labels.csv", output="head.json", fingerprint=fingerprint)

    (tables,) = _tables(settings)

    assert [each.key for each in tables] == [OLD.fingerprint, RECIPE.fingerprint]


def test_outputs_of_other_recipes_are_not(tmp_path: Path) -> None:
    outputs = planned(tmp_path / "old", OLD), planned(tmp_path / "other", OTHER)

    with pytest.raises(ConfigError, match="no fingerprint of embeddings in all outputs"):
        _tables(FitConfig(embeddings=outputs, labels="labels.csv", output="head.json"))
