"""Cells in four fluorescent stains, as a microscope and its camera show them.

Red are microtubules, blue is DNA, yellow the endoplasmic reticulum; green is the protein in question. Camera noise is
after the EMVA 1288 standard, release 4.0.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from visionlab.samples.cells import HALF, SIDE, Array, Cell, field_of_cells
from visionlab.samples.proteins import (
    CELL_JUNCTIONS,
    CYTOKINETIC_BRIDGE,
    MITOTIC_SPINDLE,
    PATTERNS,
    dots,
    microtubules,
    spindle,
    strokes,
)

STAINS = ("red", "green", "blue", "yellow")
EXPOSURES = {"red": 0.30, "green": 0.50, "blue": 0.50, "yellow": 0.55}
"""How bright a signal of 1 is as a share of white, in the median: images are as dark as the challenge's."""

BLUR = 0.7  # pixels, standard deviation of the microscope's point spread
WHITE = 900.0  # electrons that give the camera's white
READ_NOISE = 6.0  # electrons, standard deviation
OFFSET = 0.01  # share of white that is taken away from every pixel, as most of the background


def stained(rng: np.random.Generator, side: int, labels: Sequence[int]) -> dict[str, Array]:
    """Return a field of cells whose protein has these labels: side x side for every stain, 0 to about 1.5."""
    crowded = CELL_JUNCTIONS in labels or rng.random() < 0.4
    mitotic = int(rng.integers(1, 4)) if MITOTIC_SPINDLE in labels else int(rng.random() < 0.1)
    pair = CYTOKINETIC_BRIDGE in labels or rng.random() < 0.1
    cells = field_of_cells(rng, side, crowded, mitotic, pair)
    strengths = {label: rng.uniform(0.75, 1.1) for label in labels}
    unspecific = rng.uniform(0.01, 0.05)
    canvas = np.zeros((len(STAINS), side + SIDE, side + SIDE), np.float32)
    for cell in cells:
        # Cells of one culture differ in how much of the protein they have.
        green = (_protein(rng, cell, strengths) + unspecific * cell.inside) * rng.lognormal(0, 0.2)
        red, blue, yellow = _mitotic(cell) if cell.kind == "mitotic" else _resting(rng, cell)
        for plane, light in zip(canvas, (red, green, blue, yellow), strict=True):
            plane[cell.window] += light
    seen = [cv2.GaussianBlur(plane, (0, 0), BLUR)[HALF:-HALF, HALF:-HALF] for plane in canvas]
    return dict(zip(STAINS, seen, strict=True))


def _protein(rng: np.random.Generator, cell: Cell, strengths: dict[int, float]) -> Array:
    """Return the sum of the labels' patterns; a cell in mitosis shows its spindle, else the protein is all over it."""
    if cell.kind == "mitotic":
        shown = strengths.get(MITOTIC_SPINDLE)
        return 0.12 * _body(cell) if shown is None else shown * PATTERNS[MITOTIC_SPINDLE](cell, rng)
    total = np.zeros((SIDE, SIDE), np.float32)
    for label, strength in strengths.items():
        total += strength * PATTERNS[label](cell, rng)
    return total


def _resting(rng: np.random.Generator, cell: Cell) -> tuple[Array, Array, Array]:
    """Return red, blue and yellow of a cell that has a nucleus."""
    red = 1.05 * microtubules(cell, rng) + 0.12 * cell.inside
    if cell.bridge is not None:
        red = np.maximum(red, 0.6 * strokes([cell.bridge]))
    dense = 1.0 if cell.kind == "daughter" else 0.75
    blue = dense * cell.nucleus * (1 - 0.45 * dots(cell.nucleoli[:, :2], cell.nucleoli[:, 2]))
    return red, blue, 0.85 * cell.mesh + 0.08 * cell.cytoplasm


def _mitotic(cell: Cell) -> tuple[Array, Array, Array]:
    """Return red, blue and yellow of a cell whose chromosomes lie between the poles of its spindle."""
    return 0.9 * spindle(cell) + 0.15 * _body(cell), 1.3 * _plate(cell), 0.3 * _body(cell)


def _plate(cell: Cell) -> Array:
    across = 6.5 * np.array([-np.sin(cell.axis), np.cos(cell.axis)])
    return strokes([HALF + np.array([-across, across])], 3)


def _body(cell: Cell) -> Array:
    return cell.inside * np.minimum(cell.depth / 3, 1) * (1 - 0.8 * _plate(cell))


def photograph(rng: np.random.Generator, light: dict[str, Array], bits: int) -> dict[str, NDArray[np.unsignedinteger]]:
    """Return the images (uint8 or uint16) of a camera whose exposure is another for every stain and image."""
    white = 2**bits - 1
    images = {}
    for stain, plane in light.items():
        exposure, background = EXPOSURES[stain] * rng.lognormal(0, 0.25), rng.uniform(0, 0.02)
        electrons = WHITE * (exposure * plane + background)
        # Photons are so many that their noise is as good as normal, and then no other than the camera's.
        electrons += np.sqrt(electrons + READ_NOISE**2) * rng.standard_normal(plane.shape, np.float32)
        grey = np.clip(np.rint((electrons / WHITE - OFFSET) * white), 0, white)
        images[stain] = grey.astype(np.uint8 if bits == 8 else np.uint16)
    return images
