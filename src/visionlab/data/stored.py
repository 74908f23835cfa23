"""Columns of an index whose files are decoded and kept: images, further inputs, maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from visionlab.data.cache import Cache, build
from visionlab.data.preprocess import Preprocess
from visionlab.data.readers import Like, Reader
from visionlab.errors import DataError


@dataclass(frozen=True)
class Stored:
    """Images or maps of an index in a cache.

    Attributes:
        cache: the arrays.
        places: for each row of the index, which of them; several images may share one background.
        scale: what maps are multiplied with to have the user's unit.
    """

    cache: Cache
    places: np.ndarray[Any, Any]
    scale: float = 1.0

    def image(self, row: int, across: float, down: float) -> np.ndarray[Any, Any]:
        """Return the window of an image, H x W x C, ``uint8`` or ``float32``."""
        preprocess = self.cache.preprocess
        return preprocess.unit(preprocess.window(self.cache[int(self.places[row])], across, down))

    def map(self, row: int, across: float, down: float) -> np.ndarray[Any, Any]:
        """Return the window of a map, H x W, ``float32`` in the user's unit, NaN where it is unknown."""
        stored = self.cache[int(self.places[row])].astype(np.float32)
        values = self.cache.preprocess.window(stored, across, down, fill=float("nan"))
        return values[:, :, 0] * np.float32(self.scale)

    def like(self) -> Like:
        """Return, for each row, the height and width of its file and of what is kept of it."""
        facts = self.cache.facts
        on_disk = list(zip(facts["height"].tolist(), facts["width"].tolist(), strict=True))
        kept = self.cache.sizes
        return [(on_disk[place], kept[place]) for place in self.places]


def store_column(
    table: pd.DataFrame,
    column: str,
    preprocess: Preprocess,
    name: str,
    reader: Callable[[Any], Reader],
    like: Like | None,
    *,
    root: Path,
    folder: Path,
) -> Stored:
    """Return the decoded files of one column of an index, made first if need be; each file is kept once.

    Args:
        table: the index.
        column: of paths relative to ``root``.
        preprocess: channels and geometry.
        name: the beginning of the cache's own folder.
        reader: the sizes of the images that the files belong to -> how they are read.
        like: for each row, the sizes of its image; None for the images themselves.
        root: of the data set.
        folder: the cache folder.

    Raises:
        DataError: a file is missing or broken.
    """
    first, places = np.unique(table[column].to_numpy(str), return_index=True, return_inverse=True)[1:]
    # In the order of the index, not of the names.
    order = np.argsort(first, kind="stable")
    first, places = first[order], np.argsort(order)[places]
    paths = table[column].iloc[first].tolist()
    if like is not None:
        _refuse_two_sizes(table, column, like, first, places)
    own = reader([like[row] for row in first]) if like is not None else reader(None)
    return Stored(build(paths, root, preprocess, folder, name, own), places)


def _refuse_two_sizes(
    table: pd.DataFrame, column: str, like: Like, first: np.ndarray[Any, Any], places: np.ndarray[Any, Any]
) -> None:
    """Refuse a file that belongs to images of several sizes: it is kept once, in the size of one of them."""
    for row, place in enumerate(places):
        if like[row][1] != like[first[place]][1]:
            one, other = table["path"].iloc[int(first[place])], table["path"].iloc[row]
            raise DataError(
                f"{table[column].iloc[row]}: belongs to images of different shapes, {one} and {other}; expected one "
                "shape, so that they can share it: give each its own copy"
            )


def joined(images: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Return the images of one sample, H x W x C each, as one C x H x W; bytes become 0..1 beside floats."""
    if len({image.dtype for image in images}) > 1:
        images = [image if image.dtype == np.float32 else image / np.float32(255) for image in images]
    # Copied: the cache's arrays are read-only views, which tensors cannot be.
    return (
        np.ascontiguousarray(np.concatenate(images, axis=2).transpose(2, 0, 1))
        if len(images) > 1
        else (images[0].transpose(2, 0, 1).copy())
    )
