"""Solid shapes that a ray can meet, exactly: ellipsoids, cut-off cones and convex solids.

Lengths are in metres; x points to the right, y up, z ahead. A shape is a simple one in coordinates of its own (the
unit ball, an upright cone of height 1, half-spaces), brought to its place by an affine map. Such a map keeps a ray's
parameter, so what is met in the shape's own coordinates is met at the same ``t`` of ``origin + t * ray`` outside.

Source: P. Shirley, S. Marschner, Fundamentals of Computer Graphics, 4th ed. 2016, sections 4.4 (intersections)
and 13.2 (instances, normals under an affine map).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]
Paint = Callable[[Array], Array]
"""Points in a shape's own coordinates (n x 3) -> the share of light reflected there (n x 3, linear RGB, 0..1)."""

EPSILON = 1e-3  # m: what is nearer than this to the start of a ray is where the ray starts


def dot(a: Array, b: Array) -> Array:
    """Return the inner products of vectors (n x 3 each); by columns, which is faster than ``einsum`` for three."""
    product: Array = a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2]
    return product


def inner(vectors: Array, others: Array) -> Array:
    """Return ``vectors @ others.T``, the inner products of n and m vectors (n x m).

    Not left to BLAS, whose own threads would fight with those that write the parts of a set.
    """
    x, y, z = vectors.T
    products = np.empty((len(others), len(vectors)), vectors.dtype)
    for number, (a, b, c) in enumerate(others.tolist()):
        np.multiply(x, a, out=products[number])
        products[number] += y * b
        products[number] += z * c
    return products.T


@dataclass(frozen=True)
class Shape:
    """What all shapes have.

    Attributes:
        centre: the middle of the bounding ball, and the origin of the shape's own coordinates.
        inverse: 3 x 3, takes directions in the room to those of the shape.
        radius: of the bounding ball.
        paint: its colours.
    """

    centre: Array
    inverse: Array
    radius: float
    paint: Paint

    def moved(self, turn: Array, shift: ArrayLike) -> Shape:
        """Return the shape turned about the room's origin (3 x 3) and then shifted."""
        centre = turn @ self.centre + np.asarray(shift)
        return replace(self, centre=centre.astype(np.float32), inverse=(self.inverse @ turn.T).astype(np.float32))

    def scaled(self, factor: float) -> Shape:
        """Return the shape ``factor`` times as large, as seen from the room's origin."""
        centre, inverse = self.centre * np.float32(factor), self.inverse / np.float32(factor)
        return replace(self, centre=centre, inverse=inverse, radius=self.radius * factor)

    def meet(self, origin: Array, rays: Array) -> Array:
        """Return at which t > 0 rays (n x 3, from one origin or one each) first enter the shape; infinity if never."""
        square = dot(rays, rays)
        # From where the ray is nearest to the centre: single precision loses little there.
        toward = self.centre - origin
        along = (inner(rays, toward[None])[:, 0] if toward.ndim == 1 else dot(rays, toward)) / square
        start = along[:, None] * rays - toward
        least = EPSILON / np.sqrt(square) - along
        return along + self._meet(inner(start, self.inverse), inner(rays, self.inverse), least)

    def surface(self, points: Array) -> tuple[Array, Array]:
        """Return colours and outward unit normals (n x 3 each) at points on the surface."""
        own = inner(points - self.centre, self.inverse)
        normals = inner(self._normals(own), self.inverse.T)
        return self.paint(own), normals / np.sqrt(dot(normals, normals))[:, None]

    def _meet(self, origin: Array, rays: Array, least: Array) -> Array:
        """Return the first t above ``least`` at which rays enter, in own coordinates; infinity if none."""
        raise NotImplementedError

    def _normals(self, own: Array) -> Array:
        raise NotImplementedError


class Ball(Shape):
    """The unit ball in own coordinates."""

    def _meet(self, origin: Array, rays: Array, least: Array) -> Array:
        a, b = dot(rays, rays), dot(origin, rays)
        under = b**2 - a * (dot(origin, origin) - 1)
        t = (-b - np.sqrt(np.maximum(under, 0))) / a
        return np.where((under > 0) & (t > least), t, np.inf)

    def _normals(self, own: Array) -> Array:
        return own


@dataclass(frozen=True)
class Cone(Shape):
    """An upright cut-off cone: radius 1 at y = -1/2, ``top`` at y = 1/2."""

    top: float = 1.0

    def _meet(self, origin: Array, rays: Array, least: Array) -> Array:
        (ox, oy, oz), (dx, dy, dz) = origin.T, rays.T
        slope = self.top - 1
        wide = 1 + slope * (oy + 0.5)
        a = dx**2 + dz**2 - (slope * dy) ** 2
        b = ox * dx + oz * dz - slope * dy * wide
        under = b**2 - a * (ox**2 + oz**2 - wide**2)
        root = np.sqrt(np.maximum(under, 0))
        first = np.full(len(rays), np.inf, rays.dtype)
        with np.errstate(divide="ignore", invalid="ignore"):
            for t in ((-b - root) / a, (-b + root) / a):
                good = (under > 0) & (np.abs(oy + t * dy) <= 0.5) & (t > least)
                first = np.where(good, np.minimum(first, t), first)
            for end, reach in ((-0.5, 1.0), (0.5, self.top)):
                t = (end - oy) / dy
                good = ((ox + t * dx) ** 2 + (oz + t * dz) ** 2 <= reach**2) & (t > least)
                first = np.where(good, np.minimum(first, t), first)
        return first

    def _normals(self, own: Array) -> Array:
        slope = self.top - 1
        wide = 1 + slope * (own[:, 1] + 0.5)
        side = np.stack([own[:, 0], -slope * wide, own[:, 2]], axis=1)
        inner = np.hypot(own[:, 0], own[:, 2]) < 0.995 * wide
        cap = np.zeros_like(side)
        cap[:, 1] = np.sign(own[:, 1])
        return np.where(inner[:, None], cap, side)


@dataclass(frozen=True)
class Solid(Shape):
    """A convex solid: where ``faces @ point <= reach`` holds for all its faces (n x 3 outward unit normals)."""

    faces: Array = None  # type: ignore[assignment]
    reach: Array = None  # type: ignore[assignment]

    def _meet(self, origin: Array, rays: Array, least: Array) -> Array:
        down = inner(rays, self.faces)
        down = np.where(down == 0, np.float32(1e-9), down)
        t = (self.reach - inner(origin, self.faces)) / down
        enter = np.where(down < 0, t, -np.inf).max(1)
        leave = np.where(down > 0, t, np.inf).min(1)
        return np.where((enter < leave) & (enter > least), enter, np.inf)

    def _normals(self, own: Array) -> Array:
        normals: Array = self.faces[(inner(own, self.faces) - self.reach).argmax(1)]
        return normals


def turn(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Array:
    """Return the 3 x 3 rotation: roll about z, then pitch (positive: ahead turns up) about x, then yaw about y."""
    (a, b, c), (d, e, f) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    about_y = np.array([[a, 0, d], [0, 1, 0], [-d, 0, a]])
    about_x = np.array([[1, 0, 0], [0, b, e], [0, -e, b]])
    about_z = np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]])
    return (about_y @ about_x @ about_z).astype(np.float32)


def plain(colour: ArrayLike) -> Paint:
    """Return the paint of one colour."""
    value = np.asarray(colour, np.float32)
    return lambda own: np.broadcast_to(value, own.shape)


def ellipsoid(centre: ArrayLike, radii: ArrayLike, paint: Paint, rotation: Array | None = None) -> Shape:
    """Return an ellipsoid; own coordinates reach from -1 to 1 along its axes."""
    radii = np.broadcast_to(np.asarray(radii, np.float32), (3,))
    rotation = turn() if rotation is None else rotation
    return Ball(np.asarray(centre, np.float32), rotation.T / radii[:, None], float(radii.max()), paint)


def cone(bottom: ArrayLike, top: ArrayLike, wide: float, narrow: float, paint: Paint, flat: float = 1.0) -> Shape:
    """Return a cut-off cone from ``bottom`` (radius ``wide``) to ``top`` (radius ``narrow``), any way round.

    ``flat`` scales its z axis: below 1 it is flat like a torso. Own y runs from -1/2 to 1/2.
    """
    bottom, top = np.asarray(bottom, float), np.asarray(top, float)
    if narrow > wide:
        return cone(top, bottom, narrow, wide, paint, flat)
    axis = top - bottom
    height = float(np.linalg.norm(axis))
    up = axis / height
    side = np.cross(up, [0.0, 0.0, 1.0] if abs(up[2]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    frame = np.stack([side / wide, up / height, np.cross(side, up) / (wide * flat)])
    radius = float(np.hypot(height / 2, max(wide, wide * flat)))
    centre = ((bottom + top) / 2).astype(np.float32)
    return Cone(centre, frame.astype(np.float32), radius, paint, narrow / wide)


def limb(start: ArrayLike, end: ArrayLike, thick: float, thin: float, paint: Paint) -> list[Shape]:
    """Return a cone with rounded ends."""
    ends = [ellipsoid(place, radius, paint) for place, radius in ((start, thick), (end, thin))]
    return [cone(start, end, thick, thin, paint), *ends]


_CUBE = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)


def box(centre: ArrayLike, size: ArrayLike, paint: Paint, rotation: Array | None = None) -> Shape:
    """Return a box; own coordinates are metres from its centre along its edges."""
    half = np.asarray(size, np.float32) / 2
    inverse = turn() if rotation is None else rotation.T
    reach = np.concatenate([half, half])
    return Solid(np.asarray(centre, np.float32), inverse, float(np.linalg.norm(half)), paint, _CUBE, reach)
