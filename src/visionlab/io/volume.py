"""What a file of images, volumes or a series of them is: axes, shape, type, voxel size, and its planes one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from visionlab.console import LOG
from visionlab.errors import DataError, UsageError, nearest
from visionlab.io.pixels import Image, supported

VoxelSize = tuple[float | None, float | None, float | None]
Stains = Sequence[int | str]
"""Channels of a file that has an axis of them, by number from 0 or by name."""

UNKNOWN_VOXEL: VoxelSize = (None, None, None)
UNKNOWN = "Q"
"""The letter of an axis that a file has without saying which it is."""
ADVICE = (
    "expected time, z, y, x with channels last, so save it in that order and say so, in Python for a volume:"
    " tifffile.imwrite(path, volume_zyx, photometric='minisblack', metadata={'axes': 'ZYX'})"
)
"""How to save a file whose axes are in doubt."""

_CHOICES = ("YX", "ZYX", "TYX", "TZYX")
_ASSUMED = {1: "Z", 2: "TZ"}  # as the Cell Tracking Challenge writes volumes


class AxesError(DataError):
    """What a file says of its axes is not what its pages hold, or no order that is read."""


@dataclass(frozen=True)
class Volume:
    """What a file says of itself; an image is a volume of one plane. Planes are decoded when they are asked for.

    Args:
        path: of the file; a variable of a MATLAB file may stand behind it (``a.mat/embryo``).
        axes: ``YX``, ``ZYX``, ``TYX`` or ``TZYX``, with ``C`` behind it if there are channels or colours.
        shape: lengths of the axes.
        dtype: ``uint8``, ``uint16`` or ``float32``: what the planes are read as.
        voxel_size: in z, y and x in micrometres, None where the file does not tell.
        interval: seconds between time points, None if the file does not tell.
        form: ``ome``, ``imagej``, ``tiff``, ``matlab``, ``video``, ``image`` or ``array``.
        read: number of a plane (time * planes + z) -> H x W x C, in the type that the file stores; where there are
            ``stains`` it takes ``channels``, the numbers of those that are read. None for what is not on disk.
        stored: the type that the file stores, if it is another.
        lossy: the name of the compression that changed values; empty if the file keeps them.
        stains: names of the channels of a file that has an axis of them, which are no colours. None is read before some
            are chosen, see :meth:`choose`.
    """

    path: Path
    axes: str
    shape: tuple[int, ...]
    dtype: str
    voxel_size: VoxelSize
    interval: float | None
    form: str
    read: Callable[..., Image] | None = field(default=None, repr=False, compare=False)
    stored: str = ""
    lossy: str = ""
    stains: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """Number of time points, 1 for files without time."""
        return self._length("T")

    @property
    def planes(self) -> int:
        """Number of planes of a time point, 1 for files without z."""
        return self._length("Z")

    @property
    def height(self) -> int:
        return self._length("Y")

    @property
    def width(self) -> int:
        return self._length("X")

    @property
    def channels(self) -> int:
        """Number of channels, 1 for files without them."""
        return self._length("C")

    def _length(self, axis: str) -> int:
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def choose(self, stains: Stains) -> Volume:
        """Return the file with these of its channels alone; all of it if ``stains`` is empty.

        One channel may be chosen of a gray file, which is taken as that channel.

        Raises:
            DataError: the file has no such channels.
        """
        if not stains or (len(stains) == self.channels == 1 and not self.stains):
            return self
        if not self.stains:
            what = f"{self.channels} colours" if self.channels > 1 else "one channel"
            raise DataError(
                f"{self.path}: expected an axis of channels of which to take {', '.join(map(str, stains))}, found"
                f" {what}; give files that have one"
            )
        assert self.read is not None
        found = [self._stain(stain) for stain in stains]
        several = len(found) > 1
        return replace(
            self,
            axes=self.axes if several else self.axes.removesuffix("C"),
            shape=(*self.shape[:-1], len(found)) if several else self.shape[:-1],
            read=partial(self.read, channels=found),
            stains=(),
        )

    def _stain(self, stain: int | str) -> int:
        if isinstance(stain, int) and 0 <= stain < len(self.stains):
            return stain
        if self.stains.count(str(stain)) == 1:
            return self.stains.index(str(stain))
        several = "several channels" if str(stain) in self.stains else "no channel"
        hint = nearest(str(stain), self.stains)
        raise DataError(f"{self.path}: has {several} {stain}; it holds {self._names()}.{hint}")

    def _names(self) -> str:
        named = (f"{i}" if name == str(i) else f"{i} ({name})" for i, name in enumerate(self.stains))
        return f"the channels {', '.join(named)}"

    def frame(self, t: int) -> Image:
        """Return one time point, Z x H x W x C, of type ``dtype``; raise ``DataError`` as :meth:`plane` does."""
        frame = np.empty((self.planes, self.height, self.width, self.channels), self.dtype)
        for z in range(self.planes):
            frame[z] = self.plane(t, z)
        return frame

    def plane(self, t: int = 0, z: int = 0) -> Image:
        """Return one plane, H x W x C, of type ``dtype``.

        Raises:
            DataError: it is not there, cannot be decoded, holds NaN or infinity, or values that ``dtype`` cannot hold;
                or the file has an axis of channels and none was chosen.
        """
        return supported(self.as_stored(t, z), self.path, f" of plane {t * self.planes + z}")

    def as_stored(self, t: int = 0, z: int = 0) -> Image:
        """Return one plane, H x W x C, in the type of the file; raise ``DataError`` as :meth:`plane` does."""
        assert self.read is not None, "only described, not opened"
        if self.stains:
            raise DataError(
                f"{self.path}: holds {self._names()}, which are no colours; say which is seen: data.stain=0 for"
                f" one, by number or name, data.channels=[{','.join(map(str, range(len(self.stains))))}] for several"
            )
        index = t * self.planes + z
        if not 0 <= z < self.planes or not 0 <= t < self.frames:
            last = self.frames * self.planes - 1
            raise DataError(f"{self.path}: holds the planes 0 to {last}; number {index} is not there")
        image = self.read(index)
        expected = (self.height, self.width, self.channels)
        if image.shape != expected:
            raise DataError(
                f"{self.path}: plane {index} is {image.shape} (height, width, channels), the file promised {expected};"
                " it is damaged, or was changed meanwhile, so copy it again"
            )
        return image


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


class Order(NamedTuple):
    """How pages become planes: ``axes`` and ``shape`` of the whole, and the pages of each plane's channels.

    ``pages`` is planes x pages of a plane, numbers of pages from 0.
    """

    axes: str
    shape: tuple[int, ...]
    pages: npt.NDArray[np.int64]


def order_pages(
    names: str, sizes: Sequence[int], plane: tuple[int, int, int], wanted: str | None, path: str | Path
) -> Order:
    """Return the order of a file's pages: time, z, channel, where its axes leave no doubt.

    Args:
        names: a letter for each axis that leads from page to page, slowest first: T, Z, C or ``UNKNOWN``.
        sizes: lengths of these axes.
        plane: height, width and channels of a page.
        wanted: what ``UNKNOWN`` axes are, e.g. ``TZYX``; without it they are taken as Z, two as T and Z.
        path: named in messages.

    Raises:
        DataError: the axes cannot be brought into that order.
    """
    lengths = " x ".join(str(size) for size in (*sizes, *plane[: 2 if plane[2] == 1 else 3]))
    found = f"{path}: its axes are {names}YX{'C' * (plane[2] > 1)} ({lengths})"
    kept = [(name, size) for name, size in zip(names, sizes, strict=True) if size > 1 or name in "TZ"]
    letters = iter(_name_unknown("".join(name for name, _ in kept), wanted, found))
    axes = [next(letters) if name == UNKNOWN else name for name, _ in kept]
    where = {name: size for name, (_, size) in zip(axes, kept, strict=True)}
    if others := ", ".join(sorted(set(where) - set("TZC"))):
        raise AxesError(f"{found}, of which {others} is not read; {ADVICE}")
    if len(where) < len(axes):
        raise AxesError(f"{found}, one of them twice; {ADVICE}")
    channels = where.get("C", 1)
    if channels > 1 and plane[2] > 1:
        raise DataError(f"{found}, channels of colours; save the channels in gray")
    pages = np.arange(math.prod(where.values()), dtype=np.int64).reshape([size for _, size in kept])
    pages = pages.transpose([axes.index(name) for name in "TZC" if name in axes]).reshape(-1, channels)
    outer = "".join(name for name in "TZ" if name in where)
    channels *= plane[2]
    shape = (*(where[name] for name in outer), plane[0], plane[1], *([channels] if channels > 1 else []))
    return Order(f"{outer}YX{'C' * (channels > 1)}", shape, pages)


def _name_unknown(names: str, wanted: str | None, found: str) -> str:
    """Return a letter for each unknown axis."""
    unknown = names.count(UNKNOWN)
    if wanted:
        letters = "".join(name for name in wanted[:-2] if name not in names)
    else:
        letters = "T" if "Z" in names else _ASSUMED.get(unknown, "")
    if unknown and len(letters) != unknown:
        asked = f", which axes={wanted} does not fit" if wanted else ""
        raise AxesError(f"{found}, {unknown} of them without a name{asked}; {ADVICE}")
    if unknown and not wanted:
        tell_once(letters)
    return letters


@cache
def tell_once(letters: str) -> None:
    """Say, once in a process, what the axes of files that do not name them were taken as: Z, T or TZ."""
    meaning = {"Z": "planes of a volume (ZYX)", "T": "time points (T)", "TZ": "time points of volumes (TZYX)"}
    LOG.info("Files that do not say what their pages are: taken as %s", meaning[letters])
