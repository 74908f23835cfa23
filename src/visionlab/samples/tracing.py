"""Groups of shapes that rays are cast at, quickly: first at a ball around all of them, then at one around each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from visionlab.samples.shapes import Array, Shape


@dataclass(frozen=True)
class Group:
    """Shapes that stand together: rays that miss the ball around all of them are not tried on each."""

    shapes: Sequence[Shape]

    @cached_property
    def balls(self) -> tuple[Array, Array]:
        """Centres (n x 3) and radii of balls, the first around all shapes and then one around each."""
        centres, radii = np.array([s.centre for s in self.shapes]), np.array([s.radius for s in self.shapes])
        middle = ((centres - radii[:, None]).min(0) + (centres + radii[:, None]).max(0)) / 2
        reach = (np.linalg.norm(centres - middle, axis=1) + radii).max()
        return np.vstack([middle, centres]).astype(np.float32), np.append(reach, radii).astype(np.float32)

    def moved(self, turn: Array, shift: ArrayLike) -> Group:
        """Return the shapes turned about the room's origin (3 x 3) and then shifted."""
        return Group([shape.moved(turn, shift) for shape in self.shapes])

    def trace(self, origin: Array, rays: Array) -> tuple[Array, NDArray[np.int16]]:
        """Return for each ray (n x 3) at which t it meets a shape first (infinity: none), and which (-1: none)."""
        t = np.full(len(rays), np.inf, np.float32)
        which = np.full(len(rays), -1, np.int16)
        for number, index in self._candidates(origin, rays):
            found = self.shapes[number].meet(origin, rays[index])
            nearer = found < t[index]
            t[index[nearer]], which[index[nearer]] = found[nearer], number
        return t, which

    def hides(self, points: Array, targets: Array) -> NDArray[np.bool_]:
        """Return for each point (n x 3) whether a shape stands between it and its target (n x 3)."""
        hidden = np.zeros(len(points), bool)
        ways = targets - points
        for number, candidates in self._candidates(points, ways):
            index = candidates[~hidden[candidates]]
            hidden[index] = self.shapes[number].meet(points[index], ways[index]) < 1
        return hidden

    def _candidates(self, origin: Array, rays: Array) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """Yield for each shape the rays (n x 3, from one origin or one each) that meet the ball around it."""
        (middle, *centres), (reach, *radii) = self.balls
        near = np.flatnonzero(_through(middle, reach, _columns(origin), _columns(rays)))
        if len(near):
            start, way = _columns(origin if origin.ndim == 1 else origin[near]), _columns(rays[near])
            for number, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
                yield number, near[_through(centre, radius, start, way)]


def _columns(vectors: Array) -> Array:
    """Return x, y, z one after the other in memory, which makes the sums below twice as fast."""
    return np.ascontiguousarray(vectors.T)


def _through(centre: Array, radius: float, origin: Array, rays: Array) -> NDArray[np.bool_]:
    """Return which rays (3 x n) pass through a ball ahead of them."""
    (x, y, z), (dx, dy, dz) = rays, (place - start for place, start in zip(centre, origin, strict=True))
    square = x * x + y * y + z * z
    ahead = x * dx + y * dy + z * dz
    spare = dx * dx + dy * dy + dz * dz - radius * radius
    # In the ball, or the ball is ahead and the ray is never farther from its centre than its radius.
    hit: NDArray[np.bool_] = (spare < 0) | ((ahead > 0) & (ahead * ahead > spare * square))
    return hit
