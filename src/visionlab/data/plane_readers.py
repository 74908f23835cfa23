"""How planes of volumes become cached arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from visionlab.data.checks import facts
from visionlab.data.preprocess import Preprocess
from visionlab.data.readers import ImageReader, Result
from visionlab.io.images import Header, to_channels
from visionlab.io.planes import split_plane
from visionlab.io.volumes import Volume, open_labels, open_volume, read_plane, stored_file


@lru_cache(maxsize=4096)
def _opened(file: Path, labels: bool, size: int, changed: int) -> Volume:
    """Return what a file says of itself; size and time of change make it read again if it changed."""
    return open_labels(file) if labels else open_volume(file)


def plane_header(path: Path, *, labels: bool = False) -> Header:
    """Return size and type of a plane's file, of an image or of labels, without decoding it."""
    file, _ = split_plane(path)
    state = stored_file(file).stat()
    volume = _opened(file, labels, state.st_size, state.st_mtime_ns)
    return Header(volume.height, volume.width, volume.channels, volume.dtype, volume.frames * volume.planes)


@dataclass(frozen=True)
class PlaneReader(ImageReader):
    """Planes of volumes, or images of one plane, kept in the depth of their files.

    The facts hold the median and the 99.8th percentile as well, which tell planes without signal.
    """

    facts: ClassVar[tuple[str, ...]] = (*ImageReader.facts, "p50", "p99.8")

    def header(self, path: Path) -> Header:
        return plane_header(path)

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        file, index = split_plane(path)
        image = read_plane(file, index or 0)
        about = {"height": image.shape[0], "width": image.shape[1], "channels": image.shape[2]}
        seen = to_channels(image, preprocess.channels, str(path))
        middle, bright = (float(value) for value in np.percentile(seen, [50, 99.8]))
        found = {**about, "dtype": str(image.dtype), **facts(image), "p50": middle, "p99.8": bright}
        return preprocess.resize(image, str(path)), found
