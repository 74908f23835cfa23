"""Windows, pictures and doors, painted on walls. Lengths in metres, colours in linear RGB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from visionlab.samples.shapes import Array
from visionlab.samples.textures import Noise, colour, inside


@dataclass(frozen=True)
class Panel:
    """A rectangle painted on a wall, from ``low`` to ``high`` (u, v on the wall).

    ``look`` takes places from the lower left corner to the share of light reflected, and to light sent out.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    look: Callable[[Array, Array], tuple[Array, Array]]


def window(rng: np.random.Generator, u: float, room_height: float) -> Panel:
    """A window with a view, a frame and perhaps curtains; ``u`` is its middle."""
    width, high = rng.uniform(0.8, 1.8), rng.uniform(1.0, min(1.5, room_height - 1.2))
    curtain = rng.uniform(0.15, 0.3) if rng.random() < 0.6 else 0.0
    sill = room_height - 0.35 - high
    noise, panes = Noise(rng), int(rng.integers(1, 4))
    sky, cloth = (
        colour(rng.uniform(0.52, 0.62), rng.uniform(0.05, 0.45), 1.0),
        colour(rng.random(), rng.uniform(0.1, 0.5), 0.8),
    )
    land = colour(rng.uniform(0.15, 0.35), rng.uniform(0.1, 0.5), rng.uniform(0.4, 0.7))
    strength, horizon = rng.uniform(0.7, 1.3), rng.uniform(0.1, 0.4)

    def look(x: Array, y: Array) -> tuple[Array, Array]:
        x = x - curtain
        place = x / width * panes
        frame = (
            np.minimum(np.abs(place - np.round(place)) * width / panes, np.minimum(np.abs(y), np.abs(y - high))) < 0.035
        )
        hill = y / high < horizon + 0.12 * (noise.at(x * 2.2, x * 0) - 0.5) + 0.04 * noise.at(x * 9, x * 0)
        view = np.where(hill[:, None], land * 0.7, sky * (1 - 0.35 * (y / high - horizon))[:, None])
        beside = (x < 0) | (x > width)
        fold = 0.75 + 0.25 * np.sin(x * 45 + 2 * noise.at(x * 5, y))
        solid = np.where(beside[:, None], cloth * fold[:, None], 0.85)
        open_ = ~(frame | beside)
        return np.where(open_[:, None], 0.05, solid), np.where(open_[:, None], strength * view, 0)

    half = width / 2 + curtain
    return Panel((u - half, sill), (u + half, sill + high), look)


def picture(rng: np.random.Generator, u: float, room_height: float) -> Panel:
    """A framed picture of soft patches; ``u`` is its middle."""
    width, high = rng.uniform(0.4, 1.0), rng.uniform(0.35, 0.8)
    middle = min(rng.uniform(1.4, 1.7), room_height - 0.2 - high / 2)
    noise, frame = Noise(rng), colour(0.1, rng.uniform(0, 0.5), rng.uniform(0.05, 0.8))
    tones = np.stack([colour(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.95)) for _ in range(4)])

    def look(x: Array, y: Array) -> tuple[Array, Array]:
        level = 3.99 * np.clip(1.4 * noise.at(x * 5, y * 5) - 0.2, 0, 1)
        painted = tones[level.astype(int)] * (0.8 + 0.4 * noise.at(x * 25, y * 25))[:, None]
        matt = ~inside(x, y, (0.09, 0.09), (width - 0.09, high - 0.09))
        edge = ~inside(x, y, (0.03, 0.03), (width - 0.03, high - 0.03))
        return np.where(edge[:, None], frame, np.where(matt[:, None], 0.85, painted)), np.zeros((len(x), 3))

    return Panel((u - width / 2, middle - high / 2), (u + width / 2, middle + high / 2), look)


def door(rng: np.random.Generator, u: float, room_height: float) -> Panel:
    """A door with two fields and a handle; ``u`` is its middle."""
    width, high = rng.uniform(0.8, 0.95), min(2.05, room_height - 0.2)
    white = rng.random() < 0.6
    tone = colour(0.09, 0.04, 0.9) if white else colour(rng.uniform(0.04, 0.09), 0.5, rng.uniform(0.35, 0.7))

    def look(x: Array, y: Array) -> tuple[Array, Array]:
        frame = ~inside(x, y, (0.06, -1.0), (width - 0.06, high - 0.06))
        across = np.minimum(np.abs(x - 0.2), np.abs(x - width + 0.2))
        down = np.abs(y[:, None] - np.array([0.2, 0.85, 1.05, high - 0.22])).min(1)
        within = inside(x, y, (0.19, 0.19), (width - 0.19, high - 0.21)) & ~inside(x, y, (0, 0.86), (9, 1.04))
        groove = within & (np.minimum(across, down) < 0.015)
        handle = inside(x, y, (width - 0.17, 0.95), (width - 0.08, 0.99))
        shade = np.where(handle, 0.25, np.where(groove | (frame & (x > 0.05) & (x < width - 0.05)), 0.6, 1.0))
        return tone * shade[:, None], np.zeros((len(x), 3))

    return Panel((u - width / 2, 0.0), (u + width / 2, high), look)
