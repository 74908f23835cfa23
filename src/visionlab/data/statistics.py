"""Statistics: the scale of images and maps, the limits of time points, and the spacing of targets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from visionlab.console import progress
from visionlab.data.cache import Cache, CachedColumn, stamp
from visionlab.data.parallel import in_parallel
from visionlab.data.preprocess import Preprocess
from visionlab.errors import DataError
from visionlab.files import write_json
from visionlab.io import dtype_range, read_image, split_plane, stored_file


def image_statistics(cache: Cache, rows: Sequence[int] | np.ndarray[Any, Any]) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel over all pixels of these cached images.

    8- and 16-bit values count as fractions of their range (0..1), float values as they are.
    """
    total = np.zeros(cache.preprocess.channels)
    squares = np.zeros(cache.preprocess.channels)
    pixels = 0
    scale = dtype_range(np.dtype(cache.preprocess.dtype))
    for row in progress(rows, len(rows), "measuring intensities"):
        values = cache[int(row)].astype(np.float64) / scale
        total += values.sum(axis=(0, 1))
        squares += np.square(values).sum(axis=(0, 1))
        pixels += values.shape[0] * values.shape[1]
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0.0))
    # Black channels have no deviation; dividing by one leaves them at zero.
    return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def image_span(images: Sequence[CachedColumn], rows: Sequence[int] | np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return the lowest and highest value of these rows of all inputs, 16-bit ones as fractions of their range."""
    low: list[float] = []
    high: list[float] = []
    for stored in images:
        facts = stored.cache.facts.iloc[np.unique(stored.places[rows])]
        full = np.where(facts["dtype"] == "float32", 1.0, np.where(facts["dtype"] == "uint8", 255.0, 65535.0))
        low.append(float((facts["min"] / full).min()))
        high.append(float((facts["max"] / full).max()))
    return min(low), max(high)


@dataclass(frozen=True)
class MapScale:
    """Range and mean of maps, in the user's unit: ``low`` and ``high`` are the 0.1st and 99.9th percentiles."""

    low: float
    high: float
    mean: float


def map_statistics(stored: CachedColumn, rows: Sequence[int] | np.ndarray[Any, Any]) -> MapScale:
    """Return range and mean over the known pixels of these rows; the percentiles from up to 2,000 pixels a map.

    Raises:
        DataError: no pixel is known.
    """
    total, count, parts = 0.0, 0, []
    for row in progress(rows, len(rows), "measuring maps"):
        values = stored.cache[int(stored.places[row])].astype(np.float32).ravel()
        values = values[np.isfinite(values)]
        total += float(values.sum(dtype=np.float64))
        count += len(values)
        # An odd step, so that it doesn't meet the same few columns of an image of even width again and again.
        parts.append(values[:: max(1, len(values) // 2000) | 1])
    if not count:
        raise DataError("the maps of the training split have no known pixel: nothing can be learnt from them")
    low, high = np.percentile(np.concatenate(parts), [0.1, 99.9])
    scale = stored.scale
    return MapScale(float(low) * scale, float(high) * scale, total / count * scale)


def target_step(table: pd.DataFrame, column: str) -> float | None:
    """Return the median gap between neighbouring different values of ``column`` within the groups, None without any."""
    ordered = table.sort_values(["group", column])
    gaps = ordered[column].diff()[ordered["group"].eq(ordered["group"].shift())]
    gaps = gaps[gaps > 1e-9]
    return float(gaps.median()) if len(gaps) else None


# Part of the fingerprint: raise it when what :meth:`visionlab.data.preprocess.Preprocess.limits` returns changes.
_LAYOUT = 2


def limits_of(
    time_points: Sequence[tuple[str, ...]], root: Path, preprocess: Preprocess, folder: Path, *, verify: bool = False
) -> np.ndarray[Any, Any]:
    """Return the limits of each sample's time point, N x 2, in the values of the cache.

    They are measured on all cores, one time point in memory on each, and kept in the cache folder.

    Args:
        time_points: of N samples, all planes of the time point that each belongs to, relative to ``root``.
        root: of the data set.
        preprocess: with the type of the cached values.
        folder: the cache folder.
        verify: measure again even if the files seem to be the same.

    Raises:
        DataError: a file cannot be read.
    """
    each = list(dict.fromkeys(time_points))
    about = f"{_LAYOUT} {root.resolve()} {preprocess.dtype} {preprocess.channels}"
    about += f" {preprocess.stains}" if preprocess.stains else ""
    digest = hashlib.blake2b(about.encode(), digest_size=16)
    for planes in each:
        digest.update(f"{planes}\0".encode())
    for file in sorted({stored_file(split_plane(root / path)[0]) for planes in each for path in planes}):
        digest.update(f"{file}\0".encode() + stamp(file))
    target = folder / f"limits-{digest.hexdigest()}.json"
    folder.mkdir(parents=True, exist_ok=True)

    def measure(planes: tuple[str, ...]) -> tuple[float, float]:
        return preprocess.limits(np.stack([read_image(root / path, preprocess.stains) for path in planes]))

    with FileLock(target.with_suffix(".lock")):
        if verify or not target.is_file():
            write_json(target, list(progress(in_parallel(measure, each), len(each), "measuring intensities")))
    found = dict(zip(each, json.loads(target.read_text(encoding="utf-8")), strict=True))
    return np.array([found[planes] for planes in time_points], dtype=np.float64).reshape(-1, 2)
