"""The images whose many numbers were predicted best and worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from visionlab.drawing import style
from visionlab.drawing.images import Images, pick_best_worst, stretch, stretch_words
from visionlab.drawing.style import BLUE, INK, ORANGE, SOFT, styled
from visionlab.drawing.text import count, digits, shorten, with_unit

Array = npt.NDArray[np.float64]

# Inches.
CELL, LINE = 1.75, 0.16


@styled
def best_worst_outputs(
    images: Images,
    true: Array,
    pred: Array,
    columns: Sequence[str],
    ids: Sequence[str],
    unit: str,
    *,
    k: int = 6,
    caption: str = "",
) -> Figure:
    """Two rows: the images with the smallest and those with the largest mean error, with their numbers under them.

    Args:
        images: by position; only the 2 ``k`` shown are asked for, so they may be read lazily.
        true, pred: N x K values, in ``unit``.
        columns: K names.
        ids: N names.
        unit: of all values, empty for none.
        k: images in a row.
        caption: the line under the figure.

    Raises:
        ValueError: no sample.
    """
    errors = np.abs(pred - true).mean(axis=1)
    best, worst = pick_best_worst(np.zeros(len(errors)), errors, k)
    if not best:
        raise ValueError("expected at least one sample")
    chosen = [part for part in (best, worst) if part]
    across = max(map(len, chosen))
    tall = CELL + 0.8 + LINE * len(columns)
    figure = style.new(max(CELL * across + 0.2, 5), tall * len(chosen) + 0.3)
    strips: list[SubFigure] = list(figure.subfigures(len(chosen), 1, squeeze=False)[:, 0])
    channels = 1
    words = (("smallest", BLUE), ("largest", ORANGE))
    for strip, places, (which, colour) in zip(strips, chosen, words, strict=False):
        strip.suptitle(f"{count(len(places), 'image')} with the {which} error", x=0.01, ha="left", fontweight="bold")
        row: list[Axes] = list(strip.subplots(1, across, squeeze=False)[0])
        for axes, i in zip(row, places, strict=False):
            image = images[i]
            channels = image.shape[2]
            axes.imshow(stretch(image), cmap="gray", vmin=0, vmax=1)
            axes.set_anchor("N")  # what is left of the height is for the numbers
            title = f"MAE {with_unit(digits(errors[i]), unit)}\n{shorten(ids[i], 24)}"
            axes.set_title(title, fontsize=9.5, fontweight="normal", loc="center", pad=4, color=colour)
            _numbers(axes, columns, true[i], pred[i])
        for axes in row:
            axes.set_axis_off()
    named = f"under each image: true → predicted{f' ({unit})' if unit else ''}"
    return style.finish(figure, " · ".join(filter(None, [caption, named, stretch_words(channels)])))


def _numbers(axes: Axes, columns: Sequence[str], true: Array, pred: Array) -> None:
    """Write a line for each column under an image; a text for each part of the lines keeps the parts in columns."""
    given = [digits(float(number), 0 if number == round(number) else 1) for number in true]
    parts: tuple[tuple[float, list[str], str, str], ...] = (
        (0.02, [shorten(name, 10) for name in columns], "left", INK),
        (0.5, given, "right", INK),
        (0.58, ["→"] * len(columns), "center", SOFT),
        (0.9, [digits(float(number), 1) for number in pred], "right", INK),
    )
    for x, lines, align, colour in parts:
        look: dict[str, Any] = {"fontsize": 9, "linespacing": 1.25, "va": "top", "ha": align, "color": colour}
        axes.text(x, -0.04, "\n".join(lines), transform=axes.transAxes, **look)
