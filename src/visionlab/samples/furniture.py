"""Pieces of furniture made of shapes. Lengths in metres."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from visionlab.samples.shapes import Array, Paint, Shape, box, cone, ellipsoid, plain, turn
from visionlab.samples.textures import Noise, colour


@dataclass(frozen=True)
class Piece:
    """Furniture with its back on z = 0 and its middle on x = 0, facing +z: shapes, and how wide and deep it is."""

    shapes: list[Shape]
    width: float
    depth: float


def _wood(rng: np.random.Generator) -> Paint:
    noise, white = Noise(rng), rng.random() < 0.3
    base = (
        colour(0.08, 0.05, 0.9)
        if white
        else colour(rng.uniform(0.04, 0.1), rng.uniform(0.35, 0.7), rng.uniform(0.3, 0.75))
    )
    strength = 0.05 if white else 0.35

    def paint(own: Array) -> Array:
        grain = noise.at(own[:, 0] * 4 + own[:, 2] * 3, own[:, 1] * 45 + own[:, 2] * 45)
        return base * (1 + strength * (grain - 0.5))[:, None]

    return paint


def _cloth(rng: np.random.Generator) -> Paint:
    noise, base = Noise(rng), colour(rng.random(), rng.uniform(0.1, 0.65), rng.uniform(0.3, 0.8))

    def paint(own: Array) -> Array:
        return base * (1 + 0.3 * (noise.at(own[:, 0] * 50 + own[:, 2] * 41, own[:, 1] * 50) - 0.5))[:, None]

    return paint


def cabinet(rng: np.random.Generator) -> Piece:
    """A sideboard or wardrobe with doors."""
    width, deep = rng.uniform(0.8, 1.6), rng.uniform(0.4, 0.6)
    high = rng.uniform(1.7, 2.1) if rng.random() < 0.4 else rng.uniform(0.7, 1.0)
    wood, doors = _wood(rng), int(rng.integers(2, 5))

    def front(own: Array) -> Array:
        place = (own[:, 0] / width + 0.5) * doors
        across = np.abs(place - np.round(place)) * width / doors
        gap = (own[:, 2] > deep / 2 - 1e-3) & ((across < 0.008) | (np.abs(own[:, 1]) > high / 2 - 0.04))
        knob = (own[:, 2] > deep / 2 - 1e-3) & (np.abs(across - 0.06) < 0.018) & (np.abs(own[:, 1]) < 0.06)
        return wood(own) * np.where(knob, 0.15, np.where(gap, 0.4, 1))[:, None]

    shapes = [box((0, high / 2 + 0.03, deep / 2), (width, high - 0.06, deep), front)]
    shapes.append(box((0, 0.015, deep / 2), (width - 0.1, 0.03, deep - 0.1), plain(colour(0.1, 0.1, 0.2))))
    if high < 1.2:
        shapes += _on_top(rng, high, width, deep)
    return Piece(shapes, width, deep)


def shelf(rng: np.random.Generator) -> Piece:
    """An open shelf full of books."""
    width, deep, high = rng.uniform(0.7, 1.3), 0.32, rng.uniform(1.2, 2.0)
    wood, rows, noise = _wood(rng), int(rng.integers(3, 6)), Noise(rng)
    hues = np.stack([colour(h, rng.uniform(0.2, 0.7), rng.uniform(0.25, 0.85)) for h in rng.random(16)])

    def books(own: Array) -> Array:
        row = np.floor((own[:, 1] / high + 0.5) * rows)
        up = (own[:, 1] / high + 0.5) * rows - row
        book = np.floor(own[:, 0] / 0.05 + 40 * noise.cell(row, row * 0))
        tall = up < 0.55 + 0.35 * noise.cell(book, row)
        tone = hues[(noise.cell(book + 7, row + 3) * 15.99).astype(int)]
        return np.where(tall[:, None], tone, 0.03)

    parts = [box((0, high / 2, 0.1), (width, high, 0.2), books)]
    parts += [box((0, high * k / rows, deep / 2), (width, 0.03, deep), wood) for k in range(1, rows + 1)]
    parts += [box((side * width / 2, high / 2 + 0.007, deep / 2), (0.03, high + 0.015, deep), wood) for side in (-1, 1)]
    return Piece(parts, width + 0.03, deep)


def sofa(rng: np.random.Generator) -> Piece:
    """A sofa or an armchair."""
    seats = int(rng.integers(1, 4))
    width, deep, cloth = 0.35 + 0.62 * seats, rng.uniform(0.8, 0.95), _cloth(rng)
    seat, back, arm = rng.uniform(0.26, 0.32), rng.uniform(0.75, 0.9), rng.uniform(0.55, 0.65)
    parts = [
        box((0, seat / 2 + 0.06, deep / 2), (width, seat - 0.02, deep), cloth),
        box((0, back / 2 + 0.05, 0.12), (width, back - 0.1, 0.24), cloth),
    ]
    parts += [
        box((side * (width / 2 - 0.09), arm / 2 + 0.05, deep / 2), (0.18, arm - 0.1, deep), cloth) for side in (-1, 1)
    ]
    for k in range(seats):
        x = (k - (seats - 1) / 2) * 0.62
        parts.append(box((x, seat + 0.11, deep / 2 + 0.1), (0.6, 0.12, deep - 0.24), cloth))
    if rng.random() < 0.6:
        tilt = turn(rng.uniform(-0.4, 0.4), rng.uniform(0.2, 0.5))
        parts.append(
            box((rng.uniform(-1, 1) * (width / 2 - 0.4), seat + 0.33, 0.36), (0.4, 0.36, 0.12), _cloth(rng), tilt)
        )
    return Piece(parts, width, deep)


def table(rng: np.random.Generator) -> Piece:
    """A table or a desk on four legs."""
    width, deep, high = rng.uniform(0.9, 1.6), rng.uniform(0.55, 0.8), rng.uniform(0.68, 0.78)
    wood = _wood(rng)
    parts = [box((0, high - 0.02, deep / 2), (width, 0.04, deep), wood)]
    for x in (-1, 1):
        for z in (0.06, deep - 0.06):
            parts.append(box((x * (width / 2 - 0.05), high / 2 - 0.02, z), (0.05, high - 0.04, 0.05), wood))
    return Piece([*parts, *_on_top(rng, high, width, deep)], width, deep)


def bed(rng: np.random.Generator) -> Piece:
    """A bed, its head to the wall."""
    width, deep, wood, cover = rng.uniform(0.95, 1.6), 2.0, _wood(rng), _cloth(rng)
    parts = [
        box((0, 0.5, 0.03), (width, 1.0, 0.06), wood),
        box((0, 0.16, deep / 2), (width, 0.32, deep), wood),
        box((0, 0.41, deep / 2), (width - 0.06, 0.18, deep - 0.12), plain((0.8, 0.8, 0.78))),
        box((0, 0.37, deep / 2 + 0.31), (width + 0.02, 0.3, deep - 0.6), cover),
    ]
    pillows = [
        ellipsoid((x * width / 4, 0.55, 0.3), (0.2 * width, 0.08, 0.2), plain((0.85, 0.85, 0.85))) for x in (-1, 1)
    ]
    return Piece([*parts, *pillows], width, deep)


def lamp(rng: np.random.Generator) -> Piece:
    """A standard lamp."""
    high, metal, shade = rng.uniform(1.3, 1.7), plain(colour(0.1, 0.1, rng.uniform(0.2, 0.7))), colour(0.11, 0.25, 0.95)
    parts = [
        cone((0, 0, 0.25), (0, 0.03, 0.25), 0.15, 0.14, metal),
        cone((0, 0.03, 0.25), (0, high - 0.2, 0.25), 0.015, 0.015, metal),
        cone((0, high - 0.3, 0.25), (0, high, 0.25), 0.2, 0.12, plain(shade)),
    ]
    return Piece(parts, 0.5, 0.5)


def plant(rng: np.random.Generator) -> Piece:
    """A pot with leaves."""
    pot, green = (
        plain(colour(rng.uniform(0, 0.12), rng.uniform(0.1, 0.7), rng.uniform(0.4, 0.9))),
        rng.uniform(0.24, 0.36),
    )
    high, parts = rng.uniform(0.6, 1.3), [cone((0, 0, 0.25), (0, 0.3, 0.25), 0.13, 0.17, pot)]
    for _ in range(14):
        yaw, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.4)
        rotation = turn(yaw, lean)
        reach = rng.uniform(0.18, 0.3) * high
        start = np.array([0, rng.uniform(0.3, 0.3 + 0.6 * (high - 0.3)), 0.25])
        leaf = plain(colour(green, rng.uniform(0.5, 0.8), rng.uniform(0.25, 0.55)))
        parts.append(ellipsoid(start + rotation @ np.array([0, 0, reach]), (0.05, 0.012, reach), leaf, rotation))
    return Piece(parts, 0.5, 0.5)


def _on_top(rng: np.random.Generator, high: float, width: float, deep: float) -> list[Shape]:
    """Return small things that stand on a piece."""
    parts: list[Shape] = []
    for place in np.linspace(-0.35, 0.35, 3) * width:
        kind = rng.integers(0, 5)
        paint, z = (
            plain(colour(rng.random(), rng.uniform(0.1, 0.8), rng.uniform(0.2, 0.9))),
            rng.uniform(0.35, 0.65) * deep,
        )
        if kind == 0:
            parts += [box((place, high + 0.02 + 0.035 * k, z), (0.25, 0.033, 0.18), paint) for k in range(2)]
        elif kind == 1:
            parts.append(cone((place, high, z), (place, high + rng.uniform(0.12, 0.3), z), 0.05, 0.08, paint))
        elif kind == 2:
            tall = rng.uniform(0.25, 0.4)
            parts.append(box((place, high + tall / 2, z), (tall * 1.6, tall, 0.03), plain(colour(0.6, 0.2, 0.12))))
    return parts


PIECES: Sequence[Callable[[np.random.Generator], Piece]] = (
    cabinet,
    cabinet,
    shelf,
    sofa,
    sofa,
    table,
    bed,
    lamp,
    plant,
)
