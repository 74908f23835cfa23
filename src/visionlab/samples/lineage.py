"""The generated set of task ``celegans_lineage``: projections of embryos, and how many cells of each lineage they have.

A nucleus shows its lineage by its brightness beside the others, by its size and by whether it is hollow. Exposure and
background are drawn for every image, and nuclei together cover about as much of an old embryo as of a young one, so
that it takes counting.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from visionlab.io.encoding import png
from visionlab.samples.embryos import LINEAGES, STEP, Ellipsoid, Embryo
from visionlab.samples.sets import Array, SampleSet, choice, csv_table, quantised, save, whole

FIELD = 51.0  # um, side of the field of view
TIMES = (25.0, 118.0)  # minutes of the first and the last time point
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


@dataclass(frozen=True)
class LineageSet(SampleSet):
    """Series of 2D images, one of each embryo, with the counts of its lineages in lineage.csv.

    Attributes:
        embryos: number of sequences.
        frames: time points of each; from first to last it is always the same time.
        image_size: height and width in pixels; the field of view is always the same.
        bits: 8 or 16 bits a pixel.
    """

    task = "celegans_lineage"
    about = """
- `lineage.csv`: image, sequence (the embryo), time (number of the time point), then the cells of each lineage,
  which is the first letter of their names. A: of AB; E: EMS and E's; M: MS's; P: P1 to P4; C, D; Z: Z2 and Z3.
- Cells divide as the worm's do and push each other in an egg, at a tempo of their own. Made up: brightness, size and
  hollowness tell a nucleus's lineage; exposure and background are drawn for every image."""
    embryos: int = whole(60, 1, 999)
    frames: int = whole(16, 1, 999)
    image_size: int = whole(96, 32, 1024)
    bits: int = choice(8, 16)

    @property
    def parts(self) -> int:
        """The embryos."""
        return self.embryos

    def write_part(self, part: int, folder: Path) -> int:
        """Write the images of an embryo, and with the first one the table; return the number of images."""
        if part == 0:
            save(folder / "lineage.csv", csv_table(("image", "sequence", "time", *LINEAGES), self.rows()))
        embryo, times = self._series(part)
        for time, there in enumerate(embryo.nuclei(times, POWER)):
            image = projected(self.rng(part, 1 + time), embryo, there, self.image_size)
            save(folder / _path(part, time), png(quantised(image, self.bits)))
        return self.frames

    def _series(self, part: int) -> tuple[Embryo, list[float]]:
        """Return an embryo and the minutes of its time points."""
        rng = self.rng(part, 0)
        tempo, start = float(rng.uniform(*TEMPI)), TIMES[0] + float(rng.uniform(-START, START))
        interval = (TIMES[1] - TIMES[0]) / max(self.frames - 1, 1)
        embryo = Embryo.random(rng, until=TIMES[1] + START + STEP, tempo=tempo, tilt=0.3)
        return embryo, [start + k * interval for k in range(self.frames)]

    def rows(self) -> list[list[Any]]:
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
    pixel = FIELD / side
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
