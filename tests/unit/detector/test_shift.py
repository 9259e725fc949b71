"""The index agrees with closed forms and known shifts, and its interval covers the true index."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

from detector.groups import Names
from detector.schema import LABELS
from detector.shift import QUANTITIES, Reference, binned, quantile, spoof_share, stability


def drawn(n: int, *, spoof: float = 0.5, seed: int = 0, moved: float = 0.0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Scores N(±2, 4) of two classes; the other quantities have the same distribution in both."""
    rng = np.random.default_rng(seed)
    is_bonafide = rng.random(n) >= spoof
    score = rng.normal(np.where(is_bonafide, 2.0, -2.0), 2.0) + moved
    others = {"entropy_bits": rng.random(n), "ood": rng.random(n), "seconds": rng.lognormal(1.5, 0.5, n)}
    return {"score": score} | others, is_bonafide


REFERENCE = Reference.of(*drawn(4_000, seed=9))


def test_the_index_of_known_bins_is_its_closed_form() -> None:
    # shares (0.5, 0.3, 0.2) against thirds: sum (p - 1/3) ln 3p = 0.5 ln 1.5 + 0.3 ln 0.9 + 0.2 ln 0.6 - (ln 0.81)/3
    found = stability(np.array([0.5, 0.3, 0.2]) * 1e9, np.full(3, 1e9 / 3))

    closed = 0.5 * np.log(1.5) + 0.3 * np.log(0.9) + 0.2 * np.log(0.6) - np.log(0.81) / 3
    assert found is not None
    assert found.value == pytest.approx(closed, abs=1e-6)


def test_the_index_of_two_normals_is_their_symmetric_divergence() -> None:
    # of N(d, 1) and N(0, 1) it is d² in the limit of fine bins: twice the Kullback-Leibler divergence d²/2
    quantiles = (np.arange(1_000_000) + 0.5) / 1_000_000
    normal = ndtri(quantiles)
    edges = np.linspace(-5.0, 5.5, 400)

    found = stability(binned(normal + 0.5, edges), binned(normal, edges))

    assert found is not None
    assert found.value == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(("n", "m"), [(200, 2_000), (2_000, 500)])
@pytest.mark.parametrize("shares", [(0.1,) * 10, (0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05)])
def test_the_interval_covers_the_true_index(n: int, m: int, shares: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    p, q = np.array(shares), np.full(10, 0.1)
    true = float(((p - q) * np.log(p / q)).sum())

    found = [stability(rng.multinomial(n, p), rng.multinomial(m, q)) for _ in range(400)]

    covered = np.mean([each is not None and each.low <= true <= each.high for each in found])
    assert covered >= 0.93  # 95 % less two standard errors of 400 draws
    assert np.mean([each.value for each in found if each]) == pytest.approx(true, abs=0.03)


def test_no_rows_or_a_single_bin_give_no_index() -> None:
    assert stability(np.zeros(3), np.ones(3)) is None
    assert stability(np.ones(3), np.zeros(3)) is None
    assert stability(np.ones(1), np.ones(1)) is None


@pytest.mark.parametrize("spoof", [0.01, 0.5, 0.95])
def test_another_share_of_spoof_is_no_shift(spoof: float) -> None:
    values, _ = drawn(5_000, spoof=spoof, seed=1)

    shifts = REFERENCE.shifts(REFERENCE.counted(values))

    assert {name: shift.word for name, shift in shifts.items() if shift} == dict.fromkeys(QUANTITIES, "alike")


def test_moved_scores_are_distinguished_from_unmoved_quantities() -> None:
    values, _ = drawn(5_000, seed=2, moved=5.0)

    shifts = REFERENCE.shifts(REFERENCE.counted(values))

    assert {name: shift.word for name, shift in shifts.items() if shift} == {
        "score": "moved far", "entropy_bits": "alike", "ood": "alike", "seconds": "alike"
    }  # fmt: skip


def test_ten_rows_are_too_few_to_tell() -> None:
    values, _ = drawn(10, seed=3)

    words = {shift.word for shift in REFERENCE.shifts(REFERENCE.counted(values)).values() if shift}

    assert words == {"too few to tell"}


def test_the_share_of_spoof_is_that_of_the_mixture() -> None:
    values, _ = drawn(20_000, spoof=0.1, seed=4)

    assert spoof_share(REFERENCE.counted(values)["score"], REFERENCE.rows) == pytest.approx(0.1, abs=0.02)


def test_a_reference_comes_back_from_a_head_as_it_went_in() -> None:
    values, is_bonafide = drawn(200)
    sources = Names.of(["radio" if number % 2 else "calls" for number in range(200)])

    found = Reference.from_dict(Reference.of(values, is_bonafide, sources).to_dict())

    assert found is not None
    assert found.to_dict() == Reference.of(values, is_bonafide, sources).to_dict()
    assert found.n_rows() == 200
    assert found.n_rows("radio") == found.n_rows("calls") == 100


@pytest.mark.parametrize(
    "content",
    [
        None,
        {},
        [],
        {"edges": {}, "rows": {"bonafide": {}, "spoof": {}}, "sources": {}},
        {"edges": {"score": [1.0]}, "rows": {"bonafide": {"score": [1]}, "spoof": {"score": [1, 2]}}, "sources": {}},
        {"edges": {"score": [2.0, 1.0]}, "rows": {name: {"score": [1, 1, 1]} for name in LABELS}, "sources": {}},
        {"edges": {"score": [1.0]}, "rows": {name: {"score": [-1, 1]} for name in LABELS}, "sources": {}},
        {"edges": {"score": "x"}, "rows": {}, "sources": {}},
    ],
)
def test_a_head_without_a_whole_reference_has_none(content: object) -> None:
    assert Reference.from_dict(content) is None


def test_the_mix_of_sources_shifts_where_their_shares_do() -> None:
    values, is_bonafide = drawn(1_000)
    reference = Reference.of(values, is_bonafide, Names.of(["radio" if n % 4 else "calls" for n in range(1_000)]))

    alike, moved = reference.mix_shift({"radio": 750, "calls": 250}), reference.mix_shift({"radio": 100, "calls": 900})

    assert alike is not None
    assert moved is not None
    assert (alike.word, moved.word) == ("alike", "moved far")
    assert reference.mix_shift({"elsewhere": 10}) is None


@pytest.mark.parametrize(("seconds", "word"), [(4.0, "alike"), (2.0, "moved far")])
def test_a_quantity_of_one_value_shifts_where_others_are_below_it(seconds: float, word: str) -> None:
    values, is_bonafide = drawn(2_000)
    reference = Reference.of({"score": values["score"], "seconds": np.full(2_000, 4.0)}, is_bonafide)

    counts = reference.counted({"score": values["score"], "seconds": np.full(2_000, seconds)})

    shift = reference.shifts(counts)["seconds"]
    assert shift is not None
    assert shift.word == word
    assert quantile(counts["seconds"], reference.edges["seconds"]) == 4.0  # its one edge


def test_no_rows_have_no_median() -> None:
    assert quantile(np.zeros(2), np.array([1.0])) is None


def test_values_that_are_not_finite_are_not_counted() -> None:
    counts = REFERENCE.counted({name: np.array([np.nan, 1.0]) for name in QUANTITIES})

    assert {name: int(each.sum()) for name, each in counts.items()} == dict.fromkeys(QUANTITIES, 1)
