"""Rooms as a camera sees them. Depth is measured along the optical axis (z-depth), not along the ray; in metres."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visionlab.samples.rooms import FLOOR, NORMALS, Room
from visionlab.samples.shapes import Array, dot, inner, turn

OVERSAMPLING = 3
MUTED = 0.75  # share of grey in the colours of rooms
"""Rays a pixel in each direction; odd, so that the middle one goes through the pixel's centre."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels.

    Attributes:
        place: where it is, m.
        rotation: 3 x 3, from the camera's axes (x right, y up, z ahead) to the room's.
        focal: focal length in pixels.
        size: height and width of the image in pixels.
    """

    place: Array
    rotation: Array
    focal: float
    size: int

    @classmethod
    def random(cls, rng: np.random.Generator, size: int, room_width: float) -> Camera:
        """Draw a camera near the front wall, at about the height of the eyes, looking in and slightly down."""
        place = np.array([rng.uniform(-0.2, 0.2) * room_width, rng.uniform(1.4, 1.6), rng.uniform(0.1, 0.4)])
        yaw = -0.12 * place[0] + rng.uniform(-0.25, 0.25)
        rotation = turn(yaw, -rng.uniform(0.2, 0.28), rng.normal(0, 0.012))
        return cls(place.astype(np.float32), rotation, size / (2 * np.tan(np.radians(rng.uniform(55, 60)) / 2)), size)

    def rays(self, rows: slice = slice(None), columns: slice = slice(None)) -> Array:
        """Return the rays of these pixels, ``OVERSAMPLING`` a pixel each way, row by row (n x 3).

        Their length is such that their parameter is the depth along the optical axis.
        """
        fine = (np.arange(self.size * OVERSAMPLING) + 0.5) / OVERSAMPLING - self.size / 2
        across = fine.reshape(self.size, -1)[columns].ravel() / self.focal
        down = fine.reshape(self.size, -1)[rows].ravel() / self.focal
        x, y = np.meshgrid(across, -down)
        rays = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1)
        return inner(rays, self.rotation).astype(np.float32)

    def project(self, points: Array) -> tuple[Array, Array, Array]:
        """Return row, column (pixels from the upper left corner) and depth of points in the room (n x 3)."""
        x, y, depth = inner(points - self.place, self.rotation.T).T
        return self.size / 2 - self.focal * y / depth, self.size / 2 + self.focal * x / depth, depth


@dataclass(frozen=True)
class Beam:
    """What one lamp lights: the numbers of the samples, their place, the place of the lamp, and the exposed light."""

    index: NDArray[np.intp]
    off: Array
    target: Array
    light: Array


@dataclass(frozen=True)
class View:
    """A room as a camera sees it; n = (size * OVERSAMPLING)^2 samples.

    Attributes:
        t: depth along the optical axis for every sample, m; n.
        floor: numbers of the samples that show the floor; ``floor_places`` is where (k x 3).
        light: exposed light of all samples, unbounded above, n x 3; ``beams`` is what of it comes from the lamps.
        exposure: what light is multiplied by to become 0..1.
    """

    room: Room
    camera: Camera
    t: Array
    floor: NDArray[np.intp]
    floor_places: Array
    light: Array
    beams: list[Beam]
    exposure: float

    @property
    def depth(self) -> Array:
        """Depth at the pixels' centres, m along the optical axis; size x size."""
        side = self.camera.size
        return self.t.reshape(side, OVERSAMPLING, side, OVERSAMPLING)[:, OVERSAMPLING // 2, :, OVERSAMPLING // 2]


def jitter(camera: Camera) -> Array:
    """Return for every sample of an image the part of a lamp it sees: each sample of a pixel another one."""
    k = np.arange(OVERSAMPLING**2)
    angle, reach = 2.399963 * k, np.sqrt((k + 0.5) / len(k))  # the golden angle: evenly over the disk
    disk = np.stack([reach * np.cos(angle), 0.4 * reach * np.cos(3 * angle), reach * np.sin(angle)], axis=1)
    tile = disk.astype(np.float32).reshape(OVERSAMPLING, OVERSAMPLING, 3)
    return np.tile(tile, (camera.size, camera.size, 1)).reshape(-1, 3)


def look(room: Room, camera: Camera) -> View:
    """Photograph a room."""
    rays = camera.rays()
    t, face = room.shell(camera.place, rays)
    piece = np.full(len(t), -1)
    for number, group in enumerate(room.furniture):
        found, which = group.trace(camera.place, rays)
        nearer = np.flatnonzero(found < t)
        t[nearer], piece[nearer] = found[nearer], 100 * number + which[nearer]
    solid = piece >= 0
    points = camera.place + t[:, None] * rays
    normals = NORMALS[face]
    slant = np.abs(dot(rays, normals)) / np.sqrt(dot(rays, rays))
    albedo, sent = room.colours(points, face, t / camera.focal / np.maximum(slant, 0.02) ** 0.7)
    dim = room.near_furniture(points)
    for number in np.unique(piece[solid]):
        index = np.flatnonzero(piece == number)
        shape = room.furniture[number // 100].shapes[number % 100]
        albedo[index], normals[index] = shape.surface(points[index])
    sent[solid], dim[solid] = 0, 1
    # Rooms are of muted colours, which figures are not: see visionlab.samples.figures.
    albedo = MUTED * albedo.mean(axis=1, keepdims=True) + (1 - MUTED) * albedo
    light = albedo * room.ambience(points, normals) * dim[:, None]
    off = points + 2e-3 * normals
    beams = []
    for strength, target in room.beams(off, normals, jitter(camera)):
        lit = np.flatnonzero(strength[:, 2])
        for group in room.furniture:
            lit = lit[~group.hides(off[lit], target[lit])]
        beams.append(Beam(lit, off[lit], target[lit], albedo[lit] * strength[lit]))
        light[lit] += beams[-1].light
    exposure = 0.62 / float(np.percentile(light.mean(1), 85))
    floor = np.flatnonzero(~solid & (face == FLOOR))
    beams = [replace(beam, light=exposure * beam.light) for beam in beams]
    return View(room, camera, t, floor, points[floor], exposure * light + sent, beams, exposure)
