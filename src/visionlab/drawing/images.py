"""Intensities of images for looking at. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

LOW, HIGH = 1.0, 99.0


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


def stretch_words(channels: int) -> str:
    """Return what :func:`stretch` did to images of that many channels, for a caption."""
    shown = {1: "", 2: ", the first of 2 channels", 3: ""}.get(channels, f", the first 3 of {channels} channels")
    return f"each image stretched from its {LOW:.0f}st to its {HIGH:.0f}th percentile{shown}"


def grey(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return H x W of an image for looking at, H x W or H x W x 3."""
    return image if image.ndim == 2 else np.asarray(image @ np.array([0.299, 0.587, 0.114], np.float32))
