"""Curves over time: how many objects of each series there are, or any other numbers of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import GREY, PALETTE, styled
from visionlab.drawing.text import axis_label, shorten

Curves = Mapping[str, Mapping[str, npt.ArrayLike]]
"""Series -> column -> T values, NaN where there is none."""

ACROSS = 4
NAMED = 14
"""Of more series nobody tells the curves apart: they have one colour then."""


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
        true: what is known to be so, at the same times.
        title: over the figure.
        what: label of the values where there is one column; of several each has its name.
        unit: of the values, empty for none.
        time: label of the times, with their unit; see :func:`readable_times`.
        caption: the line under the figure.
    """
    columns = list(dict.fromkeys(column for curves in values.values() for column in curves))
    one, many = len(columns) == 1, len(values) > NAMED
    figure, grid = style.grid(len(columns), ACROSS, *((8, 3.8) if one else (2.9, 2.3)), sharex=True)
    lines: dict[str, Any] = {}
    for axes, column in zip(grid, columns, strict=True):
        for i, name in enumerate(name for name in values if column in values[name]):
            colour = GREY if many else PALETTE[i % len(PALETTE)]
            order = np.argsort(times[name], kind="stable")
            at, found = np.asarray(times[name])[order], np.asarray(values[name][column])[order]
            look: dict[str, Any] = {"linestyle": ("-", "--", ":")[i // len(PALETTE) % 3], "color": colour}
            lines[name] = axes.plot(at, found, marker="o" if len(at) == 1 else "", **look)[0]
            if true is not None:
                known = np.asarray(true[name][column])[order]
                lines["true (points)"] = axes.scatter(at, known, s=13, facecolor="white", edgecolor=colour, zorder=3)
        axes.set_ylim(bottom=0 if axes.dataLim.ymin >= 0 else None)
        axes.set_title("" if one else shorten(column, 24))
        style.whole(axes.xaxis, most=4)
    grid[0].set_ylabel(axis_label(what, unit) if one else unit)
    for axes in grid[-ACROSS:]:
        axes.set_xlabel(time)
        axes.tick_params(labelbottom=True)  # in the last row but one there may be none below
    if not many and len(lines) > 1:
        figure.legend(list(lines.values()), [shorten(name, 24) for name in lines], loc="outside right upper")
    return style.finish(figure, title, caption, f"{len(values)} series" if many else "")


def readable_times(seconds: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], str]:
    """Return times in the unit in which they are read best, and the label of their axis, e.g. ``time (min)``."""
    values = np.asarray(seconds, dtype=float)
    longest = float(np.nanmax(np.abs(values), initial=0.0))
    for factor, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if longest >= 3 * factor:
            return values / factor, f"time ({unit})"
    return values, "time (s)"
