"""Charts: where values lie on the page, and round ticks."""

from __future__ import annotations

import pytest

from jobs.reports.charts import Axis, Chart, ProbitAxis, across, up


@pytest.mark.parametrize(
    ("low", "high", "whole", "texts"),
    [
        (0.0, 1.0, False, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (-6.5, 4.4, False, ["-6", "-4", "-2", "0", "2", "4"]),
        (0.0, 3.0, True, ["0", "1", "2", "3"]),
        (2.0, 2.0, False, ["2", "2.2", "2.4", "2.6", "2.8", "3"]),
    ],
)
def test_ticks_are_round_values_inside_the_axis(low: float, high: float, whole: bool, texts: list[str]) -> None:
    axis = Axis(low, high, 0.0, 100.0, whole=whole)

    assert [text for _, text in axis.ticks()] == texts[: len(axis.ticks())]
    assert all(0.0 <= place <= 100.0 for place, _ in axis.ticks())


def test_a_share_is_written_in_percent() -> None:
    assert [text for _, text in Axis(0.0, 0.1, 0.0, 1.0, percent=True).ticks()] == [
        "0 %",
        "2 %",
        "4 %",
        "6 %",
        "8 %",
        "10 %",
    ]


def test_a_value_beyond_the_axis_is_drawn_at_its_end() -> None:
    assert Axis(0.0, 1.0, 50.0, 150.0).at(7.0) == 150.0
    assert Axis(0.0, 1.0, 250.0, 10.0).at(-7.0) == 250.0
    assert ProbitAxis(0.01, 0.99, 0.0, 100.0).at(0.0) == 0.0


def test_probit_places_are_quantiles_of_a_normal() -> None:
    axis = ProbitAxis(0.0227501, 0.9772499, 0.0, 400.0)  # two deviations either side

    assert axis.at(0.1586553) == pytest.approx(100.0, abs=0.1)
    assert axis.at(0.5) == 200.0


def test_a_line_skips_undefined_and_repeated_points() -> None:
    chart = Chart("t", "a", across(0.0, 1.0), up(0.0, 1.0), "x", "y")

    chart.line([(0.0, 0.0), (0.0, None), (0.0, 0.0), (1.0, 1.0)], "head-0")

    assert chart.lines[0]["points"].count(",") == 2
