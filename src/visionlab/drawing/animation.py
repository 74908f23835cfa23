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
from visionlab.files import temporary

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

WIDTH, MOST, RATE = 480, 60, 8.0
"""Pixels across at most, frames at most, frames a second."""

# A palette of greys and shades of each colour: pictures are drawn in its numbers, so that no colour is guessed. More
# greys would hold more noise, which makes large files.
_GREYS, _SHADES, _COLOURS = 64, 16, 3
_STRIP, _HOLD = 24, 1000  # pixels under the picture, milliseconds that the last frame stays
_ENLARGE = 4


@dataclass
class _Kept:
    """A frame before its intensities are scaled: picture, pixels of each outline, caption."""

    image: npt.NDArray[np.float32]
    rims: list[npt.NDArray[np.bool_]]
    caption: str


class Animation:
    """An animated GIF, built frame by frame in bounded memory.

    Of more than ``most`` frames every second one is given up, as often as need be, so that any number may be added.
    All frames share one scale of intensities: black is the median of their 1st percentiles, white the largest of their
    99.8th.

    Args:
        outlines: name -> colour (``#RRGGBB``), up to three, the widest and lowest first; one prediction by default.
        pixel: width of a pixel in um for the scale bar; None: there is none.
        width: of the picture in pixels, at most.
        most: frames.
        rate: frames a second.
    """

    def __init__(
        self,
        outlines: Mapping[str, str] | None = None,
        *,
        pixel: float | None = None,
        width: int = WIDTH,
        most: int = MOST,
        rate: float = RATE,
    ) -> None:
        self.outlines = dict(outlines or {"predicted": PREDICTED})
        if len(self.outlines) > _COLOURS:
            raise ValueError(f"outlines: expected at most {_COLOURS}, found {len(self.outlines)}")
        self.pixel, self.width, self.most, self.rate = pixel, width, most, rate
        self._frames: list[_Kept] = []
        self._seen, self._every = 0, 1
        self._shape: tuple[int, ...] = ()

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
        if len(self._frames) == self.most:
            self._frames, self._every = self._frames[::2], 2 * self._every
            if number % self._every:
                return
        image = image.max(axis=0) if image.ndim == 4 else image
        if self._shape and image.shape[:2] != self._shape:
            raise ValueError(f"frame {number}: expected {self._shape} pixels as in the first, found {image.shape[:2]}")
        self._shape = image.shape[:2]
        factor = self.width / image.shape[1]
        factor = min(factor, max(1, min(int(factor), _ENLARGE)))  # enlarged by whole numbers
        size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        grey = cv2.resize(image.mean(axis=2, dtype=np.float32), size, interpolation=how)
        rims = []
        for place, name in enumerate(self.outlines):
            rims.append(np.zeros(grey.shape, bool))
            if name in labels:
                ids = labels[name].max(axis=0) if labels[name].ndim == 3 else labels[name]
                ids = ids.astype(np.float64)  # OpenCV knows no large integers
                rims[-1] = rim(cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST), len(self.outlines) - place)
        self._frames.append(_Kept(np.asarray(grey, np.float32), rims, caption))

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
        strip = _Strip(self._frames[0].image.shape[1], list(self.outlines), self._bar())
        pictures = [self._drawn(frame, ends, strip) for frame in self._frames]
        durations = [round(100 / self.rate) * 10] * len(pictures)
        durations[-1] = max(durations[-1], _HOLD)
        part = temporary(path)
        first, *rest = pictures
        try:
            # A list of durations belongs to several frames only.
            many: dict[str, Any] = {"append_images": rest, "duration": durations, "loop": 0} if rest else {}
            first.save(part, format="GIF", save_all=True, optimize=False, **many)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def _bar(self) -> tuple[int, str] | None:
        """Return the scale bar's length in pixels of the picture and in words."""
        if self.pixel is None:
            return None
        across = self._frames[0].image.shape[1]
        length, words = bar_length(self.pixel * self._shape[1])
        return round(across * length), words

    def _drawn(self, frame: _Kept, ends: tuple[float, float], strip: _Strip) -> Image.Image:
        low, high = ends
        shade = np.clip((frame.image - low) / max(high - low, 1e-12), 0, 1)
        numbers = np.round(shade * (_GREYS - 1)).astype(np.uint8)
        for place, where in enumerate(frame.rims):
            numbers[where] = _full(place)
        strip.bar(numbers)
        picture = Image.fromarray(np.concatenate([numbers, strip.drawn(frame.caption)]), "P")
        picture.putpalette(_palette(list(self.outlines.values())))
        return picture


class _Strip:
    """What stands under each picture: caption, names of the outlines in their colours, length of the scale bar."""

    def __init__(self, width: int, names: list[str], bar: tuple[int, str] | None) -> None:
        self.width, self.names, self.length = width, names, bar
        # Pillow's own has no µ.
        self.font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 12)

    def bar(self, numbers: Bytes) -> None:
        """Draw the scale bar into the lower right corner of a picture: white within black."""
        if self.length is None:
            return
        height, width = numbers.shape
        end, start = width - 8, max(width - 8 - self.length[0], 0)
        numbers[max(height - 12, 0) : height - 5, max(start - 2, 0) : end + 2] = 0
        numbers[max(height - 10, 0) : height - 7, start:end] = _GREYS - 1

    def drawn(self, caption: str) -> Bytes:
        """Return the strip for a caption, whose beginning is cut where there is no room for it."""
        numbers = np.zeros((_STRIP, self.width), np.uint8)
        right = self.width - 6
        if self.length is not None:
            right = self._text(numbers, self.length[1], right, None)
        for place in reversed(range(len(self.names))):
            right = self._text(numbers, self.names[place], right, place)
        while caption and self.font.getlength(caption) > right - 8:
            caption = "…" + caption[2:] if len(caption) > 2 else ""
        self._text(numbers, caption, 6 + round(self.font.getlength(caption)), None)
        return numbers

    def _text(self, numbers: Bytes, text: str, right: int, colour: int | None) -> int:
        """Write a text that ends at a column; return the column where one to its left may end."""
        left = right - round(self.font.getlength(text))
        canvas = Image.new("L", (self.width, _STRIP))
        ImageDraw.Draw(canvas).text((left, _STRIP / 2), text, fill=255, font=self.font, anchor="lm")
        ink = np.asarray(canvas, np.uint16)
        if colour is None:
            shades = ink * (_GREYS - 1) // 255
        else:
            shades = np.where(ink > 16, _full(colour) - (_SHADES - 1) + ink * (_SHADES - 1) // 255, 0)
        np.copyto(numbers, shades.astype(np.uint8), where=ink > 16)
        return left - 14


def _full(place: int) -> int:
    """Return the number of the full shade of an outline's colour in the palette."""
    return _GREYS + _SHADES * (place + 1) - 1


def _palette(colours: list[str]) -> list[int]:
    rows = [np.repeat(np.linspace(0, 255, _GREYS)[:, None], 3, axis=1)]
    for colour in colours:
        full = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        rows.append(np.linspace(1 / _SHADES, 1, _SHADES)[:, None] * full)
    return [int(value) for value in np.concatenate(rows).round().ravel()]


def through_z(
    image: Array, labels: Mapping[str, Array], outlines: Mapping[str, str] | None = None, *, name: str = "", **look: Any
) -> Animation:
    """Return the animation of the slices of a volume, ready to be saved.

    Args:
        image: Z x H x W x C.
        labels: name of the outline -> Z x H x W ids.
        outlines: name -> colour, see :class:`Animation`.
        name: of the volume, before each slice's number.
        look: what :class:`Animation` takes beside them.
    """
    animation = Animation(outlines, **look)
    for z in range(len(image)):
        caption = f"{name} z {z}".strip()
        animation.add(image[z], {key: ids[z] for key, ids in labels.items()}, caption)
    return animation
