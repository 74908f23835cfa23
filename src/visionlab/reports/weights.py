"""How the weights of a network are distributed, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREY, styled
from visionlab.drawing.text import count, digits

MAX_LAYERS = 24
COLUMNS = 6


@styled
def weight_histograms(arrays: Mapping[str, npt.ArrayLike], caption: str = "") -> Figure:
    """One small histogram a layer, from the input to the output; of very deep networks an even choice of layers.

    Args:
        arrays: name -> its weights, of any shape, in the order of the network.
        caption: the line under the figure.

    Raises:
        ValueError: there are no weights.
    """
    layers = {name: np.asarray(values, dtype=np.float64).ravel() for name, values in arrays.items()}
    layers = {name: values for name, values in layers.items() if values.size}
    if not layers:
        raise ValueError("expected the weights of at least one layer")
    chosen = np.unique(np.linspace(0, len(layers) - 1, min(MAX_LAYERS, len(layers))).round().astype(int))
    names = [list(layers)[i] for i in chosen]
    parts = [name.split(".") for name in names]
    shared = 0  # parts that all names begin with, such as "network"
    while all(len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts) and len(names) > 1:
        shared += 1
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = style.new(max(2.05 * columns, 5.5), 1.75 * rows + 0.7)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    for axes, name, part in zip(grid, names, parts, strict=False):
        _draw(axes, ".".join(part[shared:]).removesuffix(".weight"), layers[name])
    few = f"{len(names)} of {len(layers)} layers, evenly chosen" if len(names) < len(layers) else ""
    notes = [caption, few, "each layer on its own axis, which leaves out its outermost thousandth; σ: spread"]
    return style.finish(figure, " · ".join(filter(None, notes)))


def _draw(axes: Axes, name: str, values: npt.NDArray[np.float64]) -> None:
    finite = values[np.isfinite(values)]
    lost = len(values) - len(finite)
    end = float(np.quantile(np.abs(finite), 0.999, method="higher")) if len(finite) else 0.0
    low, high = ((-end, end) if (finite < 0).any() else (0.0, end)) if end > 0 else (-1.0, 1.0)
    axes.hist(finite, bins=41, range=(low, high), color=BLUE)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_title(name if len(name) <= 26 else f"…{name[-25:]}", fontsize=9, fontweight="normal", pad=3)
    ends = [low, high] if low == 0 else [low, 0, high]
    axes.set_xticks(ends, [digits(value, None) if value else "0" for value in ends], fontsize=8)
    labels = axes.get_xticklabels()
    labels[0].set_horizontalalignment("left")
    labels[-1].set_horizontalalignment("right")
    axes.set_yticks([])
    axes.set_ylim(top=1.3 * axes.get_ylim()[1])  # room for the words
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    words = [f"σ {digits(float(finite.std()))}"] if len(finite) else []
    words += [f"{count(lost, 'value')}\nnot finite"] if lost else []
    axes.text(0.98, 0.96, "\n".join(words), transform=axes.transAxes, ha="right", va="top", fontsize=8.5)
