"""Figures of a regression head: what it predicts, how it errs, and where; a panel for each of its columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.population import population_figure
from visionlab.drawing.style import BLUE, GREY, INK, ORANGE, styled
from visionlab.drawing.text import axis_label, digits, measure, shorten, with_unit
from visionlab.heads.figures import Array, Drawing, Figures, HeadTables, quartile_band, scores_by_group, square
from visionlab.heads.pictures import spread

ACROSS = 4
SHOWN = 4
"""Curves and points of more sequences hide each other."""


def _finite(t: HeadTables) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """Return true and predicted values, N x K, and the rows of the table that they are: those that are finite.

    Raises:
        ValueError: no row is finite.
    """
    true, pred = t.values("_true", "_pred")
    good = np.asarray(np.isfinite(true + pred).all(axis=1))
    if not good.any():
        raise ValueError(f"no image has finite true and predicted values of {t.head}")
    return true[good], pred[good], good


def _mae(t: HeadTables, error: Array) -> str:
    """Return the MAE of all columns in words, with its interval where that is known."""
    return measure(t.metrics.get("mae") or {"value": float(np.abs(error).mean()), "unit": t.unit})


def _panels(t: HeadTables, x: str, y: str) -> tuple[Figure, list[Axes], str]:
    """Return a figure with a labelled panel for each column, and what they are of in words."""
    one = len(t.columns) == 1
    figure, grid = style.grid(len(t.columns), ACROSS, *((7.6, 3.8) if one else (2.6, 2.6)))
    for k, axes in enumerate(grid):
        axes.set_title("" if one else shorten(t.columns[k], 20))
        axes.set_xlabel(x if k + ACROSS >= len(grid) else "")
        axes.set_ylabel(y if k % ACROSS == 0 else "")
    return figure, grid, t.columns[0] if one else f"values of {t.head}"


@styled
def scatter(t: HeadTables) -> Figure:
    """Predicted against true values, with the line on which they are equal."""
    true, pred, good = _finite(t)
    figure, grid, what = _panels(t, axis_label("true", t.unit), axis_label("predicted", t.unit))
    for k, axes in enumerate(grid):
        square(axes, true[:, k], pred[:, k], t.groups[good] if len(grid) == 1 else np.array([]))
        if len(grid) > 1:
            axes.set_title(f"{shorten(t.columns[k], 12)}: MAE {digits(np.abs(pred - true)[:, k].mean())}")
    title = f"Predicted against true {what}: MAE {_mae(t, pred - true)}"
    return style.finish(figure, title, t.caption(len(true)), "on the line predicted = true")


@styled
def errors(t: HeadTables) -> Figure:
    """Distribution of the errors, with their mean (the bias)."""
    true, pred, _ = _finite(t)
    figure, grid, what = _panels(t, axis_label("predicted − true", t.unit), "images")
    error = pred - true
    for k, axes in enumerate(grid):
        reach = float(np.abs(error[:, k]).max()) or 1.0
        bins = int(np.clip(np.sqrt(len(error)) * 2, 11, 61)) | 1  # odd: the middle bin is centred on no error
        axes.hist(error[:, k], bins=bins, range=(-reach, reach), color=BLUE, alpha=0.85, edgecolor="white")
        axes.axvline(0, color=INK)
        axes.axvline(error[:, k].mean(), color=ORANGE, linestyle="--")
    off, way = with_unit(digits(abs(error.mean())), t.unit), "high" if error.mean() > 0 else "low"
    title = f"Errors of {what}: on average {off} too {way}, spread {with_unit(digits(error.std()), t.unit)}"
    return style.finish(figure, title, t.caption(len(true)), "dashed: mean (bias)")


@styled
def by_value(t: HeadTables) -> Figure:
    """The error over the true value: where in the range the model is good, and its tendency there."""
    true, pred, _ = _finite(t)
    figure, grid, what = _panels(t, axis_label("true value", t.unit), axis_label("predicted − true", t.unit))
    for k, axes in enumerate(grid):
        axes.axhline(0, color=GREY)
        quartile_band(axes, true[:, k], (pred - true)[:, k])
    caption = t.caption(len(true)), "line: median of the images; band: their middle half"
    return style.finish(figure, f"Error by true {what}", *caption)


def over_time(t: HeadTables) -> Figure | None:
    """True and predicted values of each sequence over time; of many sequences some from the best to the worst."""
    if not {"sequence", "time"} <= set(t.table):
        return None
    true, pred, good = _finite(t)
    rows = t.table[["sequence", "time"]][good].assign(error=np.abs(pred - true).mean(axis=1))
    for k, column in enumerate(t.columns):
        rows[f"true {column}"], rows[f"pred {column}"] = true[:, k], pred[:, k]
    # Several images of one time point are drawn as their mean.
    points = rows[rows["time"] >= 0].groupby(["sequence", "time"]).mean().reset_index("time")
    parts = {str(name): part for name, part in points.groupby(level=0) if len(part) > 1}
    if not parts:
        return None
    ranked = sorted(parts, key=lambda name: float(parts[name]["error"].mean()))
    shown = {ranked[k]: parts[ranked[k]] for k in spread(len(ranked), SHOWN)}
    true_curves, pred_curves = (
        {name: {c: part[f"{which} {c}"] for c in t.columns} for name, part in shown.items()}
        for which in ("true", "pred")
    )
    which = f" · {len(shown)} of {len(parts)} sequences, from the best to the worst" if len(shown) < len(parts) else ""
    return population_figure(
        {name: part["time"] for name, part in shown.items()},
        pred_curves,
        true=true_curves,
        title=f"{t.head} over time: MAE {_mae(t, pred - true)}",
        what=t.head,
        unit=t.unit,
        caption=t.caption(len(true)) + which,
    )


FIGURES = Figures(
    key="mae",
    baseline="always predicting the mean of the training images",
    drawings={
        "over_time": Drawing(over_time, "True and predicted values of sequences over time.", live=False),
        "scatter": Drawing(scatter, "Predicted against true values; a perfect model is on the line."),
        "errors": Drawing(errors, "Distribution of the errors; the mean is the bias."),
        "by_group": Drawing(
            scores_by_group, "Each group's errors; the interval of the MAE comes from these differences."
        ),
        "by_value": Drawing(by_value, "Where in the range the model is good, and in which direction it errs."),
    },
)
