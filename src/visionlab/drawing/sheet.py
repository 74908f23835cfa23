"""Rows of pictures laid out to the hundredth of an inch, with headings, colour bars and a legend.

Layout engines move pictures of one row apart when a label grows; here every picture has its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from visionlab.drawing import style
from visionlab.drawing.style import GREY, INK
from visionlab.drawing.text import digits, with_unit

# Inches.
CELL, GAP, GROUP_GAP, MARGIN = 1.5, 0.06, 0.2, 0.12
TITLE, HEADING, LABEL, BAR, LEGEND, LINE = 0.34, 0.44, 0.24, 0.3, 0.36, 0.18


@dataclass(frozen=True)
class Scale:
    """How values become colours: a colour map's name, the values at its ends, their unit."""

    colours: str
    low: float
    high: float
    unit: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        heading: over its column.
        pixels: H x W values with a ``scale``, or H x W (grey), H x W x 3 or 4 in 0 to 1; NaN and transparent pixels are
            shown as unknown.
        scale: of the values.
        bar: how many pictures from this one on the colour bar under it spans; 0: none.
        label: over this picture, in its row.
        group: where not None, a group of columns with this heading starts here.
    """

    heading: str
    pixels: npt.NDArray[np.floating]
    scale: Scale | None = None
    bar: int = 0
    label: str = ""
    group: str | None = None


Row = list[Panel]


@dataclass(frozen=True)
class Section:
    """Rows under a title; an empty title takes no room."""

    title: str
    rows: Sequence[Row]


def sheet(sections: Sequence[Section], caption: str, legend: Sequence[Patch] = ()) -> Figure:
    """Draw rows of panels, whose columns are those of the first row, with a legend and a caption under them."""
    first = sections[0].rows[0]
    left = _lefts(first)
    width = left[-1] + CELL + MARGIN
    # Panoramas and towers stay within a cell of reasonable height.
    tall = CELL * float(np.clip(first[0].pixels.shape[0] / first[0].pixels.shape[1], 0.3, 1.6))
    row_height = LABEL + tall + (BAR if any(panel.bar for panel in first) else 0) + GAP
    below = (LEGEND if legend else 0) + LINE * len(style.lines(caption, width)) + 0.14
    count = sum(len(section.rows) for section in sections)
    titles = sum(TITLE for section in sections if section.title)
    height = 0.08 + HEADING + titles + count * row_height + below
    figure = style.new(width, height, fixed=True)
    page = Page(figure, width, height)

    top = 0.08
    for i, section in enumerate(sections):
        if section.title:
            page.text(MARGIN, top + TITLE / 2, section.title, fontsize=13, fontweight="bold")
            top += TITLE
        if i == 0:
            _headings(page, first, left, top)
            top += HEADING
        for row in section.rows:
            for panel, x in zip(row, left, strict=False):
                page.text(x, top + 0.6 * LABEL, panel.label, fontsize=10.5)
                page.picture(panel, x, top + LABEL, CELL, tall)
                if panel.bar:
                    end = left[left.index(x) + panel.bar - 1] + CELL
                    page.bar(panel, x, top + LABEL + tall + 0.05, end - x)
            top += row_height
    if legend:
        spot = (MARGIN / width, (below - LEGEND) / height)
        figure.legend(
            handles=list(legend), loc="lower left", bbox_to_anchor=spot, ncols=len(legend), borderpad=0, borderaxespad=0
        )
    return style.finish(figure, caption)


def _lefts(row: Row) -> list[float]:
    lefts, x = [], MARGIN
    for i, panel in enumerate(row):
        if i and panel.group is not None:
            # Groups without a heading begin with another sample.
            x += (GROUP_GAP if panel.group else 2 * GROUP_GAP) - GAP
        lefts.append(x)
        x += CELL + GAP
    return lefts


def _headings(page: Page, row: Row, left: Sequence[float], top: float) -> None:
    starts = [i for i, panel in enumerate(row) if panel.group is not None]
    for start, stop in zip(starts, [*starts[1:], len(row)], strict=True):
        if row[start].group:
            page.text(left[start], top + 0.1, row[start].group or "", fontsize=11.5, fontweight="bold")
            page.line(left[start], left[stop - 1] + CELL, top + 0.22)
    for panel, x in zip(row, left, strict=True):
        page.text(x, top + 0.34, panel.heading, fontsize=10.5, color=style.SOFT)


class Page:
    """Places things on a figure, in inches from its upper left corner.

    All of it on one pair of axes: a pair for each picture would take most of the time that drawing takes.
    """

    def __init__(self, figure: Figure, width: float, height: float) -> None:
        self.axes = figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
        self.axes.set_axis_off()

    def text(self, x: float, y: float, text: str, **look: Any) -> None:
        self.axes.text(x, y, text, **{"va": "center", "ha": "left", **look})

    def line(self, x: float, end: float, y: float) -> None:
        self.axes.plot([x, end], [y, y], color=GREY, linewidth=1)

    def picture(self, panel: Panel, x: float, y: float, width: float, height: float) -> None:
        """Draw a panel into a box, as large as its shape allows, with unknown pixels as such."""
        rows, columns = panel.pixels.shape[:2]
        size = min(width / columns, height / rows)
        scale = panel.scale or Scale("gray", 0.0, 1.0)
        values = np.ma.masked_invalid(panel.pixels) if panel.pixels.ndim == 2 else panel.pixels
        self.axes.add_patch(Rectangle((x, y), columns * size, rows * size, **style.UNKNOWN, linewidth=0, zorder=0))
        self._image(values, scale, x, y, columns * size, rows * size)

    def bar(self, panel: Panel, x: float, y: float, width: float) -> None:
        """Draw the colours of a panel's scale with the values at its ends, and zero where it lies in the middle."""
        scale = panel.scale
        assert scale is not None
        self._image(np.linspace(scale.low, scale.high, 256)[None], scale, x, y, width, 0.08)
        look = {"fontsize": 9.5, "color": INK}
        self.text(x, y + 0.16, digits(scale.low), **look)
        self.text(x + width, y + 0.16, with_unit(digits(scale.high), scale.unit), ha="right", **look)
        if scale.low == -scale.high:
            self.text(x + width / 2, y + 0.16, "0", ha="center", **look)

    def _image(self, values: npt.NDArray[Any], scale: Scale, x: float, y: float, width: float, height: float) -> None:
        look: dict[str, Any] = {"cmap": scale.colours, "vmin": scale.low, "vmax": scale.high}
        self.axes.imshow(values, extent=(x, x + width, y + height, y), aspect="auto", **look)
