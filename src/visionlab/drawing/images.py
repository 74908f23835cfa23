"""Mosaics of input images: examples of each split, best and worst predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, ORANGE, styled
from visionlab.drawing.text import count, digits, shorten, with_unit

LOW, HIGH = 1.0, 99.0


class Images(Protocol):
    """Images by position, each H x W x C, uint8, uint16 or float32: a list, or anything that reads them when asked."""

    def __getitem__(self, index: int, /) -> npt.NDArray[Any]: ...


def stretch(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return H x W or H x W x 3 in 0 to 1 for display, from the image's 1st to its 99th percentile.

    The channels are stretched together, so that colours keep their balance. Of 2 channels the first is shown as grey;
    of 4 and more the first three as red, green and blue. A constant image is grey.

    Raises:
        ValueError: not H x W x C.
    """
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"image: expected H x W x C, found shape {image.shape}")
    data = np.nan_to_num(image[..., :3] if image.shape[2] >= 3 else image[..., 0]).astype(np.float32)
    low, high = np.percentile(data, [LOW, HIGH])
    if high <= low:
        low, high = float(data.min()), float(data.max())
    if high <= low:
        return np.full_like(data, 0.5)
    return np.clip((data - low) / (high - low), 0, 1)


def pick_best_worst(true: npt.ArrayLike, pred: npt.ArrayLike, k: int = 6) -> tuple[list[int], list[int]]:
    """Return the positions of the up to ``k`` best (first the best) and ``k`` worst predictions (first the worst).

    No position is in both; predictions that are not finite are among the worst.
    """
    error = np.abs(np.asarray(pred, dtype=float) - np.asarray(true, dtype=float))
    order = np.argsort(np.where(np.isfinite(error), error, np.inf), kind="stable")
    worst = min(k, len(order) // 2)
    return order[: min(k, len(order) - worst)].tolist(), order[::-1][:worst].tolist()


@styled
def examples(images: Sequence[npt.NDArray[Any]], titles: Sequence[str], caption: str = "", columns: int = 6) -> Figure:
    """A mosaic of images, each under its title.

    Raises:
        ValueError: no image, or not one title an image.
    """
    if not images or len(images) != len(titles):
        raise ValueError(f"expected images and one title for each, found {len(images)} and {len(titles)}")
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    figure = style.new(1.75 * columns + 0.2, 2.05 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, axes in enumerate(grid):
        axes.set_axis_off()
        if i < len(images):
            _show(axes, images[i])
            axes.set_title(shorten(titles[i]), fontsize=10, fontweight="normal", loc="center", pad=4)
    return style.finish(figure, _caption(caption, images[0].shape[2]))


@styled
def best_worst(
    images: Images,
    true: npt.ArrayLike,
    pred: npt.ArrayLike,
    ids: Sequence[str],
    unit: str,
    *,
    k: int = 6,
    caption: str = "",
) -> Figure:
    """Two rows: the images with the smallest absolute errors and those with the largest.

    Args:
        images: by position; only the 2 ``k`` shown are asked for, so they may be read lazily.
        true, pred, ids: N values, in ``unit``, and names.

    Raises:
        ValueError: no sample.
    """
    t, p = np.asarray(true, dtype=float), np.asarray(pred, dtype=float)
    best, worst = pick_best_worst(t, p, k)
    if not best:
        raise ValueError("expected at least one sample")
    columns = max(len(best), len(worst))
    figure = style.new(max(1.75 * columns + 0.2, 5), 5.6 if worst else 3.2)
    channels = 1
    strips = figure.subfigures(2 if worst else 1, 1, squeeze=False)[:, 0]
    for strip, chosen, words, colour in zip(
        strips, (best, worst), ("smallest", "largest"), (BLUE, ORANGE), strict=False
    ):
        strip.suptitle(f"{count(len(chosen), 'image')} with the {words} error", x=0.01, ha="left", fontweight="bold")
        row = strip.subplots(1, columns, squeeze=False)[0]
        for place, axes in enumerate(row):
            axes.set_axis_off()
            if place < len(chosen):
                i = chosen[place]
                image = images[i]
                channels = image.shape[2]
                _show(axes, image)
                lines = f"true {digits(t[i])}\npredicted {with_unit(digits(p[i]), unit)}"
                axes.set_title(lines, fontsize=10, fontweight="normal", loc="center", pad=4, color=colour)
                axes.text(
                    0.5,
                    -0.04,
                    shorten(ids[i].rpartition("/")[2], 24),
                    transform=axes.transAxes,
                    ha="center",
                    va="top",
                    fontsize=8,
                )
    return style.finish(figure, _caption(caption, channels))


def captioned(image: npt.NDArray[Any], caption: str, side: int = 256) -> npt.NDArray[np.uint8]:
    """Return the image (H x W x C, stretched for display) with its caption under it, as H' x W' x 3.

    The image is enlarged to ``side`` or more pixels; each part of the caption that ends with a comma has its own line,
    so that pictures of one size whose captions have as many parts come out in one size.
    """
    pixels = np.round(stretch(image) * 255).astype(np.uint8)
    picture = Image.fromarray(pixels).convert("RGB")
    factor = max(1, math.ceil(side / min(picture.size)))
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    lines = caption.split(", ")
    canvas = Image.new("RGB", (picture.width, picture.height + 20 * len(lines) + 4), "white")
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for i, line in enumerate(lines):
        font = next(
            (f for f in map(ImageFont.load_default, range(15, 7, -1)) if draw.textlength(line, f) <= picture.width - 8),
            ImageFont.load_default(7),
        )
        draw.text((4, picture.height + 20 * i + 3), line, fill="black", font=font)
    return np.asarray(canvas)


def _show(axes: Axes, image: npt.NDArray[Any]) -> None:
    axes.imshow(stretch(image), cmap="gray", vmin=0, vmax=1)


def stretch_words(channels: int) -> str:
    """Return what :func:`stretch` did to images of that many channels, for a caption."""
    shown = {1: "", 2: ", the first of 2 channels", 3: ""}.get(channels, f", the first 3 of {channels} channels")
    return f"each image stretched from its {LOW:.0f}st to its {HIGH:.0f}th percentile{shown}"


def _caption(caption: str, channels: int) -> str:
    note = stretch_words(channels)
    return f"{caption} · {note}" if caption else note
