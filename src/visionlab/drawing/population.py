"""Curves over time: how many objects of each series there are, or any other numbers of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from visionlab.drawing import style
from visionlab.drawing.style import GREY, INK, PALETTE, styled
from visionlab.drawing.text import axis_label, shorten

Curves = Mapping[str, Mapping[str, npt.ArrayLike]]
"""Series -> column -> T values, NaN where there is none."""

ACROSS = 4
NAMED = 14
"""Of more series nobody tells the curves apart: they have one colour then, and the mean is drawn."""


@styled
def population_figure(
    times: Mapping[str, npt.ArrayLike],
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
        times: series -> T times, in any order.
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
    one = len(columns) == 1
    figure, grid = style.grid(len(columns), ACROSS, *((8, 3.8) if one else (2.9, 2.3)), sharex=True)
    many = len(values) > NAMED
    plain: dict[str, Any] = {"color": GREY, "linewidth": 0.9, "alpha": 0.55}
    looks: dict[str, dict[str, Any]] = {
        name: plain if many else {"color": PALETTE[i % len(PALETTE)], "linestyle": ("-", "--", ":")[i // len(PALETTE)]}
        for i, name in enumerate(values)
    }
    for place, (axes, column) in enumerate(zip(grid, columns, strict=True)):
        points: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = []
        for name, curves in values.items():
            if column not in curves:
                continue
            at, found = np.asarray(times[name], float), np.asarray(curves[column], float)
            if found.shape != at.shape:
                raise ValueError(f"{name}: expected {len(at)} values of {column}, one a time, found {found.shape}")
            order = np.argsort(at, kind="stable")
            axes.plot(at[order], found[order], marker="o" if len(at) == 1 else "", markersize=4.5, **looks[name])
            points.append((at, found))
            known = (true or {}).get(name, {}).get(column)
            if known is not None:
                axes.scatter(at, known, s=13, facecolor="white", edgecolor=looks[name]["color"], zorder=3)
        if many:
            at, found = (np.concatenate(part) for part in zip(*points, strict=True))
            levels = np.unique(at[np.isfinite(found)])
            axes.plot(levels, [np.nanmean(found[at == level]) for level in levels], color=INK)
        axes.set_ylim(bottom=0 if axes.dataLim.ymin >= 0 else None)
        axes.set_ylabel(axis_label(what, unit) if one else (unit if place % ACROSS == 0 else ""))
        axes.set_title("" if one else shorten(column, 24))
        if place + ACROSS >= len(columns):
            axes.set_xlabel(time)
            axes.tick_params(labelbottom=True)
        if all((level == np.round(level)).all() for level, _ in points):
            style.whole(axes.xaxis, most=6 if one else 4)
    handles = [Line2D([], [], label=style.label(shorten(name, 24)), **look) for name, look in looks.items()]
    if many:
        handles = [Line2D([], [], label="a series", **plain), Line2D([], [], color=INK, label="mean of the series")]
    if true is not None:
        look: dict[str, Any] = {"marker": "o", "markersize": 4.5, "markerfacecolor": "white", "linestyle": ""}
        handles.append(Line2D([], [], color=INK, label="true (lines: predicted)", **look))
    if len(handles) > 1:
        figure.legend(handles=handles, loc="outside right upper")
    return style.finish(figure, title, " · ".join(filter(None, [caption, f"{len(values)} series" if many else ""])))


def readable_times(seconds: Sequence[float] | npt.ArrayLike) -> tuple[npt.NDArray[np.float64], str]:
    """Return times in the unit in which they are read best, and the label of their axis, e.g. ``time (min)``."""
    values = np.asarray(seconds, dtype=float)
    longest = float(np.nanmax(np.abs(values), initial=0.0))
    for factor, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if longest >= 3 * factor:
            return values / factor, f"time ({unit})"
    return values, "time (s)"
