"""Bring the pages of a file into the order time, z, channel, where its axes leave no doubt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from visionlab.console import LOG
from visionlab.errors import DataError, UsageError


class AxesError(DataError):
    """What a file says of its axes is not what its pages hold, or no order that is read."""


UNKNOWN = "Q"
"""The letter of an axis that a file has without saying which it is."""

MOST_CHANNELS = 4
"""Most pages that are taken as channels of one plane: more are rather planes whose axis was misnamed."""

_CHOICES = ("YX", "ZYX", "TYX", "TZYX")
_ASSUMED = {0: "", 1: "Z", 2: "TZ"}  # as the Cell Tracking Challenge writes volumes


@dataclass(frozen=True, eq=False)
class Order:
    """How pages become planes: ``axes`` and ``shape`` of the whole, and the pages of each plane's channels.

    ``pages`` is planes x pages of a plane, numbers of pages from 0.
    """

    axes: str
    shape: tuple[int, ...]
    pages: npt.NDArray[np.int64]


def check_axes(axes: str | None) -> str | None:
    """Return the axes that a user names for files that do not tell, without channels.

    Raises ``UsageError`` if they are none of those that are known.
    """
    if axes is None:
        return None
    plain = axes.upper().removesuffix("C")
    if plain not in _CHOICES:
        raise UsageError(f"axes={axes!r}: expected one of {', '.join(_CHOICES)}")
    return plain


def order_pages(
    names: str, sizes: Sequence[int], plane: tuple[int, int, int], wanted: str | None, path: str | Path
) -> Order:
    """Return the order of a file's pages.

    Args:
        names: a letter for each axis that leads from page to page, slowest first: T, Z, C or ``UNKNOWN``.
        sizes: lengths of these axes.
        plane: height, width and channels of a page.
        wanted: of what ``UNKNOWN`` axes are, e.g. ``TZYX``; without it they are taken as Z, two as T and Z, which is
            said unless it is empty.
        path: named in messages.

    Raises:
        DataError: the axes cannot be brought into that order.
    """
    found = "".join(names) + "YX" + ("C" if plane[2] > 1 else "")
    lengths = " x ".join(str(size) for size in (*sizes, *plane[: 2 if plane[2] == 1 else 3]))
    if min(sizes, default=1) < 1:
        raise DataError(f"{path}: holds no planes: its axes are {found} ({lengths}); save it again")
    kept = [(name, size) for name, size in zip(names, sizes, strict=True) if size > 1 or name in "TZ"]
    unknown = sum(name == UNKNOWN for name, _ in kept)
    letters = _told(unknown, wanted, "".join(name for name, _ in kept), f"{path}: its axes are {found} ({lengths})")
    given = iter(letters)
    axes = [next(given) if name == UNKNOWN else name for name, _ in kept]
    if unknown and wanted is None:
        _tell_once(letters)
    others = sorted({name for name in axes if name not in "TZC"})
    if others or len(set(axes)) < len(axes):
        what = f"the axis {', '.join(others)}" if others else "an axis twice"
        raise AxesError(f"{path}: has {what}: its axes are {found} ({lengths}); {advice()}")
    where = {name: size for name, (_, size) in zip(axes, kept, strict=True)}
    channels = where.get("C", 1)
    if channels > MOST_CHANNELS or (channels > 1 and plane[2] > 1):
        raise DataError(
            f"{path}: {channels} pages of {plane[2]} channels make a plane: its axes are {found} ({lengths}), and at"
            f" most {MOST_CHANNELS} gray pages are taken as channels; save the channels that are needed, or name the"
            " axis Z if these are planes"
        )
    count = math.prod(size for _, size in kept)
    pages = np.arange(count, dtype=np.int64).reshape([size for _, size in kept])
    pages = pages.transpose([axes.index(name) for name in "TZC" if name in axes]).reshape(-1, channels)
    outer = [name for name in "TZ" if name in where]
    channels *= plane[2]
    shape = (*(where[name] for name in outer), plane[0], plane[1], *([channels] if channels > 1 else []))
    return Order("".join(outer) + "YX" + ("C" if channels > 1 else ""), shape, pages)


def advice() -> str:
    """Return how to save a file whose axes are in doubt."""
    return (
        "expected time, z, y, x with channels last, so save it in that order and say so, in Python for a volume:"
        " tifffile.imwrite(path, volume_zyx, photometric='minisblack', metadata={'axes': 'ZYX'})"
    )


def _told(unknown: int, wanted: str | None, names: str, found: str) -> str:
    """Return a letter for each unknown axis."""
    if not wanted or not unknown:
        letters = _ASSUMED.get(unknown)
        if letters is not None and "Z" in names and unknown == 1:
            letters = "T"
    else:
        letters = "".join(name for name in wanted[:-2] if name not in names)
    if letters is None or len(letters) != unknown:
        asked = f", which axes={wanted} does not fit" if wanted else ""
        raise AxesError(f"{found}, {unknown} of them without a name{asked}; {advice()}")
    return letters


@cache
def _tell_once(letters: str) -> None:
    meaning = {"Z": "planes of a volume (ZYX)", "T": "time points (T)", "TZ": "time points of volumes (TZYX)"}
    LOG.info("Files that do not say what their pages are: taken as %s", meaning[letters])
