"""Adherent cells seen from above: outlines, nuclei and what lies in them, in pixels of about 0.6 um.

Every cell has a square patch of its own, ``SIDE`` pixels wide, with the cell's centre in the middle; points are x, y in
that patch. Where cells meet, each keeps what is nearer to it as a share of its radius, so that they touch, not overlap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Kind = Literal["resting", "mitotic", "daughter"]

HALF = 44
SIDE = 2 * HALF  # pixels: no outline reaches further from its centre than HALF
MARGIN = 8  # pixels at least from a cell's centre to the image's edge, so that part of its nucleus is seen
PAIR = 24  # pixels at least from a bridge's middle to the edge, so that both daughters' centres are in the image
TRIALS = 30  # places tried for a cell until it is left out for lack of room
CONTACT = 3  # pixels from another cell's outline that count as touching it
RADII = {"resting": (20.0, 27.0), "mitotic": (14.0, 17.0), "daughter": (14.0, 17.0)}  # pixels

_DY, _DX = (a.astype(np.float32) for a in np.mgrid[-HALF:HALF, -HALF:HALF])
_AROUND = np.arctan2(_DY, _DX)
_DIRECTION = ((_AROUND / (2 * np.pi) * 256).astype(int)) % 256  # number of the direction, as in Cell.outline
_DISTANCE = np.hypot(_DY, _DX)
_ANGLES = np.arange(256) * (2 * np.pi / 256)
_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * CONTACT + 1, 2 * CONTACT + 1))


@dataclass(eq=False)
class Cell:
    """One cell; what depends on its neighbours (``inside`` and what follows) is set when the field is settled.

    Attributes:
        x, y: its centre, whole pixels of the image.
        radius: pixels, of a disc of about the same area.
        kind: ``mitotic`` cells are round and have chromosomes for a nucleus; ``daughter``: one of a dividing pair.
        axis: direction in which it is long, or in which it divides.
        outline: distance of the outline from the centre in 256 directions.
        bridge: between two daughters: the path that still joins them (the first of them has it).
        inside, touching: SIDE x SIDE, the cell and the part of its edge that touches another cell.
        depth: SIDE x SIDE, pixels to its outline.
        nuclear: SIDE x SIDE, pixels to the nucleus's rim, positive inside the nucleus, negative outside.
        pole: the centrosome, beside the nucleus.
        nucleoli: x, y and radius, n x 3.
        microtubules: paths (5 x 2 each) from beside the nucleus to all around the outline.
        mesh: SIDE x SIDE, 0..1, the endoplasmic reticulum.
    """

    x: int
    y: int
    radius: float
    kind: Kind
    axis: float
    outline: Array
    bridge: Array | None = None
    inside: Mask = field(init=False)
    touching: Mask = field(init=False)
    depth: Array = field(init=False)
    nuclear: Array = field(init=False)
    pole: Array = field(init=False)
    nucleoli: Array = field(init=False)
    microtubules: list[Array] = field(init=False)
    mesh: Array = field(init=False)

    @classmethod
    def random(cls, rng: np.random.Generator, x: int, y: int, radius: float, kind: Kind, axis: float) -> Cell:
        """Draw the outline of a cell at this place."""
        stretch = rng.uniform(1.0, 1.55) if kind == "resting" else 1.0
        along = _ANGLES - axis
        outline = radius / np.sqrt(np.cos(along) ** 2 / stretch + np.sin(along) ** 2 * stretch)
        ruffle = 0.13 if kind == "resting" else 0.03
        for wave in range(2, 8):
            outline = outline * (1 + rng.normal(0, ruffle / wave**0.6) * np.cos(wave * along + rng.uniform(0, 6.28)))
        return cls(x, y, radius, kind, axis, np.clip(outline, 0.55 * radius, HALF - 2))

    @property
    def window(self) -> tuple[slice, slice]:
        """The patch's place in a canvas that is HALF pixels larger than the image on every side."""
        return slice(self.y, self.y + SIDE), slice(self.x, self.x + SIDE)

    def share(self) -> Array:
        """Return the distance from the centre as a share of the outline's, SIDE x SIDE."""
        return _DISTANCE / self.outline[_DIRECTION].astype(np.float32)

    def furnish(self, rng: np.random.Generator, grain: Array) -> None:
        """Draw what the cell holds; ``grain`` is smooth noise (SIDE x SIDE, variance 1) that its reticulum follows."""
        self.depth = cv2.distanceTransform(self.inside.astype(np.uint8), cv2.DIST_L2, 3)
        size = self.radius * rng.uniform(0.42, 0.48)
        stretch = rng.uniform(1.0, 1.25)
        shift = rng.normal(0, 0.06 * self.radius, 2)
        turned = self.axis + rng.normal(0, 0.2)
        dx, dy = _DX - shift[0], _DY - shift[1]
        along = (dx * np.cos(turned) + dy * np.sin(turned)) / (size * stretch)
        across = (dy * np.cos(turned) - dx * np.sin(turned)) * stretch / size
        self.nuclear = (1 - np.hypot(along, across)) * size
        self.nuclear = np.minimum(self.nuclear, np.where(self.inside, self.depth - 1, -1))
        side = rng.uniform(0, 2 * np.pi)
        reach = HALF + shift + (size * stretch + 2.5) * np.array([np.cos(side), np.sin(side)])
        self.pole = self.nearest(reach, self.inside & (self.nuclear < -1.5) & (self.depth > 2))
        centres = self.places(rng, int(rng.integers(2, 5)), self.nuclear > 3.5, apart=6.5)
        self.nucleoli = np.column_stack([centres, rng.uniform(2.2, 3.6, len(centres))])
        self.microtubules = self._filaments(rng, 34)
        self.mesh = np.where(self.cytoplasm, np.clip(1 - 1.7 * np.abs(grain), 0, 1) * np.exp(self.nuclear / 14), 0)

    @property
    def nucleus(self) -> Mask:
        return self.nuclear > 0

    @property
    def cytoplasm(self) -> Mask:
        return self.inside & (self.nuclear <= 0)

    def nearest(self, point: Array, allowed: Mask) -> Array:
        """Return the pixel where ``allowed`` that is nearest to a point, or the point if there is none."""
        ys, xs = np.nonzero(allowed)
        if not len(xs):
            return point
        best = np.argmin((xs - point[0]) ** 2 + (ys - point[1]) ** 2)
        return np.array([xs[best], ys[best]], float)

    def places(self, rng: np.random.Generator, count: int, weight: Array | Mask, apart: float = 0.0) -> Array:
        """Return up to ``count`` places (n x 2), as likely as ``weight`` says, ``apart`` pixels or more apart."""
        total = np.cumsum(weight.ravel(), dtype=np.float64)
        if total[-1] <= 0:
            return np.zeros((0, 2))
        found = np.searchsorted(total, rng.random(4 * count if apart else count) * total[-1], side="right")
        points = (found % SIDE + 1j * (found // SIDE)).tolist()
        kept: list[complex] = []
        for point in points:
            if len(kept) < count and (not apart or all(abs(point - other) >= apart for other in kept)):
                kept.append(point)
        return np.array([(point.real, point.imag) for point in kept]) + rng.uniform(-0.5, 0.5, (len(kept), 2))

    def rim(self, angle: Array) -> Array:
        """Return the points of the outline in these directions, n x 2."""
        reach = self.outline[np.rint(angle / (2 * np.pi) * 256).astype(int) % 256]
        return HALF + reach[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])

    def _filaments(self, rng: np.random.Generator, count: int) -> list[Array]:
        """Return curved paths (5 x 2) from between pole and nucleus to points all around the outline."""
        ends = self.rim((np.arange(count) + rng.uniform(-0.4, 0.4, count)) * (2 * np.pi / count))
        starts = self.pole + rng.random((count, 1)) * (HALF + 0.4 * (ends - HALF) - self.pole)
        way = ends - starts
        bend = np.column_stack([-way[:, 1], way[:, 0]]) * rng.normal(0, 0.2, (count, 1))
        t = np.linspace(0, 1, 5)[:, None]
        return [s + t * w + 2 * t * (1 - t) * b for s, w, b in zip(starts, way, bend, strict=True)]


def field_of_cells(rng: np.random.Generator, side: int, crowded: bool, mitotic: int, pair: bool) -> list[Cell]:
    """Return the cells seen in an image of ``side`` pixels.

    Args:
        rng: settles everything.
        side: height and width of the image in pixels, at least 2 * PAIR.
        crowded: the cells are so many that most of them touch.
        mitotic: cells in mitosis among them (fewer if there is no room).
        pair: two of them have just divided and are still joined by a bridge.
    """
    cells = _pair(rng, side) if pair else []
    tightness = rng.uniform(0.72, 0.8) if crowded else rng.uniform(0.85, 1.05)
    most = round((side / 96) ** 2 * (9 if crowded else rng.uniform(3.5, 6)))
    for number in range(max(most - len(cells), mitotic + 2)):
        kind: Kind = "mitotic" if number < mitotic else "resting"
        radius = rng.uniform(*RADII[kind])
        for x, y in rng.integers(MARGIN, side - MARGIN, (TRIALS, 2)).tolist():
            if all(math.hypot(x - c.x, y - c.y) > tightness * (radius + c.radius) for c in cells):
                cells.append(Cell.random(rng, x, y, radius, kind, rng.uniform(0, np.pi)))
                break
    _settle(rng, side, cells)
    return cells


def _pair(rng: np.random.Generator, side: int) -> list[Cell]:
    """Return two daughter cells whose bridge lies well within the image."""
    axis, gap = rng.uniform(0, np.pi), rng.uniform(7, 11)
    radii = rng.uniform(*RADII["daughter"], 2)
    way = np.array([np.cos(axis), np.sin(axis)])
    middle = rng.uniform(PAIR, side - PAIR, 2)
    places = [np.rint(middle + reach * way) for reach in (-radii[0] - gap / 2, radii[1] + gap / 2)]
    first, second = (
        Cell.random(rng, int(place[0]), int(place[1]), radius, "daughter", axis)
        for place, radius in zip(places, radii, strict=True)
    )
    # From a little inside the one outline to a little inside the other.
    length = np.hypot(*(places[1] - places[0]))
    reach = np.array([first.radius - 2.5, 0.5 * (first.radius + length - second.radius), length - second.radius + 2.5])
    first.bridge = HALF + reach[:, None] * (places[1] - places[0]) / length
    first.bridge[1] += rng.normal(0, 1, 2)
    return [first, second]


def _settle(rng: np.random.Generator, side: int, cells: Sequence[Cell]) -> None:
    """Give every pixel to one cell at most, and furnish the cells."""
    canvas = side + SIDE
    share = np.ones((canvas, canvas), np.float32)
    owner = np.full((canvas, canvas), -1, np.int16)
    for number, cell in enumerate(cells):
        mine = cell.share()
        nearer = mine < share[cell.window]
        share[cell.window][nearer] = mine[nearer]
        owner[cell.window][nearer] = number
    grain = smooth_noise(rng, canvas, 1.1)
    for number, cell in enumerate(cells):
        there = owner[cell.window]
        cell.inside = there == number
        others = ((there >= 0) & ~cell.inside).astype(np.uint8)
        cell.touching = cell.inside & (cv2.dilate(others, _DISC) > 0)
        cell.furnish(rng, grain[cell.window])


def smooth_noise(rng: np.random.Generator, side: int, width: float) -> Array:
    """Return Gaussian noise of mean 0 and variance 1 (side x side, float32), correlated over ``width`` pixels."""
    noise = cv2.GaussianBlur(rng.standard_normal((side, side), np.float32), (0, 0), width)
    return noise / (noise.std() + 1e-9)
