"""The generated set of task ``celegans_nuclei``: series of volumes of embryos whose nuclei glow, with their truths.

Source of the layout: "Naming and file content conventions" of the Cell Tracking Challenge,
https://celltrackingchallenge.net.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from visionlab.samples.embryos import Ellipsoid, Embryo, Grid, photographed
from visionlab.samples.sets import Array, SampleSet, csv_table, save, smooth_noise, whole

FIELD = (32.4, 36.0, 48.0)
"""Depth, height and width of the field of view, um."""

TIMES = (20.0, 94.0)  # minutes of the first and the last time point: from 4 to some 28 cells
ATTENUATION = 23.0  # um
GLOW = 260.0  # grey levels of a nucleus near the objective, in the median
TEXTURE, GRAIN = 0.15, 0.6  # standard deviation of the chromatin's brightness, and um of its grains
EXPRESSION = 0.4  # standard deviation of the logarithm of the nuclei's brightness: reporters are expressed unevenly
CYTOPLASM = 0.12  # brightness of the egg as a share of a nucleus
GOLD_EVERY, GOLD_PLANES = 2, 2  # every second time point has gold truth, in the two planes with most nuclei
SERIES = "embryo"
"""Name of the sequence that is a single file."""


@dataclass(frozen=True)
class NucleiSet(SampleSet):
    """``sequences`` embryos in the layout of the Cell Tracking Challenge, and one more as a single file.

    Attributes:
        sequences: embryos 01, 02 ...; the one in series/ is none of them.
        frames: time points of each; from first to last it is always the same time.
        planes: of a volume; fewer would miss whole nuclei.
        width: of a plane in pixels; the height is 3/4 of it. The field of view is always the same.
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
    sequences: int = whole(6, 1, 99)
    frames: int = whole(8, 1, 999)
    planes: int = whole(18, 12, 99)
    width: int = whole(128, 48, 1024)

    @property
    def parts(self) -> int:
        """The sequences, then the single file."""
        return self.sequences + 1

    def write_part(self, part: int, folder: Path) -> int:
        """Write all files of an embryo; return the number of volumes."""
        rng, grid = self.rng(part, 0), Grid((self.planes, 3 * self.width // 4, self.width), FIELD)
        embryo = Embryo.random(rng, until=TIMES[1] + 10, tempo=float(rng.uniform(0.92, 1.08)))
        glow = rng.lognormal(0, EXPRESSION, len(embryo.cells))
        interval = (TIMES[1] - TIMES[0]) / max(self.frames - 1, 1)
        nuclei = embryo.nuclei([TIMES[0] + k * interval for k in range(self.frames)])
        volumes = [_volume(self.rng(part, 1 + k), grid, embryo.egg, there, glow) for k, there in enumerate(nuclei)]
        if part == self.sequences:
            _write_series(folder / "series", volumes, nuclei, grid, 60 * interval)
            return self.frames
        name = f"{part + 1:02d}"
        for time, (volume, there) in enumerate(zip(volumes, nuclei, strict=True)):
            truth = labelled(there, grid)
            save(folder / name / f"t{time:03d}.tif", tiff(volume, grid))
            save(folder / f"{name}_ST" / "SEG" / f"man_seg{time:03d}.tif", tiff(truth, grid))
            if time % GOLD_EVERY == 0:
                areas = np.count_nonzero(truth, axis=(1, 2))
                for z in np.argsort(-areas, kind="stable")[:GOLD_PLANES].tolist():
                    save(folder / f"{name}_GT" / "SEG" / f"man_seg_{time:03d}_{z:03d}.tif", tiff(truth[z], grid))
        return self.frames


def _volume(rng: np.random.Generator, grid: Grid, egg: Ellipsoid, nuclei: dict[int, Ellipsoid], glow: Array) -> Array:
    """Return the image of a time point, planes x H x W, 16 bits; ``glow`` is the brightness of each cell's nucleus."""
    light = np.zeros(grid.shape, np.float32)
    where, gauge = egg.window(grid, 0.0)
    light[where] = CYTOPLASM * (gauge < 1)
    edge = float(np.cbrt(np.prod(grid.voxel)))  # um from covered to empty
    for number, nucleus in nuclei.items():
        where, gauge = nucleus.window(grid, edge)
        cover = np.clip(0.5 - (gauge - 1) * nucleus.radius / edge, 0, 1) * glow[number]
        np.maximum(light[where], cover, out=light[where])
    light *= np.maximum(1 + TEXTURE * smooth_noise(rng, grid.shape, [GRAIN / side for side in grid.voxel]), 0)
    return photographed(rng, light, grid, GLOW * float(rng.lognormal(0, 0.25)), ATTENUATION)


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


def tiff(image: Array, grid: Grid) -> bytes:
    """Encode a plane or a volume as TIFF, without loss, with its voxel size (um) in the tags and the description."""
    z, y, x = grid.voxel
    told: dict[str, Any] = {"axes": "YX", "unit": "um"}
    if image.ndim == 3:
        told |= {"axes": "ZYX", "spacing": round(z, 6)}
    form: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib", "predictor": True, "metadata": told}
    stream = io.BytesIO()
    tifffile.imwrite(stream, image, resolution=(1e4 / x, 1e4 / y), resolutionunit="CENTIMETER", **form)
    return stream.getvalue()
