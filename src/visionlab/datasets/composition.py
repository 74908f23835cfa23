"""What a composite consists of: each image from its seed, each folder of images whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionlab.datasets.composite_sources import Source
from visionlab.datasets.pasting import fitted, paste, read_background, read_cutout, resize
from visionlab.files import new_folder, write_bytes
from visionlab.io.encoding import Array, jpeg, png
from visionlab.seeds import derive

IMAGES, MASKS, BACKGROUNDS = "fgbg", "fgbgmask", "bg"

_MEMORY = 2**29  # bytes of cut-outs that are kept in memory


@dataclass(frozen=True)
class Settings:
    """What shapes the images of a composite; see :class:`visionlab.datasets.compositor.Compositor`."""

    seed: int
    per_pair: int
    flips: bool
    scale: tuple[float, float]
    image_size: int | None
    mask_threshold: int
    image_format: str


class Composition:
    """Every cut-out on every background.

    Args:
        settings: how they are put together.
        folders: of the backgrounds and of the cut-outs.
        backgrounds, cutouts: what was found there.
    """

    def __init__(
        self, settings: Settings, folders: tuple[Path, Path], backgrounds: list[Source], cutouts: list[Source]
    ) -> None:
        self.settings, self.backgrounds, self.cutouts = settings, backgrounds, cutouts
        self.background_names = [f"bg_{number:03d}" for number in range(1, len(backgrounds) + 1)]
        self.cutout_names = [f"{number:03d}" for number in range(1, len(cutouts) + 1)]
        self.per_folder = settings.per_pair * (2 if settings.flips else 1)
        self._folders = folders
        # Images follow each other by background; of the cut-outs as many are kept as there is memory for.
        most = max(4 * 4 * height * width for height, width in map(self._kept_size, cutouts))
        self._background = lru_cache(maxsize=4)(self._read_background)
        self._cutout = lru_cache(maxsize=max(4, _MEMORY // most))(self._read_cutout)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Yield the numbers of background and cut-out of each folder of images."""
        for background in range(len(self.backgrounds)):
            for cutout in range(len(self.cutouts)):
                yield background, cutout

    def image(self, background: int, cutout: int, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return image (H x W x 3) and mask (H x W, 0 and 255) number ``number`` of a cut-out on a background."""
        s, below, above = self.settings, self.backgrounds[background], self.cutouts[cutout]
        rng = np.random.default_rng(derive(s.seed, "composite", below.path, above.path, number))
        height, width = fitted((above.height, above.width), (below.height, below.width), rng.uniform(*s.scale))
        pasted = resize(self._cutout(cutout), height, width)
        if number >= s.per_pair:
            pasted = pasted[:, ::-1]
        top, left = (int(rng.integers(0, spare + 1)) for spare in (below.height - height, below.width - width))
        return paste(self._background(background), pasted, top, left, s.mask_threshold)

    def write_pair(self, root: Path, background: int, cutout: int, limit: int | None = None) -> list[int]:
        """Write all images of a cut-out on a background, or the first ``limit``; return the sizes of the files."""
        images, masks = self._places(root, background, cutout)
        sizes = []
        for folder in (images, masks):
            shutil.rmtree(folder, ignore_errors=True)  # whole folders are left alone, so this one lacks some files
        with new_folder(masks) as new_masks, new_folder(images) as new_images:
            for number in range(self.per_folder)[:limit]:
                image, mask = self.image(background, cutout, number)
                for folder, suffix, content in (
                    (new_images, self.settings.image_format, self._encode(image)),
                    (new_masks, "png", png(mask)),
                ):
                    (folder / f"{number + 1:03d}.{suffix}").write_bytes(content)
                    sizes.append(len(content))
        return sizes

    def write_background(self, root: Path, background: int) -> None:
        """Write a background as its images have it, unless it is there."""
        path = root / BACKGROUNDS / f"{self.background_names[background]}.{self.settings.image_format}"
        if not path.is_file():
            write_bytes(path, self._encode(self._background(background)))

    def missing(self, root: Path) -> list[tuple[int, int]]:
        """Return the pairs whose images are not all there."""
        return [pair for pair in self.pairs() if any(_count(p) != self.per_folder for p in self._places(root, *pair))]

    def clean(self, root: Path) -> None:
        """Remove what a killed process left unfinished; to be called when no other one is at work."""
        for part in root.glob("*/*/.*.part"):
            shutil.rmtree(part)
        for part in root.glob(f"{BACKGROUNDS}/.*.part"):
            part.unlink()

    def manifest(self) -> dict[str, Any]:
        """Return all that the images depend on, as plain data."""
        return {
            "format": 1,
            "settings": {**asdict(self.settings), "scale": list(self.settings.scale)},
            "backgrounds": dict(zip(self.background_names, map(asdict, self.backgrounds), strict=True)),
            "cutouts": dict(zip(self.cutout_names, map(asdict, self.cutouts), strict=True)),
        }

    def enlargement(self) -> tuple[int, float]:
        """Return how many cut-outs are enlarged beyond their pixels at the largest size, and the greatest factor."""
        factors = [
            self.settings.scale[1] * max(min(b.height / c.height, b.width / c.width) for b in self.backgrounds)
            for c in self.cutouts
        ]
        return sum(factor > 1 for factor in factors), max(factors)

    def _places(self, root: Path, background: int, cutout: int) -> tuple[Path, Path]:
        part = Path(self.background_names[background], self.cutout_names[cutout])
        return root / IMAGES / part, root / MASKS / part

    def _encode(self, image: NDArray[np.uint8]) -> bytes:
        return jpeg(image) if self.settings.image_format == "jpg" else png(image)

    def _read_background(self, background: int) -> NDArray[np.uint8]:
        return read_background(self._folders[0] / self.backgrounds[background].path, self.settings.image_size)

    def _read_cutout(self, cutout: int) -> Array:
        source = self.cutouts[cutout]
        whole = read_cutout(self._folders[1] / source.path, self.settings.mask_threshold)
        return resize(whole, *self._kept_size(source))

    def _kept_size(self, cutout: Source) -> tuple[int, int]:
        """Return the size at which a cut-out is kept: twice the largest that it is used at, if it is larger."""
        used = self.settings.scale[1] * max(
            min(b.height / cutout.height, b.width / cutout.width) for b in self.backgrounds
        )
        factor = min(1.0, 2 * used)
        return max(1, round(cutout.height * factor)), max(1, round(cutout.width * factor))


def _count(folder: Path) -> int:
    """Return the number of files in a folder, 0 if there is none."""
    try:
        with os.scandir(folder) as entries:
            return sum(1 for _ in entries)
    except FileNotFoundError:
        return 0
