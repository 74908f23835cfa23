"""Pictures of segmented objects on the slices they are in: truth and prediction as colours and as outlines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from visionlab.reports import style
from visionlab.reports.cell_outlines import PREDICTED, SECOND, TRUE, bar_length, edges, partners
from visionlab.reports.maps import FALSE, FOUND, MISSED
from visionlab.reports.sheet import Page, Panel
from visionlab.reports.style import INK, SOFT, styled
from visionlab.reports.text import shorten

Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]

OBJECTS = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#0072B2", "#D55E00")
"""Colours of objects that have a partner; those without are white."""
MENDED = "#009E73"
"""Colour of pixels that only the second of two models has right."""
ACROSS = 4
"""Of slices in a row."""

# Inches; the last are points.
_CELL, _GAP, _MARGIN, _TITLE, _HEADING, _LABEL, _LEGEND, _LINE = 2.5, 0.07, 0.12, 0.34, 0.26, 0.24, 0.34, 0.18
_WIDE, _NARROW = 2.2, 1.0

_POINTS = 72  # an inch
_AROUND, _LEAST, _WORTHWHILE = 0.16, 0.4, 0.75
"""Shares of a slice: what is shown around its objects, the smallest and the largest window that it is cut to."""


@dataclass(frozen=True)
class CellView:
    """A slice as it is shown.

    Attributes:
        name: of the slice.
        image: H x W or H x W x 3, 0 to 1.
        true: H x W ids of objects, 0 none, -1 unknown.
        pred: H x W ids that were predicted; None where nothing is.
        mask: H x W, what was predicted as foreground, where that isn't where the objects are: walls around them.
        pixel: width of a pixel in um; None where nobody knows.
        score: a short text, e.g. ``IoU 0.93``.
        cropped: whether it is only a part of the slice.
    """

    name: str
    image: npt.NDArray[np.float32]
    true: Array
    pred: Array | None = None
    mask: Flags | None = None
    pixel: float | None = None
    score: str = ""
    cropped: bool = False

    @property
    def foreground(self) -> Flags:
        """What was predicted as foreground."""
        if self.mask is not None:
            return self.mask
        assert self.pred is not None
        return self.pred > 0


@dataclass(frozen=True)
class Compared:
    """A slice and what two models predicted for it: ``first`` (the old one) and ``second``, with a score each."""

    view: CellView
    first: Array
    second: Array
    scores: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class _Outline:
    labels: Array
    colour: str
    width: float


@dataclass(frozen=True)
class _Pane:
    """A picture with outlines, a heading over its column and a label over itself."""

    pixels: Array
    heading: str = ""
    outlines: tuple[_Outline, ...] = ()
    label: str = ""
    pixel: float | None = None


# Figures ----------------------------------------------------------------------------------------------------------


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
    panes = _objects_row if instances else _pixels_row
    near = [(title, [_near([view])[0] for view in views]) for title, views in sections if views]
    rows = [(title, [panes(view) for view in views]) for title, views in near]
    views = [view for _, part in near for view in part]
    legend = [*(_outline_legend() if instances else _pixel_legend()), *_unknown(views)]
    words = "objects of one colour are partners (IoU ≥ 0.5 in the slice), white ones have none" if instances else ""
    return _draw(rows, _caption(caption, words, views, scaled=scaled), legend)


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
    views = _near(views)
    panes = [_outlined(view, label=" · ".join(filter(None, [view.name, view.score]))) for view in views]
    rows = [panes[i : i + ACROSS] for i in range(0, len(panes), ACROSS)]
    legend = _outline_legend() if instances else _outline_legend("true foreground", "objects found")
    return _draw([(title, rows)], _caption(caption, "", views), [*legend, *_unknown(views)])


@styled
def cell_examples(views: Sequence[CellView], titles: Sequence[str], caption: str) -> Figure:
    """Slices with the outlines of the true objects, each under its title.

    Raises:
        ValueError: there is no slice, or not one title a slice.
    """
    if len(views) != len(titles):
        raise ValueError(f"expected slices and one title for each, found {len(views)} and {len(titles)}")
    panes = [_outlined(view, label=title) for view, title in zip(views, titles, strict=True)]
    rows = [panes[i : i + ACROSS] for i in range(0, len(panes), ACROSS)]
    return _draw([("", rows)], caption, [*_outline_legend()[:1], *_unknown(views)])


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
        view, other = _near([replace(row.view, pred=row.first), replace(row.view, pred=row.second)])
        assert view.pred is not None and other.pred is not None
        views.append(view)
        true = _Outline(view.true, TRUE, _WIDE)
        both = [
            _Pane(_known(view.image, view.true), name, (true, _Outline(ids, colour, _NARROW)), score)
            for ids, name, colour, score in zip(
                (view.pred, other.pred), short, (PREDICTED, SECOND), row.scores, strict=True
            )
        ]
        changed = _Pane(_changes(view, view.pred, other.pred), "difference")
        panes.append([_input(view), _Pane(_known(view.image, view.true), "truth", (true,)), *both, changed])
    legend = [
        _line(TRUE, "true", _WIDE),
        _line(PREDICTED, short[0], _NARROW),
        _line(SECOND, short[1], _NARROW),
        Patch(color=MENDED, label="only the second is right"),
        Patch(color=FALSE, label="only the first is right"),
        Patch(color=MISSED, label="both are wrong"),
        *_unknown(views),
    ]
    return _draw([("", panes)], _caption(caption, "", views), legend)


def _near(views: Sequence[CellView]) -> list[CellView]:
    """Return slices cut to one window around their objects, where that is much smaller than they are."""
    marked = np.any([(view.true > 0) | (False if view.pred is None else view.pred > 0) for view in views], axis=0)
    if not marked.any():
        return list(views)
    size = np.array(marked.shape)
    found = [np.flatnonzero(marked.any(axis=1 - axis)) for axis in (0, 1)]
    low, high = (np.array([at[end] for at in found]) for end in (0, -1))
    share = max(float(((high + 1 - low) / size).max()) + _AROUND, _LEAST)
    if share > _WORTHWHILE:
        return list(views)
    window = np.ceil(share * size).astype(int)
    start = np.clip((low + high + 1 - window) // 2, 0, size - window)
    rows, columns = (slice(int(a), int(a + n)) for a, n in zip(start, window, strict=True))

    def cut(part: Any) -> Any:
        return None if part is None else part[rows, columns]

    return [
        replace(v, image=cut(v.image), true=cut(v.true), pred=cut(v.pred), mask=cut(v.mask), cropped=True)
        for v in views
    ]


# Panes ------------------------------------------------------------------------------------------------------------


def _input(view: CellView) -> _Pane:
    return _Pane(view.image, "input", label=shorten(view.name, 34), pixel=view.pixel)


def _outlined(view: CellView, heading: str = "", label: str = "") -> _Pane:
    """Return a slice under its outlines: a wide true and a thin predicted one, both seen where they agree."""
    outlines = [_Outline(view.true, TRUE, _WIDE if view.pred is not None else 1.5)]
    if view.pred is not None:
        outlines.append(_Outline(view.pred, PREDICTED, _NARROW))
    return _Pane(_known(view.image, view.true), heading, tuple(outlines), shorten(label, 38), view.pixel)


def _objects_row(view: CellView) -> list[_Pane]:
    assert view.pred is not None
    partner = partners(view.true, view.pred)
    ids = np.zeros(max(int(view.pred.max(initial=0)), 0) + 1, np.int64)
    for pred, true in partner.items():
        ids[pred] = true
    both = set(partner.values())
    colours = {true: OBJECTS[i % len(OBJECTS)] for i, true in enumerate(sorted(both))}
    true_colours = _painted(view.true, colours)
    matched = np.where(view.pred > 0, ids[view.pred], 0)
    pred_colours = _painted(np.where((view.pred > 0) & (matched == 0), np.iinfo(np.int64).max, matched), colours)
    thin = 0.7
    return [
        _input(view),
        _Pane(_known(true_colours, view.true), "truth", (_Outline(view.true, "#000000", thin),)),
        _Pane(pred_colours, "prediction", (_Outline(view.pred, "#000000", thin),)),
        _outlined(view, "outlines", view.score),
    ]


def _pixels_row(view: CellView) -> list[_Pane]:
    assert view.pred is not None
    dark = 0.12 + 0.6 * _grey(view.image)
    compared = np.repeat(dark[..., None], 3, axis=2)
    true, pred = view.true > 0, view.foreground
    for where, colour, opaque in ((true & pred, FOUND, 0.5), (pred & ~true, FALSE, 0.9), (true & ~pred, MISSED, 0.9)):
        compared[where] = (1 - opaque) * compared[where] + opaque * style.rgb(colour)
    colours = {int(one): OBJECTS[i % len(OBJECTS)] for i, one in enumerate(np.unique(view.pred[view.pred > 0]))}
    return [
        _input(view),
        _Pane(_known(true.astype(np.float32), view.true), "truth"),
        _Pane(pred.astype(np.float32), "prediction"),
        _Pane(_known(compared, view.true), "difference", label=view.score),
        _Pane(_painted(view.pred, colours), "objects found", (_Outline(view.pred, "#000000", 0.7),)),
    ]


def _painted(ids: Array, colours: dict[int, str]) -> npt.NDArray[np.float32]:
    """Return H x W x 3: objects in their colours, those without one white, the rest dark."""
    names, places = np.unique(ids, return_inverse=True)
    table = np.array(
        [style.rgb(colours.get(int(name), "#FFFFFF")) if name > 0 else style.rgb("#1B1F24") for name in names]
    )
    return np.asarray(table[places.reshape(ids.shape)], np.float32)


def _changes(view: CellView, first: Array, second: Array) -> npt.NDArray[np.float32]:
    """Return the slice in grey under the colours of the pixels that only one model has right, or none."""
    result = np.repeat((0.12 + 0.6 * _grey(view.image))[..., None], 3, axis=2)
    true = view.true > 0
    right = [(ids > 0) == true for ids in (first, second)]
    for where, colour in (
        (~right[0] & right[1], MENDED),
        (right[0] & ~right[1], FALSE),
        (~right[0] & ~right[1], MISSED),
    ):
        result[where] = 0.1 * result[where] + 0.9 * style.rgb(colour)
    return _known(result, view.true)


def _grey(image: Array) -> npt.NDArray[np.float32]:
    return image if image.ndim == 2 else np.asarray(image @ np.array([0.299, 0.587, 0.114], np.float32))


def _known(pixels: Array, true: Array) -> npt.NDArray[np.float32]:
    """Return H x W x 4 whose unknown pixels are transparent, or the pixels as they are where all are known."""
    if (true >= 0).all():
        return pixels
    colours = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    return np.concatenate([colours, (true >= 0)[..., None]], axis=2).astype(np.float32)


# Layout -----------------------------------------------------------------------------------------------------------


def _draw(sections: Sequence[tuple[str, Sequence[Sequence[_Pane]]]], caption: str, legend: Sequence[Any]) -> Figure:
    """Draw rows of panes, whose headings are those of the first row, with a legend and a caption under them."""
    rows = [row for _, part in sections for row in part]
    if not rows:
        raise ValueError("expected at least one slice")
    width = 2 * _MARGIN + max(3, *map(len, rows)) * (_CELL + _GAP) - _GAP
    shape = rows[0][0].pixels.shape
    tall = _CELL * float(np.clip(shape[0] / shape[1], 0.3, 1.4))
    headings = _HEADING * any(pane.heading for pane in rows[0])
    below = 0.14 + _LINE * len(style.lines(caption, width)) + _LEGEND * math.ceil(len(legend) / 7)
    titles = sum(_TITLE for title, _ in sections if title)
    height = 0.06 + headings + titles + len(rows) * (_LABEL + tall + _GAP) + below
    figure = style.new(width, height, fixed=True)
    page = Page(figure, width, height)
    top, begun = 0.06, False
    for title, part in sections:
        if title:
            page.text(_MARGIN, top + _TITLE / 2, title, fontsize=13, fontweight="bold")
            top += _TITLE
        for row in part:
            lefts = [_MARGIN + i * (_CELL + _GAP) for i in range(len(row))]
            if headings and not begun:
                for pane, x in zip(row, lefts, strict=True):
                    page.text(x, top + _HEADING / 2, pane.heading, fontsize=11, color=SOFT)
                top, begun = top + headings, True
            for pane, x in zip(row, lefts, strict=True):
                page.text(x, top + 0.55 * _LABEL, pane.label, fontsize=9.5, color=INK)
                _picture(page, pane, x, top + _LABEL, tall)
            top += _LABEL + tall + _GAP
    if legend:
        spot = (_MARGIN / width, (below - _LEGEND) / height)
        figure.legend(
            handles=list(legend), loc="lower left", bbox_to_anchor=spot, ncols=len(legend), borderpad=0, borderaxespad=0
        )
    return style.finish(figure, caption)


def _picture(page: Page, pane: _Pane, x: float, y: float, tall: float) -> None:
    page.picture(Panel("", pane.pixels), x, y, _CELL, tall)
    rows, columns = pane.pixels.shape[:2]
    size = min(_CELL / columns, tall / rows)
    fine = float(np.clip(_POINTS * size, 0.6, 1.0))  # of small pixels, so that lines hide no small objects
    for outline in pane.outlines:
        lines = np.array([x, y]) + size * edges(outline.labels)
        look: dict[str, Any] = {"linewidths": fine * outline.width, "capstyle": "projecting", "zorder": 3}
        page.axes.add_collection(LineCollection(list(lines), colors=outline.colour, **look), autolim=False)
    if pane.pixel is not None:
        across = size * columns
        length, words = bar_length(pane.pixel * columns)
        end, low = x + across - 0.08, y + size * rows - 0.08
        box = (end - length * across - 0.04, low - 0.2)
        page.axes.add_patch(
            Rectangle(box, length * across + 0.08, 0.24, color="black", alpha=0.6, linewidth=0, zorder=4)
        )
        page.axes.plot([end - length * across, end], [low, low], color="white", linewidth=2.2, zorder=5)
        middle = end - length * across / 2
        page.text(middle, low - 0.1, words, fontsize=8.5, color="white", ha="center", zorder=5)


def _line(colour: str, words: str, width: float) -> Line2D:
    return Line2D([], [], color=colour, linewidth=width + 0.8, label=style.label(words))


def _outline_legend(true: str = "true", pred: str = "predicted") -> list[Line2D]:
    return [_line(TRUE, true, _WIDE), _line(PREDICTED, pred, _NARROW)]


def _pixel_legend() -> list[Patch]:
    words = ("foreground found", "background taken for foreground", "foreground missed")
    return [Patch(color=colour, label=text) for colour, text in zip((FOUND, FALSE, MISSED), words, strict=True)]


def _unknown(views: Sequence[CellView]) -> list[Patch]:
    return [Patch(**style.UNKNOWN, label="unknown")] if any((view.true < 0).any() for view in views) else []


def _caption(caption: str, words: str, views: Sequence[CellView], *, scaled: bool = True) -> str:
    no_scale = "" if not scaled or any(view.pixel for view in views) else "pixel size unknown"
    cropped = "cut to the part with objects" if any(view.cropped for view in views) else ""
    return " · ".join(filter(None, [caption, words, cropped, no_scale]))
