"""The generated set of task ``focus``: cells on glass, photographed at known distances from their focal plane.

Blur grows with the distance. Which side it is on is told by the halo that transparent cells have out of focus: bright
within and dark around on the one side, the other way round on the other, as in bright-field microscopy. The contrast
and the brightness of an image are drawn at random, so they tell nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy import ndimage

from visionlab.io.encoding import eight_bits, png
from visionlab.samples import CHECKED, Array, SampleSet, rotation, save, smooth_noise

HEIGHTS = (50.0, 250.0)  # um of the stage: the glass is tilted, so every field has its own focal height
STEP = 2.0  # um between neighbouring images of a field
MARGIN = 20  # pixels drawn around an image, whose light reaches it when out of focus
SHARP, SPREAD = 0.6, 0.25  # blur in focus, and what every um adds; standard deviations in pixels
HALO = 4.0  # um at which the halo is at three quarters of its strength
NOISE = 0.008  # standard deviation of the camera's noise as a share of white


@dataclass(frozen=True, config=CHECKED)
class FocusSet(SampleSet):
    """``fields`` places on a slide (the groups), each photographed at ``heights`` distances around the focal plane."""

    task = "focus"
    about = """
- `images/<field>_<height>_<distance>.png`: height of the stage and distance from the focal plane in um.
- Discs with grains, blurred by the distance, with a halo that is bright on one side of the focal plane and dark on the
  other; brightness and contrast at random, and noise."""
    fields: Annotated[int, Field(ge=1, le=999)] = 24
    heights: Annotated[int, Field(ge=1, le=999)] = 17
    image_size: Annotated[int, Field(ge=16, le=4096)] = 128

    @property
    def parts(self) -> int:
        """The fields."""
        return self.fields

    def write_part(self, part: int, folder: Path) -> int:
        """Write all images of field ``part`` to ``folder/images`` and return their number."""
        rng, camera = self.rng(part, 0), self.rng(part, 1)
        focal_height = round(rng.uniform(*HEIGHTS), 2)
        # Every third name holds an underscore, as real names may.
        name = f"plate{1 + part // 12}_field{part:03d}" if part % 3 == 2 else f"field{part:03d}"
        cells = specimen(rng, self.image_size + 2 * MARGIN)
        for height in range(self.heights):
            distance = round((height - (self.heights - 1) / 2) * STEP, 2)
            image = eight_bits(photograph(camera, cells, distance))
            save(folder / "images" / f"{name}_{focal_height + distance:.2f}_{distance:.2f}.png", png(image))
        return self.heights


def specimen(rng: np.random.Generator, side: int) -> Array:
    """Return how much light a random piece of slide takes away, ``side x side``, 0 where it is clear."""
    ys, xs = np.mgrid[:side, :side].astype(np.float32)
    layer = np.zeros((side, side), np.float32)
    texture = smooth_noise(rng, layer.shape, 1.2)
    grains = np.zeros_like(layer)
    for _ in range(max(2, rng.poisson(side**2 / rng.uniform(900, 1400)))):
        y, x = rng.uniform(0, side, 2)
        radius, stretch, turn = rng.uniform(7, 13), rng.uniform(1, 1.6), rotation(rng.uniform(0, np.pi))
        along, across = (turn[0, 0] * (ys - y) + turn[0, 1] * (xs - x), turn[1, 0] * (ys - y) + turn[1, 1] * (xs - x))
        dome = np.maximum(1 - (along**2 / stretch + across**2 * stretch) / radius**2, 0) ** 0.5
        layer = np.maximum(layer, rng.uniform(0.7, 1.2) * dome * (1 + 0.25 * texture))
        spots = rng.normal((y, x), 0.4 * radius, (10, 2)).round().astype(int) % side
        grains[tuple(spots.T)] += rng.uniform(2, 8, len(spots)).astype(np.float32)
    return layer + ndimage.gaussian_filter(grains, 0.8) + 0.03 * texture


def photograph(rng: np.random.Generator, cells: Array, distance: float) -> Array:
    """Return the image (0..1, without the margin) of a specimen at a distance in um from the focal plane."""
    sigma = SHARP + SPREAD * abs(distance)
    seen = ndimage.gaussian_filter(cells, sigma)
    halo = seen - ndimage.gaussian_filter(cells, 1.8 * sigma)
    inside = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    seen, halo = (part[inside] / (part[inside].std() + 1e-6) for part in (seen, halo))
    pattern = 1.2 * np.tanh(distance / HALO) * halo - seen
    pattern = (pattern - pattern.mean()) / (pattern.std() + 1e-6)
    image = rng.uniform(0.45, 0.6) + rng.uniform(0.07, 0.13) * pattern
    return image + NOISE * rng.standard_normal(image.shape)
