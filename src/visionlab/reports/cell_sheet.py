"""Pictures of slices with outlines, laid out in rows with scale bars, a legend and a caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from visionlab.drawing import style
from visionlab.drawing.outlines import bar_length, edges
from visionlab.drawing.sheet import Page, Panel
from visionlab.drawing.style import INK, SOFT

Array = npt.NDArray[Any]

# Inches.
_CELL, _GAP, _MARGIN, _TITLE, _HEADING, _LABEL, _LEGEND, _LINE = 2.5, 0.07, 0.12, 0.34, 0.26, 0.24, 0.34, 0.18
_POINTS = 72  # an inch


@dataclass(frozen=True)
class Outline:
    labels: Array
    colour: str
    width: float


@dataclass(frozen=True)
class Pane:
    """A picture with outlines, a heading over its column and a label over itself."""

    pixels: Array
    heading: str = ""
    outlines: tuple[Outline, ...] = ()
    label: str = ""
    pixel: float | None = None


def draw(sections: Sequence[tuple[str, Sequence[Sequence[Pane]]]], caption: str, legend: Sequence[Any]) -> Figure:
    """Draw rows of panes, whose headings are those of the first row, with a legend and a caption under them."""
    rows = [row for _, part in sections for row in part]
    if not rows:
        raise ValueError("expected at least one slice")
    width = 2 * _MARGIN + max(3, *map(len, rows)) * (_CELL + _GAP) - _GAP
    shape = rows[0][0].pixels.shape
    tall = _CELL * float(np.clip(shape[0] / shape[1], 0.3, 1.4))
    headings = _HEADING * any(pane.heading for pane in rows[0])
    below = 0.14 + _LINE * len(style.lines(caption, width)) + _LEGEND * math.ceil(len(legend) / 7)
    titles = sum(_TITLE for title, _ in sections if title)
    height = 0.06 + headings + titles + len(rows) * (_LABEL + tall + _GAP) + below
    figure = style.new(width, height, fixed=True)
    page = Page(figure, width, height)
    top, begun = 0.06, False
    for title, part in sections:
        if title:
            page.text(_MARGIN, top + _TITLE / 2, title, fontsize=13, fontweight="bold")
            top += _TITLE
        for row in part:
            lefts = [_MARGIN + i * (_CELL + _GAP) for i in range(len(row))]
            if headings and not begun:
                for pane, x in zip(row, lefts, strict=True):
                    page.text(x, top + _HEADING / 2, pane.heading, fontsize=11, color=SOFT)
                top, begun = top + headings, True
            for pane, x in zip(row, lefts, strict=True):
                page.text(x, top + 0.55 * _LABEL, pane.label, fontsize=9.5, color=INK)
                _picture(page, pane, x, top + _LABEL, tall)
            top += _LABEL + tall + _GAP
    if legend:
        spot = (_MARGIN / width, (below - _LEGEND) / height)
        figure.legend(
            handles=list(legend), loc="lower left", bbox_to_anchor=spot, ncols=len(legend), borderpad=0, borderaxespad=0
        )
    return style.finish(figure, caption)


def _picture(page: Page, pane: Pane, x: float, y: float, tall: float) -> None:
    page.picture(Panel("", pane.pixels), x, y, _CELL, tall)
    rows, columns = pane.pixels.shape[:2]
    size = min(_CELL / columns, tall / rows)
    fine = float(np.clip(_POINTS * size, 0.6, 1.0))  # of small pixels, so that lines hide no small objects
    for outline in pane.outlines:
        lines = np.array([x, y]) + size * edges(outline.labels)
        look: dict[str, Any] = {"linewidths": fine * outline.width, "capstyle": "projecting", "zorder": 3}
        page.axes.add_collection(LineCollection(list(lines), colors=outline.colour, **look), autolim=False)
    if pane.pixel is not None:
        across = size * columns
        length, words = bar_length(pane.pixel * columns)
        end, low = x + across - 0.08, y + size * rows - 0.08
        box = (end - length * across - 0.04, low - 0.2)
        page.axes.add_patch(
            Rectangle(box, length * across + 0.08, 0.24, color="black", alpha=0.6, linewidth=0, zorder=4)
        )
        page.axes.plot([end - length * across, end], [low, low], color="white", linewidth=2.2, zorder=5)
        middle = end - length * across / 2
        page.text(middle, low - 0.1, words, fontsize=8.5, color="white", ha="center", zorder=5)
