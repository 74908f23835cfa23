"""How a score of single images differs between groups: one row a group, or one point where groups are many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, INK, ORANGE
from visionlab.drawing.text import decimals, digits, shorten, with_unit

Array = npt.NDArray[np.float64]
MAX_ROWS = 30
"""Of more groups nobody reads the names."""
NAMED = 5


@dataclass(frozen=True)
class Grouped:
    """A score of each image, and its group.

    Attributes:
        values: N values in ``unit``.
        group: N names.
        score: what the values' mean is called, e.g. ``MAE``.
        axis: label of the values, with the unit.
        unit: of the values, empty for none.
        rising: whether a high value is good.
        title: what stands before ``MAE from 0.1 m to 0.3 m``, e.g. ``Error by group``.
        caption: the line under the figure.
    """

    values: Array
    group: npt.NDArray[Any]
    score: str
    axis: str
    unit: str
    rising: bool
    title: str
    caption: str


def draw_groups(g: Grouped) -> Figure:
    """Draw each group's images and their mean, the best group first."""
    names, member = np.unique(g.group, return_inverse=True)
    means = np.bincount(member, weights=g.values) / np.bincount(member)
    order = np.argsort(-means if g.rising else means, kind="stable")
    parts = [g.values[member == i] for i in order]
    if len(names) <= MAX_ROWS:
        figure = style.new(7, max(2.6, 1.7 + 0.34 * len(names)))
        axes = figure.subplots()
        _rows(axes, g, names[order], means[order], parts)
    else:
        figure = style.new(7, 4.8)
        axes = figure.subplots()
        _ranks(axes, g, names[order], means[order], parts)
    best, worst = (_words(g, means[i]) for i in (order[0], order[-1]))
    one = len(names) == 1
    style.legend_above(
        axes, f"{g.title}: the one group's {g.score} {best}" if one else f"{g.title}: {g.score} from {best} to {worst}"
    )
    return style.finish(figure, g.caption)


def _words(g: Grouped, mean: float) -> str:
    return with_unit(digits(mean, decimals(mean, 2)), g.unit)


def _rows(axes: Axes, g: Grouped, names: npt.NDArray[Any], means: Array, parts: list[Array]) -> None:
    at = np.arange(len(parts))
    axes.boxplot(
        parts,
        positions=at,
        orientation="horizontal",
        widths=0.62,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": "#CFE3F1", "edgecolor": BLUE},
        medianprops={"color": BLUE, "linewidth": 2},
        whiskerprops={"color": BLUE},
        capprops={"linewidth": 0},
    )
    jitter = np.random.default_rng(0)
    for y, part in enumerate(parts):
        if len(part) <= 150:
            shift = jitter.uniform(-0.2, 0.2, len(part))
            axes.scatter(part, y + shift, s=9, color=INK, alpha=0.4, linewidths=0, zorder=3)
    axes.scatter(means, at, marker="D", s=34, color=ORANGE, zorder=4, label=f"{g.score} of the group")
    axes.axvline(g.values.mean(), color=INK, linestyle=":", linewidth=1.5, label=f"{g.score} of all images")
    axes.set_yticks(at, [f"{shorten(name)}  (n = {len(part):,})" for name, part in zip(names, parts, strict=True)])
    axes.set(ylim=(len(parts) - 0.4, -0.6), xlabel=g.axis)
    if not g.rising:
        axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)


def _ranks(axes: Axes, g: Grouped, names: npt.NDArray[Any], means: Array, parts: list[Array]) -> None:
    at = np.arange(1, len(parts) + 1)
    quartiles = np.array([np.quantile(part, [0.25, 0.75]) for part in parts])
    axes.vlines(at, quartiles[:, 0], quartiles[:, 1], color=BLUE, alpha=0.35, linewidth=2, label="middle half")
    axes.scatter(at, means, marker="D", s=16, color=ORANGE, zorder=4, label=f"{g.score} of the group")
    axes.axhline(g.values.mean(), color=INK, linestyle=":", linewidth=1.5, label=f"{g.score} of all images")
    axes.set(xlabel=f"the {len(parts)} groups, best first", ylabel=g.axis)
    axes.grid(axis="x", visible=False)
    if not g.rising:
        axes.set_ylim(bottom=0)
    # Best first, so the corner under a falling curve or over a rising one is free.
    lines = [f"{shorten(names[-i], 24)}  {_words(g, means[-i])}" for i in range(1, NAMED + 1)]
    y, vertical = (0.04, "bottom") if g.rising else (0.97, "top")
    look: dict[str, Any] = {"fontsize": 10, "bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.85}}
    axes.text(0.02, y, "\n".join(["worst groups", *lines]), transform=axes.transAxes, va=vertical, **look)
