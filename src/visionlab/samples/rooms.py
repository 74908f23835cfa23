"""Rooms whose geometry is known by construction: a box with textured walls, furniture and lamps.

Lengths are in metres: x to the right, y up from the floor, z into the room. Windows, pictures and doors are painted on
the walls: their depth is the wall's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from visionlab.samples.furniture import PIECES, Piece
from visionlab.samples.panels import Panel, door, picture, window
from visionlab.samples.shapes import Array, dot, inner, turn
from visionlab.samples.textures import FLOORS, WALLS, Texture, colour, plaster, rug, with_skirting
from visionlab.samples.tracing import Group

T = TypeVar("T")

FLOOR, CEILING, BACK, LEFT, RIGHT, FRONT = range(6)
NORMALS = np.array([[0, 1, 0], [0, -1, 0], [0, 0, -1], [1, 0, 0], [-1, 0, 0], [0, 0, 1]], np.float32)


@dataclass(frozen=True)
class Light:
    """A round lamp, or a window that lights the room (then ``facing`` is the normal of its wall)."""

    place: Array
    strength: Array
    radius: float
    facing: Array | None = None


@dataclass
class Room:
    """A furnished room.

    Attributes:
        width, length, height: of the box, m; it spans x = -width/2 .. width/2, y = 0 .. height, z = 0 .. length.
        textures: of floor, ceiling, back, left, right and front wall.
        panels: what is painted on each of these.
        furniture: the pieces.
        footprints: x and z range of each piece, (low x, low z, high x, high z).
        lights: the lamps.
        ambient: light from everywhere.
    """

    width: float
    length: float
    height: float
    textures: list[Texture]
    panels: list[list[Panel]]
    lights: list[Light]
    ambient: Array
    furniture: list[Group] = field(default_factory=list)
    footprints: list[tuple[float, float, float, float]] = field(default_factory=list)

    @classmethod
    def random(cls, rng: np.random.Generator) -> Room:
        """Draw a room with windows, pictures, doors and furniture along its walls."""
        width, length, height = rng.uniform(3.6, 5.4), rng.uniform(4.5, 7.0), rng.uniform(2.4, 3.0)
        floor = _one(rng, FLOORS)(rng)
        if rng.random() < 0.5:
            place = (rng.uniform(-0.15, 0.15) * width, rng.uniform(0.4, 0.65) * length)
            floor = rug(rng, floor, place, (rng.uniform(1.2, 2.2), rng.uniform(1.4, 2.8)))
        skirting = colour(0.09, 0.05, 0.9) if rng.random() < 0.7 else colour(0.07, 0.5, 0.4)
        common = _one(rng, WALLS)(rng)
        walls = [_one(rng, WALLS)(rng) if rng.random() < 0.25 else common for _ in range(4)]
        ceiling = plaster(rng, colour(0.1, rng.uniform(0, 0.05), 0.95))
        textures = [floor, ceiling, *(with_skirting(wall, skirting) for wall in walls)]
        warm = colour(0.1, rng.uniform(0.05, 0.3), 1.0)
        lamp = np.array([rng.uniform(-0.2, 0.2) * width, height - 0.15, rng.uniform(0.3, 0.6) * length], np.float32)
        lights = [Light(lamp, warm * rng.uniform(1.5, 3.5), 0.25)]
        room = cls(
            width, length, height, textures, [[] for _ in range(6)], lights, rng.uniform(0.5, 0.8) * (0.5 + warm / 2)
        )
        room._hang(rng)
        room._furnish(rng)
        return room

    def _hang(self, rng: np.random.Generator) -> None:
        for wall, long in ((BACK, self.width), (LEFT, self.length), (RIGHT, self.length)):
            spots = (
                np.arange(-self.width / 2 + 1, self.width / 2 - 0.8, 1.9)
                if wall == BACK
                else np.arange(1.6, long - 1, 2.0)
            )
            for u in spots:
                kind = rng.choice(4, p=(0.35, 0.3, 0.15, 0.2))
                if kind == 3:
                    continue
                panel = (window, picture, door)[kind](rng, float(u), self.height)
                self.panels[wall].append(panel)
                if kind == 0 and len(self.lights) < 2:  # one window lights the room, for speed
                    middle = (np.add(panel.low, panel.high) / 2)[None].astype(np.float32)
                    place = self._on_wall(wall, middle[:, 0], middle[:, 1])[0] + 0.05 * NORMALS[wall]
                    strength = colour(rng.uniform(0.55, 0.62), rng.uniform(0.05, 0.2), 1.0) * rng.uniform(2.0, 5.0)
                    self.lights.append(Light(place, strength, 0.5, NORMALS[wall]))

    def _furnish(self, rng: np.random.Generator) -> None:
        for wall, low, high in (
            (BACK, -self.width / 2, self.width / 2),
            (LEFT, 1.5, self.length),
            (RIGHT, 1.5, self.length),
        ):
            at = low + rng.uniform(0.1, 0.8)
            for _ in range(int(rng.integers(1, 3))):
                piece = _one(rng, PIECES)(rng)
                # Something must be left of the floor.
                if at + piece.width < high - 0.1 and (wall == BACK or piece.depth < 0.28 * self.width):
                    self._put(piece, wall, at + piece.width / 2)
                at += piece.width + rng.uniform(0.15, 1.2)

    def _put(self, piece: Piece, wall: int, middle: float) -> None:
        """Stand a piece with its back to a wall, unless it would stand in another one."""
        yaw = {BACK: np.pi, LEFT: np.pi / 2, RIGHT: -np.pi / 2}[wall]
        ahead, across = NORMALS[wall], turn(yaw)[:, 0]
        start = self._on_wall(wall, np.array([middle], np.float32), np.zeros(1, np.float32))[0] + 0.02 * ahead
        corners = np.array(
            [start + s * piece.width / 2 * across + d * piece.depth * ahead for s in (-1, 1) for d in (0, 1)]
        )
        (low_x, _, low_z), (high_x, _, high_z) = corners.min(0), corners.max(0)
        if any(low_x < c and high_x > a and low_z < d and high_z > b for a, b, c, d in self.footprints):
            return
        self.footprints.append((float(low_x), float(low_z), float(high_x), float(high_z)))
        self.furniture.append(Group(piece.shapes).moved(turn(yaw), start))

    def free(self, x: float, z: float, radius: float) -> bool:
        """Return whether a thing of this radius can stand on the floor there."""
        if abs(x) > self.width / 2 - radius or not radius < z < self.length - radius:
            return False
        return all(np.hypot(max(a - x, 0, x - c), max(b - z, 0, z - d)) > radius for a, b, c, d in self.footprints)

    def _on_wall(self, wall: int, u: Array, v: Array) -> Array:
        x = {BACK: u, LEFT: np.full_like(u, -self.width / 2), RIGHT: np.full_like(u, self.width / 2)}[wall]
        z = np.full_like(u, self.length) if wall == BACK else u
        return np.stack([x, v, z], axis=1)

    def shell(self, origin: Array, rays: Array) -> tuple[Array, NDArray[np.intp]]:
        """Return at which parameter rays from inside meet the box, and which of its six faces."""
        half = self.width / 2
        gaps = np.array(
            [origin[1], self.height - origin[1], self.length - origin[2], origin[0] + half, half - origin[0], origin[2]]
        )
        toward = -inner(rays, NORMALS)
        with np.errstate(divide="ignore"):
            t = np.where(toward > 1e-9, gaps.astype(np.float32) / toward, np.inf)
        face = t.argmin(1)
        return t[np.arange(len(t)), face], face

    def colours(self, points: Array, face: NDArray[np.intp], pixel: Array) -> tuple[Array, Array]:
        """Return colours and light sent out (n x 3 each) of points on the box; ``pixel`` is its size there, m."""
        reflected, sent = np.zeros((len(points), 3), np.float32), np.zeros((len(points), 3), np.float32)
        for number, texture in enumerate(self.textures):
            index = np.flatnonzero(face == number)
            x, y, z = points[index].T
            u, v = {FLOOR: (x, z), CEILING: (x, z), BACK: (x, y), FRONT: (x, y)}.get(number, (z, y))
            reflected[index] = texture(u, v, pixel[index])
            for panel in self.panels[number]:
                (left, low), (right, high) = panel.low, panel.high
                on = np.flatnonzero((u > left) & (u < right) & (v > low) & (v < high))
                reflected[index[on]], sent[index[on]] = panel.look(u[on] - left, v[on] - low)
        return reflected, sent

    def ambience(self, points: Array, normals: Array) -> Array:
        """Return the light from everywhere (n x 3): less from below, less near the room's edges."""
        x, y, z = points.T
        dim = np.ones(len(points), np.float32)
        for gap in (y, self.height - y, self.length - z, x + self.width / 2, self.width / 2 - x):
            dim *= 1 - 0.3 * np.exp(-np.maximum(gap, 0) / 0.45)
        return self.ambient * (dim * (0.8 + 0.2 * normals[:, 1]))[:, None]

    def near_furniture(self, points: Array) -> Array:
        """Return how much of the ambient light reaches points on floor and walls beside the furniture (n)."""
        x, _, z = points.T
        dim = np.ones(len(points), np.float32)
        for a, b, c, d in self.footprints:
            gap = np.hypot(np.maximum(np.maximum(a - x, x - c), 0), np.maximum(np.maximum(b - z, z - d), 0))
            dim *= np.where(points[:, 1] < 0.5, 1 - 0.4 * np.exp(-gap / 0.15), 1)
        return dim

    def beams(self, points: Array, normals: Array, shift: Array) -> Iterator[tuple[Array, Array]]:
        """Yield for each lamp the light that it sends to points if nothing is between, and where it is seen (n x 3).

        ``shift`` (n x 3, within the unit ball) says which part of the lamp a point sees: soft shadows, sampled.
        """
        for light in self.lights:
            target = light.place + light.radius * shift
            way = target - points
            square = dot(way, way)
            strength = dot(way, normals).clip(0) / np.sqrt(square) / (1 + square)
            if light.facing is not None:
                strength *= 2 * (-inner(way, light.facing[None])[:, 0]).clip(0) / np.sqrt(square)
            yield strength[:, None] * light.strength, target


def _one(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]
