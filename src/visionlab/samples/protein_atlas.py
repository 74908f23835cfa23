"""The generated set of task ``protein_atlas``: cells in four stains, one of which shows a protein where its labels say.

Images are drawn by :mod:`visionlab.samples.stains`, the patterns of the 28 labels by
:mod:`visionlab.samples.proteins`. Labels are uneven as in the challenge, but for a floor that lets the rarest be
learnt and tested.

Source of the layout and of all frequencies: train.csv of Kaggle's Human Protein Atlas Image Classification, 2018.
"""

from __future__ import annotations

import csv
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visionlab.errors import UsageError
from visionlab.io.encoding import png
from visionlab.samples.depth_mask import check_whole
from visionlab.samples.stains import photograph, stained

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
KIN = {3: (2,), 8: (20, 23), 10: (9, 25), 13: (12, 21), 16: (14, 17, 25), 17: (14, 16, 25), 22: (21,)}
"""Main label -> those that go with it, in every second case."""


@dataclass(frozen=True)
class ProteinAtlasSet:
    """Images of about 3 to 9 cells each, one file for every stain.

    Attributes:
        seed: at least 0; with an image's number it settles everything about that image.
        images: number of images in train/; their labels are in train.csv.
        test_images: number of images in test/; their labels are in no file.
        image_size: height and width in pixels of about 0.6 um; larger images show more cells.
        bits: 8 or 16 bits a pixel.

    Raises:
        UsageError: a value is out of range.
    """

    seed: int = 0
    images: int = 2600
    test_images: int = 60
    image_size: int = 96
    bits: int = 8

    def __post_init__(self) -> None:
        sizes = {"seed": (0, 2**63), "images": (1, 99_999), "test_images": (1, 99_999), "image_size": (48, 1024)}
        for name, (low, high) in sizes.items():
            check_whole(getattr(self, name), low, high, f"{name} of the protein_atlas sample")
        if self.bits not in (8, 16):
            raise UsageError(f"bits of the protein_atlas sample: 8 or 16 expected, got {self.bits!r}.")

    @property
    def parts(self) -> int:
        """The rounds of train/, then those of test/."""
        return _rounds(self.images) + _rounds(self.test_images)

    def write_part(self, part: int, folder: Path) -> int:
        """Write the images of a round, and with the first one the tables; return the number of images."""
        if part == 0:
            self._write_tables(folder)
        train = part < _rounds(self.images)
        split = "train" if train else "test"
        number = part if train else part - _rounds(self.images)
        (folder / split).mkdir(exist_ok=True)
        samples = self.round(split, number)
        for name, labels, rng in samples:
            for stain, image in photograph(rng, stained(rng, self.image_size, labels), self.bits).items():
                (folder / split / f"{name}_{stain}.png").write_bytes(png(image))
        return len(samples)

    def round(self, split: str, number: int) -> list[tuple[str, list[int], np.random.Generator]]:
        """Return Id, labels and random generator of every image of a round of ``train`` or ``test``."""
        seed = np.random.SeedSequence(self.seed, spawn_key=(("train", "test").index(split), number))
        first, *seeds = seed.spawn(1 + ROUND)
        rng = np.random.default_rng(first)
        shares = np.array(COUNTS) ** DAMPING
        more = rng.choice(len(COUNTS), ROUND - len(COUNTS), p=shares / shares.sum())
        main = rng.permutation([*range(len(COUNTS)), *more]).tolist()
        samples = [
            (str(uuid.UUID(bytes=rng.bytes(16), version=4)), _labels(rng, label), np.random.default_rng(own))
            for label, own in zip(main, seeds, strict=True)
        ]
        return samples[: (self.images if split == "train" else self.test_images) - number * ROUND]

    def _write_tables(self, folder: Path) -> None:
        """Write train.csv and sample_submission.csv, in the order of their Ids, which tells nothing."""
        train = [
            [name, " ".join(map(str, labels))]
            for number in range(_rounds(self.images))
            for name, labels, _ in self.round("train", number)
        ]
        test = [[name, "0"] for k in range(_rounds(self.test_images)) for name, _, _ in self.round("test", k)]
        for file, header, rows in ("train", "Target", train), ("sample_submission", "Predicted", test):
            with (folder / f"{file}.csv").open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream, lineterminator="\n").writerows([["Id", header], *sorted(rows)])

    def source(self) -> str:
        """Return the text of SOURCE.md."""
        return f"""# Generated protein atlas sample

Synthetic images, made by visionlab's `samples.write("protein_atlas", ...)`; nothing in them was photographed.
Good for trying the commands and for tests; a model trained on them says nothing about real cells.

- Layout, as of Kaggle's Human Protein Atlas Image Classification: `train.csv` (Id, Target: class numbers, unsorted),
  `train/<Id>_<stain>.png`, `test/<Id>_<stain>.png`, `sample_submission.csv` (Id, Predicted: a class for the form's
  sake). The labels of test/ are in no file.
- Stains: red microtubules, green the protein, blue the nucleus, yellow the endoplasmic reticulum; 1 to 4 labels.
- How: cells with a pattern for each label (28 classes) in green, blur, photon noise, read noise and quantisation,
  another exposure for every file. One main label of each class in every {ROUND} images, the other labels by the
  challenge's frequencies.
- Size: {self.images} images with labels, {self.test_images} without; {self.image_size} x {self.image_size} pixels, \
{self.bits} bits.
- Seed: {self.seed}.
- License: MIT, as the project.
"""


def _rounds(images: int) -> int:
    return -(-images // ROUND)


def _labels(rng: np.random.Generator, main: int) -> list[int]:
    """Return a main label and what goes with it, in any order, as the challenge lists them."""
    labels = [main]
    count = 1 + rng.choice(len(NUMBERS), p=NUMBERS)
    while len(labels) < count:
        if main in KIN and rng.random() < 0.5:
            further = int(rng.choice(KIN[main]))
        else:
            further = int(rng.choice(list(COMPANIONS), p=list(COMPANIONS.values())))
        if further not in labels:
            labels.append(further)
    return [int(label) for label in rng.permutation(labels)]
