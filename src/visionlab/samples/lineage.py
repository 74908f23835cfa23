"""The generated set of task ``celegans_lineage``: projections of embryos, and how many cells of each lineage they have.

Embryos are those of :mod:`visionlab.samples.embryos`. A nucleus's brightness tells its lineage, as does where it is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from visionlab.errors import UsageError
from visionlab.io.encoding import png
from visionlab.samples.depth_mask import check_whole, save
from visionlab.samples.ellipsoids import Nucleus, Pose, body, nuclei_of
from visionlab.samples.embryos import STEP, Array, Embryo
from visionlab.samples.fluorescence import OFFSET, photographed
from visionlab.samples.nuclei import table

LINEAGES = ("A", "E", "M", "P", "C", "D", "Z")
FIELD = 51.0  # um, side of the field of view
TIMES = (25.0, 118.0)  # minutes of the first and the last time point
TEMPI = (0.85, 1.2)  # embryos develop as fast as this, in warmth or cold
START = 8.0  # minutes that an embryo's series may begin earlier or later

GLOW = {"A": 0.45, "E": 1.2, "M": 0.85, "P": 1.7, "C": 0.65, "D": 1.4, "Z": 2.2}
"""How bright a lineage's nuclei are."""

DENSE = 3.4  # um, radius of a nucleus of that brightness; smaller ones are brighter, as all have the same DNA
DENSITY = 2.0  # power of the radius by which they are: 3 would give all nuclei the same light

HOLLOW = "E"  # the lineage whose nuclei are dark in the middle
THICKNESS = 6.0  # um of nucleus that give a light of 1
CYTOPLASM = 0.012  # light of the egg as a share of that
LAYERS = 5  # of the depth, each with a blur of its own
BLUR = (0.3, 0.8)  # um, standard deviation of the point spread in the first and the last layer
ATTENUATION = 50.0  # um of depth that leave 1 / e of the light
LEVEL = 420.0  # grey levels that a light of 1 gives, in the median
WHITE = 1500.0  # grey levels above darkness that are white in the file


@dataclass(frozen=True)
class LineageSet:
    """Series of 2D images, one of each embryo, with the counts of its lineages in lineage.csv.

    Attributes:
        seed: at least 0; with an embryo's number it settles everything about that embryo.
        embryos: number of sequences.
        frames: time points of each; from first to last it is always the same time.
        image_size: height and width in pixels; the field of view is always the same.
        bits: 8 or 16 bits a pixel.

    Raises:
        UsageError: a value is out of range.
    """

    seed: int = 0
    embryos: int = 60
    frames: int = 16
    image_size: int = 96
    bits: int = 8

    def __post_init__(self) -> None:
        sizes = {"seed": (0, 2**63), "embryos": (1, 999), "frames": (1, 999), "image_size": (32, 1024)}
        for name, (low, high) in sizes.items():
            check_whole(getattr(self, name), low, high, f"{name} of the celegans_lineage sample")
        if self.bits not in (8, 16):
            raise UsageError(f"bits of the celegans_lineage sample: 8 or 16 expected, got {self.bits!r}.")

    @property
    def parts(self) -> int:
        """The embryos."""
        return self.embryos

    def write_part(self, part: int, folder: Path) -> int:
        """Write the images of an embryo, and with the first one the table; return the number of images."""
        if part == 0:
            save(folder / "lineage.csv", table(("image", "sequence", "time", *LINEAGES), self.rows()))
        embryo, times, seeds = self._series(part)
        rng = np.random.default_rng(seeds[0])
        pose = Pose.random(rng, tilt=0.3, shift=1.5)
        level = LEVEL * rng.lognormal(0, 0.08)
        for time, (moment, seed) in enumerate(zip(embryo.moments(times), seeds[1:], strict=True)):
            light = projected(nuclei_of(embryo, moment, pose), body(embryo, pose), self.image_size)
            grey = photographed(np.random.default_rng(seed), level * light).astype(np.float32)
            # A little of what is darker than darkness is kept, or noise would have a brighter mean than no light.
            share = np.clip((grey - 0.9 * OFFSET) / WHITE, 0, 1)
            kind = np.uint8 if self.bits == 8 else np.uint16
            save(folder / _path(part, time), png(np.rint(share * np.iinfo(kind).max).astype(kind)))
        return self.frames

    def _series(self, part: int) -> tuple[Embryo, list[float], list[np.random.SeedSequence]]:
        """Return an embryo, the minutes of its time points, and seeds: one for how it lies, one for each image."""
        first, *seeds = np.random.SeedSequence(self.seed, spawn_key=(part,)).spawn(2 + self.frames)
        rng = np.random.default_rng(first)
        tempo, start = rng.uniform(*TEMPI), TIMES[0] + rng.uniform(-START, START)
        interval = (TIMES[1] - TIMES[0]) / max(self.frames - 1, 1)
        embryo = Embryo.random(rng, until=TIMES[1] + START + STEP, tempo=tempo)
        return embryo, [start + k * interval for k in range(self.frames)], seeds

    def rows(self) -> list[list[Any]]:
        """Return the rows of lineage.csv: the path of an image, its sequence and time point, and the counts."""
        rows: list[list[Any]] = []
        for part in range(self.embryos):
            embryo, times, _ = self._series(part)
            for time, minutes in enumerate(times):
                counts = Counter(embryo.cells[number].name[0] for number in embryo.living(minutes))
                rows.append([_path(part, time), _name(part), time, *(counts[lineage] for lineage in LINEAGES)])
        return rows

    def source(self) -> str:
        """Return the text of SOURCE.md."""
        return f"""# Generated embryos with counted lineages

Synthetic images, made by visionlab's `samples.write("celegans_lineage", ...)`; nothing in them was photographed.
Good for trying the commands and for tests; a model trained on them says nothing about real embryos.

- Layout: `lineage.csv` (image, sequence: the embryo, time: number of the time point, then the cells of each lineage),
  `images/<sequence>/t<time>.png`.
- Lineages: the first letter of the cells' names. A: of AB; E: EMS and E's; M: MS's; P: P1 to P4; C, D; Z: Z2 and Z3.
- How: the tree of the worm's founder cells, its times rounded; embryos differ in tempo, so that time doesn't tell the
  counts; cells that push each other in an egg. All nuclei are seen through the egg, with a blur that grows with
  depth and with noise. Made up: a lineage's nuclei have a brightness of their own.
- Size: {self.embryos} embryos x {self.frames} time points; {self.image_size} x {self.image_size} pixels of \
{FIELD / self.image_size:.3g} um, {self.bits} bits.
- Seed: {self.seed}.
- License: MIT, as the project.
"""


def projected(nuclei: list[Nucleus], egg: Nucleus, side: int) -> Array:
    """Return the light of all nuclei seen from above, side x side, float32."""
    pixel = FIELD / side
    light = np.zeros((side, side), np.float32)
    depths = np.array([nucleus.centre[0] for nucleus in nuclei])
    # The first layer is nearest to the objective.
    reach = 1.0 / np.sqrt(np.square(np.linalg.inv(egg.inverse)[0]).sum())
    layers = np.clip((depths * reach + 1) / 2 * LAYERS, 0, LAYERS - 1).astype(int)
    for layer in range(LAYERS):
        part = layer / (LAYERS - 1)
        plane = np.zeros_like(light)
        for k in np.flatnonzero(layers == layer).tolist():
            _add(plane, nuclei[k], pixel)
        sigma = (BLUR[0] + part * (BLUR[1] - BLUR[0])) / pixel
        light += cv2.GaussianBlur(plane, (0, 0), sigma) * np.float32(np.exp(-2 * part / reach / ATTENUATION))
    around = np.zeros_like(light)
    _add(around, egg, pixel)
    return light + around


def _add(plane: Array, nucleus: Nucleus, pixel: float) -> None:
    """Add a nucleus's light (or an egg's) to a plane: proportional to how thick it is there."""
    precision = nucleus.inverse.T @ nucleus.inverse
    outline = np.linalg.inv(precision)[1:, 1:]
    side = len(plane)
    middle = nucleus.centre[1:] / pixel + side / 2 - 0.5
    reach = np.sqrt(np.diag(outline)) / pixel
    low = np.maximum(np.floor(middle - reach), 0).astype(int)
    high = np.minimum(np.ceil(middle + reach) + 1, side).astype(int)
    y = ((np.arange(low[0], high[0]) - middle[0]) * pixel)[:, None]
    x = ((np.arange(low[1], high[1]) - middle[1]) * pixel)[None]
    across = np.linalg.inv(outline)
    gauge = across[0, 0] * y * y + 2 * across[0, 1] * y * x + across[1, 1] * x * x
    thick = 2 * np.sqrt(np.maximum(1 - gauge, 0) / precision[0, 0]) / THICKNESS
    lineage = nucleus.name[0]
    if lineage == HOLLOW:
        thick *= 0.35 + 0.65 * np.minimum(gauge / 0.4, 1)
    glow = GLOW[lineage] * (DENSE / nucleus.radius) ** DENSITY if lineage in GLOW else CYTOPLASM
    plane[low[0] : high[0], low[1] : high[1]] += (glow * nucleus.brightness * thick).astype(np.float32)


def _path(embryo: int, time: int) -> str:
    return f"images/{_name(embryo)}/t{time:03d}.png"


def _name(embryo: int) -> str:
    return f"embryo_{embryo + 1:02d}"
