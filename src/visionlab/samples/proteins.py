"""Where a protein is in a cell: one pattern for each of the 28 classes of the Human Protein Atlas challenge.

A pattern is a function of a cell and a random generator; it returns how bright every pixel of the cell's patch is
(SIDE x SIDE, 0 to about 2). ``PATTERNS`` lists them by class number. They are caricatures: each shows what tells its
class from the others when a cell is some 50 pixels wide. The smallest are the brightest, since blur takes from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from visionlab.samples.cells import HALF, SIDE, Array, Cell

Pattern = Callable[[Cell, np.random.Generator], Array]
_ZOOM = 4  # patterns are drawn this many times larger, then averaged, for soft edges and widths of a part of a pixel


def _shrunk(canvas: NDArray[np.uint8]) -> Array:
    return cv2.resize(canvas, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _large(values: Array) -> NDArray[np.int32]:
    """Return places on the enlarged canvas; a pixel's centre has whole coordinates, its edges have halves."""
    return np.rint((values + 0.5) * _ZOOM - 0.5).astype(np.int32)


def strokes(paths: Sequence[Array], width: float = 1.0) -> Array:
    """Return paths (n x 2 points each) drawn as lines with round ends, ``width`` pixels wide, 0..1."""
    canvas = np.zeros((_ZOOM * SIDE, _ZOOM * SIDE), np.uint8)
    cv2.polylines(canvas, [_large(path) for path in paths], False, 255, round(_ZOOM * width))
    return _shrunk(canvas)


def dots(places: Array, radii: Array | float, hollow: bool = False) -> Array:
    """Return discs, or rings one pixel wide if ``hollow``, 0..1."""
    canvas = np.zeros((_ZOOM * SIDE, _ZOOM * SIDE), np.uint8)
    for place, radius in zip(_large(places), np.broadcast_to(radii, len(places)), strict=True):
        cv2.circle(canvas, place.tolist(), round(_ZOOM * float(radius)), 255, _ZOOM if hollow else cv2.FILLED)
    return _shrunk(canvas)


def _near_nucleus(cell: Cell, reach: float) -> Array:
    """Return how near cytoplasm is to the nucleus: falls by a factor e every ``reach`` pixels."""
    fall: Array = np.exp(np.minimum(cell.nuclear, 0) / reach)
    return cell.cytoplasm * fall


def _near(cell: Cell, point: Array, reach: float) -> Array:
    ys, xs = np.mgrid[:SIDE, :SIDE]
    return cell.cytoplasm * np.exp(-((xs - point[0]) ** 2 + (ys - point[1]) ** 2) / (2 * reach**2))


def _worms(rng: np.random.Generator, starts: Array, length: float, turn: float, steps: int = 4) -> list[Array]:
    """Return paths of this length that begin anywhere and turn by about ``turn`` radians at every step."""
    angles = rng.uniform(0, 2 * np.pi, (len(starts), 1)) + np.cumsum(rng.normal(0, turn, (len(starts), steps)), 1)
    ways = np.cumsum(np.stack([np.cos(angles), np.sin(angles)], -1) * (length / steps), 1)
    return list(starts[:, None] + np.concatenate([np.zeros((len(starts), 1, 2)), ways], 1))


def nucleoplasm(cell: Cell, rng: np.random.Generator) -> Array:
    return 0.6 * cell.nucleus * (1 - 0.85 * dots(cell.nucleoli[:, :2], cell.nucleoli[:, 2]))


def nuclear_membrane(cell: Cell, rng: np.random.Generator) -> Array:
    return 0.95 * np.exp(-(((cell.nuclear - 0.7) / 0.9) ** 2)) * cell.inside


def nucleoli(cell: Cell, rng: np.random.Generator) -> Array:
    return 0.95 * dots(cell.nucleoli[:, :2], cell.nucleoli[:, 2])


def nucleoli_fibrillar_center(cell: Cell, rng: np.random.Generator) -> Array:
    grains = [place[:2] + rng.uniform(-0.7, 0.7, (4, 2)) * place[2] for place in cell.nucleoli]
    return 1.7 * dots(np.concatenate(grains), 0.55) if grains else np.zeros((SIDE, SIDE), np.float32)


def nuclear_speckles(cell: Cell, rng: np.random.Generator) -> Array:
    spots = cell.places(rng, 18, cell.nuclear > 1.2, apart=2.8)
    return 0.8 * dots(spots, rng.uniform(0.7, 1.4, len(spots))) + 0.12 * cell.nucleus


def nuclear_bodies(cell: Cell, rng: np.random.Generator) -> Array:
    away = dots(cell.nucleoli[:, :2], cell.nucleoli[:, 2] + 1) == 0
    return 1.2 * dots(cell.places(rng, int(rng.integers(3, 6)), (cell.nuclear > 2) & away, apart=5), 0.95)


def endoplasmic_reticulum(cell: Cell, rng: np.random.Generator) -> Array:
    return 1.1 * cell.mesh


def golgi_apparatus(cell: Cell, rng: np.random.Generator) -> Array:
    """Ribbons that follow the nucleus's rim on the side of the pole."""
    ribbon = np.exp(-(((cell.nuclear + 3.0) / 1.8) ** 2)) * _near(cell, cell.pole, 9)
    return 1.3 * ribbon * (0.6 + 0.4 * strokes(_worms(rng, cell.places(rng, 16, ribbon), 6, 0.8)))


def peroxisomes(cell: Cell, rng: np.random.Generator) -> Array:
    return 1.2 * dots(cell.places(rng, 60, cell.cytoplasm & (cell.depth > 2), apart=2.8), 0.6)


def endosomes(cell: Cell, rng: np.random.Generator) -> Array:
    places = cell.places(rng, 22, cell.cytoplasm & (cell.depth > 2), apart=3.5)
    return 1.1 * dots(places, rng.uniform(0.5, 1.4, len(places)))


def lysosomes(cell: Cell, rng: np.random.Generator) -> Array:
    """Large and round, in a cap over the nucleus's side of the pole."""
    places = cell.places(rng, 14, _near_nucleus(cell, 4) * _near(cell, cell.pole, 10), apart=3.5)
    return 1.1 * dots(places, rng.uniform(1.6, 2.3, len(places)))


def intermediate_filaments(cell: Cell, rng: np.random.Generator) -> Array:
    """Bundles that wave around the nucleus."""
    paths = _worms(rng, cell.places(rng, 20, _near_nucleus(cell, 9)), 26, 0.55, 8)
    return 0.9 * strokes(paths, 1.2) * (cell.cytoplasm + 0.25 * cell.nucleus)


def actin_filaments(cell: Cell, rng: np.random.Generator) -> Array:
    """Long straight fibres side by side, over and under the nucleus."""
    angle = cell.axis + rng.normal(0, 0.15)
    way, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    places = np.arange(-HALF, HALF, 4.0) + rng.uniform(-0.8, 0.8, SIDE // 4)
    tilts = rng.normal(0, 0.04, len(places))
    paths = [HALF + p * across + np.outer([-HALF, HALF], way + t * across) for p, t in zip(places, tilts, strict=True)]
    return strokes(paths) * cell.inside * (1 - 0.5 * cell.nucleus)


def focal_adhesion_sites(cell: Cell, rng: np.random.Generator) -> Array:
    """Short thick streaks at the edge that point to the middle."""
    starts = cell.places(rng, 20, cell.inside & (cell.depth > 1) & (cell.depth < 3.5), apart=5)
    ways = HALF - starts
    ways = ways / (np.hypot(*ways.T)[:, None] + 1e-6)
    return strokes([np.array([s, s + 6.0 * w]) for s, w in zip(starts, ways, strict=True)], 2.2) * cell.cytoplasm


def microtubules(cell: Cell, rng: np.random.Generator) -> Array:
    return 0.85 * strokes(cell.microtubules) * cell.inside * (1 - 0.6 * cell.nucleus)


def microtubule_ends(cell: Cell, rng: np.random.Generator) -> Array:
    """Comets on the outer half of the microtubules: a bright head, a faint tail."""
    heads = rng.uniform(0.55, 0.97, len(cell.microtubules))
    ends = [path[0] + h * (path[-1] - path[0]) for path, h in zip(cell.microtubules, heads, strict=True)]
    tails = [
        np.array([e, e + 5 * (p[0] - p[-1]) / (np.hypot(*(p[0] - p[-1])) + 1e-6)])
        for e, p in zip(ends, cell.microtubules, strict=True)
    ]
    return 1.3 * np.maximum(dots(np.array(ends), 0.8), 0.4 * strokes(tails)) * cell.cytoplasm


def cytokinetic_bridge(cell: Cell, rng: np.random.Generator) -> Array:
    if cell.bridge is None:
        return np.zeros((SIDE, SIDE), np.float32)
    return 1.2 * np.maximum(strokes([cell.bridge], 2.5), dots(cell.bridge[1:2], 2.0))


def mitotic_spindle(cell: Cell, rng: np.random.Generator) -> Array:
    return 1.2 * spindle(cell) if cell.kind == "mitotic" else np.zeros((SIDE, SIDE), np.float32)


def microtubule_organizing_center(cell: Cell, rng: np.random.Generator) -> Array:
    """A spot at the pole, and the first part of the microtubules that grow from it."""
    ways = rng.uniform(0, 2 * np.pi, 12)
    rays = strokes([np.array([cell.pole, cell.pole + 11 * np.array([np.cos(w), np.sin(w)])]) for w in ways])
    return np.maximum(1.2 * dots(cell.pole[None], 2.5), 0.7 * rays * cell.inside)


def centrosome(cell: Cell, rng: np.random.Generator) -> Array:
    pair = np.array([cell.pole, cell.pole + rng.choice([-2.5, 2.5], 2)])
    return 2.0 * dots(pair[: rng.integers(1, 3)], 0.9)


def lipid_droplets(cell: Cell, rng: np.random.Generator) -> Array:
    places = cell.places(rng, 12, cell.cytoplasm & (cell.depth > 3) & (cell.nuclear < -2), apart=5)
    return dots(places, rng.uniform(1.5, 2.6, len(places)), hollow=True)


def plasma_membrane(cell: Cell, rng: np.random.Generator) -> Array:
    return 0.85 * np.exp(-(((cell.depth - 1.2) / 1.0) ** 2)) * cell.inside


def cell_junctions(cell: Cell, rng: np.random.Generator) -> Array:
    return 1.0 * np.exp(-(((cell.depth - 1.2) / 1.2) ** 2)) * cell.touching


def mitochondria(cell: Cell, rng: np.random.Generator) -> Array:
    """Short thick worms, densest around the nucleus."""
    paths = _worms(rng, cell.places(rng, 24, _near_nucleus(cell, 8), apart=3.5), 6.5, 0.5)
    return 0.85 * strokes(paths, 1.7) * cell.cytoplasm


def aggresome(cell: Cell, rng: np.random.Generator) -> Array:
    """One clump that dents into the nucleus's neighbourhood."""
    lumps = cell.pole + rng.normal(0, 1.7, (6, 2))
    return 1.1 * dots(lumps, rng.uniform(3.0, 4.2, 6)) * cell.inside


def cytosol(cell: Cell, rng: np.random.Generator) -> Array:
    return 0.42 * cell.cytoplasm * np.minimum(cell.depth / 4, 1)


def cytoplasmic_bodies(cell: Cell, rng: np.random.Generator) -> Array:
    places = cell.places(rng, int(rng.integers(4, 8)), cell.cytoplasm & (cell.depth > 3) & (cell.nuclear < -2), apart=8)
    return 1.1 * dots(places, 1.3)


def rods_and_rings(cell: Cell, rng: np.random.Generator) -> Array:
    free = cell.inside & (cell.depth > 5)
    places = cell.places(rng, int(rng.integers(4, 7)), free, apart=9)
    rings = len(places) // 2
    rods = strokes(_worms(rng, places[rings:], 14, 0.03, 2), 2)
    return 1.2 * np.maximum(rods, dots(places[:rings], 3.6, hollow=True)) * cell.inside


def spindle(cell: Cell) -> Array:
    """Return the spindle of a mitotic cell: fibres from two poles to the chromosomes between, 0..1."""
    way, across = np.array([np.cos(cell.axis), np.sin(cell.axis)]), np.array([-np.sin(cell.axis), np.cos(cell.axis)])
    poles = [HALF + s * 9.0 * way for s in (-1, 1)]
    fibres = [np.array([pole, HALF + t * across]) for pole in poles for t in np.linspace(-5.5, 5.5, 6)]
    return np.maximum(0.8 * strokes(fibres), dots(np.array(poles), 1.5))


CYTOKINETIC_BRIDGE, MITOTIC_SPINDLE, CELL_JUNCTIONS = 16, 17, 22  # the classes that not every field of cells can show

PATTERNS: tuple[Pattern, ...] = (
    nucleoplasm, nuclear_membrane, nucleoli, nucleoli_fibrillar_center, nuclear_speckles, nuclear_bodies,
    endoplasmic_reticulum, golgi_apparatus, peroxisomes, endosomes, lysosomes, intermediate_filaments,
    actin_filaments, focal_adhesion_sites, microtubules, microtubule_ends, cytokinetic_bridge, mitotic_spindle,
    microtubule_organizing_center, centrosome, lipid_droplets, plasma_membrane, cell_junctions, mitochondria,
    aggresome, cytosol, cytoplasmic_bodies, rods_and_rings,
)  # fmt: skip
