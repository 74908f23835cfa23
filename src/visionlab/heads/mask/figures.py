"""Figures of a head of masks."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import styled
from visionlab.drawing.text import digits
from visionlab.heads.figures import Drawing, Figures, HeadTables, Scores, score_histogram, scores_by_group, square


def scores(t: HeadTables) -> Figure:
    return score_histogram(Scores.of(t, FIGURES), t.head, "image")


def by_group(t: HeadTables) -> Figure | None:
    return scores_by_group(Scores.of(t, FIGURES), t.head)


@styled
def area(t: HeadTables) -> Figure:
    """Predicted against true share of foreground: whether masks come out too large."""
    true, pred = (100 * t.table[f"{t.head}_area_{which}"].to_numpy(float) for which in ("true", "pred"))
    good = np.isfinite(true) & np.isfinite(pred)
    true, pred = true[good], pred[good]
    figure = style.new(8.4, 5)
    axes = figure.subplots()
    square(axes, true, pred, None if t.groups is None else t.groups[good])
    axes.set(xlabel=f"true share of {t.head} (%)", ylabel=f"predicted share of {t.head} (%)")
    off = float(np.mean(pred - true))
    title = f"Area of {t.head}: on average {digits(abs(off), 1)}% of the image too {'large' if off > 0 else 'small'}"
    return style.finish(figure, title, t.caption("on the line predicted = true"))


FIGURES = Figures(
    key="iou",
    baseline=("always predicting the mean of the training masks at every pixel", "the same for every image"),
    drawings={
        "scores": Drawing(scores, "How well the masks of single images overlap with the true ones."),
        "by_group": Drawing(by_group, "Each group's images; the interval comes from these differences."),
        "area": Drawing(area, "Predicted against true share of foreground; above the line the mask is too large."),
    },
)
