"""The generated set ``cutouts``: empty rooms and figures cut out, to try pasting the one onto the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionlab.io.encoding import eight_bits, jpeg, png, to_srgb
from visionlab.samples.depth_mask import NOISE, background_name, check_whole, save
from visionlab.samples.figures import KINDS
from visionlab.samples.rooms import Light, Room
from visionlab.samples.scene import frame, photograph, picture
from visionlab.samples.shapes import turn
from visionlab.samples.tracing import Group
from visionlab.samples.views import Camera, look


@dataclass(frozen=True)
class CutoutSet:
    """Pictures of empty rooms in ``backgrounds/`` (JPEG) and of single figures in ``cutouts/`` (RGBA PNG).

    Attributes:
        seed: at least 0.
        backgrounds: number of rooms.
        cutouts: number of figures.
        image_size: height and width of the rooms in pixels; a figure is up to as large.

    Raises:
        UsageError: a value is out of range.
    """

    seed: int = 0
    backgrounds: int = 8
    cutouts: int = 14
    image_size: int = 128

    def __post_init__(self) -> None:
        sizes = {"seed": (0, 2**63), "backgrounds": (1, 999), "cutouts": (1, 999), "image_size": (32, 1024)}
        for name, (low, high) in sizes.items():
            check_whole(getattr(self, name), low, high, f"{name} of the cutouts sample")

    @property
    def parts(self) -> int:
        """The rooms, then the figures."""
        return self.backgrounds + self.cutouts

    def write_part(self, part: int, folder: Path) -> int:
        """Write one room or one figure."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(part,)))
        if part < self.backgrounds:
            room = Room.random(rng)
            empty = picture(look(room, Camera.random(rng, self.image_size, room.width)))
            content = jpeg(eight_bits(empty + rng.normal(0, NOISE, empty.shape)))
            save(folder / "backgrounds" / f"{background_name(part)}.jpg", content)
        else:
            number = part - self.backgrounds
            kind = list(KINDS)[number % len(KINDS)]
            content = png(cut_out(KINDS[kind](rng).moved(turn(rng.normal(0, 0.8)), (0, 0, 0)), self.image_size))
            save(folder / "cutouts" / f"{kind}_{number + 1:03d}.png", content)
        return 1

    def source(self) -> str:
        """Return the text of SOURCE.md."""
        return f"""# Generated backgrounds and cut-outs

Synthetic images, made by visionlab's `samples.write("cutouts", ...)`; nothing in them was photographed.
They are for trying how a set for the task depth_mask is composed of cut-outs and backgrounds:

    python -m visionlab.prepare task=depth_mask make=composite make.backgrounds=THIS/backgrounds \\
        make.cutouts=THIS/cutouts data.root=NEW

- `backgrounds/`: {self.backgrounds} rooms, {self.image_size} x {self.image_size} pixels, JPEG.
- `cutouts/`: {self.cutouts} figures, PNG with red, green, blue and alpha, soft at the outline, white where clear.
- Seed: {self.seed}.
- License: MIT, as the project.
"""


def cut_out(figure: Group, size: int) -> NDArray[np.uint8]:
    """Return a picture of a figure on nothing, cut to its outline: height x width x RGBA, at most ``size`` high."""
    lamps = [
        Light(np.array([x, 3.0, -3.0], np.float32), np.full(3, strength, np.float32), 0.4)
        for x, strength in ((-2.5, 9.0), (2.0, 4.0))
    ]
    studio = Room(20.0, 20.0, 20.0, [], [], lamps, np.full(3, 0.55, np.float32))
    middle = float(figure.balls[0][0, 1])
    camera = Camera(np.array([0, middle, -8.0], np.float32), turn(), 20.0 * size, size)
    while (window := frame(figure, camera)) is None:
        camera = Camera(camera.place, camera.rotation, 0.97 * camera.focal, size)
    seen = photograph(figure, studio, camera, *window)
    samples = to_srgb(seen.light) * seen.hit[..., None]
    share = seen.hit.mean((2, 3))
    colour = samples.mean((2, 3)) / np.maximum(share, 1e-6)[..., None]
    image: NDArray[Any] = np.dstack([eight_bits(np.where(share[..., None] > 0, colour, 1.0)), seen.alpha])
    rows, columns = np.flatnonzero(seen.alpha.any(1)), np.flatnonzero(seen.alpha.any(0))
    return np.ascontiguousarray(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
