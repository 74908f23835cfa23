"""The generated set of task ``protein_atlas``: cells in four stains, one of which shows a protein where its labels say.

A pattern is a texture (uniform, rim, spots, rings, strokes, mesh, fibres) in a part of the cells. Labels are uneven as
in the challenge, but for a floor that lets the rarest be learnt and tested.

Source of the layout and of all frequencies: train.csv of Kaggle's Human Protein Atlas Image Classification, 2018.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy import ndimage

from visionlab.io.encoding import eight_bits, png
from visionlab.samples import CHECKED, Array, SampleSet, csv_table, save, smooth_noise

STAINS = ("red", "green", "blue", "yellow")
EXPOSURES = (0.3, 0.35, 0.5, 0.55)  # how bright a signal of 1 is as a share of white, in the median
BLUR, NOISE = 0.6, 0.012  # pixels, and a share of white; standard deviations
SPACE = 17  # pixels between the middles of neighbouring cells, at least

COUNTS = (
    12885, 1254, 3621, 1561, 1858, 2513, 1008, 2822, 53, 45, 28, 1093, 688, 537, 1066, 21, 530, 210, 902, 1482, 172,
    3777, 802, 2965, 322, 8228, 328, 11,
)  # fmt: skip
"""Images of each class among the 31,072 of the challenge."""

ROUND = 40
"""Images in which every class is the main label at least once: each is in 1 of 40 images at the least."""

DAMPING = 0.7  # the round's other main labels are as frequent as the real counts to this power
NUMBERS = (0.49, 0.40, 0.10, 0.01)  # how often an image has 1, 2, 3 and 4 labels, as in the challenge
COMPANIONS = {0: 0.42, 25: 0.30, 21: 0.09, 2: 0.08, 23: 0.06, 7: 0.05}  # how often these are the further labels
BRIDGE, SPINDLE, JUNCTIONS = 16, 17, 22  # the classes that not every field of cells shows


@dataclass(frozen=True, config=CHECKED)
class ProteinAtlasSet(SampleSet):
    """``images`` of some cells each in train/ and ``test_images`` in test/, one file for every stain."""

    task = "protein_atlas"
    about = """
- As of Kaggle's Human Protein Atlas Image Classification: `train.csv` (Id, Target: class numbers, unsorted),
  `train/<Id>_<stain>.png`, `test/<Id>_<stain>.png`, `sample_submission.csv` (Id, Predicted: a class for the form's
  sake). The labels of test/ are in no file.
- Red microtubules, green the protein, blue the nucleus, yellow the endoplasmic reticulum. For each label (28 classes)
  a texture in a part of the cells in green. One main label of each class in every 40 images, the other labels by the
  challenge's frequencies; another exposure for every file."""
    images: Annotated[int, Field(ge=1, le=99_999)] = 2000
    test_images: Annotated[int, Field(ge=1, le=99_999)] = 60
    image_size: Annotated[int, Field(ge=48, le=1024)] = 96

    @property
    def parts(self) -> int:
        """The rounds of train/, then those of test/."""
        return _rounds(self.images) + _rounds(self.test_images)

    def write_part(self, part: int, folder: Path) -> int:
        """Write the images of a round, and with the first one the tables; return the number of images."""
        if part == 0:
            self._write_tables(folder)
        split, number = ("train", part) if part < _rounds(self.images) else ("test", part - _rounds(self.images))
        samples = self.round(split, number)
        for name, labels, rng in samples:
            for stain, plane in zip(STAINS, stained(rng, self.image_size, labels), strict=True):
                save(folder / split / f"{name}_{stain}.png", png(eight_bits(plane)))
        return len(samples)

    def round(self, split: str, number: int) -> list[tuple[str, list[int], np.random.Generator]]:
        """Return Id, labels and random generator of every image of a round of ``train`` or ``test``."""
        key = ("train", "test").index(split), number
        rng = self.rng(*key)
        shares = np.array(COUNTS) ** DAMPING
        more = rng.choice(len(COUNTS), ROUND - len(COUNTS), p=shares / shares.sum())
        samples = [
            (str(uuid.UUID(bytes=rng.bytes(16), version=4)), _labels(rng, int(label)), self.rng(*key, place))
            for place, label in enumerate(rng.permutation([*range(len(COUNTS)), *more]))
        ]
        return samples[: (self.images if split == "train" else self.test_images) - number * ROUND]

    def _write_tables(self, folder: Path) -> None:
        """Write train.csv and sample_submission.csv, in the order of their Ids, which tells nothing."""
        train = [sample for number in range(_rounds(self.images)) for sample in self.round("train", number)]
        test = [sample for number in range(_rounds(self.test_images)) for sample in self.round("test", number)]
        targets = sorted((name, " ".join(map(str, labels))) for name, labels, _ in train)
        asked = sorted((name, "0") for name, _, _ in test)
        save(folder / "train.csv", csv_table(("Id", "Target"), targets))
        save(folder / "sample_submission.csv", csv_table(("Id", "Predicted"), asked))


def _rounds(images: int) -> int:
    return -(-images // ROUND)


def _labels(rng: np.random.Generator, main: int) -> list[int]:
    """Return a main label and what goes with it, in any order, as the challenge lists them."""
    labels = [main]
    count = 1 + rng.choice(len(NUMBERS), p=NUMBERS)
    while len(labels) < count:
        further = int(rng.choice(list(COMPANIONS), p=list(COMPANIONS.values())))
        if further not in labels:
            labels.append(further)
    return [int(label) for label in rng.permutation(labels)]


class Cells:
    """A field of cells: maps (``side x side``) of which part of which cell a pixel is in, and ways to draw in them.

    Attributes:
        owner: number of the cell that a pixel belongs to, -1 outside.
        depth: pixels to the cell's outline, 0 outside.
        nuclear: pixels to the outline of its nucleus, below 0 outside of that.
        nucleoli: discs in the nuclei, 0..1.
        poles: where a cell's centrosome is, beside its nucleus (n x 2, row and column).
        fibres: microtubules, from the poles to the outlines, 0..1; ``ends`` is where they end (m x 2).
        mesh: the endoplasmic reticulum, 0..1.
        plate, spindle, bridge: chromosomes and spindle of a cell in mitosis, and what joins two new cells; 0..1.
    """

    def __init__(self, rng: np.random.Generator, side: int, crowded: bool, mitotic: bool, joined: bool) -> None:
        self.rng, self.side = rng, side
        self.ys, self.xs = np.mgrid[:side, :side].astype(np.float32)
        most = max(3, round((1 if crowded else rng.uniform(0.5, 1)) * (side / 24) ** 2))
        middles = rng.uniform(3, side - 3, (12 * most, 2))
        apart = [0]
        for number in range(1, len(middles)):
            if len(apart) < most and np.hypot(*(middles[apart] - middles[number]).T).min() > SPACE:
                apart.append(number)
        self.centres = middles[apart]
        radii = rng.uniform(12, 16, len(apart))
        # Outlines wave: places are displaced by smooth noise before they are measured.
        ys, xs = (axis + 1.5 * smooth_noise(rng, axis.shape, 4) for axis in (self.ys, self.xs))
        share = np.stack([np.hypot(ys - y, xs - x) / r for (y, x), r in zip(self.centres, radii, strict=True)])
        self.owner = np.where(share.min(0) < 1, share.argmin(0), -1)
        least, greatest = ndimage.minimum_filter(self.owner, 3), ndimage.maximum_filter(self.owner, 3)
        self.contact = (least >= 0) & (least != greatest)
        self.depth = ndimage.distance_transform_edt(least == greatest) * (self.owner >= 0)
        size, turn = 0.42 * radii, rng.uniform(0, np.pi, len(radii))[self.owner]
        down, right = ys - self.centres[self.owner, 0], xs - self.centres[self.owner, 1]
        along, away = down * np.sin(turn) + right * np.cos(turn), down * np.cos(turn) - right * np.sin(turn)
        self.nuclear = size[self.owner] - np.hypot(along / 1.15, away * 1.15)
        self.plate, self.spindle = np.zeros((2, side, side))
        if mitotic:
            # One that lies well within the image.
            one = self.owner == np.abs(self.centres - side / 2).max(1).argmin()
            self.nuclear[one] = -9
            self.plate = np.clip(1.5 * (1 - (along / 1.5) ** 2 - (away / 6) ** 2), 0, 1) * one
            lens = np.clip(1.5 * (1 - (along / 9) ** 2 - (away / 5) ** 2), 0, 1) * one
            self.spindle = lens * (0.6 + 0.4 * np.cos(2 * away)) * (1 - self.plate)
        self.nuclear = np.minimum(self.nuclear, np.where(self.owner >= 0, self.depth - 1, -1))
        self.nucleus, self.cytoplasm = self.nuclear > 0, (self.owner >= 0) & (self.nuclear <= 0)
        side_on = rng.uniform(0, 2 * np.pi, len(radii))
        self.poles = self.centres + (1.15 * size + 2)[:, None] * np.stack([np.sin(side_on), np.cos(side_on)], 1)
        self.nucleoli = self.spots(self.nuclear > 3, 3, 1.8)
        self.ends = self.places((self.depth > 0) & (self.depth < 2), 18)
        homes = self.poles[self.owner[tuple(self.ends.astype(int).T)]]
        self.fibres = self.drawn(_lines(homes, self.ends), 0.2)
        self.mesh = np.clip(1 - 1.7 * np.abs(smooth_noise(rng, (side, side), 1.1)), 0, 1) * self.cytoplasm
        self.mesh *= np.exp(np.minimum(self.nuclear, 0) / 12)
        self.bridge = np.zeros((side, side))
        if joined:
            gaps = np.hypot(*(self.centres[:, None] - self.centres[None]).T) + 1e9 * np.eye(len(radii))
            first, second = self.centres[list(np.unravel_index(gaps.argmin(), gaps.shape))]
            self.bridge = self.drawn(_lines(first + 0.3 * (second - first), second + 0.3 * (first - second)), 1.0)

    def places(self, where: Array, count: int) -> Array:
        """Return ``count`` random places a cell (n x 2) where a map allows it."""
        found = []
        for number in range(len(self.centres)):
            free = np.argwhere(where & (self.owner == number))
            if len(free):
                found.append(free[self.rng.integers(0, len(free), count)])
        return np.concatenate(found).astype(float) if found else np.zeros((0, 2))

    def away(self, points: Array) -> Array:
        """Return how many pixels it is from every pixel to the nearest of some places (n x 2)."""
        at = np.rint(points).astype(int)
        at = at[((at >= 0) & (at < self.side)).all(1)]
        free = np.ones((self.side, self.side), bool)
        free[tuple(at.T)] = False
        distance: Array = ndimage.distance_transform_edt(free) if len(at) else np.full(free.shape, 99.0)
        return distance

    def drawn(self, points: Array, radius: float) -> Array:
        """Return a map (0..1) that is bright within ``radius`` of some places."""
        return np.clip(radius + 1 - self.away(points), 0, 1)

    def spots(self, where: Array, count: int, radius: float) -> Array:
        """Return ``count`` discs a cell."""
        return self.drawn(self.places(where, count), radius)

    def rings(self, where: Array, count: int, radius: float) -> Array:
        """Return ``count`` rings a cell, one pixel wide."""
        return np.clip(1 - np.abs(self.away(self.places(where, count)) - radius), 0, 1)

    def strokes(self, where: Array, count: int, length: float, radius: float) -> Array:
        """Return ``count`` straight strokes a cell that do not leave the cells."""
        starts = self.places(where, count)
        turn = self.rng.uniform(0, 2 * np.pi, len(starts))
        ends = starts + length * np.stack([np.sin(turn), np.cos(turn)], 1)
        return self.drawn(_lines(starts, ends), radius) * (self.owner >= 0)

    def near_pole(self, reach: float) -> Array:
        """Return which pixels of the cytoplasm are within ``reach`` of a pole."""
        return self.cytoplasm & (self.away(self.poles) < reach)

    def stripes(self) -> Array:
        """Return parallel fibres through each cell, in a direction of its own."""
        turn = self.rng.uniform(0, np.pi, len(self.centres))[self.owner]
        return np.clip(np.cos(1.6 * (self.ys * np.sin(turn) + self.xs * np.cos(turn))), 0, 1) * (self.depth > 1)


def _lines(starts: Array, ends: Array) -> Array:
    """Return places along lines, n x 2."""
    part = np.linspace(0, 1, 40)[:, None, None]
    return (starts + part * (ends - starts)).reshape(-1, 2)


PATTERNS: tuple[Callable[[Cells], Array], ...] = (
    lambda c: 0.8 * c.nucleus * (1 - 0.8 * c.nucleoli),  # nucleoplasm
    lambda c: np.exp(-np.square(c.nuclear / 1.1)) * (c.owner >= 0),  # nuclear membrane
    lambda c: c.nucleoli,  # nucleoli
    lambda c: 1.3 * c.spots(c.nucleoli > 0.5, 6, 0),  # nucleoli, fibrillar center
    lambda c: c.spots(c.nuclear > 1, 14, 0.3),  # nuclear speckles
    lambda c: 1.3 * c.spots(c.nuclear > 2, 2, 0.9),  # nuclear bodies
    lambda c: c.mesh,  # endoplasmic reticulum
    lambda c: c.strokes(c.near_pole(5), 6, 4, 0.5),  # Golgi apparatus
    lambda c: 1.2 * c.spots(c.cytoplasm, 36, 0),  # peroxisomes
    lambda c: 1.2 * c.spots(c.cytoplasm, 12, 0.8),  # endosomes
    lambda c: 1.2 * c.spots(c.cytoplasm & (c.nuclear > -5), 6, 1.6),  # lysosomes
    lambda c: c.strokes(c.cytoplasm & (c.nuclear > -4), 12, 12, 0),  # intermediate filaments
    lambda c: 0.8 * c.stripes(),  # actin filaments
    lambda c: 1.2 * c.strokes((c.depth > 0) & (c.depth < 4), 8, 3, 0.6),  # focal adhesion sites
    lambda c: 0.8 * c.fibres,  # microtubules
    lambda c: 1.3 * c.drawn(c.ends, 0),  # microtubule ends
    lambda c: 1.2 * c.bridge,  # cytokinetic bridge
    lambda c: 1.2 * c.spindle,  # mitotic spindle
    lambda c: np.maximum(1.2 * c.drawn(c.poles, 1.2), c.fibres * c.near_pole(9)),  # microtubule organizing center
    lambda c: 1.4 * c.drawn(c.poles, 0.8),  # centrosome
    lambda c: c.rings(c.cytoplasm, 8, 2.2),  # lipid droplets
    lambda c: np.exp(-np.square((c.depth - 1) / 1.2)) * (c.owner >= 0),  # plasma membrane
    lambda c: 1.2 * np.clip(2 - c.away(np.argwhere(c.contact)), 0, 1),  # cell junctions
    lambda c: 0.9 * c.strokes(c.cytoplasm, 18, 5, 0.5),  # mitochondria
    lambda c: 1.1 * c.drawn(c.poles, 3.5),  # aggresome
    lambda c: 0.45 * c.cytoplasm,  # cytosol
    lambda c: 1.3 * c.spots(c.cytoplasm, 3, 2),  # cytoplasmic bodies
    lambda c: 1.2 * np.maximum(c.rings(c.depth > 4, 2, 3.5), c.strokes(c.depth > 4, 2, 12, 0.6)),  # rods & rings
)
"""What is seen of each class in green: side x side, 0 to about 1.4. The smallest are brightest, as blur dims them."""


def stained(rng: np.random.Generator, side: int, labels: Sequence[int]) -> list[Array]:
    """Return the images of a field of cells (side x side, 0..1) in every stain."""
    mitotic, joined = (label in labels or rng.random() < 0.1 for label in (SPINDLE, BRIDGE))
    cells = Cells(rng, side, JUNCTIONS in labels, mitotic, joined)
    red = np.maximum.reduce([0.9 * cells.fibres, 0.6 * cells.bridge, 0.8 * cells.spindle])
    green = sum(rng.uniform(0.8, 1.1) * PATTERNS[label](cells) for label in labels)
    green = (green + rng.uniform(0.01, 0.05)) * rng.lognormal(0, 0.2, len(cells.centres) + 1)[cells.owner]
    blue = np.maximum(0.75 * cells.nucleus * (1 - 0.45 * cells.nucleoli), 1.2 * cells.plate)
    planes = []
    for plane, exposure in zip((red, green, blue, 0.85 * cells.mesh), EXPOSURES, strict=True):
        seen = ndimage.gaussian_filter(plane.astype(np.float32), BLUR) * exposure * rng.lognormal(0, 0.25)
        planes.append(seen + rng.uniform(0, 0.02) + NOISE * rng.standard_normal(seen.shape))
    return planes
