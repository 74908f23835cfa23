"""How planes of volumes become cached arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from visionlab.data.checks import facts
from visionlab.data.preprocess import Preprocess
from visionlab.data.readers import ImageReader, Result
from visionlab.io import Volume, open_volume, read_image, split_plane, to_channels


@dataclass(frozen=True)
class PlaneReader(ImageReader):
    """Planes of volumes, or images of one plane, kept in the depth of their files.

    The facts hold the median and the 99.8th percentile as well, which tell planes without signal.
    """

    facts: ClassVar[tuple[str, ...]] = (*ImageReader.facts, "p50", "p99.8")

    def header(self, path: Path) -> Volume:
        return open_volume(split_plane(path)[0])

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        image = read_image(path, preprocess.stains)
        about = {"height": image.shape[0], "width": image.shape[1], "channels": image.shape[2]}
        seen = to_channels(image, preprocess.channels, str(path))
        middle, bright = (float(value) for value in np.percentile(seen, [50, 99.8]))
        found = {**about, "dtype": str(image.dtype), **facts(image), "p50": middle, "p99.8": bright}
        return preprocess.resize(image, str(path)), found
