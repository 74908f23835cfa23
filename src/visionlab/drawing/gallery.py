"""Pictures of samples in rows, each with what there is to say of it: the layout of all pictures of single samples."""

from __future__ import annotations

import textwrap
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
"""Pictures in a row, unless those of a single sample are more."""
CHARACTERS = 12
"""Of the text over and under a picture, an inch."""
_CELL, _LINE, _HEADING, _BAR = 1.7, 0.165, 0.3, 0.1  # inches


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
    caption: str,
    *,
    legend: Mapping[str, str] | None = None,
    cell: float = _CELL,
) -> Figure:
    """Draw samples, several in a row where their pictures are few.

    Args:
        sections: heading, may be empty -> samples, all with as many pictures.
        title: over the figure.
        caption: the line under it.
        legend: words -> colour.
        cell: width of a picture in inches.

    Raises:
        ValueError: there is no sample.
    """
    sections = {heading: items for heading, items in sections.items() if items}
    if not sections:
        raise ValueError("expected at least one sample")
    every = [item for items in sections.values() for item in items]
    panels = every[0].panels
    wide = len(panels)
    across = min(max(1, int(ACROSS * _CELL / cell) // wide), max(map(len, sections.values())))
    first = panels[0].pixels.shape
    # Panoramas and towers stay within a cell of reasonable height.
    tall = cell * float(np.clip(first[0] / first[1], 0.3, 1.5))
    above = max(panel.heading.count("\n") + (bool(panel.heading) + (k == 0)) for k, panel in enumerate(panels))
    row = tall + _LINE * (above + max(len(item.lines) for item in every)) + 0.1
    heights = [
        height
        for heading, items in sections.items()
        for height in [_HEADING] * bool(heading) + [row] * -(-len(items) // across)
    ]
    bars = list(dict.fromkeys(panel.scale for panel in panels if panel.scale is not None))
    width = max(cell * across * wide + 0.2, 5.0)
    beside = int(width / 2.3)
    heights += [0.24 * -(-len(legend) // beside)] if legend else []
    heights += [_BAR] * bool(bars)
    under = 0.2 * len(textwrap.wrap(caption, int(12.5 * width)))
    figure = style.new(width, sum(heights) + (0.4 if bars else 0) + 0.55 + under)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    places = figure.add_gridspec(len(heights), across * wide, height_ratios=heights)
    at = 0
    for heading, items in sections.items():
        if heading:
            axes = figure.add_subplot(places[at, :])
            axes.set_axis_off()
            axes.text(0, 0, heading, fontsize=12, fontweight="bold", transform=axes.transAxes).set_in_layout(False)
            at += 1
        for number, item in enumerate(items):
            for k, panel in enumerate(item.panels):
                axes = figure.add_subplot(places[at + number // across, number % across * wide + k])
                _draw(axes, panel, item if k == 0 else None, int(CHARACTERS * cell * (1 if wide == 1 else 2)))
        at += -(-len(items) // across)
    for scale in bars:
        columns = [k for k, panel in enumerate(panels) if panel.scale == scale]
        colours = ScalarMappable(Normalize(scale.low, scale.high), scale.colours)
        place = figure.add_subplot(places[-1, columns[0] : columns[-1] + 1])
        bar = figure.colorbar(colours, cax=place, orientation="horizontal", ticks=MaxNLocator(4))
        bar.set_label(unit_text(scale.unit), fontsize=9)
        bar.ax.tick_params(labelsize=9)
        bar.outline.set_visible(False)
    if legend:
        axes = figure.add_subplot(places[at, :])
        axes.set_axis_off()
        handles = [Patch(color=colour, label=words) for words, colour in legend.items()]
        axes.legend(handles=handles, loc="center left", ncols=beside, borderaxespad=0).set_in_layout(False)
    return style.finish(figure, title, caption)


def _draw(axes: Axes, panel: Panel, item: Item | None, room: int) -> None:
    """Draw a picture; the first of an item (given then) has its name above and its lines below."""
    scale = panel.scale or Scale("gray", 0.0, 1.0)
    values = np.ma.masked_invalid(panel.pixels) if panel.pixels.ndim == 2 else panel.pixels
    axes.patch.set(**style.UNKNOWN, linewidth=0)
    axes.imshow(values, cmap=scale.colours, vmin=scale.low, vmax=scale.high, interpolation="nearest")
    axes.set(xticks=[], yticks=[], anchor="NW")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    above = (
        [item.name if len(item.name) <= room else shorten(item.name.rpartition("/")[2], room)]
        if item is not None
        else []
    )
    axes.set_title("\n".join([*above, panel.heading] if panel.heading else above), fontsize=9.5, pad=3)
    if item is not None and item.lines:
        axes.set_xlabel("\n".join(shorten(line, room) for line in item.lines), fontsize=9, loc="left", labelpad=2)
    if panel.pixel:
        across = panel.pixels.shape[1]
        length, words = bar_length(panel.pixel * across)
        bar = AnchoredSizeBar(
            axes.transData, length * across, words, "lower right", color="white", frameon=True, pad=0.2, size_vertical=1
        )
        bar.patch.set(facecolor="black", alpha=0.6, linewidth=0)
        bar.txt_label._text.set_fontsize(8)
        axes.add_artist(bar)
