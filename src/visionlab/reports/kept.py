"""Slices that an evaluation keeps with what was predicted for them, so that runs can be compared from their folders."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visionlab.files import write_bytes

SIDE = 768
"""Of a larger slice a window of this size is kept."""
_MOST, _BYTES = 32, 256_000_000  # slices and bytes that are read of a file, whoever wrote it


@dataclass(frozen=True)
class Kept:
    """A slice.

    Attributes:
        name: its id.
        image: H x W or H x W x 3, bytes.
        true: H x W, ids of objects or foreground 1, 0 none, -1 unknown.
        pred: H x W, the same of the prediction.
        pixel: width of a pixel in um; NaN where unknown.
        score: overlap of the slice; NaN where undefined.
    """

    name: str
    image: npt.NDArray[np.uint8]
    true: npt.NDArray[np.int32]
    pred: npt.NDArray[np.int32]
    pixel: float
    score: float


def window(true: npt.NDArray[Any]) -> tuple[slice, slice]:
    """Return the part of a slice that is kept: all of it, or a window around the true foreground.

    It depends on nothing that was predicted, so that all runs keep the same.
    """
    marked = np.argwhere(true > 0)
    middle = marked.mean(axis=0) if len(marked) else np.array(true.shape) / 2
    starts = [int(np.clip(m - SIDE / 2, 0, max(n - SIDE, 0))) for m, n in zip(middle, true.shape, strict=True)]
    return slice(starts[0], starts[0] + SIDE), slice(starts[1], starts[1] + SIDE)


def write_kept(path: Path, slices: Sequence[Kept]) -> None:
    """Write slices into one compressed file."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "names": np.array([one.name for one in slices], dtype=str),
        "pixels": np.array([one.pixel for one in slices], dtype=float),
        "scores": np.array([one.score for one in slices], dtype=float),
    }
    for i, one in enumerate(slices):
        arrays |= {f"image_{i}": one.image, f"true_{i}": one.true, f"pred_{i}": one.pred}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_bytes(path, content.getvalue())


def read_kept(path: Path) -> dict[str, Kept]:
    """Return {name: slice} of a file.

    Raises:
        ValueError: it is broken, or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _BYTES:
                raise ValueError(f"{path.name}: expected up to {_BYTES:,} bytes, found more")
        with np.load(path, allow_pickle=False) as held:
            names = [str(name) for name in held["names"][:_MOST]]
            found = {
                name: Kept(
                    name,
                    held[f"image_{i}"],
                    held[f"true_{i}"],
                    held[f"pred_{i}"],
                    float(held["pixels"][i]),
                    float(held["scores"][i]),
                )
                for i, name in enumerate(names)
            }
    except (OSError, zipfile.BadZipFile, KeyError, IndexError, EOFError) as error:
        raise ValueError(f"{path.name}: it cannot be read: {error}") from None
    for one in found.values():
        same = one.true.ndim == 2 and one.pred.shape == one.true.shape == one.image.shape[:2]
        whole = one.image.dtype == np.uint8 and one.true.dtype == one.pred.dtype == np.int32
        if not (same and whole and one.image.ndim in (2, 3) and one.true.size):
            raise ValueError(f"{path.name}: expected image, truth and prediction of one size, found others")
    return found
