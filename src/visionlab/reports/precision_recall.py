"""Precision against recall of every class of a head of labels, in one figure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.sheet import Page
from visionlab.drawing.style import BLUE, GREY, ORANGE, SOFT, styled
from visionlab.drawing.text import count, shorten
from visionlab.reports.multilabel import Array, Flags, Labelled

COLUMNS = 7
MAX_POINTS = 400

# Inches.
WIDE, HIGH, GAP, TITLE, LEFT, TOP, BELOW = 1.55, 1.3, 0.24, 0.5, 0.42, 0.62, 0.62


def precision_recall(true: Flags, scores: Array) -> tuple[Array, Array, float]:
    """Return recall and precision at each different score, from the highest, and the average precision.

    Args:
        true, scores: N values of one class, of which at least one is true.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    found = np.cumsum(true[order])[last]
    recall, precision = found / found[-1], found / (last + 1)
    return recall, precision, float(np.sum(np.diff(recall, prepend=0) * precision))


@styled
def precision_recall_curves(s: Labelled) -> Figure:
    """Precision against recall of each class, with the point of its threshold and what guessing would give."""
    known = np.flatnonzero(s.support > 0)
    across = math.ceil(max(len(known), 1) / math.ceil(max(len(known), 1) / COLUMNS))
    rows = math.ceil(len(known) / across)
    width = max(LEFT + across * (WIDE + GAP), 7.5)  # narrower ones would be magnified in a report
    height = TOP + rows * (TITLE + HIGH) + BELOW
    figure = style.new(width, height, fixed=True)
    # All on one pair of axes: a pair for each class would take most of the time that drawing takes.
    page = Page(figure, width, height)
    title = f"Precision (up) and recall (right) of each class of {s.head}"
    page.text(0.12, 0.2, title, fontsize=13 * min(1, 9 * width / len(title)), fontweight="bold")
    for place, k in enumerate(known):
        row, column = divmod(place, across)
        x, y = LEFT + column * (WIDE + GAP), TOP + row * (TITLE + HIGH) + TITLE
        _frame(page, x, y, left=column == 0, bottom=place + across >= len(known))
        _curve(page, s, int(k), x, y)
    handles = [
        page.axes.plot([], [], color=BLUE, label="all thresholds")[0],
        page.axes.plot([], [], "o", color=ORANGE, label="the fitted threshold" if s.fitted else "the threshold")[0],
        page.axes.plot([], [], ":", color=GREY, label="guessing")[0],
    ]
    spot = (0.0, 1 - 0.3 / height)
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=spot, ncols=3, columnspacing=1.4)
    left_out = f" · without images, not drawn: {len(s.classes) - len(known)}" if len(known) < len(s.classes) else ""
    return style.finish(figure, f"{s.caption} · AP: average precision, the area under the curve{left_out}")


def _frame(page: Page, x: float, y: float, *, left: bool, bottom: bool) -> None:
    """Draw the axes of a class whose upper left corner is at x, y, with numbers at the outer ones."""
    for share in (0.0, 0.5, 1.0):
        look: dict[str, Any] = {"color": GREY if share == 0 else "#E4E7EB", "linewidth": 0.8, "zorder": 0}
        page.axes.plot([x, x + WIDE], [y + HIGH * (1 - share)] * 2, **look)
        page.axes.plot([x + WIDE * share] * 2, [y, y + HIGH], **look)
        if left:
            page.text(x - 0.08, y + HIGH * (1 - share), f"{share:g}", ha="right", fontsize=10.5)
        if bottom:
            page.text(x + WIDE * share, y + HIGH + 0.13, f"{share:g}", ha="center", fontsize=10.5)


def _curve(page: Page, s: Labelled, k: int, x: float, y: float) -> None:
    def at(recall: npt.ArrayLike, precision: npt.ArrayLike) -> tuple[Array, Array]:
        return x + WIDE * np.asarray(recall), y + HIGH * (1 - np.asarray(precision))

    n, true = int(s.support[k]), s.true[:, k]
    name = shorten(s.classes[k], 24)
    page.text(x, y - 0.31, name, fontsize=10.5 * min(1, 19 / len(name)), fontweight="bold")
    recall, precision, area = precision_recall(true, s.scores[:, k])
    page.text(x, y - 0.12, f"AP {area:.2f} · {count(n, 'image')}", fontsize=10, color=SOFT)
    # The corners of the curve, where something is found; thinned out where they are many.
    corners = np.flatnonzero((np.diff(recall, prepend=0) > 0) | (np.diff(recall, append=2) > 0))
    keep = corners[np.unique(np.linspace(0, len(corners) - 1, MAX_POINTS).astype(int))]
    page.axes.plot(*at([0, 1], [n / len(true)] * 2), color=GREY, linestyle=":", linewidth=1.5)
    page.axes.plot(*at(np.r_[0, recall[keep]], np.r_[precision[0], precision[keep]]), color=BLUE, linewidth=1.8)
    decided = s.decided[:, k]
    if decided.any():
        found = (true & decided).sum()
        point = at([found / n], [found / decided.sum()])
        page.axes.plot(*point, "o", color=ORANGE, markersize=7, markeredgecolor="white", zorder=4)
    else:
        words = "no threshold" if math.isnan(s.thresholds[k]) else "none predicted"
        look = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
        page.text(x + WIDE / 2, y + HIGH / 2, words, ha="center", fontsize=10, color=SOFT, bbox=look)
