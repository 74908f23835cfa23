"""Nuclei as ellipsoids, and how they fill voxels. Lengths in micrometres, places z, y, x."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionlab.samples.embryos import Array, Embryo, Moment
from visionlab.samples.fluorescence import Grid

YOUNG = 6.0  # minutes that a nucleus grows after a division
CONDENSING = 2.0  # minutes before a division in which a nucleus is small and bright
NEWBORN = 0.75  # radius of a nucleus at its birth as a share of the later one
SETTLING = 12  # rounds in which overlapping nuclei are moved apart
CONTACT = 0.5  # um by which the spheres of two nuclei may overlap: their ellipsoids touch then, most often


@dataclass(frozen=True)
class Nucleus:
    """An ellipsoid: all places ``p`` for which ``|inverse @ (p - centre)| <= 1``.

    Attributes:
        number: of its cell in the embryo's list.
        name: of its cell.
        centre: from the centre of the field.
        inverse: 3 x 3.
        radius: of a sphere of its volume.
        brightness: about 1; more before and after a division.
    """

    number: int
    name: str
    centre: Array
    inverse: Array
    radius: float
    brightness: float


@dataclass(frozen=True)
class Pose:
    """How an egg lies in the field: turned about z and shifted.

    Attributes:
        turn: 3 x 3, a rotation.
        shift: um.
    """

    turn: Array
    shift: Array

    @classmethod
    def random(cls, rng: np.random.Generator, tilt: float, shift: float) -> Pose:
        """Draw a turn of up to ``tilt`` radians and a shift of up to ``shift`` um."""
        angle = rng.uniform(-tilt, tilt)
        cos, sin = np.cos(angle), np.sin(angle)
        return cls(np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]), rng.uniform(-shift, shift, 3) * (0.5, 1, 1))

    def placed(self, places: Array) -> Array:
        """Return places (... x 3) from the egg's centre as places in the field."""
        found: Array = places @ self.turn.T + self.shift
        return found


def nuclear_radius(cell: Array) -> Array:
    """Return the radius of the nucleus of a cell of this radius: small cells have large nuclei for their size."""
    radius: Array = 1.6 * cell**0.46
    return radius


def nuclei_of(embryo: Embryo, moment: Moment, pose: Pose, expression: float = 0.15) -> list[Nucleus]:
    """Return the nuclei of an embryo's living cells; what is drawn of a nucleus is the same at every moment.

    Args:
        embryo: whose they are.
        moment: of its life.
        pose: of the embryo in the field.
        expression: standard deviation of the logarithm of their brightness.
    """
    cells = [embryo.cells[number] for number in moment.numbers]
    ages = np.array([moment.time - cell.born for cell in cells])
    left = np.array([cell.dies - moment.time for cell in cells])
    grown = np.clip(NEWBORN + (1 - NEWBORN) * ages / YOUNG, NEWBORN, 1)
    radii = nuclear_radius(moment.radii) * grown * np.where(left < CONDENSING, 0.85, 1)
    glow = 1 + 0.35 * np.clip(1 - ages / YOUNG, 0, 1) + 0.3 * (left < CONDENSING)
    own = [np.random.default_rng((embryo.noise, number)) for number in moment.numbers]
    away = np.array([_unit(rng.normal(0, 1, 3)) * rng.uniform(0.2, 1) for rng in own])
    places = moment.centres + away * np.maximum(moment.radii - radii, 0)[:, None]
    places = pose.placed(_settled(places, radii))
    nuclei = []
    for k, (cell, rng) in enumerate(zip(cells, own, strict=True)):
        axes = np.exp(rng.normal(0, 0.1, 3))
        axes *= radii[k] / np.cbrt(axes.prod())
        turn = np.linalg.qr(rng.normal(0, 1, (3, 3)))[0]
        brightness = float(rng.lognormal(0, expression) * glow[k])
        inverse = np.diag(1 / axes) @ turn.T
        nuclei.append(Nucleus(moment.numbers[k], cell.name, places[k], inverse, float(radii[k]), brightness))
    return nuclei


def body(embryo: Embryo, pose: Pose) -> Nucleus:
    """Return an embryo's egg as an ellipsoid."""
    inverse = np.diag(1 / np.array(embryo.half)) @ pose.turn.T
    return Nucleus(-1, "egg", pose.shift, inverse, float(np.cbrt(np.prod(embryo.half))), 1.0)


def _unit(vector: Array) -> Array:
    unit: Array = vector / np.sqrt(np.square(vector).sum())
    return unit


def _settled(places: Array, radii: Array) -> Array:
    """Return the places of spheres after those that overlap have moved apart."""
    for _ in range(SETTLING):
        between = places[:, None] - places[None]
        distance = np.sqrt(np.square(between).sum(2)) + np.eye(len(places))
        overlap = np.maximum(radii[:, None] + radii[None] - CONTACT - distance, 0) * (1 - np.eye(len(places)))
        places = places + (between * (0.5 * overlap / distance)[..., None]).sum(1)
    return places


def window(nucleus: Nucleus, grid: Grid, margin: float) -> tuple[tuple[slice, slice, slice], Array, Array]:
    """Return the voxels around a nucleus, and of each its gauge (below 1 inside) and its distance from the surface.

    The distance is negative inside, in um, to the first order: exact for spheres' surfaces, good near others'.
    """
    # An ellipsoid reaches as far along an axis as the norm of that row of its matrix.
    reach = np.sqrt(np.square(np.linalg.inv(nucleus.inverse)).sum(1)) + margin
    slices, offsets = [], []
    for axis, centre, far in zip(grid.axes(), nucleus.centre, reach, strict=True):
        low, high = np.searchsorted(axis, (centre - far, centre + far)).tolist()
        slices.append(slice(low, high))
        offsets.append(axis[low:high] - np.float32(centre))
    z, y, x = np.meshgrid(*offsets, indexing="ij", sparse=True)
    rows = nucleus.inverse.astype(np.float32)
    scaled = [row[0] * z + row[1] * y + row[2] * x for row in rows]
    gauge = np.sqrt(sum(np.square(part) for part in scaled))
    slope = [sum(row[axis] * part for row, part in zip(rows, scaled, strict=True)) for axis in range(3)]
    steep = np.sqrt(sum(np.square(part) for part in slope)) / np.maximum(gauge, 1e-6)
    return (slices[0], slices[1], slices[2]), gauge, (gauge - 1) / np.maximum(steep, 1e-6)


def labelled(nuclei: list[Nucleus], grid: Grid, scale: float = 1.0) -> NDArray[np.uint16]:
    """Return which nucleus the middle of each voxel is in: its cell's number + 1, or 0.

    Where ellipsoids overlap, the one whose centre is nearer as a share of its size has the voxel.

    Args:
        nuclei: what is drawn.
        grid: the voxels.
        scale: part of the ellipsoids' size that is marked.
    """
    labels = np.zeros(grid.shape, np.uint16)
    nearest = np.full(grid.shape, np.inf, np.float32)
    for nucleus in nuclei:
        where, gauge, _ = window(nucleus, grid, 0.0)
        mine = (gauge <= scale) & (gauge < nearest[where])
        nearest[where][mine] = gauge[mine]
        labels[where][mine] = nucleus.number + 1
    return labels


def glowing(nuclei: list[Nucleus], grid: Grid) -> Array:
    """Return the light of nuclei (1 within one of usual brightness; edges cover a part of a voxel), float32."""
    light = np.zeros(grid.shape, np.float32)
    edge = float(np.cbrt(np.prod(grid.voxel)))  # um from covered to empty
    for nucleus in nuclei:
        where, _, distance = window(nucleus, grid, edge)
        cover = np.clip(0.5 - distance / edge, 0, 1) * np.float32(nucleus.brightness)
        np.maximum(light[where], cover, out=light[where])
    return light
