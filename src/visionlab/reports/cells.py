"""Pictures of segmented objects on the slices they are in: truth and prediction as colours and as outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from visionlab.drawing import style
from visionlab.drawing.maps import FALSE, FOUND, MISSED
from visionlab.drawing.outlines import PREDICTED, SECOND, TRUE
from visionlab.drawing.style import styled
from visionlab.drawing.text import shorten
from visionlab.reports.cell_panes import (
    MENDED,
    NARROW,
    WIDE,
    CellView,
    changes,
    input_pane,
    known,
    near,
    objects_row,
    outlined,
    pixels_row,
)
from visionlab.reports.cell_sheet import Outline, Pane, draw

Array = npt.NDArray[np.integer]

ACROSS = 4
"""Of slices in a row."""


@dataclass(frozen=True)
class Compared:
    """A slice and what two models predicted for it: ``first`` (the old one) and ``second``, with a score each."""

    view: CellView
    first: Array
    second: Array
    scores: tuple[str, str] = ("", "")


@styled
def cell_collage(
    sections: Sequence[tuple[str, Sequence[CellView]]], caption: str, *, instances: bool = True, scaled: bool = True
) -> Figure:
    """One row a slice: input, truth, prediction, and where they differ.

    Args:
        sections: title, may be empty, and slices.
        caption: the line under the figure.
        instances: whether the truth tells objects apart. Then objects that are partners have one colour in truth and
            prediction, and the last picture has outlines of both. Otherwise pixels are compared, and the objects that
            were predicted are shown for themselves.
        scaled: whether it is said where nobody knows how large a pixel is.

    Raises:
        ValueError: there is no slice.
    """
    panes = objects_row if instances else pixels_row
    cut = [(title, [near([view])[0] for view in views]) for title, views in sections if views]
    rows = [(title, [panes(view) for view in views]) for title, views in cut]
    views = [view for _, part in cut for view in part]
    legend = [*(_outline_legend() if instances else _pixel_legend()), *_unknown(views)]
    words = "objects of one colour are partners (IoU ≥ 0.5 in the slice), white ones have none" if instances else ""
    return draw(rows, _caption(caption, words, views, scaled=scaled), legend)


@styled
def cell_slices(views: Sequence[CellView], title: str, caption: str, *, instances: bool = True) -> Figure:
    """Slices of one volume, several in a row, with the outlines of truth and prediction.

    Args:
        views: slices.
        title: over the figure.
        caption: the line under it.
        instances: whether the truth tells objects apart; otherwise its outlines are those of its foreground.

    Raises:
        ValueError: there is no slice.
    """
    views = near(views)
    panes = [outlined(view, label=" · ".join(filter(None, [view.name, view.score]))) for view in views]
    rows = [panes[i : i + ACROSS] for i in range(0, len(panes), ACROSS)]
    legend = _outline_legend() if instances else _outline_legend("true foreground", "objects found")
    return draw([(title, rows)], _caption(caption, "", views), [*legend, *_unknown(views)])


@styled
def cell_examples(views: Sequence[CellView], titles: Sequence[str], caption: str) -> Figure:
    """Slices with the outlines of the true objects, each under its title.

    Raises:
        ValueError: there is no slice, or not one title a slice.
    """
    if len(views) != len(titles):
        raise ValueError(f"expected slices and one title for each, found {len(views)} and {len(titles)}")
    panes = [outlined(view, label=title) for view, title in zip(views, titles, strict=True)]
    rows = [panes[i : i + ACROSS] for i in range(0, len(panes), ACROSS)]
    return draw([("", rows)], caption, [*_outline_legend()[:1], *_unknown(views)])


@styled
def cell_comparison(rows: Sequence[Compared], names: tuple[str, str], caption: str) -> Figure:
    """One row a slice: input, truth, the outlines of two models, and which pixels are right in one only.

    Args:
        rows: slices.
        names: of the first (old) and the second (new) model.
        caption: the line under the figure.

    Raises:
        ValueError: there is no slice.
    """
    short = [shorten(name, 30) for name in names]
    panes, views = [], []
    for row in rows:
        # Both in the same window.
        view, other = near([replace(row.view, pred=row.first), replace(row.view, pred=row.second)])
        assert view.pred is not None and other.pred is not None
        views.append(view)
        true = Outline(view.true, TRUE, WIDE)
        both = [
            Pane(known(view.image, view.true), name, (true, Outline(ids, colour, NARROW)), score)
            for ids, name, colour, score in zip(
                (view.pred, other.pred), short, (PREDICTED, SECOND), row.scores, strict=True
            )
        ]
        changed = Pane(changes(view, view.pred, other.pred), "difference")
        panes.append([input_pane(view), Pane(known(view.image, view.true), "truth", (true,)), *both, changed])
    legend = [
        _line(TRUE, "true", WIDE),
        _line(PREDICTED, short[0], NARROW),
        _line(SECOND, short[1], NARROW),
        Patch(color=MENDED, label="only the second is right"),
        Patch(color=FALSE, label="only the first is right"),
        Patch(color=MISSED, label="both are wrong"),
        *_unknown(views),
    ]
    return draw([("", panes)], _caption(caption, "", views), legend)


def _line(colour: str, words: str, width: float) -> Line2D:
    return Line2D([], [], color=colour, linewidth=width + 0.8, label=style.label(words))


def _outline_legend(true: str = "true", pred: str = "predicted") -> list[Line2D]:
    return [_line(TRUE, true, WIDE), _line(PREDICTED, pred, NARROW)]


def _pixel_legend() -> list[Patch]:
    words = ("foreground found", "background taken for foreground", "foreground missed")
    return [Patch(color=colour, label=text) for colour, text in zip((FOUND, FALSE, MISSED), words, strict=True)]


def _unknown(views: Sequence[CellView]) -> list[Patch]:
    return [Patch(**style.UNKNOWN, label="unknown")] if any((view.true < 0).any() for view in views) else []


def _caption(caption: str, words: str, views: Sequence[CellView], *, scaled: bool = True) -> str:
    no_scale = "" if not scaled or any(view.pixel for view in views) else "pixel size unknown"
    cropped = "cut to the part with objects" if any(view.cropped for view in views) else ""
    return " · ".join(filter(None, [caption, words, cropped, no_scale]))
