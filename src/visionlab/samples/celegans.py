"""The generated sets of the three ``celegans`` tasks: nuclei, membranes and lineages of embryos.

Cells divide as the worm's do and push each other in an egg, see :mod:`visionlab.samples.embryos`. Nuclei are in the
layout of the Cell Tracking Challenge ("Naming and file content conventions", https://celltrackingchallenge.net).
"""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import scipy.io
import tifffile
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy import ndimage

from visionlab.io.encoding import eight_bits, png
from visionlab.samples import CHECKED, Array, SampleSet, csv_table, save, smooth_noise
from visionlab.samples.embryos import LINEAGES, STEP, Ellipsoid, Embryo, Grid, photographed

Parts = Annotated[int, Field(ge=1, le=99)]
Frames = Annotated[int, Field(ge=1, le=999)]
Width = Annotated[int, Field(ge=48, le=1024)]


# Nuclei -------------------------------------------------------------------------------------------------------------

NUCLEI_FIELD = (32.4, 36.0, 48.0)
"""Depth, height and width of the field of view, um."""

NUCLEI_TIMES = (20.0, 94.0)  # minutes of the first and the last time point: from 4 to some 28 cells
NUCLEI_ATTENUATION = 23.0  # um
NUCLEI_LIGHT = 260.0  # grey levels of a nucleus near the objective, in the median
TEXTURE, GRAIN = 0.15, 0.6  # standard deviation of the chromatin's brightness, and um of its grains
EXPRESSION = 0.4  # standard deviation of the logarithm of the nuclei's brightness: reporters are expressed unevenly
EGG_LIGHT = 0.12  # brightness of the egg as a share of a nucleus
GOLD_EVERY, GOLD_PLANES = 2, 2  # every second time point has gold truth, in the two planes with most nuclei
SERIES = "embryo"
"""Name of the sequence that is a single file."""


@dataclass(frozen=True, config=CHECKED)
class NucleiSet(SampleSet):
    """``sequences`` embryos in the layout of the Cell Tracking Challenge, and one more as a single file.

    ``frames`` time points span the same time whatever their number; the field of view is the same at any ``width`` in
    pixels, and fewer ``planes`` would miss whole nuclei.
    """

    task = "celegans_nuclei"
    about = """
- As of the Cell Tracking Challenge: `NN/tTTT.tif` (16 bits; z, y, x), `NN_ST/SEG/man_segTTT.tif` (every nucleus
  of every time point), `NN_GT/SEG/man_seg_TTT_ZZZ.tif` (every nucleus of single planes of every second time point).
  Ids are the same in all files of a sequence. "ST" and "GT" are the same exact truth here.
- `series/embryo.tif`: another embryo as a single file of ImageJ (t, z, y, x), for predictions; no truth but
  `series/centres.csv` (sequence, time, id, z, y, x): the nuclei's centres in voxels, whole in a voxel's middle.
- Cells divide as the worm's do and push each other in an egg; ellipsoids with texture and uneven brightness; blur that
  grows with depth, haze, strong attenuation, noise, camera offset, another brightness at every time point."""
    sequences: Parts = 6
    frames: Frames = 8
    planes: Annotated[int, Field(ge=12, le=99)] = 18
    width: Width = 128

    @property
    def parts(self) -> int:
        """The sequences, then the single file."""
        return self.sequences + 1

    def write_part(self, part: int, folder: Path) -> int:
        """Write all files of an embryo; return the number of volumes."""
        rng, grid = self.rng(part, 0), Grid((self.planes, 3 * self.width // 4, self.width), NUCLEI_FIELD)
        embryo = Embryo.random(rng, until=NUCLEI_TIMES[1] + 10, tempo=float(rng.uniform(0.92, 1.08)))
        glow = rng.lognormal(0, EXPRESSION, len(embryo.cells))
        interval = (NUCLEI_TIMES[1] - NUCLEI_TIMES[0]) / max(self.frames - 1, 1)
        nuclei = embryo.nuclei([NUCLEI_TIMES[0] + k * interval for k in range(self.frames)])
        volumes = [_volume(self.rng(part, 1 + k), grid, embryo.egg, there, glow) for k, there in enumerate(nuclei)]
        if part == self.sequences:
            _write_series(folder / "series", volumes, nuclei, grid, 60 * interval)
            return self.frames
        name = f"{part + 1:02d}"
        for time, (volume, there) in enumerate(zip(volumes, nuclei, strict=True)):
            truth = labelled(there, grid)
            save(folder / name / f"t{time:03d}.tif", _tiff(volume, grid))
            save(folder / f"{name}_ST" / "SEG" / f"man_seg{time:03d}.tif", _tiff(truth, grid))
            if time % GOLD_EVERY == 0:
                areas = np.count_nonzero(truth, axis=(1, 2))
                for z in np.argsort(-areas, kind="stable")[:GOLD_PLANES].tolist():
                    save(folder / f"{name}_GT" / "SEG" / f"man_seg_{time:03d}_{z:03d}.tif", _tiff(truth[z], grid))
        return self.frames


def _volume(rng: np.random.Generator, grid: Grid, egg: Ellipsoid, nuclei: dict[int, Ellipsoid], glow: Array) -> Array:
    """Return the image of a time point, planes x H x W, 16 bits; ``glow`` is the brightness of each cell's nucleus."""
    light = np.zeros(grid.shape, np.float32)
    where, gauge = egg.window(grid, 0.0)
    light[where] = EGG_LIGHT * (gauge < 1)
    edge = float(np.cbrt(np.prod(grid.voxel)))  # um from covered to empty
    for number, nucleus in nuclei.items():
        where, gauge = nucleus.window(grid, edge)
        cover = np.clip(0.5 - (gauge - 1) * nucleus.radius / edge, 0, 1) * glow[number]
        np.maximum(light[where], cover, out=light[where])
    light *= np.maximum(1 + TEXTURE * smooth_noise(rng, grid.shape, [GRAIN / side for side in grid.voxel]), 0)
    return photographed(rng, light, grid, NUCLEI_LIGHT * float(rng.lognormal(0, 0.25)), NUCLEI_ATTENUATION)


def labelled(nuclei: dict[int, Ellipsoid], grid: Grid) -> Array:
    """Return which nucleus the middle of each voxel is in: its cell's number + 1, or 0.

    Where ellipsoids overlap, the one whose centre is nearer as a share of its size has the voxel.
    """
    labels, nearest = np.zeros(grid.shape, np.uint16), np.ones(grid.shape)
    for number, nucleus in nuclei.items():
        where, gauge = nucleus.window(grid, 0.0)
        mine = gauge < nearest[where]
        nearest[where][mine] = gauge[mine]
        labels[where][mine] = number + 1
    return labels


def _write_series(folder: Path, volumes: list[Array], nuclei: list[dict[int, Ellipsoid]], grid: Grid, s: float) -> None:
    """Write time points that are ``s`` seconds apart as a hyperstack of ImageJ, and the centres of the nuclei."""
    z, y, x = grid.voxel
    told = {"axes": "TZYX", "spacing": round(z, 6), "unit": "um", "finterval": round(s, 3)}
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.stack(volumes), imagej=True, resolution=(1 / x, 1 / y), metadata=told)
    save(folder / f"{SERIES}.tif", stream.getvalue())
    rows: list[list[Any]] = []
    for time, there in enumerate(nuclei):
        for number, nucleus in there.items():
            place = nucleus.centre / grid.voxel + np.array(grid.shape) / 2 - 0.5
            rows.append([SERIES, time, number + 1, *(f"{value:.3f}" for value in place)])
    save(folder / "centres.csv", csv_table(("sequence", "time", "id", "z", "y", "x"), rows))


def _tiff(image: Array, grid: Grid) -> bytes:
    """Encode a plane or a volume as TIFF, without loss, with its voxel size (um) in the tags and the description."""
    z, y, x = grid.voxel
    told: dict[str, Any] = {"axes": "YX", "unit": "um"}
    if image.ndim == 3:
        told |= {"axes": "ZYX", "spacing": round(z, 6)}
    form: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib", "predictor": True, "metadata": told}
    stream = io.BytesIO()
    tifffile.imwrite(stream, image, resolution=(1e4 / x, 1e4 / y), resolutionunit="CENTIMETER", **form)
    return stream.getvalue()


# Membranes ----------------------------------------------------------------------------------------------------------

MEMBRANE_FIELD = (30.0, 36.0, 48.0)
"""Depth, height and width of the field of view, um."""

TRUTH = (38 / 20, 77 / 96, 103 / 128)
"""Planes, rows and columns of the truth as a multiple of the image's, about as in the published volumes."""

MEMBRANE_TIMES = (35.0, 100.0)  # minutes: 7 to some 30 cells
WALL = 0.65  # um, half the thickness of a wall of the truth
SHEET = 0.4  # um, standard deviation of a membrane's light across it
MEMBRANE_LIGHT, MEMBRANE_ATTENUATION = 480.0, 24.0  # grey levels near the objective, in the median; um
CYTOPLASM = 0.1  # brightness of cells as a share of their membranes
PATCHES, UNEVEN = 2.5, 0.45  # um, size of patches of membrane that are brighter or darker, and by how much
SHELL = 1.0  # um between the outermost membrane and the egg's shell


@dataclass(frozen=True, config=CHECKED)
class MembraneSet(SampleSet):
    """``embryos`` of various ages, each a volume of its own, of ``planes`` that are ``width`` pixels wide.

    Space in an egg belongs to the cell whose sphere is nearest (a power diagram), so walls are planes between
    neighbours. The field of view is always the same.
    """

    task = "celegans_membrane"
    about = """
- `embryo_NN.mat` with the variables `embryo` (16 bits) and `membSeg` (0 or 1, at another sampling of the same field),
  both in the order rows, columns, planes. The field is 36 x 48 x 30 um; the files don't tell the size of a voxel, so
  set `data.voxel_size=[z,y,x]`: of the default size [1.5,0.375,0.375].
- Truth: voxels whose middle is at most 0.65 um from the membrane between two cells or around the embryo.
- Cells divide as the worm's do and push each other in an egg; space is that of the nearest sphere; membranes of uneven
  brightness, blur that grows with depth, haze, attenuation, noise, camera offset. Each embryo has its age."""
    embryos: Parts = 8
    planes: Annotated[int, Field(ge=4, le=99)] = 20
    width: Width = 128

    @property
    def parts(self) -> int:
        """The embryos."""
        return self.embryos

    def write_part(self, part: int, folder: Path) -> int:
        """Write the file of an embryo; return 1."""
        rng = self.rng(part)
        embryo = Embryo.random(rng, until=MEMBRANE_TIMES[1] + 1)
        time = float(rng.uniform(*MEMBRANE_TIMES))
        grid = Grid((self.planes, 3 * self.width // 4, self.width), MEMBRANE_FIELD)
        planes, height, width = (round(n * factor) for n, factor in zip(grid.shape, TRUTH, strict=True))
        distance = walls(embryo, time, grid)
        patches = smooth_noise(rng, grid.shape, [PATCHES / side for side in grid.voxel])
        light = np.exp(-0.5 * np.square(distance / SHEET)) * np.exp(UNEVEN * patches) + CYTOPLASM * (distance > 0)
        level = MEMBRANE_LIGHT * float(rng.lognormal(0, 0.25))
        image = photographed(rng, light.astype(np.float32), grid, level, MEMBRANE_ATTENUATION)
        truth = (np.abs(walls(embryo, time, Grid((planes, height, width), MEMBRANE_FIELD))) <= WALL).astype(np.uint8)
        # MATLAB's order is rows, columns, planes.
        variables = {"embryo": np.moveaxis(image, 0, -1), "membSeg": np.moveaxis(truth, 0, -1)}
        stream = io.BytesIO()
        scipy.io.savemat(stream, variables, do_compression=True)
        # The file's first 116 bytes are a text that would tell the date and the machine.
        content = b"MATLAB 5.0 MAT-file, generated by visionlab".ljust(116) + stream.getvalue()[116:]
        save(folder / f"embryo_{part + 1:02d}.mat", content)
        return 1


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


# Lineages -----------------------------------------------------------------------------------------------------------

LINEAGE_FIELD = 51.0  # um, side of the field of view
LINEAGE_TIMES = (25.0, 118.0)  # minutes of the first and the last time point
TEMPI = (0.85, 1.2)  # embryos develop as fast as this, in warmth or cold
START = 8.0  # minutes that an embryo's series may begin earlier or later

GLOW = {"A": 0.4, "E": 0.9, "M": 0.65, "P": 1.0, "C": 0.55, "D": 0.8, "Z": 1.0}
"""How bright a lineage's nuclei are."""

SIZE = {"P": 1.3, "D": 1.2, "Z": 1.3}
"""Radius of a lineage's nuclei as a multiple of the others'."""

HOLLOW = ("E", "C")  # lineages whose nuclei are dark in the middle
POWER = 1.2  # of a cell's radius with which its nucleus grows: 1.5 would cover the same area at any age
BLUR = (0.25, 0.4, 0.6)  # um, standard deviation of the point spread at the top, halfway and at the bottom
NOISE = 0.015  # standard deviation of the camera's noise as a share of white


@dataclass(frozen=True, config=CHECKED)
class LineageSet(SampleSet):
    """Series of 2D images, one of each of ``embryos``, with the counts of its lineages in lineage.csv.

    A nucleus shows its lineage by its brightness beside the others, by its size and by whether it is hollow. Exposure
    and background are drawn for every image, and nuclei together cover about as much of an old embryo as of a young
    one, so that it takes counting. ``frames`` span the same time whatever their number.
    """

    task = "celegans_lineage"
    about = """
- `lineage.csv`: image, sequence (the embryo), time (number of the time point), then the cells of each lineage,
  which is the first letter of their names. A: of AB; E: EMS and E's; M: MS's; P: P1 to P4; C, D; Z: Z2 and Z3.
- Cells divide as the worm's do and push each other in an egg, at a tempo of their own. Made up: brightness, size and
  hollowness tell a nucleus's lineage; exposure and background are drawn for every image."""
    embryos: Frames = 60
    frames: Frames = 16
    image_size: Annotated[int, Field(ge=32, le=1024)] = 96

    @property
    def parts(self) -> int:
        """The embryos."""
        return self.embryos

    def write_part(self, part: int, folder: Path) -> int:
        """Write the images of an embryo, and with the first one the table; return the number of images."""
        if part == 0:
            save(folder / "lineage.csv", csv_table(("image", "sequence", "time", *LINEAGES), self._rows()))
        embryo, times = self._series(part)
        for time, there in enumerate(embryo.nuclei(times, POWER)):
            image = projected(self.rng(part, 1 + time), embryo, there, self.image_size)
            save(folder / _path(part, time), png(eight_bits(image)))
        return self.frames

    def _series(self, part: int) -> tuple[Embryo, list[float]]:
        """Return an embryo and the minutes of its time points."""
        rng = self.rng(part, 0)
        tempo, start = float(rng.uniform(*TEMPI)), LINEAGE_TIMES[0] + float(rng.uniform(-START, START))
        interval = (LINEAGE_TIMES[1] - LINEAGE_TIMES[0]) / max(self.frames - 1, 1)
        embryo = Embryo.random(rng, until=LINEAGE_TIMES[1] + START + STEP, tempo=tempo, tilt=0.3)
        return embryo, [start + k * interval for k in range(self.frames)]

    def _rows(self) -> list[list[Any]]:
        """Return the rows of lineage.csv: the path of an image, its sequence and time point, and the counts."""
        rows: list[list[Any]] = []
        for part in range(self.embryos):
            embryo, times = self._series(part)
            for time, minutes in enumerate(times):
                counts = Counter(embryo.cells[number].name[0] for number in embryo.living(minutes))
                sequence = f"embryo_{part + 1:02d}"
                rows.append([_path(part, time), sequence, time, *(counts[lineage] for lineage in LINEAGES)])
        return rows


def projected(rng: np.random.Generator, embryo: Embryo, nuclei: dict[int, Ellipsoid], side: int) -> Array:
    """Return the image (side x side, 0..1) of an embryo seen from above, by the nuclei of its cells."""
    pixel = LINEAGE_FIELD / side
    axis = (np.arange(side) + 0.5 - side / 2) * pixel
    layers = np.zeros((3, side, side))
    for number, nucleus in nuclei.items():
        lineage, (z, y, x) = embryo.cells[number].name[0], nucleus.centre
        square = (np.square(axis - y)[:, None] + np.square(axis - x)) / (nucleus.radius * SIZE.get(lineage, 1.0)) ** 2
        profile = np.clip(3 * (1 - square), 0, 1)
        if lineage in HOLLOW:
            profile *= 0.3 + 0.7 * np.minimum(square / 0.5, 1)
        layer = layers[int(np.clip(1.5 * z / embryo.half[0] + 1.5, 0, 2))]
        np.maximum(layer, GLOW[lineage] * rng.lognormal(0, 0.08) * profile, out=layer)
    for layer, sigma in zip(layers, BLUR, strict=True):
        layer[:] = ndimage.gaussian_filter(layer, sigma / pixel)
    y, x = np.meshgrid(axis - embryo.shift[1], axis - embryo.shift[2], indexing="ij")
    turn = embryo.turn[1:, 1:] / embryo.half[1:]
    egg = np.hypot(turn[0, 0] * y + turn[1, 0] * x, turn[0, 1] * y + turn[1, 1] * x) < 1
    image = layers.max(0) + rng.uniform(0.05, 0.2) * ndimage.gaussian_filter(egg.astype(float), 1)
    image = rng.uniform(0.5, 0.9) * image ** rng.uniform(0.8, 1.25) + rng.uniform(0.02, 0.08)
    return image + NOISE * rng.standard_normal(image.shape)


def _path(embryo: int, time: int) -> str:
    return f"images/embryo_{embryo + 1:02d}/t{time:03d}.png"
