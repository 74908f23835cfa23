"""Curves over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from visionlab.drawing.population import NAMED, population_figure, readable_times
from visionlab.drawing.style import PALETTE, save


def points(line: Line2D) -> list[list[float]]:
    return np.asarray(line.get_xydata()).tolist()


def heights(line: Line2D) -> list[float]:
    return np.asarray(line.get_ydata()).tolist()


def legend_of(figure: Figure) -> list[str]:
    found = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for legend in found if legend for text in legend.get_texts()]


def test_curves_are_in_order_of_time_and_true_values_are_points(tmp_path: Path) -> None:
    times = {"01": [2, 0, 1], "02": [5, 6]}
    values = {"01": {"objects": [9, 4, 5]}, "02": {"objects": [7, 8]}}
    figure = population_figure(times, values, true={"01": {"objects": [8, 4, 6]}}, caption="test: 5 volumes")
    axes = figure.axes[0]
    first, second = axes.lines
    assert points(first) == [[0, 4], [1, 5], [2, 9]]
    assert points(second) == [[5, 7], [6, 8]]
    true = axes.collections[0]
    assert np.asarray(true.get_offsets()).tolist() == [[2, 8], [0, 4], [1, 6]]
    assert to_hex(np.asarray(true.get_edgecolor())[0]) == to_hex(PALETTE[0]) == str(first.get_color()).lower()
    assert axes.get_ylim()[0] == 0
    assert legend_of(figure) == ["01", "02", "true (lines: predicted)"]
    assert save(figure, tmp_path / "a.png").stat().st_size > 5000


def test_each_column_has_its_panel() -> None:
    times = np.arange(4)
    values = {"01": {name: times * k for k, name in enumerate("AEMPCDZ")}}
    figure = population_figure(times, values, unit="cells", time="time (min)", title="Lineages")
    panels = [axes for axes in figure.axes if axes.lines]
    assert [axes.get_title(loc="left") for axes in panels] == list("AEMPCDZ")
    assert heights(panels[6].lines[0]) == [0, 6, 12, 18]
    assert [axes.get_ylabel() for axes in panels] == ["cells", "", "", "", "cells", "", ""]
    assert [axes.get_xlabel() for axes in panels] == ["", "", "", *4 * ["time (min)"]]


def test_of_many_series_the_mean_is_drawn() -> None:
    values = {str(k): {"objects": [k, k + 2]} for k in range(NAMED + 1)}
    figure = population_figure([0, 1], values)
    mean = figure.axes[0].lines[-1]
    assert heights(mean) == [NAMED / 2, NAMED / 2 + 2]
    assert legend_of(figure) == ["a series", "mean of the series"]
    assert f"{NAMED + 1} series" in figure.get_supxlabel()


def test_gaps_single_times_and_nothing(tmp_path: Path) -> None:
    figure = population_figure([0, 1, 2], {"a": {"objects": [1, np.nan, 2]}, "b": {"objects": [3, 3, 3]}})
    assert save(figure, tmp_path / "a.png").stat().st_size > 5000
    alone = population_figure([3], {"a": {"objects": [2]}})
    assert alone.axes[0].lines[0].get_marker() == "o"  # a line of one point would not be seen
    assert legend_of(alone) == []
    with pytest.raises(ValueError, match="at least one series"):
        population_figure([], {})
    with pytest.raises(ValueError, match="01: expected 2 values of objects, one a time, found shape \\(3,\\)"):
        population_figure([0, 1], {"01": {"objects": [1, 2, 3]}})


@pytest.mark.parametrize(
    ("seconds", "values", "label"),
    [
        ([0, 30], [0, 30], "time (s)"),
        ([0, 90, 600], [0, 1.5, 10], "time (min)"),
        ([0, 36000], [0, 10], "time (h)"),
        ([0, 864000], [0, 10], "time (d)"),
        ([], [], "time (s)"),
    ],
)
def test_times_are_in_the_unit_in_which_they_are_read(seconds: list[float], values: list[float], label: str) -> None:
    found, words = readable_times(seconds)
    assert found.tolist() == values
    assert words == label
