"""Check all backgrounds and cut-outs of a composite before anything is made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from visionlab.console import LOG, progress
from visionlab.data.parallel import in_parallel
from visionlab.datasets.pasting import fitted, foreground, read_background, read_cutout, resize
from visionlab.errors import DataError
from visionlab.files import check_folder, list_files
from visionlab.io import IMAGE_SUFFIXES

SMALLEST = 16
"""Least side of a background in pixels."""

_SHOWN = 50


@dataclass(frozen=True)
class Source:
    """A background or cut-out: its path below its folder, a digest of the file, height and width in pixels.

    The size of a background is the one it is used with, that of a cut-out is its visible part's.
    """

    path: str
    digest: str
    height: int
    width: int


def find_backgrounds(folder: Path, size: int | None) -> list[Source]:
    """Return the backgrounds in a folder, sorted by path; with ``size`` they become squares of it.

    Raises:
        DataError: there is no folder or no image in it, or images cannot be used: all are named.
    """

    def check(root: Path, path: str) -> Source:
        height, width = read_background(root / path, None).shape[:2]
        if min(height, width) < SMALLEST:
            raise DataError(
                f"{root / path}: the background is {height} x {width} pixels; expected at least {SMALLEST} on each side"
            )
        if size is not None:
            height = width = size
        return Source(path, _digest(root / path), height, width)

    return _find(folder, "backgrounds", check)


def find_cutouts(folder: Path, backgrounds: list[Source], smallest: float, threshold: int) -> list[Source]:
    """Return the cut-outs in a folder, sorted by path.

    Args:
        folder: where they are.
        backgrounds: what they are going to be pasted on.
        smallest: least size of a cut-out as a share of the background's.
        threshold: alpha (of 255) from which on a pixel is foreground.

    Raises:
        DataError: there is no folder or no image in it, or images cannot be used: all are named.
    """
    least = min(b.height for b in backgrounds), min(b.width for b in backgrounds)

    def check(root: Path, path: str) -> Source:
        cutout = read_cutout(root / path, threshold)
        height, width = cutout.shape[:2]
        size = fitted((height, width), least, smallest)
        if not foreground(resize(cutout, *size), threshold).any():
            raise DataError(
                f"{root / path}: {height} x {width} pixels; at the smallest size, {size[0]} x {size[1]} (make.scale"
                f" begins at {smallest:g}), no pixel of it is foreground; raise make.scale or remove it"
            )
        return Source(path, _digest(root / path), height, width)

    return _find(folder, "cutouts", check)


def _find(folder: Path, key: str, check: Callable[[Path, str], Source]) -> list[Source]:
    root = check_folder(folder, f"the images of make.{key}")
    listing = list_files(root, IMAGE_SUFFIXES)
    others = listing.describe_others()
    if not listing.paths:
        found = f"found other types: {others}" if others else "found none"
        raise DataError(f"{folder}: expected {key} (PNG, JPEG or TIFF files), {found}; check make.{key}")
    if others:
        LOG.warning("%s: not used, since only PNG, JPEG and TIFF are read: %s", folder, others)

    def checked(path: str) -> Source | str:
        try:
            return check(root, path)
        except DataError as error:
            return str(error)

    paths = sorted(listing.paths)
    results = list(progress(in_parallel(checked, paths), len(paths), f"checking {key}"))
    problems = [result for result in results if isinstance(result, str)]
    if problems:
        raise DataError(
            f"{len(problems)} of {len(paths)} {key} cannot be used:\n"
            + "\n".join(problems[:_SHOWN])
            + (f"\nand {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else "")
        )
    return [result for result in results if isinstance(result, Source)]


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
