"""Columns of an index whose files are decoded and kept: images, further inputs, maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
        preprocess: how windows are cut of them and scaled.
        scale: what maps are multiplied with to have the user's unit.
        around: for each row, the places of all planes that are seen of it, one after the other, its own among them;
            None: its own alone.
        limits: for each row, the values that become 0 and 1 where the preprocessing scales by percentiles.
    """

    cache: Cache
    places: np.ndarray[Any, Any]
    preprocess: Preprocess
    scale: float = 1.0
    around: np.ndarray[Any, Any] | None = None
    limits: np.ndarray[Any, Any] | None = None

    @property
    def facts(self) -> pd.DataFrame:
        """Return what each row's file held, in the order of the index."""
        return self.cache.facts.iloc[self.places].reset_index(drop=True)

    def image(self, row: int, across: float, down: float) -> np.ndarray[Any, Any]:
        """Return the window of an image, H x W x C, ``uint8`` or ``float32``; of several planes, their channels."""
        places = [self.places[row]] if self.around is None else self.around[row]
        limits = None if self.limits is None else (float(self.limits[row, 0]), float(self.limits[row, 1]))
        planes = [
            self.preprocess.unit(self.preprocess.window(self.cache[int(place)], across, down), limits)
            for place in places
        ]
        return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)

    def map(self, row: int, across: float, down: float) -> np.ndarray[Any, Any]:
        """Return the window of a map, H x W, ``float32`` in the user's unit, NaN where it is unknown."""
        stored = self.cache[int(self.places[row])].astype(np.float32)
        values = self.preprocess.window(stored, across, down, fill=float("nan"))
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
    beside: Sequence[str] = (),
    verify: bool = False,
) -> Stored:
    """Return the decoded files of one column of an index, made first if need be; each file is kept once.

    Args:
        table: the index.
        column: of paths relative to ``root``, or of planes of such files.
        preprocess: channels and geometry.
        name: the beginning of the cache's own folder.
        reader: the sizes of the images that the files belong to -> how they are read.
        like: for each row, the sizes of its image; None for the images themselves.
        root: of the data set.
        folder: the cache folder.
        beside: columns of further planes that are seen of each row, half of them before its own.
        verify: see :func:`visionlab.data.cache.build`.

    Raises:
        DataError: a file is missing or broken.
    """
    columns = [column, *beside]
    named = np.concatenate([table[one].to_numpy(str) for one in columns])
    first, places = np.unique(named, return_index=True, return_inverse=True)[1:]
    # In the order of the index, not of the names.
    order = np.argsort(first, kind="stable")
    first, places = first[order], np.argsort(order)[places].reshape(len(columns), -1)
    paths = named[first].tolist()
    if like is not None:
        _refuse_two_sizes(table, column, like, first, places[0])
    own = reader([like[row] for row in first]) if like is not None else reader(None)
    cache = build(paths, root, preprocess, folder, name, own, verify=verify)
    half = 1 + len(beside) // 2
    around = np.concatenate([places[1:half], places[:1], places[half:]]).T if beside else None
    return Stored(cache, places[0], replace(preprocess, dtype=cache.preprocess.dtype), around=around)


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
