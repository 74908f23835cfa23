"""What a confocal microscope makes of a glowing volume: blur that grows with depth, haze, attenuation and noise.

Lengths are in micrometres, places are z, y, x from the centre of the field. Camera noise is after the EMVA 1288
standard, release 4.0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FINE = 3  # planes are drawn so many times as dense as they are seen; odd, so that each of them is one of these
HAZE = 8.0  # um, standard deviation of the light that other planes scatter
COARSE = 4  # haze is made of every fourth pixel

OFFSET = 100  # grey level of darkness
GAIN = 1.2  # grey levels a photo-electron
READ_NOISE = 3.5  # grey levels, standard deviation


@dataclass(frozen=True)
class Grid:
    """The voxels of a field of view.

    Attributes:
        shape: planes, height and width.
        voxel: sides of a voxel (z, y, x).
    """

    shape: tuple[int, int, int]
    voxel: tuple[float, float, float]

    def axes(self) -> tuple[Array, Array, Array]:
        """Return the places of planes, rows and columns (their middles)."""
        z, y, x = (
            ((np.arange(n) + 0.5 - n / 2) * side).astype(np.float32)
            for n, side in zip(self.shape, self.voxel, strict=True)
        )
        return z, y, x

    def indices(self, places: Array) -> Array:
        """Return places (n x 3) as fractional indices; a voxel's middle has whole ones."""
        found: Array = places / np.array(self.voxel) + np.array(self.shape) / 2 - 0.5
        return found

    def fine(self) -> Grid:
        """Return the same field with ``FINE`` times as many planes."""
        planes, height, width = self.shape
        return replace(self, shape=(FINE * planes, height, width), voxel=(self.voxel[0] / FINE, *self.voxel[1:]))


def field_grid(field: tuple[float, float, float], planes: int, width: int) -> Grid:
    """Return the voxels of a field of view (um) with so many planes and columns, and 3/4 as many rows."""
    shape = planes, 3 * width // 4, width
    return Grid(shape, (field[0] / shape[0], field[1] / shape[1], field[2] / shape[2]))


@dataclass(frozen=True)
class Optics:
    """How sharp planes are: standard deviations of the point spread, um, at the first plane and at the last one.

    Attributes:
        lateral: within a plane.
        axial: across planes.
        haze: part of the light that is scattered far.
        attenuation: um of depth that leave 1 / e of the light.
    """

    lateral: tuple[float, float] = (0.25, 0.5)
    axial: tuple[float, float] = (0.5, 0.8)
    haze: float = 0.1
    attenuation: float = 55.0


def seen(light: Array, grid: Grid, optics: Optics) -> Array:
    """Return the light (planes x H x W, float32) that the planes of ``grid`` receive.

    Args:
        light: what glows, at the planes of ``grid.fine()``.
        grid: where planes are focused.
        optics: blur.
    """
    planes, height, width = grid.shape
    depth = np.linspace(0, 1, planes)
    at, places = grid.axes()[0], grid.fine().axes()[0]
    focused = _weights(at, places, optics.axial[0] + depth * (optics.axial[1] - optics.axial[0]))
    # Not a product of matrices, whose last digits can differ with the number of threads.
    sections = np.einsum("pf,fyx->pyx", focused, light)
    scattered = _weights(at, places, np.full(planes, HAZE))
    around = np.einsum("pf,fyx->pyx", scattered, light[:, ::COARSE, ::COARSE])
    lateral = (optics.lateral[0] + depth * (optics.lateral[1] - optics.lateral[0])) / grid.voxel[1]
    for plane, sigma, far in zip(sections, lateral, around, strict=True):
        blurred = cv2.GaussianBlur(plane, (0, 0), float(sigma))
        wide = cv2.resize(cv2.GaussianBlur(far, (0, 0), HAZE / grid.voxel[1] / COARSE), (width, height))
        plane[:] = (1 - optics.haze) * blurred + optics.haze * wide
    lost: Array = np.exp(-depth * planes * grid.voxel[0] / optics.attenuation).astype(np.float32)
    return sections * lost[:, None, None]


def _weights(at: Array, places: Array, sigma: Array) -> Array:
    """Return how much of the light at ``places`` is seen ``at`` others: rows that sum to 1 but where the field ends."""
    step = places[1] - places[0]
    spread = np.exp(-0.5 * np.square((at[:, None] - places[None]) / sigma[:, None]))
    weights: Array = (spread * step / (sigma[:, None] * np.sqrt(2 * np.pi))).astype(np.float32)
    return weights


def photographed(rng: np.random.Generator, light: Array) -> NDArray[np.uint16]:
    """Return 16-bit grey levels of a camera that receives ``light`` (grey levels above darkness, without noise)."""
    # Photons are so many that their noise is as good as normal.
    noise = np.sqrt(GAIN * np.maximum(light, 0) + READ_NOISE**2) * rng.standard_normal(light.shape, np.float32)
    return np.clip(np.rint(OFFSET + light + noise), 0, 65535).astype(np.uint16)
