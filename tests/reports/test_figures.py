"""Figures of each kind of head: contract tests over all of them, and the numbers that they show."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.reports.tables import SPECS, check_readable, tables
from visionlab.drawing.text import METRIC_WORDS
from visionlab.heads import KINDS
from visionlab.heads.figures import HeadTables, Scores, figures_of
from visionlab.heads.labels.figures import precision_recall

DRAWINGS = [(kind, key) for kind in SPECS for key in figures_of(kind).drawings]


def draw(kind: str, key: str, given: HeadTables | None = None) -> Figure:
    figure = figures_of(kind).drawings[key].draw(given or tables(kind))
    assert figure is not None
    return figure


def test_every_kind_has_figures_and_every_metric_a_name() -> None:
    assert set(SPECS) == set(KINDS)
    for kind in KINDS:
        assert figures_of(kind).key in KINDS[kind].metrics
        assert figures_of(kind).pictures
        assert {name.removeprefix("aligned_") for name in KINDS[kind].metrics} <= set(METRIC_WORDS)
    instances = figures_of("instances")
    assert instances.label("head/seg", {"dimensions": 3}) == "head: SEG (3D volumes)"
    assert instances.label("iou", {"dimensions": 2}, short=True) == "2D IoU"
    assert figures_of("depth").label("aligned_mae", {}) == "MAE, scale-aligned"
    assert figures_of("mask").key_metric({"metrics": ["dice"]}) == "dice"


@pytest.mark.parametrize(("kind", "key"), DRAWINGS)
def test_every_figure_can_be_read_of_one_sample_and_of_many(kind: str, key: str, tmp_path: Path) -> None:
    for n, groups in ((1, 1), (60, 4), (4100, 70)):
        figure = (
            figures_of(kind).drawings[key].draw(tables(kind, n, groups)) if (n, kind) != (1, "multilabel") else None
        )
        assert figure or n == 1
        if figure is not None:
            check_readable(figure, tmp_path / "one.png")
            assert "generated sample" in " ".join(figure.get_supxlabel().split())
            assert all([*axes.lines, *axes.collections, *axes.patches, *axes.images] for axes in figure.axes)


@pytest.mark.parametrize(("kind", "key"), [(k, key) for k, key in DRAWINGS if figures_of(k).drawings[key].live])
def test_figures_while_training_need_no_groups(kind: str, key: str) -> None:
    given = tables(kind)
    few = [name for name in given.table if name not in ("id", "group", "split", "path", "sequence", "time", "z")]
    given = dataclasses.replace(given, split="val", table=given.table[few], frames=None)
    figure = figures_of(kind).drawings[key].draw(given)
    assert figure is None or "val: 60" in figure.get_supxlabel()


@pytest.mark.parametrize("kind", list(SPECS))
def test_nothing_finite_is_said_and_single_ones_are_left_out(kind: str) -> None:
    given = tables(kind)
    numbers = [name for name in map(str, given.table) if name.startswith(("head_", "depth_")) or "_score" in name]
    given.table.loc[:2, numbers] = np.nan
    key = next(key for key in figures_of(kind).drawings if key in ("scores", "scatter", "precision_recall"))
    assert "3 " in draw(kind, key, given).get_supxlabel()
    given.table[numbers] = np.nan
    with pytest.raises(ValueError, match="finite"):
        figures_of(kind).drawings[key].draw(given)


def test_titles_say_what_the_tables_hold() -> None:
    given = tables("regression")
    error = given.table["depth_pred"] - given.table["depth_true"]
    title = f"Predicted against true depth: MAE {error.abs().mean():.3f} µm"
    assert draw("regression", "scatter", given).get_suptitle() == title
    assert f"{error.mean():.3f} µm too high" in draw("regression", "errors", given).get_suptitle()
    values = tables("depth").table["head_mae"]
    title = f"MAE of head: median {values.median():.2f} m, worst tenth above {values.quantile(0.9):.2f} m"
    assert draw("depth", "scores").get_suptitle() == title
    mean = tables("mask").table.groupby("group")["head_iou"].mean()
    assert draw("mask", "by_group").get_suptitle() == f"IoU by group: from {mean.max():.2f} to {mean.min():.2f}"
    assert draw("instances", "counts").get_suptitle() == "Count of head: mean error 1.00"
    several = tables("regression", columns=list("AEMPCDZ"))
    several = dataclasses.replace(several, metrics={"mae": {"value": 1.5, "low": 1.4, "high": 1.6}})
    scatter = draw("regression", "scatter", several)
    assert sum(axes.axison for axes in scatter.axes) == 7
    assert scatter.get_suptitle() == "Predicted against true values of head: MAE 1.50 [1.40, 1.60]"


def test_the_scatter_has_each_group_in_its_colour_and_ends_that_hold_all() -> None:
    given = tables("regression")
    axes = draw("regression", "scatter", given).axes[0]
    points = np.concatenate([np.asarray(part.get_offsets()) for part in axes.collections])
    expected = given.table[["depth_true", "depth_pred"]].to_numpy()
    np.testing.assert_allclose(np.sort(points, axis=0), np.sort(expected, axis=0))
    assert len(axes.collections) == 4
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_xlim()[0] < points.min() < points.max() < axes.get_xlim()[1]
    assert axes.get_xlabel() == "true (µm)"


def test_groups_stand_from_the_best_to_the_worst_and_of_many_the_worst_are_shown() -> None:
    given = tables("mask", 8, 2)
    given.table["head_iou"] = [0.1, 0.9] * 4
    axes = draw("mask", "by_group", given).axes[0]
    assert [label.get_text()[:8] for label in axes.get_yticklabels()] == ["_group 1", "_group 0"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first one above"
    many = draw("mask", "by_group", tables("mask", 400, 100))
    assert len(many.axes[0].get_yticklabels()) == 30
    assert "the worst 30 of 100 groups" in many.get_supxlabel()


def test_sequences_are_drawn_in_time_and_of_many_some() -> None:
    given = tables("regression", 40, 10)
    figure = draw("regression", "over_time", given)
    assert len(figure.axes[0].lines) == 4
    assert "4 of 10 sequences, from the best to the worst" in figure.get_supxlabel().replace("\n", " ")
    six = tables("regression", 24, 6)
    worst = six.table["sequence"] == six.table["sequence"].iloc[-1]
    six.table["depth_pred"] = six.table["depth_true"].where(~worst, 1000.0)
    assert max(line.get_ydata().max() for line in draw("regression", "over_time", six).axes[0].lines) == 1000  # type: ignore[union-attr]
    for missing in (given.table.drop(columns="time"), given.table.assign(time=-1)):
        assert figures_of("regression").drawings["over_time"].draw(dataclasses.replace(given, table=missing)) is None


def test_recall_and_precision_are_those_of_every_threshold() -> None:
    recall, precision, area = precision_recall(np.array([True, False, True, True]), np.array([0.9, 0.8, 0.8, 0.1]))
    assert recall.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert precision.tolist() == pytest.approx([1, 2 / 3, 3 / 4])
    assert area == pytest.approx(1 / 3 + 2 / 9 + 1 / 4)


def test_objects_are_drawn_where_labels_tell_them_apart() -> None:
    given = tables("instances")
    place = draw("instances", "by_place", given)
    assert [axes.get_xlabel() for axes in place.axes] == ["slice z", "time point", "time point"]
    assert [text.get_text() for text in place.axes[2].get_legend().get_texts()] == ["F1", "SEG", "DET"]  # type: ignore[union-attr]
    unknown = dataclasses.replace(given, frames=given.frames.assign(objects_true=np.nan))  # type: ignore[union-attr]
    for key in ("counts", "population"):
        assert figures_of("instances").drawings[key].draw(unknown) is None
    assert len(draw("instances", "by_place", unknown).axes) == 2


def test_only_what_the_table_lists_is_a_score_of_single_samples() -> None:
    assert [kind for kind in SPECS if Scores.listed(tables(kind))] == ["mask", "depth", "instances"]


def test_caveats_of_kinds() -> None:
    t = tables("multilabel", 20)
    said = list(figures_of("multilabel").caveats({"val": t, "test": t}))
    assert said[0] == "No threshold, because no validation image has it, so never predicted: Rods & rings."
    assert said[1] == "1 of 3 classes of head have no training image and cannot be learnt: Rods & rings."
    assert "thresholds of 1 of 3 classes of head rest on fewer than 10 validation images" in said[2]
    assert said[3].startswith("1 of 3 classes of head have no test image")
    given = dataclasses.replace(tables("instances"), metrics={"f1": {"value": None}})
    solid, fitted, apart = figures_of("instances").caveats({"test": given})
    assert "different things" in solid
    assert "(threshold 0.41, min_planes 2) was fitted on the validation split" in fitted
    assert "don't tell objects apart" in apart
    several = {"test": given, "val": dataclasses.replace(given, metrics={})}
    assert list(figures_of("instances").caveats(several))[-1] == apart
