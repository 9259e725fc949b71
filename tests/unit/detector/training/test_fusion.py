"""A fused head is the weighted sum of its parts, calibrated together, and is loaded and bounded as any other."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from detector.config import EmbedConfig, Recipe, digest_of
from detector.errors import ConfigError
from detector.groups import Groups
from detector.head import Head
from detector.logistic import Matrix
from detector.training import fusion
from detector.training.config import TrainingConfig
from detector.training.fitting import fit_head
from detector.training.fusion import Nats, Part, convex_weights, fuse_heads
from tests.support.made_heads import PLAIN, fused_head

N = 1_200
FIRST = Recipe(EmbedConfig(backbone="huggingface", layer=3), "tiny", "00")
SECOND = Recipe(EmbedConfig(backbone="huggingface", layer=7), "tiny", "00")
MELS = Recipe(EmbedConfig(backbone="melstats"), "melstats", "")
TRUTH = np.arange(N) % 2 == 0
GROUPS = Groups((np.arange(N) // 2 % 20).astype(np.int16), "speaker")


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw groups less often than a fit does: intervals are wider or narrower by chance, and no test minds."""
    monkeypatch.setattr(fusion, "N_DRAWS", 60)


def embeddings(seed: int, dim: int, strength: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(N, dim)) + strength * np.where(TRUTH, 1.0, -1.0)[:, None]).astype(np.float32)


def part(recipe: Recipe, rows: np.ndarray, c: float = 0.1, **settings: Any) -> Part:
    config = TrainingConfig(c=c, standardise=True, **settings)
    return Part(Matrix(rows), config, recipe.describe(), recipe.model)


def test_weights_are_those_of_an_independent_search_on_a_grid() -> None:
    rng = np.random.default_rng(1)
    nats = np.column_stack([2.0 * rng.normal(np.where(TRUTH, m, -m)) for m in (1.0, 0.7, 0.3)])

    found = convex_weights(nats, TRUTH)

    # without a bound below, which does not bind here, it is plain logistic regression
    free = LogisticRegression(C=1e9, tol=1e-10, max_iter=1_000).fit(nats, TRUTH).coef_[0]
    assert (free > 0).all()
    np.testing.assert_allclose(found, free / free.sum(), atol=2e-4)


def test_a_part_that_would_count_against_itself_is_left_out() -> None:
    rng = np.random.default_rng(2)
    good = 2.0 * rng.normal(np.where(TRUTH, 1.0, -1.0))

    assert convex_weights(np.column_stack([good, -good]), TRUTH).tolist() == [1.0, 0.0]
    with pytest.raises(ConfigError, match="held-out logits of no table rank better than chance"):
        convex_weights(np.column_stack([-good, -good]), TRUTH)


def test_a_fused_head_scores_the_weighted_sum_of_its_parts() -> None:
    a, b = embeddings(3, 4, 0.3), embeddings(4, 3, 0.3)
    parts = [part(FIRST, a), part(SECOND, b, c=1.0)]

    head, report, held_out = fuse_heads(parts, TRUTH, GROUPS)

    first, second = (
        fit_head(each.rows, TRUTH, GROUPS, each.config, recipe=each.recipe, model="tiny")[0] for each in parts
    )
    weights = [each["weight"] for each in report["fusion"]["parts"]]
    # the logit of a part in nats is its score before the bounds, since the same held-out logits calibrate it
    nats = [_unbounded(one, rows) for one, rows in ((first, a), (second, b))]
    fused = weights[0] * nats[0] + weights[1] * nats[1]
    joined = np.concatenate([a, b], axis=1).astype(np.float64)
    slope, offset = head.calibration
    np.testing.assert_allclose(_unbounded(head, joined), slope * fused + offset, rtol=1e-9, atol=1e-9)
    assert sum(weights) == pytest.approx(1.0)
    assert len(held_out.score) == N
    assert report["fusion"]["cllr"] < min(each["cllr"] for each in report["fusion"]["parts"])
    assert report["fusion"]["cllr_less_best_alone"]["high"] < 0.0
    assert (report["fusion"]["passes"], report["fusion"]["dim"]) == (1, 7)


def _unbounded(head: Head, rows: np.ndarray) -> np.ndarray:
    wide = replace(head, score_bounds=(-1e6, 1e6))
    return wide.scores(rows.astype(np.float64))


def test_a_part_of_noise_gets_next_to_no_weight_and_the_gain_is_not_claimed() -> None:
    parts = [part(FIRST, embeddings(5, 4, 0.5)), part(MELS, embeddings(6, 4, 0.0))]

    head, report, _ = fuse_heads(parts, TRUTH, GROUPS)

    assert report["fusion"]["parts"][1]["weight"] < 0.05
    assert report["fusion"]["best_alone"] == 0
    assert report["fusion"]["cllr_less_best_alone"]["high"] > -0.01
    if report["fusion"]["parts"][1]["weight"] == 0.0:
        assert len(head.weights) == 4


def test_a_fused_head_is_one_file_with_one_fingerprint_and_loads_as_any_other() -> None:
    parts = [part(FIRST, embeddings(7, 4, 0.3)), part(SECOND, embeddings(8, 3, 0.3))]
    head, _, _ = fuse_heads(parts, TRUTH, GROUPS)

    read = Head.from_json(head.to_json(), "head.json")

    assert read == head
    assert read.layers == (3, 7)
    assert read.fingerprint == digest_of({"fused": [FIRST.describe(), SECOND.describe()]})
    assert read.judges({"fused": [FIRST.describe() | {"decode": "old"}, SECOND.describe()]})
    assert not read.judges({"fused": [SECOND.describe(), FIRST.describe()]})
    assert not read.judges(FIRST.describe())
    assert set(read.fingerprints) == {"mix", "first", "each"}


def test_two_encoders_take_two_passes_and_no_detector_gives_them_in_one() -> None:
    parts = [part(FIRST, embeddings(9, 4, 0.3)), part(MELS, embeddings(10, 3, 0.3))]

    head, report, _ = fuse_heads(parts, TRUTH, GROUPS)

    assert report["fusion"]["passes"] == 2
    assert head.model == "tiny + melstats"
    with pytest.raises(ConfigError, match=r"fused over several encoders or poolings \(tiny \+ melstats\)"):
        head.layers  # noqa: B018


def test_a_certificate_is_on_rows_that_no_part_has_seen() -> None:
    settings = {"certify_miss": 0.2, "certify_false_alarm": 0.2}
    parts = [part(FIRST, embeddings(11, 4, 0.5), **settings), part(SECOND, embeddings(12, 3, 0.5), **settings)]

    head, report, held_out = fuse_heads(parts, TRUTH, GROUPS)

    assert report["certificate"]["certified"]
    assert np.count_nonzero(~held_out.rows) == N // 5
    assert head.max_entropy_bits > 0.0


def test_a_logit_that_ranks_the_wrong_way_round_has_no_slope() -> None:
    rng = np.random.default_rng(13)
    good = rng.normal(np.where(TRUTH, 1.0, -1.0))

    nats = Nats.of(np.column_stack([good, -good]), TRUTH)

    # two unit normals at 1 and -1: the log-likelihood ratio is 2 x
    assert nats.slope[0] == pytest.approx(2.0, abs=0.2)
    assert (nats.slope[1], nats.offset[1]) == (0.0, 0.0)


OWN = Recipe(EmbedConfig(backbone="some.package:loader"), "own", "00")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"fused": [FIRST.describe()]}, "expected the recipes of 2 to 64 tables"),
        ({"fused": [FIRST.describe()] * 65}, "expected the recipes of 2 to 64 tables"),
        ({"fused": [FIRST.describe(), {"fused": [FIRST.describe()] * 2}]}, "expected the recipes of 2 to 64 tables"),
        ({"fused": "ab"}, "expected the recipes of 2 to 64 tables"),
        ({"fused": [FIRST.describe(), SECOND.describe()], "layer": 1}, "expected the recipes of 2 to 64 tables"),
        ({"fused": [FIRST.describe(), SECOND.describe() | {"channels": "each"}]}, "fused over embeddings of different"),
        ({"fused": [FIRST.describe(), SECOND.describe() | {"channels": ["each"]}]}, "fused over embeddings of differ"),
        ({"fused": [FIRST.describe(), SECOND.describe() | {"layer": -7}]}, "layer -7 does not exist"),
        ({"fused": [MELS.describe(), OWN.describe()]}, "its recipe names code to import, the loader some.package:load"),
    ],
)
def test_a_fused_head_is_data_and_is_refused_where_any_part_is_not_a_recipe(recipe: dict[str, Any], words: str) -> None:
    content = json.loads(PLAIN.to_json()) | {"recipe": recipe}
    stated = content.pop("head_id")
    content["head_id"] = digest_of(content)
    assert stated != content["head_id"]

    with pytest.raises(ConfigError, match=f"head.json: .*{words}"):
        Head.from_json(json.dumps(content), "head.json")


def test_every_finite_embedding_gets_a_finite_score_from_a_fused_head_of_the_largest_numbers() -> None:
    head = replace(fused_head(PLAIN, FIRST, SECOND), weights=(1e50, -1e50), scale=(1e-50, 1e-50), bias=1e50)
    largest = float(np.finfo(np.float32).max)

    scores = head.scores(np.array([[largest, -largest], [-largest, largest], [0.0, 0.0], [largest, largest]]))

    assert np.isfinite(scores).all()
