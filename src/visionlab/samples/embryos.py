"""Embryos of C. elegans for three sets: cells that divide and press on each other in an egg, and a microscope.

Lengths are in micrometres, times in minutes after the first division. Places are z, y, x from the centre of the field:
x from anterior to posterior, z into the depth. The tree of the founder cells is the worm's; lifetimes are rounded, and
of the later names only the founder is the worm's.

Source: J. E. Sulston, E. Schierenberg, J. G. White and J. N. Thomson, The embryonic cell lineage of the nematode
Caenorhabditis elegans, Developmental Biology 100, 64-119 (1983).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from visionlab.samples import Array, rotation

EGG = (13.0, 14.5, 23.0)
"""Half-axes of an egg that lies on a slide, in the mean."""

LINEAGES = ("A", "E", "M", "P", "C", "D", "Z")
"""First letters of the cells' names. E holds EMS too."""

DAUGHTERS = {"P1": ("EMS", "P2"), "EMS": ("MS", "E"), "P2": ("C", "P3"), "P3": ("D", "P4"), "P4": ("Z2", "Z3")}
"""Founder cells and what they divide into; the daughters of any other cell have its name and a or p."""

LIFETIMES: dict[str, tuple[float, ...]] = {
    "AB": (17, 18, 18, 20, 23, 27, 42), "P1": (19,), "EMS": (21,), "P2": (25,), "MS": (20, 21, 24, 30),
    "E": (24, 42, 50), "C": (25, 25, 30, 38), "P3": (28,), "D": (42, 45), "P4": (36,), "Z2": (999,), "Z3": (999,),
}  # fmt: skip
"""Minutes that a founder lives, its daughters, their daughters and so on; the last number holds for all later ones."""

FILLED = 0.8  # part of the egg that its cells fill
STEP = 1.0  # minutes
PUSH = 0.3  # part of an overlap of cells that one step undoes
JITTER = 0.07  # um that a cell moves at random in a step, standard deviation

OFFSET = 100  # grey level of darkness
GAIN, READ_NOISE = 1.2, 3.5  # grey levels a photo-electron; grey levels, standard deviation


@dataclass(frozen=True)
class Cell:
    """A cell from its birth to its division.

    Attributes:
        name: the first letter is its lineage.
        mother: number of its mother in the embryo's list, -1 for the first two.
        born, dies: minutes.
        radius: of a sphere of its volume, um.
        birthplace: from its mother's centre (the egg's for the first two), um.
    """

    name: str
    mother: int
    born: float
    dies: float
    radius: float
    birthplace: Array


@dataclass(frozen=True)
class Ellipsoid:
    """All places ``p`` for which ``|inverse @ (p - centre)| <= 1``; ``radius`` is that of a sphere of its volume."""

    centre: Array
    inverse: Array

    @property
    def radius(self) -> float:
        return float(np.linalg.det(self.inverse)) ** (-1 / 3)

    def window(self, grid: Grid, margin: float) -> tuple[tuple[slice, slice, slice], Array]:
        """Return the voxels around it, up to ``margin`` um beyond it, and the gauge of each: below 1 inside."""
        # An ellipsoid reaches as far along an axis as the norm of that row of its matrix.
        reach = np.sqrt(np.square(np.linalg.inv(self.inverse)).sum(1)) + margin
        slices, offsets = [], []
        for axis, centre, far in zip(grid.axes(), self.centre, reach, strict=True):
            slices.append(slice(*np.searchsorted(axis, (centre - far, centre + far)).tolist()))
            offsets.append(axis[slices[-1]] - centre)
        z, y, x = np.meshgrid(*offsets, indexing="ij", sparse=True)
        gauge = np.sqrt(sum(np.square(row[0] * z + row[1] * y + row[2] * x) for row in self.inverse))
        return (slices[0], slices[1], slices[2]), gauge


@dataclass(frozen=True)
class Embryo:
    """An egg and the tree of its cells; a mother comes before her daughters.

    Attributes:
        cells: all that are born.
        half: half-axes of the egg, um.
        turn, shift: how the egg lies in the field: a 3 x 3 rotation and um.
        seed: of the cells' random motion and of their nuclei's shapes.
    """

    cells: list[Cell]
    half: Array
    turn: Array
    shift: Array
    seed: int

    @classmethod
    def random(cls, rng: np.random.Generator, until: float, tempo: float = 1.0, tilt: float = 0.15) -> Embryo:
        """Draw an embryo.

        Args:
            rng: draws.
            until: minutes; every cell born by then is in the list.
            tempo: how many times as fast as usual it develops.
            tilt: radians by which it may be turned in the field.
        """
        half = np.array(EGG) * rng.uniform(0.96, 1.04, 3)
        radius = (math.prod(half) * FILLED) ** (1 / 3)
        # Lineages keep their own time, so that one's count doesn't tell the others'.
        pace = {lineage: tempo * float(rng.lognormal(0, 0.08)) for lineage in LINEAGES}
        cells: list[Cell] = []
        way = np.array([0, 0, 0.45 * half[2]])
        waiting = [("AB", -1, 0.0, 0.57, -way), ("P1", -1, 0.0, 0.43, way)]
        while waiting:
            name, mother, born, share, birthplace = waiting.pop(0)
            dies = born + lifetime(name) / pace[name[0]] * float(rng.lognormal(0, 0.03))
            cells.append(Cell(name, mother, born, dies, radius * share ** (1 / 3), birthplace))
            if dies <= until:
                # Founders divide along the egg but AB across it, others anyhow.
                axis = rng.normal(
                    (0.3, 1, 0.4) if name == "AB" else (0, 0, 1), 0.15 if name in ("AB", *DAUGHTERS) else 1
                )
                axis *= 0.6 * cells[-1].radius / math.sqrt(np.square(axis).sum())
                part = float(rng.uniform(0.46, 0.58))
                anterior, posterior = DAUGHTERS.get(name, (name + "a", name + "p"))
                waiting += [(anterior, len(cells) - 1, dies, share * part, -axis)]
                waiting += [(posterior, len(cells) - 1, dies, share * (1 - part), axis)]
        turn = np.eye(3)
        turn[1:, 1:] = rotation(rng.uniform(-tilt, tilt))
        return cls(cells, half, turn, rng.uniform(-1, 1, 3) * (0.5, 1, 1), int(rng.integers(2**62)))

    @property
    def egg(self) -> Ellipsoid:
        """The egg in the field."""
        return Ellipsoid(self.shift, np.diag(1 / self.half) @ self.turn.T)

    def living(self, time: float) -> list[int]:
        """Return the numbers of the cells that live at a time, which is rounded up to a step."""
        now = math.ceil(time / STEP) * STEP
        return [number for number, cell in enumerate(self.cells) if cell.born <= now < cell.dies]

    def centres(self, times: Sequence[float]) -> list[Array]:
        """Return the centres in the field (n x 3) of the living cells at each of some rising times."""
        rng = np.random.default_rng(self.seed)
        radii = np.array([cell.radius for cell in self.cells])
        places = np.full((len(self.cells), 3), np.nan)
        found: list[Array] = []
        for step in range(math.ceil(times[-1] / STEP) + 1):
            alive = self.living(step * STEP)
            for number in alive:
                if np.isnan(places[number, 0]):
                    cell = self.cells[number]
                    places[number] = cell.birthplace + (places[cell.mother] if cell.mother >= 0 else 0)
            moved = _pushed_apart(places[alive], radii[alive], PUSH) + JITTER * rng.standard_normal((len(alive), 3))
            # The shell keeps three quarters of a radius off a cell's centre.
            room = np.maximum(self.half - 0.75 * radii[alive, None], 0.5)
            places[alive] = moved / np.maximum(1, np.sqrt(np.square(moved / room).sum(1, keepdims=True)))
            while len(found) < len(times) and times[len(found)] <= step * STEP:
                found.append(places[alive] @ self.turn.T + self.shift)
        return found

    def nuclei(self, times: Sequence[float], power: float = 0.46) -> list[dict[int, Ellipsoid]]:
        """Return the nuclei of the living cells (by their numbers) at each of some rising times.

        ``power`` is that of a cell's radius with which the radius of its nucleus grows.
        """
        found = []
        for time, places in zip(times, self.centres(times), strict=True):
            living, centres = self.living(time), places
            radii = np.array([3.6 * (self.cells[number].radius / 5.8) ** power for number in living])
            # They are smaller than cells, so they touch but hardly overlap.
            for _ in range(10):
                centres = _pushed_apart(centres, radii - 0.2, 0.5)
            there = {}
            for number, centre, radius in zip(living, centres, radii, strict=True):
                own = np.random.default_rng((self.seed, number))  # a nucleus has the same shape at every time
                axes, turn = np.exp(own.normal(0, 0.1, 3)), np.linalg.qr(own.normal(0, 1, (3, 3)))[0]
                there[number] = Ellipsoid(
                    centre, np.diag(np.cbrt(axes.prod()) / (axes * radius)) @ (turn.T * np.linalg.det(turn))
                )
            found.append(there)
        return found


def lifetime(name: str) -> float:
    """Return how many minutes a cell of this name lives at the usual tempo."""
    founder = max((known for known in LIFETIMES if name.startswith(known)), key=len)
    times = LIFETIMES[founder]
    return times[min(len(name) - len(founder), len(times) - 1)]


def _pushed_apart(places: Array, radii: Array, part: float) -> Array:
    """Return the centres of spheres after this part of every overlap is undone, by at most 1 um."""
    between = places[:, None] - places[None]
    distance = np.sqrt(np.square(between).sum(2)) + np.eye(len(places))
    overlap = np.maximum(radii[:, None] + radii[None] - distance, 0) * (1 - np.eye(len(places)))
    move = (between * (part * overlap / distance)[..., None]).sum(1)
    moved: Array = places + move / np.maximum(np.sqrt(np.square(move).sum(1, keepdims=True)), 1)
    return moved


@dataclass(frozen=True)
class Grid:
    """The voxels of a field of view: their numbers (planes, height, width) and the sides of the field in um."""

    shape: tuple[int, int, int]
    field: tuple[float, float, float]

    @property
    def voxel(self) -> tuple[float, float, float]:
        """Sides of a voxel, um."""
        z, y, x = (side / n for side, n in zip(self.field, self.shape, strict=True))
        return z, y, x

    def axes(self) -> list[Array]:
        """Return the places of planes, rows and columns (their middles)."""
        return [(np.arange(n) + 0.5 - n / 2) * side for n, side in zip(self.shape, self.voxel, strict=True)]


def photographed(rng: np.random.Generator, light: Array, grid: Grid, level: float, attenuation: float) -> Array:
    """Return what a microscope sees of a glowing volume: 16-bit grey levels of planes that get darker and less sharp.

    Args:
        rng: draws the noise.
        light: what glows, planes x H x W, float32; about 1.
        grid: its voxels.
        level: grey levels of a light of 1 in the first plane.
        attenuation: um of depth that leave 1 / e of the light.
    """
    z, y, _ = grid.voxel
    seen = ndimage.gaussian_filter1d(light, 0.5 / z, axis=0)
    depth = np.linspace(0, 1, len(light))
    for plane, part in zip(seen, depth, strict=True):
        plane[:] = ndimage.gaussian_filter(plane, (0.25 + 0.25 * part) / y)
    # Light of other planes is scattered far.
    haze = ndimage.uniform_filter(light, [max(round(16 / side), 1) for side in grid.voxel], mode="constant")
    seen = level * (0.85 * seen + 0.15 * haze) * np.exp(-depth * grid.field[0] / attenuation)[:, None, None]
    noise = np.sqrt(GAIN * np.maximum(seen, 0) + READ_NOISE**2) * rng.standard_normal(seen.shape, np.float32)
    return np.clip(np.rint(OFFSET + seen + noise), 0, 65535).astype(np.uint16)
