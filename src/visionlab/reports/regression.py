"""Figures of a regression head: what it predicts, how it errs, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREY, INK, ORANGE, styled
from visionlab.drawing.text import axis_label, count, decimals, digits, measure, shorten, with_unit
from visionlab.reports.groups import Grouped, draw_groups
from visionlab.reports.over_time import Times, over_time, read_times
from visionlab.reports.tables import table_caption

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]
MAX_GROUP_COLOURS = 10
MAX_POINTS = 5000


@dataclass(frozen=True)
class Predictions:
    """Predictions of one target column, in the user's units: what the figures of a regression head draw.

    Attributes:
        column, unit, step: the target's name, its unit (``um``) and the distance between its levels, if it has levels.
        stage: ``test``, ``val``.
        true, pred: N finite values.
        group: N names.
        mae: its entry of metrics.json (value, low, high), or an empty dict.
        caption: the line under each figure.
        times: what each image is a time point of; None if that is unknown.
    """

    column: str
    unit: str
    step: float | None
    stage: str
    true: Array
    pred: Array
    group: npt.NDArray[Any]
    mae: dict[str, Any]
    caption: str
    times: Times | None = None

    @classmethod
    def of(
        cls, table: pd.DataFrame, column: str, spec: dict[str, Any], stage: str, mae: dict[str, Any], *, synthetic: bool
    ) -> Predictions:
        """Read ``<column>_true`` and ``<column>_pred`` of a table; the caption says which rows could not be drawn.

        Raises:
            ValueError: no row has two finite values.
        """
        true = table[f"{column}_true"].to_numpy(dtype=float)
        pred = table[f"{column}_pred"].to_numpy(dtype=float)
        good = np.isfinite(true) & np.isfinite(pred)
        if not good.any():
            raise ValueError(f"no sample has a finite {column}_true and {column}_pred")
        group = table["group"].astype(str).to_numpy()
        left_out = "" if good.all() else f"{count(int((~good).sum()), 'value')} not finite, not drawn"
        step = spec.get("step")
        return cls(
            column=column,
            unit=str(spec.get("unit") or ""),
            step=float(step) if step else None,
            stage=stage,
            true=true[good],
            pred=pred[good],
            group=group[good],
            mae=mae or {"value": float(np.abs(pred - true)[good].mean()), "unit": spec.get("unit")},
            caption=table_caption(stage, len(table), len(set(group)), left_out, synthetic),
            times=read_times(table[good]),
        )

    @property
    def error(self) -> Array:
        """Predicted minus true."""
        return self.pred - self.true

    def axis(self, what: str) -> str:
        """Return an axis label: ``true distance (µm)``."""
        return axis_label(what, self.unit)


@styled
def scatter(p: Predictions) -> Figure:
    """Predicted against true values, with the identity and a band of one level (or one MAE) either side."""
    figure = style.new(8, 5.8)
    axes = figure.subplots()
    low, high = float(min(p.true.min(), p.pred.min())), float(max(p.true.max(), p.pred.max()))
    pad = 0.04 * (high - low) or 1.0
    ends = np.array([low - pad, high + pad])
    mae = float(np.abs(p.error).mean())
    half, words = (p.step, "one step") if p.step else (mae, "MAE")
    band = f"± {words} ({with_unit(digits(half), p.unit)})"
    axes.fill_between(ends, ends - half, ends + half, color=GREY, alpha=0.22, linewidth=0, label=band)
    halo = [withStroke(linewidth=3.5, foreground="white")]  # seen on dark cells as well
    axes.plot(ends, ends, color=INK, linewidth=1.3, label="predicted = true", zorder=3, path_effects=halo)
    groups = list(dict.fromkeys(sorted(p.group)))
    if len(p.true) > MAX_POINTS:
        cells = axes.pcolormesh(*_cells(p, ends), cmap=style.DENSITY, norm=LogNorm())
        bar = figure.colorbar(cells, cax=axes.inset_axes((1.05, 0.05, 0.04, 0.7)), label="images per cell")
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        bar.outline.set_visible(False)
    elif len(groups) <= MAX_GROUP_COLOURS:
        for i, group in enumerate(groups):
            at = p.group == group
            axes.scatter(
                p.true[at],
                p.pred[at],
                s=26,
                color=style.PALETTE[i % len(style.PALETTE)],
                marker=style.MARKERS[i % len(style.MARKERS)],
                alpha=0.75,
                linewidths=0,
                label=style.label(shorten(group)),
            )
    else:
        axes.scatter(p.true, p.pred, s=16, color=BLUE, alpha=0.4, linewidths=0, label=f"{len(groups)} groups")
    axes.set(xlim=ends, ylim=ends, xlabel=p.axis(f"true {p.column}"), ylabel=p.axis(f"predicted {p.column}"))
    axes.set_aspect("equal")
    axes.set_title(f"Predicted against true {p.column}: MAE {measure(p.mae)}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    return style.finish(figure, p.caption)


def _cells(p: Predictions, ends: Array) -> tuple[Array, Array, npt.NDArray[Any]]:
    """Return edges in x and y and the number of images in each cell, masked where there is none."""
    levels = np.unique(p.true)
    across = np.linspace(ends[0], ends[1], 61)
    if 2 <= len(levels) <= 60:
        # One column a level: other columns hold 1 and 2 levels, or none, in turn.
        middle = (levels[1:] + levels[:-1]) / 2
        across = np.concatenate([[2 * levels[0] - middle[0]], middle, [2 * levels[-1] - middle[-1]]])
    edges = np.linspace(ends[0], ends[1], 61)
    counts, _, _ = np.histogram2d(p.true, p.pred, bins=[across, edges])
    return across, edges, np.ma.masked_equal(counts.T, 0)


@styled
def error_histogram(p: Predictions) -> Figure:
    """Distribution of the error, with the bias and the spread (one standard deviation either side) marked."""
    figure = style.new(7, 4.6)
    axes = figure.subplots()
    error, bias, spread = p.error, float(p.error.mean()), float(p.error.std())
    reach = float(np.abs(error).max()) or 1.0
    bins = int(np.clip(np.sqrt(len(error)) * 2, 11, 61)) | 1  # odd: the middle bin is centred on no error
    axes.axvspan(bias - spread, bias + spread, color=GREY, alpha=0.22, linewidth=0, label="± one standard deviation")
    axes.hist(error, bins=bins, range=(-reach, reach), color=BLUE, alpha=0.85, edgecolor="white", linewidth=0.6)
    axes.axvline(0, color=INK, linewidth=1.2, label="no error")
    axes.axvline(bias, color=ORANGE, linestyle="--", label="mean error (bias)")
    places = decimals(spread)
    axes.set(xlabel=p.axis(f"error of {p.column}, predicted − true"), ylabel="images")
    title = f"Errors: {_bias_words(p, bias, places)}, spread {with_unit(digits(spread, places), p.unit)}"
    style.legend_above(axes, title)
    axes.grid(axis="x", visible=False)
    return style.finish(figure, p.caption)


def _bias_words(p: Predictions, bias: float, places: int) -> str:
    way = "too high" if bias > 0 else "too low"
    return f"on average {with_unit(digits(abs(bias), places), p.unit)} {way}"


@styled
def error_by_group(p: Predictions) -> Figure:
    """Absolute error of each group, best on top, with the group's own MAE and its number of images."""
    return draw_groups(
        Grouped(
            values=np.abs(p.error),
            group=p.group,
            score="MAE",
            axis=p.axis(f"absolute error of {p.column}"),
            unit=p.unit,
            rising=False,
            title="Error by group",
            caption=p.caption,
        )
    )


@styled
def error_by_value(p: Predictions) -> Figure:
    """Size and sign of the error over the true value: where in the range the model is good, and its tendency there."""
    centre, member = _bins(p.true, p.step)
    figure = style.new(7, 6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, error in ((upper, np.abs(p.error)), (lower, p.error)):
        quartiles = np.array([np.quantile(error[member == i], [0.25, 0.5, 0.75]) for i in range(len(centre))]).T
        axes.fill_between(
            centre, quartiles[0], quartiles[2], color=BLUE, alpha=0.2, linewidth=0, label="middle half of the images"
        )
        axes.plot(centre, quartiles[1], color=BLUE, marker="o", markersize=4.5, label="median")
    lower.axhline(0, color=INK, linewidth=1.2)
    upper.set_ylim(bottom=0)
    upper.set(ylabel=p.axis("absolute error"))
    lower.set(ylabel=p.axis("predicted − true"), xlabel=p.axis(f"true {p.column}"))
    style.legend_above(upper, f"Error by true {p.column}: its size, and its direction")
    return style.finish(figure, p.caption)


def _bins(values: Array, step: float | None) -> tuple[Array, npt.NDArray[np.intp]]:
    """Return the centres of the bins that hold values, and each value's bin: its levels if few, else equal widths."""
    low, high = float(values.min()), float(values.max())
    levels = np.unique(values)
    if len(levels) <= 25:
        return levels, np.searchsorted(levels, values)
    width = (high - low) / int(np.clip(len(values) / 15, 5, 20))
    if step and width > step:
        width = step * round(width / step)  # whole levels in each bin, else bins hold 1 and 2 levels in turn
    last = max(int(np.ceil((high - low) / width - 1e-9)), 1) - 1
    place = np.minimum(
        np.floor((values - low) / width + 1e-9).astype(int), last
    )  # the largest value joins the last bin
    _, member = np.unique(place, return_inverse=True)
    return np.bincount(member, weights=values) / np.bincount(member), member


def curve(p: Predictions) -> Figure:
    """True and predicted values of each sequence over time."""
    assert p.times is not None
    true, pred = p.true[:, None], p.pred[:, None]
    return over_time(p.times, [p.column], true, pred, what=p.column, unit=p.unit, caption=p.caption)
