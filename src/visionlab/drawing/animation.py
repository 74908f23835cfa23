"""Animated GIFs of volumes and series: slices through z, or projections through time, with the outlines of objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from visionlab.drawing.outlines import PREDICTED, bar_length, limits, rim
from visionlab.drawing.style import rgb
from visionlab.files import temporary

Array = npt.NDArray[Any]

WIDTH, MOST, RATE = 480, 60, 8.0
"""Pixels across at most, frames at most, frames a second."""

# Pictures are drawn in the numbers of a palette of greys and the outlines' colours, so that no colour is guessed. More
# greys would hold more noise, which makes large files.
_GREYS, _COLOURS = 64, 3
_STRIP, _HOLD = 24, 1000  # pixels under the picture, milliseconds that the last frame stays
_ENLARGE = 4


@dataclass
class _Frame:
    """A frame before its intensities are scaled: picture, pixels of each outline, caption."""

    image: npt.NDArray[np.float32]
    rims: list[npt.NDArray[np.bool_]]
    caption: str


class Animation:
    """An animated GIF, built frame by frame in bounded memory.

    Of more than ``MOST`` frames every second one is given up, as often as need be, so that any number may be added.
    All frames share one scale of intensities: black is the median of their 1st percentiles, white the largest of their
    99.8th.

    Args:
        outlines: name -> colour (``#RRGGBB``), up to three, the widest and lowest first; one prediction by default.
        pixel: width of a pixel in um for the scale bar; None: there is none.
    """

    def __init__(self, outlines: Mapping[str, str] | None = None, *, pixel: float | None = None) -> None:
        self.outlines = dict(outlines or {"predicted": PREDICTED})
        if len(self.outlines) > _COLOURS:
            raise ValueError(f"outlines: expected at most {_COLOURS}, found {len(self.outlines)}")
        self.pixel = pixel
        self._frames: list[_Frame] = []
        self._seen, self._every = 0, 1
        self._shape: tuple[int, ...] = ()
        # Pillow's own font has no µ.
        font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        self._font = ImageFont.truetype(str(font), 12)

    def __len__(self) -> int:
        """Return how many frames the file will have."""
        return len(self._frames)

    def add(self, image: Array, labels: Mapping[str, Array], caption: str = "") -> None:
        """Add a frame.

        Args:
            image: H x W x C, or Z x H x W x C, of which the maximum over z is shown; channels are averaged.
            labels: name of the outline -> ids of objects, H x W or Z x H x W, 0 and less is none; may lack any. Of
                objects one above the other those with higher ids hide the others.
            caption: what stands under the picture, e.g. ``t 12``.

        Raises:
            ValueError: the frame is of another size than the first one.
        """
        number, self._seen = self._seen, self._seen + 1
        if number % self._every:
            return
        if len(self._frames) == MOST:
            self._frames, self._every = self._frames[::2], 2 * self._every
            if number % self._every:
                return
        image = image.max(axis=0) if image.ndim == 4 else image
        if self._shape and image.shape[:2] != self._shape:
            raise ValueError(f"frame {number}: expected {self._shape} pixels as in the first, found {image.shape[:2]}")
        self._shape = image.shape[:2]
        factor = WIDTH / image.shape[1]
        factor = min(factor, max(1, min(int(factor), _ENLARGE)))  # enlarged by whole numbers
        size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        shown = cv2.resize(image.mean(axis=2, dtype=np.float32), size, interpolation=how)
        rims = []
        for place, name in enumerate(self.outlines):
            rims.append(np.zeros(shown.shape, bool))
            if name in labels:
                ids = labels[name].max(axis=0) if labels[name].ndim == 3 else labels[name]
                ids = ids.astype(np.float64)  # OpenCV knows no large integers
                ids = cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST).astype(np.int64)
                rims[-1] = rim(ids, len(self.outlines) - place)
        self._frames.append(_Frame(np.asarray(shown, np.float32), rims, caption))

    def save(self, path: Path | str) -> Path:
        """Write the GIF (the folder is made) and return its path.

        Raises:
            ValueError: there is no frame.
        """
        if not self._frames:
            raise ValueError("expected at least one frame")
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        ends = limits(np.stack([frame.image for frame in self._frames])[..., None])
        first, *rest = [self._drawn(frame, ends) for frame in self._frames]
        durations = [round(100 / RATE) * 10] * (1 + len(rest))
        durations[-1] = max(durations[-1], _HOLD)
        part = temporary(path)
        try:
            # A list of durations belongs to several frames only.
            many: dict[str, Any] = {"append_images": rest, "duration": durations, "loop": 0} if rest else {}
            first.save(part, format="GIF", save_all=True, optimize=False, **many)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def _drawn(self, frame: _Frame, ends: tuple[float, float]) -> Image.Image:
        low, high = ends
        numbers = np.round(np.clip((frame.image - low) / max(high - low, 1e-12), 0, 1) * (_GREYS - 1)).astype(np.uint8)
        for place, where in enumerate(frame.rims):
            numbers[where] = _GREYS + place
        height, width = numbers.shape
        picture = Image.fromarray(np.concatenate([numbers, np.zeros((_STRIP, width), np.uint8)]), "P")
        picture.putpalette(_palette(list(self.outlines.values())))
        draw = ImageDraw.Draw(picture)
        named = [(name, _GREYS + place) for place, name in enumerate(self.outlines)]
        if self.pixel is not None:
            length, words = bar_length(self.pixel * self._shape[1])
            start = width - 8 - round(width * length)
            draw.rectangle((start - 2, height - 12, width - 7, height - 6), fill=0)
            draw.rectangle((start, height - 10, width - 9, height - 8), fill=_GREYS - 1)
            named.append((words, _GREYS - 1))
        right = width - 6.0
        for words, colour in reversed(named):
            draw.text((right, height + _STRIP / 2), words, fill=colour, font=self._font, anchor="rm")
            right -= self._font.getlength(words) + 14
        caption = frame.caption
        while caption and self._font.getlength(caption) > right - 8:  # its beginning is cut where there is no room
            caption = "…" + caption[2:] if len(caption) > 2 else ""
        draw.text((6, height + _STRIP / 2), caption, fill=_GREYS - 1, font=self._font, anchor="lm")
        return picture


def _palette(colours: list[str]) -> list[int]:
    greys = np.repeat(np.linspace(0, 255, _GREYS)[:, None], 3, axis=1)
    return [int(value) for value in np.concatenate([greys, *(255 * rgb(c)[None] for c in colours)]).round().ravel()]


def through_z(
    image: Array, labels: Mapping[str, Array], outlines: Mapping[str, str], *, name: str = "", pixel: float | None
) -> Animation:
    """Return the animation of the slices of a volume, ready to be saved.

    Args:
        image: Z x H x W x C.
        labels: name of the outline -> Z x H x W ids.
        outlines: name -> colour, see :class:`Animation`.
        name: of the volume, before each slice's number.
        pixel: width of a pixel in um; None where unknown.
    """
    animation = Animation(outlines, pixel=pixel)
    for z in range(len(image)):
        animation.add(image[z], {key: ids[z] for key, ids in labels.items()}, f"{name} z {z}".strip())
    return animation
