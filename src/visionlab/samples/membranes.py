"""The generated set of task ``celegans_membrane``: embryos whose cells' membranes glow, with the walls as truth.

Space in the egg belongs to the cell whose sphere is nearest (a power diagram), so walls are planes between neighbours.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io

from visionlab.io.encoding import png
from visionlab.samples.embryos import Embryo, Grid, photographed
from visionlab.samples.sets import Array, SampleSet, choice, csv_table, quantised, save, smooth_noise, whole

FIELD = (30.0, 36.0, 48.0)
"""Depth, height and width of the field of view, um."""

TRUTH = (38 / 20, 77 / 96, 103 / 128)
"""Planes, rows and columns of the truth as a multiple of the image's, about as in the published volumes."""

TIMES = (35.0, 100.0)  # minutes: 7 to some 30 cells
WALL = 0.65  # um, half the thickness of a wall of the truth
SHEET = 0.4  # um, standard deviation of a membrane's light across it
GLOW, ATTENUATION = 480.0, 24.0  # grey levels of a membrane near the objective, in the median; um
CYTOPLASM = 0.1  # brightness of cells as a share of their membranes
PATCHES, UNEVEN = 2.5, 0.45  # um, size of patches of membrane that are brighter or darker, and by how much
SHELL = 1.0  # um between the outermost membrane and the egg's shell


@dataclass(frozen=True)
class MembraneSet(SampleSet):
    """Embryos of various ages, each a volume of its own.

    Attributes:
        layout: ``matlab`` (a .mat file for each embryo, with the variables embryo and membSeg, the latter at another
            sampling) or ``pairs`` (metadata_pil.csv, an image and a mask for every plane).
        embryos: how many.
        planes: of an image volume.
        width: of its planes in pixels; the height is 3/4 of it. The field of view is always the same.
    """

    task = "celegans_membrane"
    about = """
- matlab: `embryo_NN.mat` with the variables `embryo` (16 bits) and `membSeg` (0 or 1, at another sampling of the
  same field), both in the order rows, columns, planes. The field is 36 x 48 x 30 um; the files don't tell the size of a
  voxel, so set `data.voxel_size=[z,y,x]`: of the default size [1.5,0.375,0.375].
- pairs: `metadata_pil.csv` (image, mask, group: the embryo), `images/embryo_NN_ZZ.png` (8 bits),
  `masks/embryo_NN_ZZ.png` (0 or 255).
- Truth: voxels whose middle is at most 0.65 um from the membrane between two cells or around the embryo.
- Cells divide as the worm's do and push each other in an egg; space is that of the nearest sphere; membranes of uneven
  brightness, blur that grows with depth, haze, attenuation, noise, camera offset. Each embryo has its age."""
    layout: str = choice("matlab", "pairs")
    embryos: int = whole(8, 1, 99)
    planes: int = whole(20, 4, 99)
    width: int = whole(128, 48, 1024)

    @property
    def parts(self) -> int:
        """The embryos."""
        return self.embryos

    @property
    def grid(self) -> Grid:
        """The voxels of an image volume."""
        return Grid((self.planes, 3 * self.width // 4, self.width), FIELD)

    @property
    def truth_grid(self) -> Grid:
        """The voxels of the walls in the MATLAB layout."""
        planes, height, width = (round(n * factor) for n, factor in zip(self.grid.shape, TRUTH, strict=True))
        return Grid((planes, height, width), FIELD)

    def write_part(self, part: int, folder: Path) -> int:
        """Write all files of an embryo, and with the first one the table; return the number of its samples."""
        rng, name = self.rng(part), f"embryo_{part + 1:02d}"
        embryo = Embryo.random(rng, until=TIMES[1] + 1)
        time = float(rng.uniform(*TIMES))
        image = _image(rng, embryo, time, self.grid)
        if self.layout == "matlab":
            # MATLAB's order is rows, columns, planes.
            truth = (np.abs(walls(embryo, time, self.truth_grid)) <= WALL).astype(np.uint8)
            save(folder / f"{name}.mat", _matlab(embryo=np.moveaxis(image, 0, -1), membSeg=np.moveaxis(truth, 0, -1)))
            return 1
        if part == 0:
            files = [(f"embryo_{k + 1:02d}", f"{z:02d}.png") for k in range(self.embryos) for z in range(self.planes)]
            rows = [[f"images/{group}_{file}", f"masks/{group}_{file}", group] for group, file in files]
            save(folder / "metadata_pil.csv", csv_table(("image", "mask", "group"), rows))
        low, high = np.percentile(image, (1, 99.9))
        masks = np.uint8(255) * (np.abs(walls(embryo, time, self.grid)) <= WALL)
        for z, (plane, mask) in enumerate(zip(quantised((image - low) / (high - low), 8), masks, strict=True)):
            save(folder / "images" / f"{name}_{z:02d}.png", png(plane))
            save(folder / "masks" / f"{name}_{z:02d}.png", png(mask))
        return self.planes


def walls(embryo: Embryo, time: float, grid: Grid) -> Array:
    """Return the distance (um) of every voxel from the nearest membrane; it is negative outside of the embryo."""
    centres = embryo.centres([time])[0].astype(np.float32)
    radii = np.array([embryo.cells[number].radius for number in embryo.living(time)], np.float32)
    z, y, x = (axis.astype(np.float32) for axis in grid.axes())
    power = np.stack(
        [
            (z[:, None, None] - a) ** 2 + (y[:, None] - b) ** 2 + (x - c) ** 2 - radius**2
            for (a, b, c), radius in zip(centres, radii, strict=True)
        ]
    )
    own, least = power.argmin(0), power.min(0)
    apart = np.sqrt(np.square(centres[:, None] - centres[None]).sum(2))
    np.fill_diagonal(apart, np.inf)
    distance = np.full(grid.shape, np.inf, np.float32)
    for number, other in enumerate(power):
        # Halfway between two centres but for their radii: the distance to a plane.
        gap = np.where(own == number, np.inf, (other - least) / (2 * apart[number][own]))
        distance = np.minimum(distance, gap)
    outside = np.full(grid.shape, 9.0)
    where, gauge = embryo.egg.window(grid, 4.0)
    steep = np.sqrt(sum(np.square(slope) for slope in np.gradient(gauge, *grid.voxel)))
    outside[where] = (gauge - 1) / np.maximum(steep, 1e-6)
    inside = -outside - SHELL
    return np.where(inside < 0, inside, np.minimum(distance, inside))


def _image(rng: np.random.Generator, embryo: Embryo, time: float, grid: Grid) -> Array:
    """Return what a microscope sees of the membranes, planes x H x W."""
    distance = walls(embryo, time, grid)
    patches = smooth_noise(rng, grid.shape, [PATCHES / side for side in grid.voxel])
    light = np.exp(-0.5 * np.square(distance / SHEET)) * np.exp(UNEVEN * patches) + CYTOPLASM * (distance > 0)
    return photographed(rng, light.astype(np.float32), grid, GLOW * float(rng.lognormal(0, 0.25)), ATTENUATION)


def _matlab(**variables: Array) -> bytes:
    """Return variables as a MATLAB file of version 5, compressed, the same bytes for the same variables."""
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables, do_compression=True)
    # The file's first 116 bytes are a text that would tell the date and the machine.
    return b"MATLAB 5.0 MAT-file, generated by visionlab".ljust(116) + stream.getvalue()[116:]
