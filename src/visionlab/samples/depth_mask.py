"""The generated set of task ``depth_mask``: figures in furnished rooms, whose depth and outline are known exactly.

Rooms (:mod:`visionlab.samples.rooms`) and figures (:mod:`visionlab.samples.figures`) are made of simple solids, and
every pixel comes from rays that meet them: depth is analytic, with no network and no sensor between. What betrays it
is what betrays it to people: perspective, where something touches the floor, size, shading and shadows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from visionlab.errors import UsageError
from visionlab.io.encoding import eight_bits, jpeg, png
from visionlab.samples.figures import KINDS
from visionlab.samples.rooms import Room
from visionlab.samples.scene import Figure, compose, picture, stand
from visionlab.samples.shapes import Array
from visionlab.samples.tracing import Group
from visionlab.samples.views import Camera, View, look

PLACEMENTS = 2
"""Images of one figure in its room, each at another place."""

NOISE = 0.006  # standard deviation of the camera's noise, as a share of white


@dataclass(frozen=True)
class DepthMaskSet:
    """``backgrounds`` rooms, each with ``per_background`` images of figures that stand in it.

    A figure is in one room only, so that splitting by rooms separates the figures too.

    Attributes:
        seed: at least 0; with a room's number it settles everything about that room.
        layout: ``nested`` (a folder for each background and foreground, with the background alone) or ``flat``
            (numbered files).
        backgrounds: number of rooms (groups).
        per_background: images of each room; every two of them show the same figure at two places.
        image_size: height and width in pixels.

    Raises:
        UsageError: a value is out of range.
    """

    seed: int = 0
    layout: Literal["nested", "flat"] = "nested"
    backgrounds: int = 150
    per_background: int = 6
    image_size: int = 128

    def __post_init__(self) -> None:
        if self.layout not in ("nested", "flat"):
            raise UsageError(f"layout of the depth_mask sample: nested or flat expected, got {self.layout!r}.")
        sizes = {"seed": (0, 2**63), "backgrounds": (1, 999), "per_background": (1, 999), "image_size": (32, 1024)}
        for name, (low, high) in sizes.items():
            check_whole(getattr(self, name), low, high, f"{name} of the depth_mask sample")

    @property
    def parts(self) -> int:
        """The rooms."""
        return self.backgrounds

    def write_part(self, part: int, folder: Path) -> int:
        """Write all files of room ``part`` and return the number of its images."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(part,)))
        room = Room.random(rng)
        view = look(room, Camera.random(rng, self.image_size, room.width))
        empty = picture(view)
        grain = rng.normal(0, NOISE, empty.shape)
        if self.layout == "nested":
            save(folder / "bg" / f"{background_name(part)}.jpg", jpeg(eight_bits(empty + grain)))
        figures = -(-self.per_background // PLACEMENTS)
        kinds = [str(kind) for _ in range(-(-figures // len(KINDS))) for kind in rng.permutation(list(KINDS))]
        number = 0
        for figure in range(figures):
            count = min(PLACEMENTS, self.per_background - number)
            for place, (standing, seen) in enumerate(_placed(rng, view, kinds[figure], count)):
                image, mask, depth = compose(view, empty, standing, seen)
                names = self._names(part, number, part * figures + figure, place)
                contents = jpeg(eight_bits(image + grain)), png(mask * np.uint8(255)), png(millimetres(depth))
                for name, content in zip(names, contents, strict=True):
                    save(folder / name, content)
                number += 1
        return number

    def _names(self, background: int, number: int, figure: int, place: int) -> tuple[str, str, str]:
        """Return the paths of image, mask and depth."""
        if self.layout == "flat":
            count = background * self.per_background + number
            return f"images/fgbg{count:06d}.jpg", f"masks/mask{count:06d}.png", f"depth/fgbg{count:06d}.png"
        stem = f"{background_name(background)}/{figure + 1:03d}/{place + 1:03d}"
        return f"fgbg/{stem}.jpg", f"fgbgmask/{stem}.png", f"dense/{stem}.png"

    def source(self) -> str:
        """Return the text of SOURCE.md."""
        nested = """`fgbg/<background>/<foreground>/<place>.jpg`, masks in `fgbgmask/` and depth in `dense/` under the
  same names (.png); `bg/<background>.jpg` is the room alone. A foreground is in one room only."""
        flat = f"""`images/fgbg<number>.jpg`, `depth/fgbg<number>.png`, `masks/mask<number>.png`;
  the background is the number divided by {self.per_background}, without the remainder."""
        return f"""# Generated depth and mask sample

Synthetic images, made by visionlab's `samples.write("depth_mask", ...)`; nothing in them was photographed.
Good for trying the commands and for tests; a model trained on them says nothing about real photographs.

- Layout: {nested if self.layout == "nested" else flat}
- Depth: 16-bit PNG in millimetres, along the optical axis of the camera (not along the ray); exact to the
  millimetre at the pixels' centres. 0 would be unknown and does not occur. Windows, pictures and doors have the
  depth of their wall.
- Mask: 8-bit PNG, 255 where the figure covers at least 200/255 of the pixel, else 0. Its shadow is background.
- How: rays cast at box-shaped rooms with textures, furniture and lamps, and at one figure that stands on the floor
  (people, animals, birds, balls, robots), wholly in view. Cameras differ in place, height, tilt and
  focal length. Figures cast shadows; all other pixels are those of the room, but for JPEG (quality 95).
- Size: {self.backgrounds} rooms x {self.per_background} images; {self.image_size} x {self.image_size} pixels.
- Seed: {self.seed}.
- License: MIT, as the project.
"""


def background_name(part: int) -> str:
    """Return the name of room number ``part``."""
    return f"bg_{part + 1:03d}"


def _placed(rng: np.random.Generator, view: View, kind: str, count: int) -> list[tuple[Group, Figure]]:
    """Return a figure at ``count`` places; one for which there are too few is drawn anew."""
    while True:
        figure = KINDS[kind](rng)
        found = [place for place in (stand(rng, view, figure) for _ in range(count)) if place is not None]
        if len(found) == count:
            return found


def check_whole(value: object, low: int, high: int, name: str) -> None:
    """Raise ``UsageError`` unless ``value`` is a whole number in this range."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{name}: a whole number from {low} to {high} expected, got {value!r}.")


def millimetres(depth: Array) -> NDArray[np.uint16]:
    """Return metres as whole millimetres."""
    return np.rint(1000 * depth).astype(np.uint16)


def save(path: Path, content: bytes) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
