"""Colours of floors, walls and what hangs there, as functions of the place in metres. All colours are linear RGB."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from visionlab.io.encoding import to_light
from visionlab.samples.shapes import Array

Texture = Callable[[Array, Array, Array], Array]
"""Places u, v on a plane and the size of a pixel there (m, n each) -> colours (n x 3).

What is finer than a pixel is faded out by its size, so that distant patterns turn grey rather than shimmer.
"""


def colour(hue: float, saturation: float, value: float) -> Array:
    """Return a colour given as hue, saturation and value (0..1 each, of sRGB)."""
    return to_light(colorsys.hsv_to_rgb(hue % 1, saturation, value))


class Noise:
    """Smooth random values between 0 and 1, with period 64 in both directions."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._table = rng.random((64, 64), np.float32)

    def at(self, u: Array, v: Array) -> Array:
        """Return the value at u, v, interpolated between the whole numbers."""
        left, low = np.floor(u), np.floor(v)
        a, b = u - left, v - low
        a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
        i, j = left.astype(np.int32) & 63, low.astype(np.int32) & 63
        i1, j1 = (i + 1) & 63, (j + 1) & 63
        t = self._table
        return (1 - a) * ((1 - b) * t[i, j] + b * t[i, j1]) + a * ((1 - b) * t[i1, j] + b * t[i1, j1])

    def cell(self, i: Array, j: Array) -> Array:
        """Return one value for each whole-numbered cell."""
        value: Array = self._table[i.astype(np.int32) & 63, j.astype(np.int32) & 63]
        return value


def _fade(pixel: Array, period: float) -> Array:
    """Return how much of a pattern of this period is seen: 1 where it is coarser than a pixel, 0 where far finer."""
    return 1 / (1 + (1.5 * pixel / period) ** 4)


def _line(place: Array, width: float, pixel: Array) -> Array:
    """Return how much of a pixel a line of this width at place 0 covers."""
    soft = np.maximum(pixel, 0.002)
    covered = np.clip((width / 2 - np.abs(place)) / soft + 0.5, 0, 1)
    return np.minimum(covered, width / soft)


def _tinted(base: Array, value: Array) -> Array:
    return base * value[:, None]


def planks(rng: np.random.Generator) -> Texture:
    """A wooden floor: boards of random length and tint, with grain along them."""
    noise, base = Noise(rng), colour(rng.uniform(0.05, 0.1), rng.uniform(0.35, 0.65), rng.uniform(0.4, 0.8))
    width, length, across = rng.uniform(0.1, 0.2), rng.uniform(0.9, 1.6), rng.random() < 0.5

    def paint(u: Array, v: Array, pixel: Array) -> Array:
        u, v = (v, u) if across else (u, v)
        row = np.floor(u / width)
        along = v / length + 7.3 * noise.cell(row, row * 0)
        board = np.floor(along)
        tint = 1 + 0.5 * _fade(pixel, width) * (noise.cell(row + 31, board + 17) - 0.5)
        grain = noise.at(u * 55 + 9 * row, v * 3 + 5 * board) + 0.6 * noise.at(u * 150, v * 6 + 3 * board)
        tint *= 1 + 0.22 * _fade(pixel, 0.03) * (grain - 0.8)
        gap = _line(u - width * np.round(u / width), 0.006, pixel)
        gap = np.maximum(gap, _line((along - np.round(along)) * length, 0.005, pixel))
        return _tinted(base, tint * (1 - 0.6 * gap))

    return paint


def tiles(rng: np.random.Generator) -> Texture:
    """Square tiles with joints, of one colour or two."""
    noise, side, joint = Noise(rng), rng.uniform(0.25, 0.6), rng.uniform(0.006, 0.012)
    light = colour(rng.uniform(0.03, 0.65), rng.uniform(0.02, 0.18), rng.uniform(0.7, 0.92))
    dark = light * rng.uniform(0.08, 0.5) if rng.random() < 0.45 else light

    def paint(u: Array, v: Array, pixel: Array) -> Array:
        i, j = np.floor(u / side), np.floor(v / side)
        seen = _fade(pixel, 2 * side)
        other = 0.5 + seen * (np.mod(i + j, 2) - 0.5)
        base = light + other[:, None] * (dark - light)
        tint = 1 + seen * (0.16 * (noise.cell(i, j) - 0.5) + 0.2 * (noise.at(u * 5, v * 5 + 3 * i) - 0.5))
        edge = np.minimum(np.abs(u - side * np.round(u / side)), np.abs(v - side * np.round(v / side)))
        return base * (tint * (1 - 0.45 * _line(edge, joint, pixel)))[:, None]

    return paint


def carpet(rng: np.random.Generator) -> Texture:
    """A fitted carpet: one colour, fine pile and large faint stains."""
    noise, base = Noise(rng), colour(rng.random(), rng.uniform(0.05, 0.35), rng.uniform(0.35, 0.7))

    def paint(u: Array, v: Array, pixel: Array) -> Array:
        pile = 0.5 * _fade(pixel, 0.02) * (noise.at(u * 90, v * 90) - 0.5)
        pile += 0.3 * _fade(pixel, 0.06) * (noise.at(u * 31, v * 31) - 0.5)
        return _tinted(base, 1 + pile + 0.15 * (noise.at(u * 1.3, v * 1.3) - 0.5))

    return paint


def rug(rng: np.random.Generator, floor: Texture, place: tuple[float, float], size: tuple[float, float]) -> Texture:
    """A floor with a bordered rug of ``size`` (m) about ``place``."""
    noise = Noise(rng)
    hue = rng.random()
    inner, outer = colour(hue, rng.uniform(0.2, 0.55), rng.uniform(0.4, 0.8)), colour(hue + 0.1, 0.3, 0.4)
    rings = int(rng.integers(1, 4))

    def paint(u: Array, v: Array, pixel: Array) -> Array:
        below = floor(u, v, pixel)
        inside = np.minimum(size[0] / 2 - np.abs(u - place[0]), size[1] / 2 - np.abs(v - place[1]))
        border = np.mod(np.floor(inside / 0.12), 2) * (inside < 0.12 * 2 * rings)
        pattern = inner + border[:, None] * (outer - inner)
        pattern = _tinted(pattern, 1 + 0.5 * _fade(pixel, 0.03) * (noise.at(u * 60, v * 60) - 0.5))
        on: Array = np.clip(inside / np.maximum(pixel, 0.003) + 0.5, 0, 1)[:, None]
        return below + on * (pattern - below)

    return paint


def plaster(rng: np.random.Generator, base: Array | None = None) -> Texture:
    """A painted wall, slightly uneven."""
    noise = Noise(rng)
    tone = colour(rng.random(), rng.uniform(0.02, 0.3) ** 1.3, rng.uniform(0.68, 0.95)) if base is None else base

    def paint(u: Array, v: Array, pixel: Array) -> Array:
        uneven = 0.06 * (noise.at(u * 0.9, v * 0.9) - 0.5) + 0.05 * _fade(pixel, 0.1) * (noise.at(u * 11, v * 11) - 0.5)
        return _tinted(tone, 1 + uneven)

    return paint


def stripes(rng: np.random.Generator) -> Texture:
    """Wallpaper with upright stripes."""
    under, width = plaster(rng), rng.uniform(0.08, 0.3)
    other = np.clip(rng.uniform(0.6, 0.92) + rng.normal(0, 0.05, 3), 0.3, 1).astype(np.float32)

    def paint(u: Array, v: Array, pixel: Array) -> Array:
        on = 0.5 + _fade(pixel, 2 * width) * (np.mod(np.floor(u / width), 2) - 0.5)
        return under(u, v, pixel) * (1 + on[:, None] * (other - 1))

    return paint


def panelled(rng: np.random.Generator) -> Texture:
    """Plaster above a painted lower part with a rail."""
    above, height = plaster(rng), rng.uniform(0.8, 1.1)
    lower = colour(rng.random(), rng.uniform(0.05, 0.4), rng.uniform(0.35, 0.8))
    width = rng.uniform(0.4, 0.7)

    def paint(u: Array, v: Array, pixel: Array) -> Array:
        panel = np.minimum(
            np.abs(u - width * np.round(u / width)), np.minimum(np.abs(v - 0.25), np.abs(v - height + 0.1))
        )
        low = _tinted(np.broadcast_to(lower, (len(u), 3)), 1 - 0.25 * _line(panel - 0.07, 0.02, pixel))
        both = np.where((v < height)[:, None], low, above(u, v, pixel))
        return both * (1 - 0.35 * _line(v - height, 0.04, pixel))[:, None]

    return paint


def bricks(rng: np.random.Generator) -> Texture:
    """A wall of bare or painted bricks."""
    noise, high, long = Noise(rng), 0.075, 0.24
    painted = rng.random() < 0.4
    base = colour(rng.uniform(0.01, 0.06), 0.1 if painted else rng.uniform(0.4, 0.6), 0.85 if painted else 0.6)
    mortar = base * 0.75 if painted else colour(0.1, 0.1, 0.7)

    def paint(u: Array, v: Array, pixel: Array) -> Array:
        row = np.floor(v / high)
        along = u / long + 0.5 * np.mod(row, 2)
        tint = 1 + (0.1 if painted else 0.5) * _fade(pixel, long) * (noise.cell(np.floor(along), row) - 0.5)
        tint *= 1 + 0.3 * _fade(pixel, 0.04) * (noise.at(u * 40, v * 40) - 0.5)
        gap = np.minimum(np.abs(v - high * np.round(v / high)), long * np.abs(along - np.round(along)))
        joint: Array = _line(gap, 0.012, pixel)[:, None]
        return _tinted(base, tint) * (1 - joint) + mortar * joint

    return paint


def with_skirting(wall: Texture, tone: Array) -> Texture:
    """A wall with a skirting board 8 cm high."""

    def paint(u: Array, v: Array, pixel: Array) -> Array:
        board: Array = np.clip((0.08 - v) / np.maximum(pixel, 0.003) + 0.5, 0, 1)[:, None]
        return wall(u, v, pixel) * (1 - board) + tone * board * (1 - 0.3 * _line(v - 0.08, 0.01, pixel)[:, None])

    return paint


FLOORS: Sequence[Callable[[np.random.Generator], Texture]] = (planks, planks, tiles, carpet)
WALLS: Sequence[Callable[[np.random.Generator], Texture]] = (plaster, plaster, stripes, panelled, bricks)


def inside(u: Array, v: Array, low: tuple[float, float], high: tuple[float, float]) -> NDArray[np.bool_]:
    """Return which places lie in a rectangle."""
    return (u > low[0]) & (u < high[0]) & (v > low[1]) & (v < high[1])
