"""A figure that stands in a photographed room: its picture, its mask, the depth, and the shadow that it casts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionlab.io.encoding import to_srgb
from visionlab.samples.rooms import Room
from visionlab.samples.shapes import Array, turn
from visionlab.samples.tracing import Group
from visionlab.samples.views import OVERSAMPLING, Camera, View, jitter

MASK_THRESHOLD = 200
"""A pixel is foreground if its alpha (0..255) is at least this, as in the published sets."""

NEAREST, FARTHEST = 1.3, 2.4  # m from the camera, where figures stand: they are large enough to be outlined well
SMALLEST = 0.25  # height of a figure as a share of the image's


@dataclass(frozen=True)
class Figure:
    """A figure as a camera sees it, in a window of the image.

    Attributes:
        rows, columns: the window.
        hit: which samples meet it; h x w x s x s with s = ``OVERSAMPLING``.
        depth: of each sample, m along the optical axis, infinity where it is not met; h x w x s x s.
        light: that each sample sends, unexposed; h x w x s x s x 3.
    """

    rows: slice
    columns: slice
    hit: NDArray[np.bool_]
    depth: Array
    light: Array

    @property
    def alpha(self) -> NDArray[np.uint8]:
        """How much of each pixel it covers, 0 to 255."""
        return np.rint(255 * self.hit.mean((2, 3))).astype(np.uint8)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which pixels are foreground."""
        return self.alpha >= MASK_THRESHOLD

    @property
    def pixel_depth(self) -> Array:
        """Depth at the pixels' centres; the nearest of the pixel's samples where the centre just misses it."""
        middle = self.depth[:, :, OVERSAMPLING // 2, OVERSAMPLING // 2]
        return np.where(np.isfinite(middle), middle, self.depth.min((2, 3)))


def frame(figure: Group, camera: Camera) -> tuple[slice, slice] | None:
    """Return rows and columns that hold a whole figure, or None if it may reach over the image's edge."""
    rows, columns, depth = camera.project(np.array([shape.centre for shape in figure.shapes]))
    if depth.min() < NEAREST / 2:
        return None
    reach = camera.focal * np.array([shape.radius for shape in figure.shapes]) / depth * 1.05 + 1
    top, left = np.floor((rows - reach).min()), np.floor((columns - reach).min())
    bottom, right = np.ceil((rows + reach).max()), np.ceil((columns + reach).max())
    if min(top, left) < 0 or max(bottom, right) > camera.size:
        return None
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def photograph(figure: Group, room: Room, camera: Camera, rows: slice, columns: slice) -> Figure:
    """Return a figure as the camera sees it in the light of a room."""
    rays = camera.rays(rows, columns)
    t, which = figure.trace(camera.place, rays)
    light = np.zeros((len(rays), 3), np.float32)
    met = np.flatnonzero(which >= 0)
    points = camera.place + t[met, None] * rays[met]
    albedo, normals = np.zeros_like(points), np.zeros_like(points)
    for number in np.unique(which[met]):
        index = np.flatnonzero(which[met] == number)
        albedo[index], normals[index] = figure.shapes[number].surface(points[index])
    height, width, s = rows.stop - rows.start, columns.stop - columns.start, OVERSAMPLING
    shift = jitter(camera).reshape(camera.size, s, camera.size, s, 3)[rows, :, columns].reshape(-1, 3)[met]
    off = points + 4e-3 * normals
    sent = room.ambience(points, normals)
    for strength, target in room.beams(off, normals, shift):
        lit = np.flatnonzero(strength[:, 2])
        strength[lit[figure.hides(off[lit], target[lit])]] = 0
        sent = sent + strength
    light[met] = albedo * sent

    def by_pixel(values: NDArray[Any]) -> NDArray[Any]:
        return np.moveaxis(values.reshape(height, s, width, s, *values.shape[1:]), 2, 1)

    return Figure(rows, columns, by_pixel(which >= 0), by_pixel(t), by_pixel(light))


def stand(rng: np.random.Generator, view: View, figure: Group, tries: int = 80) -> tuple[Group, Figure] | None:
    """Put a figure somewhere on the floor, wholly in the image and hidden by nothing; None if no place was found.

    Returns the figure where it stands, and as it is seen.
    """
    room, camera = view.room, view.camera
    half = np.arctan(camera.size / 2 / camera.focal)
    ahead = np.arctan2(camera.rotation[0, 2], camera.rotation[2, 2])
    for _ in range(tries):
        depth = np.exp(rng.uniform(np.log(NEAREST), np.log(min(room.length - 0.3, FARTHEST))))
        x = float(camera.place[0] + depth * np.tan(ahead + rng.uniform(-half, half)))
        z = float(camera.place[2] + depth)
        facing = turn(rng.normal(0, 1.1))
        if not room.free(x, z, 0.25):
            continue
        standing = figure.moved(facing, (x, 0, z))
        if (window := frame(standing, camera)) is None:
            continue
        seen = photograph(standing, room, camera, *window)
        tall = np.flatnonzero(seen.mask.any(1))
        s = OVERSAMPLING
        behind = view.t.reshape(camera.size, s, camera.size, s)[window[0], :, window[1]].transpose(0, 2, 1, 3)
        if len(tall) >= SMALLEST * camera.size and (seen.depth < behind)[seen.hit].all():
            return standing, seen
    return None


def compose(view: View, empty: Array, standing: Group, seen: Figure) -> tuple[Array, NDArray[np.bool_], Array]:
    """Put a figure into the picture of a room.

    Args:
        view: the room.
        empty: its picture, as :func:`develop` gives it.
        standing, seen: the figure where it stands and as it is seen, from :func:`stand`.

    Returns:
        The image (size x size x 3, sRGB 0..1), the mask and the depth (m). Pixels that neither the figure nor its
        shadow touches are exactly those of ``empty``.
    """
    size, s = view.camera.size, OVERSAMPLING
    light = view.light.copy()
    changed = np.zeros(len(light), bool)
    for beam in view.beams:
        dark = np.flatnonzero(standing.hides(beam.off, beam.target))
        light[beam.index[dark]] -= beam.light[dark]
        changed[beam.index[dark]] = True
    dim = shade(view.floor_places, standing)
    light[view.floor] *= dim[:, None]
    changed[view.floor[dim < 1]] = True

    def by_pixel(values: NDArray[Any]) -> NDArray[Any]:
        return values.reshape(size, s, size, s, *values.shape[1:]).swapaxes(1, 2)

    pixels, touched = by_pixel(light), by_pixel(changed)
    pixels[seen.rows, seen.columns][seen.hit] = view.exposure * seen.light[seen.hit]
    touched[seen.rows, seen.columns] |= seen.hit
    where = touched.any((2, 3))
    image = empty.copy()
    image[where] = develop(pixels[where])
    mask = np.zeros((size, size), bool)
    mask[seen.rows, seen.columns] = seen.mask
    depth = view.depth.copy()
    depth[mask] = seen.pixel_depth[seen.mask]
    return image, mask, depth


def shade(places: Array, standing: Group) -> Array:
    """Return how much light is left on the floor close to where a figure touches it (n, 1 where all of it)."""
    touching = [shape for shape in standing.shapes if shape.centre[1] < min(1.05 * shape.radius, 0.6)]
    dim = np.ones(len(places), np.float32)
    for shape in touching:
        reach = shape.radius + 0.04
        gap = np.square(places[:, [0, 2]] - shape.centre[[0, 2]]).sum(1)
        near = np.flatnonzero(gap < (2.5 * reach) ** 2)
        dim[near] *= 1 - 0.4 * np.exp(-gap[near] / reach**2)
    return dim


def picture(view: View) -> Array:
    """Return the image of the empty room, size x size x 3, sRGB 0..1."""
    size, s = view.camera.size, OVERSAMPLING
    return develop(view.light.reshape(size, s, size, s, 3).swapaxes(1, 2))


def develop(samples: Array) -> Array:
    """Return pixels (... x 3, sRGB 0..1) from the exposed light of their samples (... x s x s x 3)."""
    return to_srgb(np.clip(samples, 0, 1).mean((-3, -2)))
