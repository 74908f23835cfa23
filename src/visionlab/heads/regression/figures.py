"""Figures of a regression head: what it predicts, how it errs, and where; a panel for each of its columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.population import population_figure
from visionlab.drawing.style import BLUE, GREY, INK, ORANGE, styled
from visionlab.drawing.text import axis_label, count, decimals, digits, measure, shorten, value, with_unit
from visionlab.heads.figures import Array, Drawing, Figures, HeadTables, Scores, quartile_band, scores_by_group, square

ACROSS = 4
SHOWN = 4
"""Curves and points of more sequences hide each other."""


def _finite(t: HeadTables) -> tuple[Array, Array, Any, str]:
    """Return true and predicted values, N x K, the rows of the table that they are, and what is left out in words.

    Raises:
        ValueError: no row is finite.
    """
    true, pred = t.values("_true", "_pred")
    good = np.isfinite(true).all(axis=1) & np.isfinite(pred).all(axis=1)
    if not good.any():
        raise ValueError(f"no image has finite true and predicted values of {t.head}")
    lost = "" if good.all() else f"{count(int((~good).sum()), 'image')} not finite, not drawn"
    return true[good], pred[good], good, lost


def _mae(t: HeadTables, true: Array, pred: Array, column: int | None = None) -> dict[str, Any]:
    """Return the entry of metrics.json for the MAE of a column or of all, or the bare value."""
    entry = t.metrics.get("mae" if column is None or len(t.columns) == 1 else f"{t.columns[column]}/mae")
    error = np.abs(pred - true) if column is None else np.abs(pred - true)[:, column]
    return dict(entry or {"value": float(error.mean()), "unit": t.unit})


def _grid(t: HeadTables, wide: float, tall: float) -> tuple[Figure, list[Axes]]:
    one = len(t.columns) == 1
    return style.grid(len(t.columns), ACROSS, *((wide, tall) if one else (2.6, 2.6)))


def _labels(t: HeadTables, axes: Axes, k: int, x: str, y: str) -> None:
    """Label the axes of a column: of several only the outer ones."""
    across = min(ACROSS, len(t.columns))
    axes.set_xlabel(x if k + across >= len(t.columns) else "")
    axes.set_ylabel(y if k % across == 0 else "")


@styled
def scatter(t: HeadTables) -> Figure:
    """Predicted against true values, with the line on which they are equal."""
    true, pred, good, lost = _finite(t)
    figure, grid = _grid(t, 8.4, 4)
    groups = None if t.groups is None or len(grid) > 1 else t.groups[good]
    for k, axes in enumerate(grid):
        square(axes, true[:, k], pred[:, k], groups)
        _labels(t, axes, k, axis_label("true", t.unit), axis_label("predicted", t.unit))
        if len(grid) > 1:
            axes.set_title(f"{shorten(t.columns[k], 12)}: MAE {digits(_mae(t, true, pred, k)['value'])}")
    what = t.columns[0] if len(grid) == 1 else f"values of {t.head}"
    title = f"Predicted against true {what}: MAE {measure(_mae(t, true, pred))}"
    return style.finish(figure, title, t.caption(lost, "on the line predicted = true"))


@styled
def errors(t: HeadTables) -> Figure:
    """Distribution of the errors, with their mean (the bias)."""
    true, pred, _, lost = _finite(t)
    figure, grid = _grid(t, 7, 3.6)
    error = pred - true
    for k, axes in enumerate(grid):
        bias, spread, reach = error[:, k].mean(), error[:, k].std(), float(np.abs(error[:, k]).max()) or 1.0
        bins = int(np.clip(np.sqrt(len(error)) * 2, 11, 61)) | 1  # odd: the middle bin is centred on no error
        axes.hist(error[:, k], bins=bins, range=(-reach, reach), color=BLUE, alpha=0.85, edgecolor="white")
        axes.axvspan(bias - spread, bias + spread, color=GREY, alpha=0.2, linewidth=0, label="± standard deviation")
        axes.axvline(0, color=INK, linewidth=1.2, label="no error")
        axes.axvline(bias, color=ORANGE, linestyle="--", label="mean (bias)")
        axes.grid(axis="x", visible=False)
        _labels(t, axes, k, axis_label("predicted − true", t.unit), "images")
        style.whole(axes.yaxis)
        if len(grid) > 1:
            axes.set_title(shorten(t.columns[k], 20))
    if len(grid) > 1:
        return style.finish(figure, f"Errors of {t.head}", t.caption(lost, "dashed: mean (bias)"))
    places, way = decimals(float(error.std())), "high" if error.mean() > 0 else "low"
    off, spread = (with_unit(digits(float(x), places), t.unit) for x in (abs(error.mean()), error.std()))
    title = f"Errors of {t.columns[0]}: on average {off} too {way}, spread {spread}"
    return style.finish(figure, title, t.caption(lost), grid[0])


def by_group(t: HeadTables) -> Figure | None:
    """Absolute error of each group's images; of several columns their mean."""
    true, pred, good, lost = _finite(t)
    groups = None if t.groups is None else t.groups[good]
    scores = Scores(np.abs(pred - true).mean(axis=1), groups, "MAE", t.unit, False, t.caption(lost))
    what = t.columns[0] if len(t.columns) == 1 else f"{t.head} (mean of {len(t.columns)} columns)"
    return scores_by_group(scores, what)


@styled
def by_value(t: HeadTables) -> Figure:
    """The error over the true value: where in the range the model is good, and its tendency there."""
    true, pred, _, lost = _finite(t)
    figure, grid = _grid(t, 7, 3.6)
    for k, axes in enumerate(grid):
        axes.axhline(0, color=INK, linewidth=1.2)
        quartile_band(axes, true[:, k], (pred - true)[:, k])
        _labels(t, axes, k, axis_label("true value", t.unit), axis_label("predicted − true", t.unit))
        if len(grid) > 1:
            axes.set_title(shorten(t.columns[k], 20))
    what = t.columns[0] if len(grid) == 1 else f"value of {t.head}"
    caption = t.caption(lost, "line: median of the images; band: their middle half")
    return style.finish(figure, f"Error by true {what}", caption)


def over_time(t: HeadTables) -> Figure | None:
    """True and predicted values of each sequence over time; of many sequences some from the best to the worst."""
    true, pred, good, lost = _finite(t)
    if not {"sequence", "time"} <= set(t.table.columns):
        return None
    sequence, time = t.table["sequence"].to_numpy(str)[good], t.table["time"].to_numpy(float)[good]
    of = {name: np.flatnonzero((sequence == name) & (time >= 0)) for name in np.unique(sequence[time >= 0])}
    if not any(len(np.unique(time[rows])) > 1 for rows in of.values()):
        return None
    ranked = sorted(of, key=lambda name: float(np.abs(pred - true)[of[name]].mean()))
    shown = [ranked[i] for i in np.linspace(0, len(ranked) - 1, min(SHOWN, len(ranked))).round().astype(int)]
    at, curves = {}, {}
    for name in [name for name in of if name in shown]:
        # Several images of one time point are drawn as their mean.
        points, place, n = np.unique(time[of[name]], return_inverse=True, return_counts=True)
        at[name or "the sequence"] = points
        curves[name or "the sequence"] = [
            {c: np.bincount(place, weights=values[of[name], k]) / n for k, c in enumerate(t.columns)}
            for values in (true, pred)
        ]
    which = f"{len(at)} of {len(of)} sequences, from the best to the worst" if len(at) < len(of) else ""
    return population_figure(
        at,
        {name: pair[1] for name, pair in curves.items()},
        true={name: pair[0] for name, pair in curves.items()},
        title=f"{t.head[:1].upper()}{t.head[1:]} over time: MAE {value(_mae(t, true, pred))}",
        what=t.head,
        unit=t.unit,
        caption=t.caption(lost, which),
    )


FIGURES = Figures(
    key="mae",
    baseline=("always predicting the mean of the training images", "the same for every image"),
    drawings={
        "over_time": Drawing(over_time, "True and predicted values of sequences over time.", wide=True, live=False),
        "scatter": Drawing(scatter, "Predicted against true values; a perfect model is on the line."),
        "errors": Drawing(errors, "Distribution of the errors; the mean is the bias."),
        "by_group": Drawing(by_group, "Each group's errors; the interval of the MAE comes from these differences."),
        "by_value": Drawing(by_value, "Where in the range the model is good, and in which direction it errs."),
    },
)
