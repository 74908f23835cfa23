"""Pictures of samples in rows, each with what there is to say of it: the layout of all pictures of single samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar  # type: ignore[import-untyped]

from visionlab.drawing import style
from visionlab.drawing.outlines import bar_length
from visionlab.drawing.style import styled
from visionlab.drawing.text import shorten, unit_text

ACROSS = 6
"""Pictures of the usual width in a row, unless those of a single sample are more."""
CHARACTERS = 11
"""Of the text over and under a picture, an inch."""
CELL, _LINE, _FOOT = 1.7, 0.165, 0.22  # inches


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
        pixels: H x W values with a ``scale``, or H x W (grey), H x W x 3 or 4 in 0 to 1; NaN and transparent pixels are
            shown as unknown.
        heading: over it.
        scale: of the values; each has one colour bar under the figure.
        pixel: width of a pixel in um, for a scale bar; None for none.
    """

    pixels: npt.NDArray[np.floating]
    heading: str = ""
    scale: Scale | None = None
    pixel: float | None = None


@dataclass(frozen=True)
class Item:
    """A sample: its name, its pictures side by side, and lines of text under the first of them."""

    name: str
    panels: Sequence[Panel]
    lines: Sequence[str] = ()


@styled
def gallery(
    sections: Mapping[str, Sequence[Item]],
    title: str,
    *notes: str,
    legend: Mapping[str, str] | None = None,
    cell: float = CELL,
) -> Figure:
    """Draw samples, several in a row where their pictures are few.

    Args:
        sections: heading, may be empty -> samples, all with as many pictures.
        title: over the figure.
        notes: under it.
        legend: words -> colour.
        cell: width of a picture in inches.
    """
    panels = next(item for items in sections.values() for item in items).panels
    wide, longest = len(panels), max(map(len, sections.values()))
    across = min(max(1, int(ACROSS * CELL / cell) // wide), longest)
    rows = [(head, items[at : at + across]) for head, items in sections.items() for at in range(0, len(items), across)]
    height, width = panels[0].pixels.shape[:2]
    # Panoramas and towers stay within a cell of reasonable height.
    tall = cell * float(np.clip(height / width, 0.3, 1.5))
    text = 1 + max(panel.heading.count("\n") + bool(panel.heading) for panel in panels)
    text += max(len(item.lines) for _, items in rows for item in items)
    row = tall + _LINE * text + 0.1
    bars = list(dict.fromkeys(panel.scale for panel in panels if panel.scale is not None))
    free = min((k for k, panel in enumerate(panels) if panel.scale), default=across * wide)
    beside = max(1, int(free * cell / 2.1))
    foot = [_FOOT * max(1, -(-len(legend or ()) // beside))] if legend or bars else []
    figure = style.new(max(cell * across * wide + 0.4, 5.0), row * len(rows) + sum(foot) + 0.4 * bool(bars) + 0.6)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    places = figure.add_gridspec(len(rows) + len(foot), across * wide, height_ratios=[tall] * len(rows) + foot)
    room = int(CHARACTERS * cell * min(wide, 2))
    for at, (heading, items) in enumerate(rows):
        for column, item in enumerate(items):
            for k, panel in enumerate(item.panels):
                axes = figure.add_subplot(places[at, column * wide + k])
                _draw(axes, panel, item if k == 0 else None, room)
                if column + k == 0 and heading and (at == 0 or rows[at - 1][0] != heading):
                    axes.set_ylabel(heading, fontweight="bold", fontsize=10)
    for scale in bars:
        columns = [k for k, panel in enumerate(panels) if panel.scale == scale]
        colours = ScalarMappable(Normalize(scale.low, scale.high), scale.colours)
        place = figure.add_subplot(places[-1, columns[0] : columns[-1] + 1])
        bar = figure.colorbar(colours, cax=place, orientation="horizontal", ticks=MaxNLocator(4))
        bar.set_label(unit_text(scale.unit), fontsize=9)
        bar.ax.tick_params(labelsize=9)
        bar.outline.set_visible(False)
    if legend:
        axes = figure.add_subplot(places[-1, :free])
        axes.set_axis_off()
        handles = [Patch(color=colour, label=words) for words, colour in legend.items()]
        axes.legend(handles=handles, loc="upper left", ncols=beside, borderaxespad=0).set_in_layout(False)
    return style.finish(figure, title, *notes)


def _draw(axes: Axes, panel: Panel, item: Item | None, room: int) -> None:
    """Draw a picture; the first of an item (given then) has its name above and its lines below."""
    scale = panel.scale or Scale("gray", 0.0, 1.0)
    values = np.ma.masked_invalid(panel.pixels) if panel.pixels.ndim == 2 else panel.pixels
    axes.patch.set(**style.UNKNOWN, linewidth=0)
    axes.imshow(values, cmap=scale.colours, vmin=scale.low, vmax=scale.high, interpolation="nearest")
    axes.set(xticks=[], yticks=[], anchor="NW")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    above = [] if item is None else [item.name]
    above = [name if len(name) <= room else shorten(name.rpartition("/")[2], room) for name in above]
    axes.set_title("\n".join([*above, panel.heading] if panel.heading else above), fontsize=9.5, pad=3)
    if item is not None and item.lines:
        axes.set_xlabel("\n".join(shorten(line, room) for line in item.lines), fontsize=9, loc="left", labelpad=2)
    if panel.pixel:
        length, words = bar_length(panel.pixel * panel.pixels.shape[1])
        look = {"color": "white", "pad": 0.2, "size_vertical": 1}
        bar = AnchoredSizeBar(axes.transData, length * panel.pixels.shape[1], words, "lower right", **look)
        bar.patch.set(facecolor="black", alpha=0.6, linewidth=0)
        axes.add_artist(bar)
