"""Pictures of what was found: images with the outlines of objects, and animations of volumes and series."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import imagecodecs
import numpy as np

from visionlab.console import LOG
from visionlab.drawing.animation import MOST, Animation
from visionlab.drawing.outlines import PREDICTED, SECOND, TRUE, limits, rim, shade
from visionlab.drawing.style import rgb
from visionlab.files import write_bytes
from visionlab.inference.prediction import Array
from visionlab.inference.series import Item
from visionlab.io import Volume, open_volume, read_labels
from visionlab.io.encoding import eight_bits

FOLDER = "overlay"


def colours(heads: Sequence[str]) -> dict[str, str]:
    """Return the colour of the outlines of each head; of more than three the first three are shown."""
    return dict(zip(heads, (PREDICTED, SECOND, TRUE), strict=False))


def outlined(image: Array, labels: Mapping[str, Array]) -> Array:
    """Return an image, H x W x C, with the outlines of objects, H x W ids of each head: H x W x 3 uint8."""
    shown = shade(image, limits(image[None]))
    shown = np.repeat(shown[:, :, None], 3, axis=2) if shown.ndim == 2 else shown
    for name, colour in colours(list(labels)).items():
        shown[rim(labels[name], max(1, round(min(image.shape[:2]) / 400)))] = rgb(colour)
    return eight_bits(shown)


class Pictures:
    """The picture of one file: ``overlay/<name>.png`` of a single image; of others ``overlay/<name>.gif`` if wanted.

    The animation goes through the time points of a series, with the maximum over z, and of one time point through z.

    Args:
        volume: the file.
        heads: names.
        path: of the picture, without its suffix.
        gif: whether there are animations.
    """

    def __init__(self, volume: Volume, heads: Sequence[str], path: Path, *, gif: bool) -> None:
        self._volume, self._path = volume, path
        self._animation = Animation(colours(heads), pixel=volume.voxel_size[2]) if gif else None

    def add(self, t: int, image: Array, labels: Mapping[str, Array]) -> None:
        """Add a time point: Z x H x W x C, and Z x H x W ids of each head."""
        volume = self._volume
        if volume.frames * volume.planes == 1:
            picture = outlined(image[0], {name: ids[0] for name, ids in labels.items()})
            write_bytes(self._path.with_name(f"{self._path.name}.png"), bytes(imagecodecs.png_encode(picture)))
        elif self._animation is not None and volume.frames > 1:
            self._animation.add(image, labels, _caption(t, volume.interval))
        elif self._animation is not None:
            for z in range(len(image)):
                part = {name: ids[z] for name, ids in labels.items()}
                self._animation.add(image[z], part, f"z {z}")

    def save(self) -> None:
        """Write the animation, if there is one."""
        if self._animation is not None and len(self._animation):
            self._animation.save(self._path.with_name(f"{self._path.name}.gif"))


def _caption(t: int, interval: float | None) -> str:
    return f"t {t}" if not interval else f"t {t}, {t * interval / 60:.4g} min"


def draw_series(items: Sequence[Item], heads: Sequence[str], out: Path, axes: str | None, pixel: float | None) -> None:
    """Write ``overlay/<series>.gif`` of a series of files that are predicted, at most ``MOST`` of them, evenly spread.

    Args:
        items: its files.
        heads: names.
        out: the folder that their labels are in.
        axes: of files that do not tell.
        pixel: width of a pixel in um where the files do not tell.
    """
    ordered = sorted(items, key=lambda item: item.time or 0)
    animation: Animation | None = None
    size: tuple[int, int] | None = None
    for item in ordered[:: math.ceil(len(ordered) / MOST)]:
        volume = open_volume(item.path, axes=axes)
        if size is not None and (volume.height, volume.width) != size:
            LOG.warning("%s: time points of several sizes, so there is no animation of them", item.series)
            return
        size = (volume.height, volume.width)
        animation = animation or Animation(colours(heads), pixel=volume.voxel_size[2] or pixel)
        labels = {name: read_labels(out / name / f"{item.name}.tif") for name in heads}
        animation.add(volume.frame(0), labels, f"t {item.time}")
    if animation is not None:
        animation.save(out / FOLDER / f"{items[0].series}.gif")
