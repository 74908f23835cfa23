"""Figures of what there is to learn from: how numbers and classes are distributed over the splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import GREY, INK, styled
from visionlab.drawing.text import axis_label, shorten


@styled
def target_histogram(
    values: dict[str, npt.NDArray[np.float64]], column: str, unit: str, step: float | None, caption: str
) -> Figure:
    """Distribution of a target in each split, as a share of the split, so that small splits are seen as well."""
    figure = style.new(7, 1.3 + 1.35 * max(len(values), 1))
    rows: list[Axes] = list(figure.subplots(len(values), 1, sharex=True, squeeze=False)[:, 0])
    every = np.concatenate(list(values.values()))
    low, high = float(every.min()), float(every.max())
    width = (high - low) / 24 or 1.0
    if step:
        # Whole levels in each bar, and levels in its middle: else bars hold 1 and 2 levels in turn.
        width, low = step * max(1, round(width / step)), low - step / 2
    edges = low + width * np.arange(int(np.ceil((high - low) / width + 1e-9)) + 1)
    for axes, (split, data), colour in zip(rows, values.items(), style.PALETTE, strict=False):
        share = np.full(len(data), 100 / max(len(data), 1))
        axes.hist(data, bins=edges.tolist(), weights=share, color=colour, edgecolor="white", linewidth=0.6)
        axes.set_ylabel("% of images", fontsize=10)
        axes.text(1, 1.02, f"{split} (n = {len(data):,})", transform=axes.transAxes, ha="right", color=INK, fontsize=11)
        axes.grid(axis="x", visible=False)
    rows[-1].set_xlabel(axis_label(column, unit))
    rows[0].set_title(f"Distribution of {column} in each split")
    return style.finish(figure, caption)


@styled
def label_counts(counts: Mapping[str, Mapping[str, int]], what: str, caption: str) -> Figure:
    """How many images of each class each split has, on a logarithmic axis.

    Args:
        counts: class -> split -> images.
        what: the target's name.
        caption: the line under the figure.
    """
    order = sorted(counts, key=lambda name: -sum(counts[name].values()))
    splits = list(dict.fromkeys(split for name in order for split in counts[name]))
    figure = style.new(7.6, 1.9 + 0.27 * max(len(order), 2))
    axes = figure.subplots()
    at = np.arange(len(order))
    most = 1
    # One below the other, for many counts of rare classes are the same.
    below = 0.2 * (np.arange(len(splits)) - (len(splits) - 1) / 2)
    for split, colour, marker, shift in zip(splits, style.PALETTE, style.MARKERS, below, strict=False):
        n = np.array([counts[name].get(split, 0) for name in order])
        most = max(most, int(n.max()))
        # Nothing has no place on a logarithmic axis but its end.
        for there, face, words in ((n > 0, colour, style.label(split)), (n == 0, "white", "_")):
            look: dict[str, Any] = {"s": 46, "marker": marker, "facecolor": face, "edgecolor": colour, "zorder": 3}
            axes.scatter(np.maximum(n, 0.4)[there], at[there] + shift, label=words, **look)
    style.plain_log(axes, "x")
    axes.set_xlim(0.3, most * 2)
    ticks = [10**power for power in range(len(str(most)))]
    axes.set_xticks([0.4, *ticks], ["0", *(f"{tick:,}" for tick in ticks)])
    axes.set_yticks(at, [shorten(name, 30) for name in order])
    axes.set(ylim=(len(at) - 0.4, -0.6), xlabel="images")
    axes.axvspan(0.3, 0.6, color=GREY, alpha=0.12, linewidth=0)
    style.head(figure, axes, f"Images of each class of {what} in each split")
    axes.grid(axis="x", which="minor", visible=False)
    absent = sum(not all(counts[name].get(split) for split in splits) for name in order)
    note = f"hollow: no image, {absent} of {len(order)} classes" if absent else ""
    return style.finish(figure, " · ".join(filter(None, [caption, note])))
