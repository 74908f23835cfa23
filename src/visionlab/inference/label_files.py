"""Label images of volumes and series, with no more bits than the largest number of an object needs."""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from visionlab.inference.prediction import Array
from visionlab.io import StackWriter, Volume


class LabelWriter:
    """Writes a TIFF file of labels with the axes, shape, voxel size and interval of another file, for use in ``with``.

    Its type is the smallest of uint8, uint16 and uint32 that holds all numbers, which is known when the last time point
    is: until then they are kept compressed in a temporary file, so that no more than a time point is held in memory.
    The file appears when it is complete; after an error nothing is left.

    Args:
        path: of the file; its folder is made.
        like: what it is like; channels do not count.
        description: a line that is kept in the file.
    """

    def __init__(self, path: Path, like: Volume, description: str) -> None:
        self.path, self._like, self._description = path, like, description
        self._kept: list[tuple[int, str]] = []
        self._highest = 0

    def __enter__(self) -> LabelWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Without a name: it goes with its process, however that ends.
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=self.path.parent)
        return self

    def write(self, labels: Array) -> None:
        """Write the next time point, Z x H x W, 0 and more."""
        highest = int(labels.max())
        dtype = np.min_scalar_type(highest)
        content = zlib.compress(labels.astype(dtype).tobytes(), 1)
        self._file.write(content)
        self._kept.append((len(content), str(dtype)))
        self._highest = max(self._highest, highest)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                shape = (self._like.planes, self._like.height, self._like.width)
                dtype = np.min_scalar_type(self._highest)
                with StackWriter(self.path, self._like, dtype, description=self._description) as writer:
                    for size, stored in self._kept:
                        values = np.frombuffer(zlib.decompress(self._file.read(size)), stored)
                        writer.write(values.reshape(shape).astype(dtype, copy=False))
