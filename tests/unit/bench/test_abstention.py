"""The tables of abstention and of certificates say what was put in."""

from __future__ import annotations

import numpy as np
import pytest

from bench.abstention import ENTROPY, Judged, Listed, _reasons, figures, trials_of
from bench.certificates import left_out
from bench.perturbed import CHANGES
from detector.rejection import entropy_bits


def listed(n_groups: int, n_rows: int) -> Listed:
    rows = []
    for number in range(2 * n_groups * n_rows):
        group, label = number // n_rows, "bonafide" if number < n_groups * n_rows else "spoof"
        name = f"g{group}"
        system, source = ("-", name) if label == "bonafide" else (name, "-")
        facts = {"label": label, "system": system, "source": source, "speaker": "-"}
        rows.append(facts | {"uri": str(number), "corpus": "dev"})
    return Listed(rows)


def test_scores_that_do_not_move_have_no_spread_and_their_own_entropy() -> None:
    still, rng = np.array([2.0, -1.0, 0.5]), np.random.default_rng(0)
    moved = still + rng.normal(size=(len(CHANGES), 3)) * [1.0, 0.0, 1.0]
    moved[0] = still

    found = _reasons(Judged(still, np.array([0.1, 0.2, 0.3]), moved), [0, 1, 2])

    spreads = [each for name, each in found.items() if name.startswith("spread")]
    assert len(spreads) == 4
    assert all(each[1] == 0.0 and each[0] > 0.0 for each in spreads)
    assert spreads[1] == pytest.approx(np.abs(moved[2] - still) / 2.0)  # two passes: half of their distance
    mean = next(each for name, each in found.items() if name.startswith("entropy of the mean"))
    assert mean[1] == pytest.approx(found[ENTROPY][1])
    assert found[ENTROPY] == pytest.approx(entropy_bits(still, 0.5))


def test_the_figures_of_a_head_that_is_right_where_it_is_sure() -> None:
    split = listed(5, 4)
    right = np.where(split.is_bonafide, 3.0, -3.0) * np.linspace(1.0, 1.1, 40)  # no two are equal
    score = np.where(np.arange(40) % 4 == 0, -right / 30.0, right)  # a fourth is wrong, with little certainty

    table = figures({"head": trials_of(split, score)})

    lines = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in table.splitlines()}
    assert lines["wrong without rejecting, %"].startswith("25.0 ")
    assert lines["excess AURC, %"].startswith("0.0 ")
    assert lines["kept at 1% wrong, spoof, %"].startswith("75.0 ")
    assert lines["kept at 5% wrong, all, %"].startswith("77.5 ")  # 30 right rows and one that is wrong, of 40


def test_groups_that_were_left_out_are_judged_by_the_others() -> None:
    split = listed(60, 20)
    score = np.where(split.is_bonafide, 6.0, -6.0)
    score[:20] = -6.0  # one source is taken for spoof, with certainty

    rows = [line.split(" | ") for line in left_out(split, Judged(score, score, score[None])).splitlines()[2:]]

    # with the others alone, a source that is all wrong is not seen: it is then the worst that was left out
    of_bonafide = {(row[1], row[2]): row[3:] for row in rows if row[0] == "| bona fide"}
    assert of_bonafide["0.2", "mean"] == ["100.0", "1.7", "1 of 60", "100 |"]
    assert "not certified with 60 groups, 75 without an error would be" in of_bonafide["0.05", "mean"][0]
