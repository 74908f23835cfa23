"""How many target numbers are distributed over the splits, in one figure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import styled
from visionlab.drawing.text import axis_label, count, shorten

ACROSS = 4
BINS = 16


@styled
def target_panels(
    values: Mapping[str, Mapping[str, npt.NDArray[np.float64]]], what: str, unit: str, caption: str
) -> Figure:
    """A small panel for each column, in it the outline of each split's distribution.

    Args:
        values: column -> split -> its finite values.
        what: name of all columns together.
        unit: of the values, empty for none.
        caption: the line under the figure.
    """
    across = min(ACROSS, len(values))
    rows = math.ceil(len(values) / across)
    figure = style.new(2.55 * across, 2.1 * rows + 1.2)
    grid: list[Axes] = list(figure.subplots(rows, across, squeeze=False).ravel())
    splits = list(dict.fromkeys(split for column in values.values() for split in column))
    for place, (axes, (name, column)) in enumerate(zip(grid, values.items(), strict=False)):
        every = np.concatenate(list(column.values()))
        low, high = float(every.min()), float(every.max())
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
        for split, colour in zip(splits, style.PALETTE, strict=False):
            data = column.get(split, np.zeros(0))
            share = np.full(len(data), 100 / max(len(data), 1))
            axes.hist(data, bins=edges.tolist(), weights=share, histtype="step", color=colour, linewidth=1.7)
        axes.set_title(shorten(name, 20), fontsize=11.5, pad=5)
        axes.locator_params(nbins=4)
        axes.grid(axis="x", visible=False)
        axes.set_xlabel(axis_label("value", unit) if place + across >= len(values) else "")
        axes.set_ylabel("% of images" if place % across == 0 else "")
    for axes in grid[len(values) :]:
        axes.set_axis_off()
    some = next(iter(values.values()))
    handles = [
        grid[0].plot([], [], color=colour, label=f"{split}: {count(len(some.get(split, ())), 'image')}")[0]
        for split, colour in zip(splits, style.PALETTE, strict=False)
    ]
    if len(grid) > len(values):
        grid[-1].legend(handles=handles, loc="upper left", borderaxespad=0)
    else:
        figure.legend(handles=handles, loc="outside right upper")
    figure.suptitle(f"Distribution of {what} in each split", x=0.01, ha="left", fontweight="bold", fontsize=13)
    return style.finish(figure, caption)
