"""Curves over time: how many objects of each series there are, or any other numbers of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from visionlab.drawing import style
from visionlab.drawing.style import GREY, INK, styled
from visionlab.drawing.text import axis_label, shorten

Curves = Mapping[str, Mapping[str, npt.ArrayLike]]
"""Series -> column -> T values, NaN where there is none."""

ACROSS = 4
NAMED = 14
"""Of more series nobody tells the curves apart: they have one colour then, and the mean is drawn."""
_STYLES = ("-", (0, (5, 1.5)), (0, (1, 1.2)))


@styled
def population_figure(
    times: Mapping[str, npt.ArrayLike] | npt.ArrayLike,
    values: Curves,
    *,
    true: Curves | None = None,
    title: str = "Objects over time",
    what: str = "objects",
    unit: str = "",
    time: str = "time point",
    caption: str = "",
) -> Figure:
    """A panel for each column, in it a curve for each series; true values as points of the same colour.

    Args:
        times: series -> T times, or the T times that all series have; in any order.
        values: what was predicted or measured.
        true: what is known to be so, at the same times; may lack series and columns.
        title: over the figure.
        what: label of the values where there is one column; of several each has its name.
        unit: of the values, empty for none.
        time: label of the times, with their unit; see :func:`readable_times`.
        caption: the line under the figure.

    Raises:
        ValueError: there is no series, or a curve has another length than its times.
    """
    columns = list(dict.fromkeys(column for curves in values.values() for column in curves))
    if not columns:
        raise ValueError("expected at least one series with a column")
    by_series = times if isinstance(times, Mapping) else dict.fromkeys(values, times)
    points = {name: np.asarray(by_series[name], dtype=float) for name in values}
    one = len(columns) == 1
    across = min(ACROSS, len(columns))
    rows = math.ceil(len(columns) / across)
    figure = style.new(8, 4.8) if one else style.new(max(2.9 * across, 7) + 0.2, 2.35 * rows + 1.5)
    grid: list[Axes] = list(figure.subplots(rows, across, squeeze=False, sharex=True).ravel())
    for axes in grid[len(columns) :]:
        axes.set_axis_off()
    looks = _looks(list(values))
    for place, (axes, column) in enumerate(zip(grid, columns, strict=False)):
        for name, curves in values.items():
            if column in curves:
                known = (true or {}).get(name, {}).get(column)
                _curve(axes, points[name], _array(name, column, curves[column], points[name]), looks[name])
                if known is not None:
                    _points(axes, points[name], _array(name, column, known, points[name]), looks[name])
        if len(values) > NAMED:
            _mean(axes, points, {name: curves[column] for name, curves in values.items() if column in curves})
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.set_ylabel(axis_label(what, unit) if one else (unit if place % across == 0 else ""))
        if not one:
            axes.set_title(shorten(column, 24), fontsize=11.5, pad=5)
        if place + across >= len(columns):
            axes.set_xlabel(time)
            axes.tick_params(labelbottom=True)
    if all((part == part.round()).all() for part in points.values()):
        grid[0].xaxis.set_major_locator(MaxNLocator(nbins=6 if one else 4, integer=True))
    _legend(figure, grid[-1] if len(grid) > len(columns) else None, looks, points=true is not None)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=13)
    many = f"{len(values)} series" if len(values) > NAMED else ""
    return style.finish(figure, " · ".join(filter(None, [caption, many])))


def readable_times(seconds: Sequence[float] | npt.ArrayLike) -> tuple[npt.NDArray[np.float64], str]:
    """Return times in the unit in which they are read best, and the label of their axis, e.g. ``time (min)``."""
    values = np.asarray(seconds, dtype=float)
    longest = float(np.nanmax(np.abs(values), initial=0.0))
    for factor, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if longest >= 3 * factor:
            return values / factor, f"time ({unit})"
    return values, "time (s)"


def _array(series: str, column: str, values: npt.ArrayLike, times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    found = np.asarray(values, dtype=float)
    if found.shape != times.shape:
        raise ValueError(f"{series}: expected {len(times)} values of {column}, one a time, found shape {found.shape}")
    return found


def _looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the look of each series: a colour, then other lines; all alike where there are too many."""
    if len(names) > NAMED:
        return {name: {"color": GREY, "linestyle": "-", "linewidth": 0.9, "alpha": 0.55} for name in names}
    many = len(style.PALETTE)
    return {
        name: {"color": style.PALETTE[i % many], "linestyle": _STYLES[i // many % len(_STYLES)], "linewidth": 2.0}
        for i, name in enumerate(names)
    }


def _curve(axes: Axes, times: npt.NDArray[Any], values: npt.NDArray[Any], look: Mapping[str, Any]) -> None:
    order = np.argsort(times, kind="stable")
    marks: dict[str, Any] = {"marker": "o", "markersize": 4.5} if len(times) <= 1 else {}
    axes.plot(times[order], values[order], **look, **marks)


def _points(axes: Axes, times: npt.NDArray[Any], values: npt.NDArray[Any], look: Mapping[str, Any]) -> None:
    axes.scatter(times, values, s=13, facecolor="white", edgecolor=look["color"], linewidths=1.1, zorder=3)


def _mean(axes: Axes, times: Mapping[str, npt.NDArray[Any]], curves: Mapping[str, npt.ArrayLike]) -> None:
    """Draw the mean of the series at each time that any of them has."""
    every = np.concatenate([times[name] for name in curves])
    found = np.concatenate([np.asarray(curve, dtype=float) for curve in curves.values()])
    good = np.isfinite(found)
    at, member = np.unique(every[good], return_inverse=True)
    axes.plot(at, np.bincount(member, weights=found[good]) / np.bincount(member), color=INK, linewidth=2.4)


def _legend(figure: Figure, free: Axes | None, looks: Mapping[str, Mapping[str, Any]], *, points: bool) -> None:
    """Say what the curves are, in axes that hold none or else beside them all."""
    if len(looks) > NAMED:
        handles = [
            Line2D([], [], label="a series", **next(iter(looks.values()))),
            Line2D([], [], color=INK, linewidth=2.4, label="mean of the series"),
        ]
    elif len(looks) > 1:
        handles = [Line2D([], [], label=style.label(shorten(name, 24)), **look) for name, look in looks.items()]
    else:
        handles = []
    if points:
        if not handles:
            handles = [Line2D([], [], label="predicted", **next(iter(looks.values())))]
        look: dict[str, Any] = {"marker": "o", "markersize": 4.5, "markerfacecolor": "white", "linestyle": ""}
        words = "true" if len(looks) == 1 else "true (lines: predicted)"
        handles.append(Line2D([], [], color=INK, label=words, **look))
    if handles and free is not None:
        free.legend(handles=handles, loc="upper left", borderaxespad=0)
    elif handles:
        figure.legend(handles=handles, loc="outside right upper")
