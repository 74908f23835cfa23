"""Pictures of images with their labels beside them: right ones, wrong ones, and where the network looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.sheet import CELL, Page, Panel, Section, sheet
from visionlab.drawing.style import BLUE, INK, ORANGE, SOFT, styled
from visionlab.drawing.text import shorten

Array = npt.NDArray[np.float32]

ACROSS = 3
LINES = 7
"""Of lines beside an image."""

FOUND, FALSE, MISSED, ABSENT = ("✓", INK), ("+", ORANGE), ("−", BLUE), ("·", SOFT)
"""Mark and colour of a class by whether it is predicted and given."""
MARKS = {"given and predicted": FOUND, "predicted, not given": FALSE, "given, not predicted": MISSED}

# Inches.
_TEXT, _LINE, _GAP, _MARGIN, _TITLE = 2.5, 0.185, 0.12, 0.12, 0.36

Line = tuple[str, str]
"""A text and its colour."""


@dataclass(frozen=True)
class Tagged:
    """An image with lines of text beside it.

    Attributes:
        image: H x W or H x W x 3, 0 to 1.
        name: under the image.
        lines: beside it.
    """

    image: Array
    name: str
    lines: Sequence[Line]


def line(name: str, given: bool, decided: bool, words: str) -> Line:
    """Return the line of a class: a mark of whether it is right, its name, and its score in ``words``."""
    mark, colour = (FOUND if decided else MISSED) if given else (FALSE if decided else ABSENT)
    return f"{mark} {shorten(name, 34 - len(words))} {words}", colour


@styled
def tagged_images(
    sections: Mapping[str, Sequence[Tagged]], title: str, caption: str, legend: Mapping[str, Line] | None = None
) -> Figure:
    """Images with what there is to say of them, several in a row.

    Args:
        sections: heading, may be empty -> images.
        title: over the figure.
        caption: the line under it.
        legend: words -> mark and colour.

    Raises:
        ValueError: no image.
    """
    images = [image for part in sections.values() for image in part]
    if not images:
        raise ValueError("expected at least one image")
    across = min(ACROSS, max(len(part) for part in sections.values()))
    width = max(2 * _MARGIN + across * (CELL + _TEXT + _GAP), 6)
    rows = {heading: [part[i : i + across] for i in range(0, len(part), across)] for heading, part in sections.items()}
    high = CELL + _LINE + _GAP
    top = _TITLE + (0.28 if legend else 0)
    below = 0.1 + 0.18 * len(style.lines(caption, width))
    height = top + sum(_TITLE * bool(heading) + high * len(part) for heading, part in rows.items()) + below
    figure = style.new(width, height, fixed=True)
    page = Page(figure, width, height)
    page.text(_MARGIN, _TITLE / 2, title, fontsize=13 * min(1, 9 * width / len(title)), fontweight="bold")
    _legend(page, legend or {})
    for heading, part in rows.items():
        if heading:
            page.text(_MARGIN, top + _TITLE / 2, heading, fontsize=11.5, fontweight="bold")
            top += _TITLE
        for row in part:
            for i, image in enumerate(row):
                _draw(page, image, _MARGIN + i * (CELL + _TEXT + _GAP), top)
            top += high
    return style.finish(figure, caption)


def _legend(page: Page, legend: Mapping[str, Line]) -> None:
    x = _MARGIN
    for words, (mark, colour) in legend.items():
        page.text(x, _TITLE + 0.08, f"{mark} {words}", fontsize=10.5, color=colour)
        x += 0.085 * len(words) + 0.42


def _draw(page: Page, image: Tagged, x: float, y: float) -> None:
    page.picture(Panel("", image.image), x, y, CELL, CELL)
    page.text(x, y + CELL + 0.09, shorten(image.name, 48), fontsize=8, color=SOFT)
    shown = list(image.lines[:LINES])
    if len(image.lines) > LINES:
        shown[-1] = (f"and {len(image.lines) - LINES + 1} more", SOFT)
    for i, (words, colour) in enumerate(shown):
        page.text(x + CELL + 0.08, y + 0.1 + _LINE * i, words, fontsize=9.5, color=colour)


@styled
def looked_at(cases: Sequence[tuple[str, Array, Array]], title: str, caption: str) -> Figure:
    """Images of classes that were found, each beside the same under the colours of where the network looked.

    Args:
        cases: words, image (H x W or H x W x 3, 0 to 1) and map (H x W, 0 to 1) of each.
        title: over the figure.
        caption: the line under the figure.

    Raises:
        ValueError: no case.
    """
    if not cases:
        raise ValueError("expected at least one case")
    pairs = [
        [Panel("image", image, label=shorten(words, 36), group=""), Panel("Grad-CAM", heated(image, heat))]
        for words, image, heat in cases
    ]
    rows = [[panel for pair in pairs[i : i + ACROSS] for panel in pair] for i in range(0, len(pairs), ACROSS)]
    return sheet([Section(title, rows)], caption)


def heated(image: Array, heat: Array) -> Array:
    """Return H x W x 3: the image in grey, where ``heat`` (H x W, 0 to 1) is high under bright colours."""
    grey = image if image.ndim == 2 else image.max(axis=2)
    colours = matplotlib.colormaps["inferno"](heat)[..., :3]
    opaque = 0.75 * heat[..., None]
    return np.asarray((1 - opaque) * 0.8 * grey[..., None] + opaque * colours, dtype=np.float32)
