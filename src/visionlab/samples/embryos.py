"""Embryos of C. elegans in their eggs: cells that divide, press on each other and move.

Lengths are in micrometres, times in minutes after the first division. Places are z, y, x from the egg's centre: x from
anterior to posterior, z into the depth. The tree of the founder cells is the worm's; lifetimes are rounded, and of the
later names only the founder is the worm's.

Source: J. E. Sulston, E. Schierenberg, J. G. White and J. N. Thomson, The embryonic cell lineage of the nematode
Caenorhabditis elegans, Developmental Biology 100, 64-119 (1983).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

EGG = (13.0, 14.5, 23.0)
"""Half-axes of an egg that lies on a slide, in the mean."""

DAUGHTERS = {
    "P1": ("EMS", "P2"),
    "EMS": ("MS", "E"),
    "P2": ("C", "P3"),
    "P3": ("D", "P4"),
    "P4": ("Z2", "Z3"),
}
"""Founder cells and what they divide into; the daughters of any other cell have its name and a or p."""

LIFETIMES: dict[str, tuple[float, ...]] = {
    "AB": (17, 18, 18, 20, 23, 27, 42),
    "P1": (19,),
    "EMS": (21,),
    "P2": (25,),
    "MS": (20, 21, 24, 30),
    "E": (24, 42, 50),
    "C": (25, 25, 30, 38),
    "P3": (28,),
    "D": (42, 45),
    "P4": (36,),
    "Z2": (math.inf,),
    "Z3": (math.inf,),
}
"""Minutes that a founder lives, its daughters, their daughters and so on; the last number holds for all later ones."""

SHARES = {"AB": 0.57, "EMS": 0.57, "C": 0.6, "D": 0.6}
"""Part of its mother's volume that an anterior daughter gets, where the daughters are unequal."""

HOMES = {
    "A": (0.0, -0.25, -0.35),
    "M": (0.0, 0.35, -0.1),
    "E": (0.0, 0.3, 0.2),
    "C": (0.0, -0.4, 0.5),
    "D": (0.0, 0.1, 0.65),
    "P": (0.0, 0.2, 0.8),
    "Z": (0.0, 0.2, 0.45),
}
"""Lineage (first letter of a name) -> where its cells tend to, as a share of the egg's half-axes."""

FILLED = 0.8  # part of the egg that its cells fill
STEP = 0.5  # minutes
PUSH = 0.22  # part of an overlap that one step undoes
PULL = 0.004  # part of the way home that a step goes
JITTER = 0.05  # um that a cell moves at random in a step, standard deviation
FIRMNESS = 0.75  # part of a cell's radius that the shell keeps off its centre


@dataclass(frozen=True)
class Cell:
    """A cell from its birth to its division.

    Attributes:
        name: the first letter is its lineage: A, E (with EMS), M, P, C, D or Z.
        mother: number of its mother in the embryo's list, -1 for the first two.
        born, dies: minutes.
        share: of the volume of all cells.
        axis: unit vector from its anterior daughter to the posterior one.
    """

    name: str
    mother: int
    born: float
    dies: float
    share: float
    axis: tuple[float, float, float]


@dataclass(frozen=True)
class Moment:
    """The cells that live at a time.

    Attributes:
        time: minutes.
        numbers: of the cells in the embryo's list.
        centres: n x 3, um from the egg's centre.
        radii: n, um, of spheres of the cells' volumes.
    """

    time: float
    numbers: list[int]
    centres: Array
    radii: Array


@dataclass(frozen=True)
class Embryo:
    """An egg and the tree of its cells; a mother comes before her daughters.

    Attributes:
        half: half-axes of the egg, um.
        cells: all that are born.
        noise: seed of the cells' random motion.
    """

    half: tuple[float, float, float]
    cells: list[Cell]
    noise: int

    @classmethod
    def random(cls, rng: np.random.Generator, until: float, tempo: float = 1.0) -> Embryo:
        """Draw an embryo whose cells live ``1 / tempo`` times as long as usual.

        Args:
            rng: draws.
            until: minutes; every cell born by then is in the list.
            tempo: above 1: faster than usual.
        """
        z, y, x = (float(half * rng.uniform(0.96, 1.04)) for half in EGG)
        # Lineages keep their own time, so that one's count doesn't tell the others'.
        pace = {lineage: tempo * float(rng.lognormal(0, 0.04)) for lineage in HOMES}
        cells: list[Cell] = []
        left = SHARES["AB"]
        waiting = [("AB", -1, 0.0, left), ("P1", -1, 0.0, 1 - left)]
        while waiting:
            name, mother, born, share = waiting.pop(0)
            dies = born + lifetime(name) / pace[name[0]] * float(rng.lognormal(0, 0.03))
            cells.append(Cell(name, mother, born, dies, share, _axis(rng, name)))
            if dies <= until:
                anterior, posterior = DAUGHTERS.get(name, (name + "a", name + "p"))
                part = share * SHARES.get(anterior, float(rng.uniform(0.46, 0.54)))
                number = len(cells) - 1
                waiting += [(anterior, number, dies, part), (posterior, number, dies, share - part)]
        return cls((z, y, x), cells, int(rng.integers(2**62)))

    def living(self, time: float) -> list[int]:
        """Return the numbers of the cells that live at a time, which is rounded up to a step."""
        now = math.ceil(time / STEP) * STEP
        return [number for number, cell in enumerate(self.cells) if cell.born <= now < cell.dies]

    def moments(self, times: Sequence[float]) -> list[Moment]:
        """Return the living cells at each of some times, which rise; they are rounded up to steps."""
        rng = np.random.default_rng(self.noise)
        volume = 4 / 3 * math.pi * math.prod(self.half) * FILLED
        radii = np.cbrt(np.array([cell.share for cell in self.cells]) * volume * 3 / (4 * math.pi))
        homes = np.array([HOMES[cell.name[0]] for cell in self.cells]) * self.half
        born = np.array([cell.born for cell in self.cells])
        places = np.zeros((len(self.cells), 3))
        placed = np.zeros(len(self.cells), bool)
        found: list[Moment] = []
        for step in range(math.ceil(times[-1] / STEP) + 1):
            now = step * STEP
            for number in np.flatnonzero(~placed & (born <= now)).tolist():
                places[number] = self._birthplace(number, places, radii)
                placed[number] = True
            alive = self.living(now)
            places[alive] = self._moved(rng, places[alive], radii[alive], homes[alive])
            while len(found) < len(times) and times[len(found)] <= now:
                found.append(Moment(now, alive, places[alive], radii[alive]))
        return found

    def _birthplace(self, number: int, places: Array, radii: Array) -> Array:
        cell = self.cells[number]
        if cell.mother < 0:
            return np.array([0, 0, 0.45 * self.half[2] * (-1 if cell.name == "AB" else 1)])
        anterior = number == min(k for k, other in enumerate(self.cells) if other.mother == cell.mother)
        # A dividing cell is two overlapping spheres at first.
        reach = 0.6 * radii[number] * (-1 if anterior else 1)
        place: Array = places[cell.mother] + reach * np.array(self.cells[cell.mother].axis)
        return place

    def _moved(self, rng: np.random.Generator, places: Array, radii: Array, homes: Array) -> Array:
        """Return where cells are a step later: pushed apart, drawn home, jostled and kept in the shell."""
        between = places[:, None] - places[None]
        distance = np.sqrt(np.square(between).sum(2)) + np.eye(len(places))
        overlap = np.maximum(radii[:, None] + radii[None] - distance, 0) * (1 - np.eye(len(places)))
        move = (between * (PUSH * overlap / distance)[..., None]).sum(1)
        length = np.sqrt(np.square(move).sum(1, keepdims=True))
        move *= np.minimum(1, 1 / np.maximum(length, 1e-9))
        moved = places + move + PULL * (homes - places) + JITTER * rng.standard_normal(places.shape)
        room = np.maximum(np.array(self.half) - FIRMNESS * radii[:, None], 0.5)
        kept: Array = moved / np.maximum(1, np.sqrt(np.square(moved / room).sum(1, keepdims=True)))
        return kept


def lifetime(name: str) -> float:
    """Return how many minutes a cell of this name lives at the usual tempo."""
    founder = max((known for known in LIFETIMES if name.startswith(known)), key=len)
    times = LIFETIMES[founder]
    return times[min(len(name) - len(founder), len(times) - 1)]


def _axis(rng: np.random.Generator, name: str) -> tuple[float, float, float]:
    """Return the direction in which a cell divides: founders along the egg but AB across it, others anyhow."""
    wanted = (0.3, 1.0, 0.4) if name == "AB" else (0.0, 0.0, 1.0) if name in DAUGHTERS else (0.0, 0.0, 0.3)
    drawn = np.array(wanted) + rng.normal(0, 0.15 if name in ("AB", *DAUGHTERS) else 0.7, 3)
    z, y, x = (drawn / np.sqrt(np.square(drawn).sum())).tolist()
    return z, y, x
