"""The generated sets ``depth_mask`` and ``cutouts``: figures in box-shaped rooms, and the two apart.

Depth is known by construction: a pinhole camera looks straight into a box, and a figure is flat and stands at one depth
on its floor. What betrays depth is what betrays it to people: perspective of floor and walls, where feet touch the
floor, size and shading.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as checked
from scipy import ndimage

from visionlab.io.encoding import eight_bits, jpeg, png
from visionlab.samples import CHECKED, Array, SampleSet, rotation, save, smooth_noise

PLACEMENTS = 2
"""Images of one figure in its room, each at another place."""

OVERSAMPLING = 3  # samples of a pixel in each direction; odd, so that one is in its middle
MASK_THRESHOLD = 200  # a pixel is foreground if its alpha (0..255) is at least this, as in the published sets
SMALLEST = 0.16  # height of a figure as a share of the image's
NOISE = 0.006  # standard deviation of the camera's noise as a share of white

Ellipse = tuple[float, float, float, float, float, int]
"""Part of a figure of height 1 on the ground: x, y (up), half-axes, turn in radians and number of its colour."""


@checked(frozen=True, config=CHECKED)
class DepthMaskSet(SampleSet):
    """``backgrounds`` rooms (the groups), each with ``per_background`` images of figures that stand in it.

    A figure is in one room only, so that splitting by rooms separates the figures too; every two images of a room show
    the same figure at two places.
    """

    task = "depth_mask"
    about = """
- `fgbg/<background>/<foreground>/<place>.jpg`, masks in `fgbgmask/` and depth in `dense/` under the same names (.png);
  `bg/<background>.jpg` is the room alone. A foreground is in one room only.
- Depth: 16-bit PNG in millimetres, along the optical axis of the camera (not along the ray). 0 would be unknown and
  does not occur. Mask: 255 where the figure covers at least 200/255 of the pixel, else 0; its shadow is background.
- Patterns on the sides of a box in perspective, and a flat figure of ellipses that stands on its floor."""
    backgrounds: Annotated[int, Field(ge=1, le=999)] = 100
    per_background: Annotated[int, Field(ge=1, le=999)] = 6
    image_size: Annotated[int, Field(ge=32, le=1024)] = 128

    @property
    def parts(self) -> int:
        """The rooms."""
        return self.backgrounds

    def write_part(self, part: int, folder: Path) -> int:
        """Write all files of room ``part`` and return the number of its images."""
        rng = self.rng(part)
        room = Room.random(rng, self.image_size)
        grain = NOISE * rng.standard_normal((self.image_size, self.image_size, 3))
        background = f"bg_{part + 1:03d}"
        save(folder / "bg" / f"{background}.jpg", jpeg(eight_bits(pixels(room.colours) + grain)))
        figures = -(-self.per_background // PLACEMENTS)
        for number in range(self.per_background):
            place = number % PLACEMENTS
            if place == 0:
                figure = Figure.random(rng, list(FIGURES)[int(rng.integers(len(FIGURES)))])
            image, mask, depth = room.with_figure(rng, figure)
            stem = f"{background}/{part * figures + number // PLACEMENTS + 1:03d}/{place + 1:03d}"
            save(folder / "fgbg" / f"{stem}.jpg", jpeg(eight_bits(image + grain)))
            save(folder / "fgbgmask" / f"{stem}.png", png(mask * np.uint8(255)))
            save(folder / "dense" / f"{stem}.png", png(np.rint(1000 * depth).astype(np.uint16)))
        return self.per_background


@checked(frozen=True, config=CHECKED)
class CutoutSet(SampleSet):
    """Pictures of empty rooms in ``backgrounds/`` (JPEG) and of single figures in ``cutouts/`` (RGBA PNG)."""

    task = "cutouts"
    about = """
- `backgrounds/`: rooms, JPEG. `cutouts/`: figures, PNG with red, green, blue and alpha, soft at the outline.
- They are for trying how a set for the task depth_mask is composed:
  `python -m visionlab.prepare task=depth_mask make=composite make.backgrounds=THIS/backgrounds
  make.cutouts=THIS/cutouts data.root=NEW`"""
    backgrounds: Annotated[int, Field(ge=1, le=999)] = 8
    cutouts: Annotated[int, Field(ge=1, le=999)] = 14
    image_size: Annotated[int, Field(ge=32, le=1024)] = 128

    @property
    def parts(self) -> int:
        """The rooms, then the figures."""
        return self.backgrounds + self.cutouts

    def write_part(self, part: int, folder: Path) -> int:
        """Write one room or one figure."""
        rng, size = self.rng(part), self.image_size
        if part < self.backgrounds:
            image = pixels(Room.random(rng, size).colours) + NOISE * rng.standard_normal((size, size, 3))
            save(folder / "backgrounds" / f"bg_{part + 1:03d}.jpg", jpeg(eight_bits(image)))
            return 1
        count = part - self.backgrounds
        kind = list(FIGURES)[count % len(FIGURES)]
        figure = Figure.random(rng, kind)
        height = min(0.9 * size, 0.48 * size / figure.reach)
        colours, alpha = figure.drawn(size, height, size / 2, 0.95 * size)
        cover = pixels(alpha)[..., None]
        image = np.where(cover > 0, pixels(colours) / np.maximum(cover, 1e-6), 1)
        rgba = eight_bits(np.concatenate([image, cover], 2))
        rows, columns = (np.flatnonzero(rgba[..., 3].any(axis)) for axis in (1, 0))
        cut = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        save(folder / "cutouts" / f"{kind}_{count + 1:03d}.png", png(np.ascontiguousarray(cut)))
        return 1


FIGURES: dict[str, tuple[float, float, tuple[Ellipse, ...]]] = {
    "person": (1.2, 1.9, (
        (-0.06, 0.25, 0.05, 0.25, 0, 1), (0.06, 0.25, 0.05, 0.25, 0, 1), (-0.17, 0.62, 0.035, 0.17, -0.3, 0),
        (0.17, 0.62, 0.035, 0.17, 0.3, 0), (0, 0.62, 0.13, 0.22, 0, 0), (0, 0.91, 0.075, 0.09, 0, 2),
    )),
    "animal": (0.7, 1.1, (
        (-0.4, 0.22, 0.055, 0.22, 0, 1), (-0.25, 0.22, 0.055, 0.22, 0, 1), (0.25, 0.22, 0.055, 0.22, 0, 1),
        (0.4, 0.22, 0.055, 0.22, 0, 1), (-0.65, 0.6, 0.04, 0.2, -0.6, 0), (0, 0.5, 0.55, 0.2, 0, 0),
        (0.55, 0.8, 0.18, 0.16, 0.3, 2),
    )),
    "bird": (0.6, 1.0, (
        (-0.08, 0.15, 0.035, 0.15, 0, 1), (0.08, 0.15, 0.035, 0.15, 0, 1), (0, 0.48, 0.24, 0.32, 0.5, 0),
        (-0.05, 0.48, 0.12, 0.24, 0.5, 1), (0.2, 0.85, 0.14, 0.15, 0, 2),
    )),
    "ball": (0.6, 0.9, ((0, 0.5, 0.5, 0.5, 0, 0), (0, 0.5, 0.16, 0.48, 0.6, 1))),
}  # fmt: skip
"""Kind of figure -> its least and greatest height in metres, and its parts from back to front."""


@dataclass(frozen=True)
class Figure:
    """A flat figure that stands on the ground: its parts, height in metres, and colours of the parts (3 x RGB)."""

    parts: Sequence[Ellipse]
    height: float
    colours: Array

    @classmethod
    def random(cls, rng: np.random.Generator, kind: str) -> Figure:
        """Draw a figure of a kind, in strong colours, unlike the rooms' muted ones."""
        low, high, usual = FIGURES[kind]
        side, wide = int(rng.choice((-1, 1))), 1.0 if kind == "ball" else rng.uniform(0.8, 1.25)
        parts = [(side * wide * x, y, wide * a, b, side * turn, colour) for x, y, a, b, turn, colour in usual]
        colours = [colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.75, 1), rng.uniform(0.5, 0.95)) for _ in range(3)]
        return cls(parts, rng.uniform(low, high), np.array(colours, np.float32))

    @property
    def reach(self) -> float:
        """How far it reaches to the sides as a share of its height, at most."""
        return max(abs(x) + max(a, b) for x, _, a, b, _, _ in self.parts)

    def drawn(self, size: int, height: float, x: float, ground: float) -> tuple[Array, Array]:
        """Return its colours and where it is, sampled ``OVERSAMPLING`` times as densely as ``size`` pixels.

        Args:
            size: height and width in pixels.
            height: of the figure in pixels.
            x, ground: column of its middle and row of its feet in pixels.
        """
        fine = (np.arange(size * OVERSAMPLING, dtype=np.float32) + 0.5) / OVERSAMPLING
        across, up = (fine - x) / height, (ground - fine) / height
        colours = np.zeros((len(fine), len(fine), 3), np.float32)
        alpha = np.zeros(colours.shape[:2], np.float32)
        for middle, over, a, b, turn, colour in self.parts:
            (c, s), _ = rotation(turn)
            rows, columns = (np.flatnonzero(np.abs(gap) <= max(a, b)) for gap in (up - over, across - middle))
            window = np.ix_(rows, columns)
            u, v = (across[columns] - middle)[None], (up[rows] - over)[:, None]
            along = (c * u + s * v) / a
            inside = along**2 + ((c * v - s * u) / b) ** 2
            light = 0.65 + 0.35 * np.sqrt(np.maximum(1 - inside, 0)) - 0.15 * along
            on = (inside <= 1)[..., None]
            colours[window] = np.where(on, self.colours[colour] * light[..., None], colours[window])
            alpha[window] = np.maximum(alpha[window], on[..., 0])
        return colours, alpha


@dataclass(frozen=True)
class Room:
    """A box seen by a camera that looks straight into it.

    Attributes:
        size: height and width of its image in pixels.
        focal, horizon: focal length, and row of the horizon, in pixels.
        eye, half: height of the camera, and half the width of the room, in metres.
        depth: of every sample along the optical axis, metres.
        colours: of every sample, 0..1.
    """

    size: int
    focal: float
    horizon: float
    eye: float
    half: float
    depth: Array
    colours: Array

    @classmethod
    def random(cls, rng: np.random.Generator, size: int) -> Room:
        """Draw a room, its patterns, and where the camera stands in it."""
        eye, high, half, long = (rng.uniform(*r) for r in ((1.3, 1.6), (2.4, 3.0), (1.6, 2.8), (3.5, 7.0)))
        focal, horizon = size * rng.uniform(0.65, 0.8), size * rng.uniform(0.28, 0.4)
        x, y = _rays(size, focal, horizon)
        # Depth at which a ray meets floor, ceiling, left, right and back wall.
        sides = ((eye, y), (high - eye, -y), (half, -x), (half, x), (long, np.ones_like(x)))
        meets = np.stack([np.where(toward > 0, gap / np.maximum(toward, 1e-6), np.inf) for gap, toward in sides])
        face, depth = meets.argmin(0), meets.min(0)
        right, down = x * depth, y * depth
        wall = _paint(rng)
        paints = (_paint(rng), _paint(rng), wall, wall, wall)
        places = ((right, depth), (right, depth), (depth, down), (depth, down), (right, down))
        colours = np.zeros((*depth.shape, 3), np.float32)
        for number, (paint, (u, v)) in enumerate(zip(paints, places, strict=True)):
            on = face == number
            colours[on] = paint(u[on], v[on]) * (1.0, 1.1, 0.8, 0.9, 1.0)[number]
        colours *= rng.uniform(1.0, 1.3) * np.exp(-depth / rng.uniform(9, 14))[..., None]  # light falls off
        return cls(size, focal, horizon, eye, half, depth, colours)

    def with_figure(self, rng: np.random.Generator, figure: Figure) -> tuple[Array, Array, Array]:
        """Stand a figure somewhere on the floor, wholly in view; return image, mask and depth of every pixel."""
        nearest = 1.03 * self.focal * self.eye / (self.size - self.horizon)
        above = self.focal * (figure.height - self.eye) / (0.97 * self.horizon)  # its head must be in view, too
        reach = figure.reach * figure.height
        nearest = max(nearest, above, 2.1 * self.focal * reach / self.size)
        farthest = min(self.focal * figure.height / (SMALLEST * self.size), 2 * nearest, self.depth.max() - 0.3)
        depth = float(np.exp(rng.uniform(np.log(nearest), np.log(max(farthest, nearest)))))
        side = max(min(self.half, self.size / 2 * depth / self.focal) - 1.03 * reach, 0)
        x = rng.uniform(-side, side)
        column, ground = self.size / 2 + self.focal * x / depth, self.horizon + self.focal * self.eye / depth
        colours, alpha = figure.drawn(self.size, self.focal * figure.height / depth, column, ground)
        right, down = (ray * self.depth for ray in _rays(self.size, self.focal, self.horizon))
        gap = ((right - x) / (0.6 * reach)) ** 2 + ((self.depth - depth - 0.05) / 0.25) ** 2
        shadow = np.where(down > self.eye - 0.01, 1 - 0.55 * np.exp(-gap), 1)[..., None]
        image = pixels(np.where(alpha[..., None] > 0, colours, self.colours * shadow))
        mask = np.rint(255 * pixels(alpha)) >= MASK_THRESHOLD
        middle = self.depth[OVERSAMPLING // 2 :: OVERSAMPLING, OVERSAMPLING // 2 :: OVERSAMPLING]
        return image, mask, np.where(mask, depth, middle)


def _rays(size: int, focal: float, horizon: float) -> tuple[Array, Array]:
    """Return how far every sample's ray goes to the right and down for each metre ahead."""
    fine = (np.arange(size * OVERSAMPLING, dtype=np.float32) + 0.5) / OVERSAMPLING
    x, y = np.meshgrid((fine - size / 2) / focal, (fine - horizon) / focal)
    return x, y


def _paint(rng: np.random.Generator) -> Callable[[Array, Array], Array]:
    """Return a muted pattern: a function of places in metres (n, n) that gives colours (n x 3)."""
    base = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.02, 0.2), rng.uniform(0.45, 0.9)), np.float32)
    periods, strength = rng.uniform(0.3, 0.7, 2), rng.uniform(0.1, 0.3)
    across, along = rng.integers(0, 2, 2)  # checks, stripes either way, or neither
    table = smooth_noise(rng, (64, 64), 1.5)

    def paint(u: Array, v: Array) -> Array:
        bands = across * np.floor(u / periods[0]) + along * np.floor(v / periods[1])
        spots = ndimage.map_coordinates(table, (u * 9 % 64, v * 9 % 64), order=1, mode="grid-wrap")
        return base * (1 - strength * (bands % 2) + 0.08 * spots)[:, None].astype(np.float32)

    return paint


def pixels(samples: Array) -> Array:
    """Return the mean of every pixel's samples."""
    side = len(samples) // OVERSAMPLING
    mean: Array = samples.reshape(side, OVERSAMPLING, side, OVERSAMPLING, *samples.shape[2:]).mean((1, 3))
    return mean
