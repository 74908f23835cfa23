"""What goes into a prediction and what comes out. Importing this does not import torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from visionlab.data.images import read
from visionlab.data.preprocess import Preprocess
from visionlab.errors import DataError

Array = np.ndarray[Any, Any]
Source = str | os.PathLike[str] | Array


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one image.

    Each value and map is also an attribute: ``prediction.distance``, ``prediction.mask``.

    Attributes:
        values: name of the quantity -> value, in the unit of the training files.
        units: name of the quantity, and of the map -> its unit, empty if it has none.
        path: the file, or None for an array.
        maps: name of the head -> H x W float32 in the size of the image: the probability of the foreground for masks,
            a distance for depth.
    """

    values: Mapping[str, float]
    units: Mapping[str, str]
    path: str | None = None
    maps: Mapping[str, Array] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        # Looked up in __dict__: copying asks for attributes before there are any.
        values, maps = self.__dict__.get("values", {}), self.__dict__.get("maps", {})
        if name in maps:
            return maps[name]
        if name in values:
            return float(values[name])
        raise AttributeError(f"no predicted value '{name}'; there are: {', '.join([*maps, *values])}")


@dataclass(frozen=True)
class Ready:
    """The inputs of one sample as the network takes them.

    Attributes:
        values: C x h x w, the inputs one after the other, ``uint8`` or ``float32``.
        size: height and width of the image as it was given.
        path: the file, or None for an array.
    """

    values: Array
    size: tuple[int, int]
    path: str | None


def make_ready(sources: Mapping[str, Source], preprocess: Preprocess, whole: bool) -> Ready:
    """Return the inputs of a sample, prepared as in training.

    Args:
        sources: input name -> path or array; the first is the image.
        preprocess: as in training.
        whole: keep all of the image (for maps), rather than the window that a network for single values takes.

    Raises:
        DataError: a file cannot be read, an array is no image, or the inputs are not the same picture.
        TypeError: it is something else.
    """
    from visionlab.data.maps import same_view
    from visionlab.data.stored import joined

    found = {name: _open(source) for name, source in sources.items()}
    (first, path), *_ = found.values()
    size = preprocess.size(first.shape[0], first.shape[1], path or "array")
    parts = []
    for image, where in found.values():
        if not same_view(first.shape[:2], image.shape[:2]):
            raise DataError(
                f"{where or 'array'}: {image.shape[0]} x {image.shape[1]} pixels, but its image has {first.shape[0]} x "
                f"{first.shape[1]}; expected the same picture"
            )
        resized = preprocess.resize(image, where or "array", size)
        parts.append(preprocess.unit(resized if whole else preprocess.window(resized)))
    return Ready(joined(parts), (first.shape[0], first.shape[1]), path)


def _open(source: Source) -> tuple[Array, str | None]:
    if isinstance(source, np.ndarray):
        return _checked(source), None
    if isinstance(source, str | os.PathLike):
        return read(Path(source)), str(source)
    raise TypeError(f"expected an image's path, a NumPy array or a list of these, found {type(source).__name__}")


def _checked(array: Array) -> Array:
    """Return an array as H x W x C.

    Raises:
        DataError: it is no image.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or 0 in array.shape:
        raise DataError(f"array: expected H x W or H x W x C, found shape {array.shape}")
    if array.dtype not in (np.uint8, np.uint16, np.float32):
        raise DataError(
            f"array: expected uint8, uint16 or float32 as in the files, found {array.dtype}; convert it, keeping the "
            "scale"
        )
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise DataError("array: expected finite values, found NaN or infinity")
    return array
