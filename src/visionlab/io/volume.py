"""What a file of images, volumes or a series of them is: axes, shape, type, voxel size, and its planes one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from visionlab.errors import DataError
from visionlab.io.images import Image, supported

Array = np.ndarray[Any, Any]
Voxel = tuple[float | None, float | None, float | None]

UNKNOWN_VOXEL: Voxel = (None, None, None)


class Source(Protocol):
    """Where the planes of a file come from."""

    @property
    def lossy(self) -> str:
        """Return the name of the compression that changes values; empty if the file keeps them."""

    def plane(self, index: int) -> Image:
        """Return one plane, H x W x C, in the type that the file stores."""


@dataclass(frozen=True)
class Volume:
    """What a file says of itself. Planes are decoded when they are asked for; nothing of them is kept here.

    Args:
        path: of the file; a variable of a MATLAB file may stand behind it (``a.mat/embryo``).
        axes: ``YX``, ``ZYX``, ``TYX`` or ``TZYX``, with ``C`` behind it if there are channels.
        shape: lengths of the axes.
        dtype: ``uint8``, ``uint16`` or ``float32``: what the planes are read as.
        voxel: size in z, y and x in micrometres, None where the file does not tell.
        interval: seconds between time points, None if the file does not tell.
        form: ``ome``, ``imagej``, ``tiff``, ``matlab``, ``video`` or ``image``.
        source: of the planes; None for what is not on disk.
    """

    path: Path
    axes: str
    shape: tuple[int, ...]
    dtype: str
    voxel: Voxel
    interval: float | None
    form: str
    source: Source | None = field(default=None, repr=False, compare=False)

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

    def frame(self, t: int) -> Array:
        """Return one time point, Z x H x W x C, of type ``dtype``; raise ``DataError`` as :meth:`plane` does."""
        if not 0 <= t < self.frames:
            raise DataError(f"{self.path}: holds the time points 0 to {self.frames - 1}; number {t} is not there")
        frame = np.empty((self.planes, self.height, self.width, self.channels), self.dtype)
        for z in range(self.planes):
            frame[z] = self.plane(t * self.planes + z)
        return frame

    def plane(self, index: int) -> Array:
        """Return one plane, H x W x C, of type ``dtype``.

        Args:
            index: time * planes + z, from 0.

        Raises:
            DataError: it is not there, cannot be decoded, holds NaN or infinity, or values that ``dtype`` cannot hold.
        """
        return supported(self.stored(index), self.path, f" of plane {index}")

    def stored(self, index: int) -> Array:
        """Return one plane, H x W x C, in the type of the file; raise ``DataError`` if it cannot be decoded."""
        if self.source is None:
            raise ValueError(f"{self.path}: only described, not opened")
        count = self.frames * self.planes
        if not 0 <= index < count:
            raise DataError(f"{self.path}: holds the planes 0 to {count - 1}; number {index} is not there")
        image = self.source.plane(index)
        expected = (self.height, self.width, self.channels)
        if image.shape != expected:
            raise DataError(
                f"{self.path}: plane {index} is {image.shape} (height, width, channels), the file promised {expected};"
                " it is damaged, or was changed meanwhile, so copy it again"
            )
        return image

    def _length(self, axis: str) -> int:
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1
