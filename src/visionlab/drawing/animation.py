"""Animated GIFs of volumes and series: slices through z, or projections through time, with the outlines of objects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from visionlab.drawing.outlines import bar_length, limits, rim
from visionlab.drawing.style import rgb
from visionlab.files import temporary

Array = npt.NDArray[Any]

WIDTH, MOST, RATE = 480, 60, 8.0
"""Pixels across at most, frames at most, frames a second."""

# Pictures are drawn in the numbers of a palette of greys and the outlines' colours, so that no colour is guessed. More
# greys would hold more noise, which makes large files.
_GREYS = 64
_LINE, _HOLD = 18, 1000  # pixels of a line of text under the picture, milliseconds that the last frame stays
_ENLARGE = 4


class _Frame(NamedTuple):
    """A frame before its intensities are scaled: picture, pixels of each outline, caption."""

    image: npt.NDArray[np.float32]
    rims: list[npt.NDArray[np.bool_]]
    caption: str


class Animation:
    """An animated GIF, built frame by frame in bounded memory.

    Of more than ``MOST`` frames every second one is given up, as often as need be, so that any number may be added.
    All frames are of one size and share one scale of intensities, see :func:`visionlab.drawing.outlines.limits`.

    Args:
        outlines: name -> colour (``#RRGGBB``), the widest and lowest first.
        pixel: width of a pixel in um for the scale bar; None: there is none.
    """

    def __init__(self, outlines: Mapping[str, str], *, pixel: float | None = None) -> None:
        self.outlines, self.pixel = dict(outlines), pixel
        self._frames: list[_Frame] = []
        self._seen, self._every, self._across = 0, 1, 0
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
        """
        number, self._seen = self._seen, self._seen + 1
        if len(self._frames) == MOST and number % self._every == 0:
            self._frames, self._every = self._frames[::2], 2 * self._every
        if number % self._every:
            return
        image = image.max(axis=0) if image.ndim == 4 else image
        self._across = image.shape[1]
        factor = WIDTH / image.shape[1]
        factor = min(factor, max(1, min(int(factor), _ENLARGE)))  # enlarged by whole numbers
        size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        shown = cv2.resize(image.mean(axis=2, dtype=np.float32), size, interpolation=how)
        rims = []
        for place, name in enumerate(self.outlines):
            ids = labels.get(name, np.zeros((1, 1)))
            ids = ids.max(axis=0) if ids.ndim == 3 else ids
            # OpenCV knows no large integers.
            ids = cv2.resize(ids.astype(np.float64), size, interpolation=cv2.INTER_NEAREST).astype(np.int64)
            rims.append(rim(ids, len(self.outlines) - place))
        self._frames.append(_Frame(np.asarray(shown, np.float32), rims, caption))

    def save(self, path: Path | str) -> Path:
        """Write the GIF (the folder is made) and return its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        ends = limits(np.stack([frame.image for frame in self._frames])[..., None])
        first, *rest = [self._drawn(frame, ends) for frame in self._frames]
        durations = [round(1000 / RATE)] * len(rest) + [_HOLD]
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
        """Return the picture in the palette's numbers; under it caption, then the names of the outlines."""
        low, high = ends
        numbers = np.round(np.clip((frame.image - low) / max(high - low, 1e-12), 0, 1) * (_GREYS - 1)).astype(np.uint8)
        for place, where in enumerate(frame.rims):
            numbers[where] = _GREYS + place
        height, width = numbers.shape
        picture = Image.fromarray(np.concatenate([numbers, np.zeros((2 * _LINE, width), np.uint8)]), "P")
        greys = np.repeat(np.linspace(0, 255, _GREYS)[:, None], 3, axis=1)
        colours = [255 * rgb(colour)[None] for colour in self.outlines.values()]
        picture.putpalette(np.concatenate([greys, *colours]).round().astype(np.uint8).tobytes())
        draw, white = ImageDraw.Draw(picture), _GREYS - 1
        if self.pixel is not None:
            length, words = bar_length(self.pixel * self._across)
            start = width - 8 - round(width * length)
            draw.rectangle((start - 2, height - 12, width - 7, height - 6), fill=0)
            draw.rectangle((start, height - 10, width - 9, height - 8), fill=white)
            draw.text((width - 8, height + 1.5 * _LINE), words, fill=white, font=self._font, anchor="rm")
        right = 6.0
        for place, name in enumerate(self.outlines):
            draw.text((right, height + 1.5 * _LINE), name, fill=_GREYS + place, font=self._font, anchor="lm")
            right += self._font.getlength(name) + 14
        # Where there is little room, its beginning is cut: the number of the slice stands at the end.
        fits = self._font.getlength(frame.caption) < width - 12
        left, anchor = (6, "lm") if fits else (width - 6, "rm")
        draw.text((left, height + 0.5 * _LINE), frame.caption, fill=white, font=self._font, anchor=anchor)
        return picture
