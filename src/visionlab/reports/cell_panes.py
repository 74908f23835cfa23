"""What is shown of a slice with objects: its parts in colours and as outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from visionlab.drawing import style
from visionlab.drawing.maps import FALSE, FOUND, MISSED
from visionlab.drawing.outlines import PREDICTED, TRUE, partners
from visionlab.drawing.text import shorten
from visionlab.reports.cell_sheet import Outline, Pane

Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]

OBJECTS = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#0072B2", "#D55E00")
"""Colours of objects that have a partner; those without are white."""
MENDED = "#009E73"
"""Colour of pixels that only the second of two models has right."""
WIDE, NARROW = 2.2, 1.0
"""Widths in points of the outlines of truth and prediction: both are seen where they agree."""
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


def near(views: Sequence[CellView]) -> list[CellView]:
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


def input_pane(view: CellView) -> Pane:
    return Pane(view.image, "input", label=shorten(view.name, 34), pixel=view.pixel)


def outlined(view: CellView, heading: str = "", label: str = "") -> Pane:
    """Return a slice under its outlines: a wide true and a thin predicted one, both seen where they agree."""
    outlines = [Outline(view.true, TRUE, WIDE if view.pred is not None else 1.5)]
    if view.pred is not None:
        outlines.append(Outline(view.pred, PREDICTED, NARROW))
    return Pane(known(view.image, view.true), heading, tuple(outlines), shorten(label, 38), view.pixel)


def objects_row(view: CellView) -> list[Pane]:
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
        input_pane(view),
        Pane(known(true_colours, view.true), "truth", (Outline(view.true, "#000000", thin),)),
        Pane(pred_colours, "prediction", (Outline(view.pred, "#000000", thin),)),
        outlined(view, "outlines", view.score),
    ]


def pixels_row(view: CellView) -> list[Pane]:
    assert view.pred is not None
    dark = 0.12 + 0.6 * _grey(view.image)
    compared = np.repeat(dark[..., None], 3, axis=2)
    true, pred = view.true > 0, view.foreground
    for where, colour, opaque in ((true & pred, FOUND, 0.5), (pred & ~true, FALSE, 0.9), (true & ~pred, MISSED, 0.9)):
        compared[where] = (1 - opaque) * compared[where] + opaque * style.rgb(colour)
    colours = {int(one): OBJECTS[i % len(OBJECTS)] for i, one in enumerate(np.unique(view.pred[view.pred > 0]))}
    return [
        input_pane(view),
        Pane(known(true.astype(np.float32), view.true), "truth"),
        Pane(pred.astype(np.float32), "prediction"),
        Pane(known(compared, view.true), "difference", label=view.score),
        Pane(_painted(view.pred, colours), "objects found", (Outline(view.pred, "#000000", 0.7),)),
    ]


def _painted(ids: Array, colours: dict[int, str]) -> npt.NDArray[np.float32]:
    """Return H x W x 3: objects in their colours, those without one white, the rest dark."""
    names, places = np.unique(ids, return_inverse=True)
    table = np.array(
        [style.rgb(colours.get(int(name), "#FFFFFF")) if name > 0 else style.rgb("#1B1F24") for name in names]
    )
    return np.asarray(table[places.reshape(ids.shape)], np.float32)


def changes(view: CellView, first: Array, second: Array) -> npt.NDArray[np.float32]:
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
    return known(result, view.true)


def _grey(image: Array) -> npt.NDArray[np.float32]:
    return image if image.ndim == 2 else np.asarray(image @ np.array([0.299, 0.587, 0.114], np.float32))


def known(pixels: Array, true: Array) -> npt.NDArray[np.float32]:
    """Return H x W x 4 whose unknown pixels are transparent, or the pixels as they are where all are known."""
    if (true >= 0).all():
        return pixels
    colours = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    return np.concatenate([colours, (true >= 0)[..., None]], axis=2).astype(np.float32)
