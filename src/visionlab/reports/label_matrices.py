"""Figures of pairs of classes: which occur together, and which are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import INK, styled
from visionlab.drawing.text import shorten
from visionlab.metrics.multilabel import confusion, cooccurrence
from visionlab.reports.multilabel import Labelled

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NUMBERED = 14
"""Up to so many classes the numbers are written into the cells."""
NAME = 30
COLOURS = LinearSegmentedColormap.from_list("shares", ["#FFFFFF", "#BFDDF0", "#0072B2", "#00263B"])
_TOO = "share of the row's images\nthat have the column's class too"


@styled
def true_and_predicted(s: Labelled) -> Figure:
    """Which classes occur together, in truth and as predicted."""
    k = len(s.classes)
    side = _side(k)
    figure = style.new(max(2 * side + 3.5, 7.5), side + 3.5)
    left, right = figure.subplots(1, 2)
    named = [f"{shorten(name, NAME)}  {n:,}" for name, n in zip(s.classes, s.support, strict=True)]
    _matrix(left, cooccurrence(s.true), named, s.classes)
    counts = [f"{n:,}" for n in s.decided.sum(axis=0)]
    cells = _matrix(right, cooccurrence(s.decided), counts, s.classes)
    right.yaxis.tick_right()
    left.set_anchor("E")
    right.set_anchor("W")
    left.set_title("in truth")
    right.set_title("as predicted")
    _bar(figure, [left, right], cells, _TOO)
    figure.suptitle(f"Classes of {s.head} that occur together", x=0.01, ha="left", fontweight="bold")
    return style.finish(figure, f"{s.caption} · beside each row: its images, true on the left, predicted on the right")


@styled
def occurring_together(labels: Flags, classes: Sequence[str], what: str, caption: str) -> Figure:
    """Which classes occur together in a data set, N x K; the commonest first."""
    order = np.argsort(-labels.sum(axis=0), kind="stable")
    labels, names = labels[:, order], [classes[i] for i in order]
    side = _side(len(names))
    figure = style.new(max(side + 4.2, 6), side + 3.4)
    axes = figure.subplots()
    named = [f"{shorten(name, NAME)}  {n:,}" for name, n in zip(names, labels.sum(axis=0), strict=True)]
    cells = _matrix(axes, cooccurrence(labels), named, names)
    _bar(figure, [axes], cells, _TOO)
    figure.suptitle(f"Classes of {what} that occur together", x=0.01, ha="left", fontweight="bold")
    return style.finish(figure, caption)


@styled
def taken_for(s: Labelled) -> Figure:
    """Which classes are predicted where another one is missed."""
    k = len(s.classes)
    shares = confusion(np.concatenate([s.true, s.scores, s.decided], axis=1))
    # What was missed with nothing wrong in its place.
    shares = np.concatenate([shares, np.maximum(1 - shares.sum(axis=1, keepdims=True), 0)], axis=1)
    side = _side(k)
    figure = style.new(max(side + 4.6, 6.5), side + 3.7)
    axes = figure.subplots()
    named = [f"{shorten(name, NAME)}  {n:,}" for name, n in zip(s.classes, s.support, strict=True)]
    cells = _matrix(axes, shares, named, [*s.classes, "none in its place"], diagonal=True)
    axes.axvline(k - 0.5, color="white", linewidth=4, zorder=4)
    axes.set(ylabel="images of the class", xlabel="are predicted to have")
    _bar(figure, [axes], cells, "share of the row's images")
    figure.suptitle(f"Where the images of each class of {s.head} went", x=0.01, ha="left", fontweight="bold")
    note = "on the diagonal: found; elsewhere: the class was missed and another predicted wrongly"
    return style.finish(figure, f"{s.caption} · {note}")


def _side(classes: int) -> float:
    """Return the side of a matrix in inches."""
    return max((0.17 if classes > NUMBERED else 0.27) * classes, 1.7)


def _matrix(axes: Axes, shares: Array, rows: Sequence[str], columns: Sequence[str], *, diagonal: bool = False) -> Any:
    """Draw a matrix of shares, with or without its diagonal; rows without images are hatched."""
    shown = shares if diagonal else np.where(np.eye(len(shares)) > 0, np.nan, shares)
    axes.set_facecolor("#D5DAE0")
    cells = axes.imshow(np.ma.masked_invalid(shown), cmap=COLOURS, norm=PowerNorm(0.6, 0, 1), aspect="equal")
    size = 9.5 if len(shares) > NUMBERED else 11
    axes.set_xticks(range(len(columns)), [shorten(name, NAME) for name in columns], rotation=90, fontsize=size)
    axes.set_yticks(range(len(rows)), rows, fontsize=size)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(visible=False)
    axes.grid(which="minor", color="#E4E7EB", linewidth=0.6)
    axes.set_axisbelow(False)
    axes.spines[:].set_visible(False)
    for i in np.flatnonzero(np.isnan(shares).all(axis=1)):
        axes.axhspan(i - 0.5, i + 0.5, **style.UNKNOWN, linewidth=0)
    if len(shares) <= NUMBERED:
        look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8.5}
        for (i, j), share in np.ndenumerate(shown):
            if share >= 0.005:
                axes.text(j, i, f"{100 * share:.0f}", color="white" if share > 0.35 else INK, **look)
    return cells


def _bar(figure: Figure, axes: Sequence[Axes], cells: Any, words: str) -> None:
    bar = figure.colorbar(
        cells,
        ax=list(axes),
        location="bottom",
        shrink=0.5,
        aspect=40,
        pad=0.02,
        label=words,
        ticks=[0, 0.1, 0.3, 0.6, 1],
    )
    bar.ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    bar.outline.set_visible(False)
