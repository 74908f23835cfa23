"""The generated set of task ``celegans_membrane``: embryos whose cells' membranes glow, with the walls as truth.

Cells are those of :mod:`visionlab.samples.embryos`; space belongs to the nearest one, with curved walls between, as in
foam. The microscope is that of :mod:`visionlab.samples.fluorescence`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.io
from numpy.typing import NDArray

from visionlab.errors import UsageError
from visionlab.io.encoding import eight_bits, png
from visionlab.samples.depth_mask import check_whole, save
from visionlab.samples.ellipsoids import Pose, body, window
from visionlab.samples.embryos import Array, Embryo, Moment
from visionlab.samples.fluorescence import Grid, Optics, field_grid, photographed, seen
from visionlab.samples.nuclei import table

FIELD = (30.0, 36.0, 48.0)
"""Depth, height and width of the field of view, um."""

TRUTH = (38 / 20, 77 / 96, 103 / 128)
"""Planes, rows and columns of the truth as a multiple of the image's, about as in the published volumes."""

TIMES = (35.0, 100.0)  # minutes of an embryo of usual tempo: 7 to some 30 cells
OPTICS = Optics(lateral=(0.28, 0.45), axial=(0.45, 0.65), haze=0.12)
WALL = 0.65  # um, half the thickness of a wall of the truth
SHEET = 0.35  # um, standard deviation of a membrane's light across it
GLOW = 480.0  # grey levels of a membrane near the objective, in the median
CYTOPLASM = 0.08  # brightness of cells as a share of their membranes
TWICE = 0.25  # what two membranes that lie on each other add to the light of one
REACH = 1.0  # um that cells reach beyond their spheres where nothing is in their way
SPACE = 0.5  # um between cells and shell
WAVES = 5  # of the displacement that makes walls uneven
WAVELENGTH = (7.0, 16.0)  # um
UNEVEN = 0.28  # um, amplitude of one of them


@dataclass(frozen=True)
class MembraneSet:
    """Embryos of various ages, each a volume of its own.

    Attributes:
        seed: at least 0; with an embryo's number it settles everything about that embryo.
        layout: ``matlab`` (a .mat file for each embryo, with the variables embryo and membSeg, the latter at another
            sampling) or ``pairs`` (metadata_pil.csv, an image and a mask for every plane).
        embryos: how many.
        planes: of an image volume.
        width: of its planes in pixels; the height is 3/4 of it. The field of view is always the same.

    Raises:
        UsageError: a value is out of range.
    """

    seed: int = 0
    layout: Literal["matlab", "pairs"] = "matlab"
    embryos: int = 8
    planes: int = 20
    width: int = 128

    def __post_init__(self) -> None:
        if self.layout not in ("matlab", "pairs"):
            raise UsageError(f"layout of the celegans_membrane sample: matlab or pairs expected, got {self.layout!r}.")
        sizes = {"seed": (0, 2**63), "embryos": (1, 99), "planes": (4, 99), "width": (48, 1024)}
        for name, (low, high) in sizes.items():
            check_whole(getattr(self, name), low, high, f"{name} of the celegans_membrane sample")

    @property
    def grid(self) -> Grid:
        """The voxels of an image volume."""
        return field_grid(FIELD, self.planes, self.width)

    @property
    def truth_grid(self) -> Grid:
        """The voxels of the walls in the MATLAB layout."""
        planes, height, width = (round(n * factor) for n, factor in zip(self.grid.shape, TRUTH, strict=True))
        shape = planes, height, width
        return Grid(shape, (FIELD[0] / planes, FIELD[1] / height, FIELD[2] / width))

    @property
    def parts(self) -> int:
        """The embryos."""
        return self.embryos

    def write_part(self, part: int, folder: Path) -> int:
        """Write all files of an embryo, and with the first one the table; return the number of its samples."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(part,)))
        foam = Foam.random(rng)
        image = foam.image(rng, self.grid)
        name = _name(part)
        if self.layout == "matlab":
            # MATLAB's order is rows, columns, planes.
            walls = (foam.walls(self.truth_grid) <= WALL).astype(np.uint8)
            save(folder / f"{name}.mat", matlab(embryo=np.moveaxis(image, 0, -1), membSeg=np.moveaxis(walls, 0, -1)))
            return 1
        if part == 0:
            save(folder / "metadata_pil.csv", table(("image", "mask", "group"), self._pairs()))
        low, high = np.percentile(image, (1, 99.9))
        masks = (foam.walls(self.grid) <= WALL) * np.uint8(255)
        for z, (plane, mask) in enumerate(zip(eight_bits((image - low) / (high - low)), masks, strict=True)):
            save(folder / "images" / f"{name}_{z:02d}.png", png(plane))
            save(folder / "masks" / f"{name}_{z:02d}.png", png(mask))
        return self.planes

    def _pairs(self) -> list[list[str]]:
        names = [(_name(k), f"{_name(k)}_{z:02d}.png") for k in range(self.embryos) for z in range(self.planes)]
        return [[f"images/{file}", f"masks/{file}", name] for name, file in names]

    def source(self) -> str:
        """Return the text of SOURCE.md."""
        (planes, height, width), (z, y, x) = self.grid.shape, self.grid.voxel
        volume = f"{planes} x {height} x {width} voxels of {z:.3g} x {y:.3g} x {x:.3g} um"
        walls = self.truth_grid
        matlab_layout = f"""`embryo_NN.mat` with the variables `embryo` (16 bits) and `membSeg` (0 or 1), both in the
  order rows, columns, planes. Both cover the same field: `embryo` has {volume},
  `membSeg` {" x ".join(map(str, walls.shape))} voxels of {" x ".join(f"{side:.3g}" for side in walls.voxel)} um \
(planes, rows, columns). The files don't
  tell the size of a voxel: set `data.voxel_size=[{z:.3g},{y:.3g},{x:.3g}]`."""
        pairs_layout = f"""`metadata_pil.csv` (image, mask, group: the embryo), `images/embryo_NN_ZZ.png` (8 bits),
  `masks/embryo_NN_ZZ.png` (0 or 255); planes of volumes of {volume}."""
        return f"""# Generated embryos with glowing membranes

Synthetic volumes, made by visionlab's `samples.write("celegans_membrane", ...)`; nothing in them was photographed.
Good for trying the commands and for tests; a model trained on them says nothing about real embryos.

- Layout: {matlab_layout if self.layout == "matlab" else pairs_layout}
- Truth: voxels whose middle is at most {WALL} um from the membrane between two cells or around the embryo.
- How: the tree of the worm's founder cells, its times rounded; cells that push each other in an egg; space is that of
  the nearest sphere, unevenly; blur that grows with depth, haze, attenuation, photon and read noise, camera offset.
  Each embryo has another age.
- Size: {self.embryos} embryos.
- Seed: {self.seed}.
- License: MIT, as the project.
"""


@dataclass(frozen=True)
class Foam:
    """The cells of an embryo at a moment, and how their walls are uneven.

    Attributes:
        embryo, moment, pose: the cells and how their egg lies.
        waves: WAVES x 3, radians per um.
        phases, pushes: WAVES x 3, radians and um along each axis.
    """

    embryo: Embryo
    moment: Moment
    pose: Pose
    waves: Array
    phases: Array
    pushes: Array

    @classmethod
    def random(cls, rng: np.random.Generator) -> Foam:
        """Draw an embryo of a random age."""
        embryo = Embryo.random(rng, until=TIMES[1] + 1)
        moment = embryo.moments([rng.uniform(*TIMES)])[0]
        waves = rng.normal(0, 1, (WAVES, 3))
        waves *= 2 * np.pi / rng.uniform(*WAVELENGTH, (WAVES, 1)) / np.sqrt(np.square(waves).sum(1, keepdims=True))
        phases, pushes = rng.uniform(0, 2 * np.pi, (WAVES, 3)), rng.normal(0, UNEVEN, (WAVES, 3))
        return cls(embryo, moment, Pose.random(rng, tilt=0.15, shift=1.0), waves, phases, pushes)

    def walls(self, grid: Grid) -> Array:
        """Return the distance (um) of every voxel from the nearest membrane, good near it."""
        return np.minimum(*map(np.abs, self._distances(grid)))

    def image(self, rng: np.random.Generator, grid: Grid) -> NDArray[np.uint16]:
        """Return what a microscope sees of the membranes, planes x H x W."""
        between, around = self._distances(grid.fine())
        single = np.exp(-0.5 * np.square(around / SHEET))
        double = (1 + TWICE) * np.exp(-0.5 * np.square(between / SHEET))
        light = np.maximum(single, double) + np.float32(CYTOPLASM) * (around > 0)
        return photographed(rng, GLOW * np.float32(rng.lognormal(0, 0.25)) * seen(light, grid, OPTICS))

    def _distances(self, grid: Grid) -> tuple[Array, Array]:
        """Return the distance (um) from walls between cells (1e3 outside), and from the outside (inside: above 0)."""
        z, y, x = np.meshgrid(*grid.axes(), indexing="ij", sparse=True)
        place = [np.broadcast_to(axis, grid.shape).copy() for axis in (z, y, x)]
        waves, phases, pushes = (a.astype(np.float32) for a in (self.waves, self.phases, self.pushes))
        for wave, phase, push in zip(waves, phases, pushes, strict=True):
            angle = wave[0] * z + wave[1] * y + wave[2] * x
            for axis in range(3):
                place[axis] += push[axis] * np.sin(angle + phase[axis])
        first = np.full(grid.shape, 1e3, np.float32)
        second = first.copy()
        toward = np.zeros((2, 3, *grid.shape), np.float32)
        centres = self.pose.placed(self.moment.centres).astype(np.float32)
        for centre, radius in zip(centres, self.moment.radii.astype(np.float32), strict=True):
            offset = [axis - at for axis, at in zip(place, centre, strict=True)]
            length = np.sqrt(sum(np.square(part) for part in offset))
            distance = length - radius
            direction = np.stack(offset) / np.maximum(length, 1e-3)
            nearest = distance < first
            near = ~nearest & (distance < second)
            second = np.where(nearest, first, np.where(near, distance, second))
            toward[1] = np.where(nearest, toward[0], np.where(near, direction, toward[1]))
            first = np.where(nearest, distance, first)
            toward[0] = np.where(nearest, direction, toward[0])
        # Where the difference of two distances is 0, it rises by the length of the directions' difference.
        slope = np.sqrt(np.square(toward[0] - toward[1]).sum(0))
        depth = np.full(grid.shape, -1e3, np.float32)
        where, _, distance = window(body(self.embryo, self.pose), grid, 3.0)
        depth[where] = -distance - SPACE
        around = np.minimum(REACH - first, depth)
        between = np.where(around > 0, (second - first) / np.maximum(slope, 0.2), np.float32(1e3))
        return between, around


def matlab(**variables: Array) -> bytes:
    """Return variables as a MATLAB file of version 5, compressed, the same bytes for the same variables."""
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables, do_compression=True)
    content = bytearray(stream.getvalue())
    # The file's first 116 bytes are a text that would tell the date and the machine.
    content[:116] = b"MATLAB 5.0 MAT-file, generated by visionlab".ljust(116)
    return bytes(content)


def _name(embryo: int) -> str:
    return f"embryo_{embryo + 1:02d}"
