"""How planes of volumes, and the instances labelled in them, become cached arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from visionlab.data.checks import facts
from visionlab.data.preprocess import Preprocess
from visionlab.data.readers import ImageReader, Like, Result, digest_like, refuse_other_view
from visionlab.errors import DataError
from visionlab.io.images import Header, to_channels
from visionlab.io.planes import split_plane
from visionlab.io.volumes import Volume, open_labels, open_volume, read_labels, read_plane, stored_file


@lru_cache(maxsize=4096)
def _opened(file: Path, labels: bool, size: int, changed: int) -> Volume:
    """Return what a file says of itself; size and time of change make it read again if it changed."""
    return open_labels(file) if labels else open_volume(file)


def _header(path: Path, *, labels: bool = False) -> Header:
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
        return _header(path)

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        file, index = split_plane(path)
        image = read_plane(file, index or 0)
        about = {"height": image.shape[0], "width": image.shape[1], "channels": image.shape[2]}
        seen = to_channels(image, preprocess.channels, str(path))
        middle, bright = (float(value) for value in np.percentile(seen, [50, 99.8]))
        found = {**about, "dtype": str(image.dtype), **facts(image), "p50": middle, "p99.8": bright}
        return preprocess.resize(image, str(path)), found


@dataclass(frozen=True)
class InstanceReader:
    """Labels of instances, a number for each and 0 between them, kept as such.

    Args:
        like: of each label's image, the size on disk and as it is kept.
    """

    like: Like

    facts: ClassVar[tuple[str, ...]] = ("height", "width", "dtype", "share", "objects", "hash")

    def spec(self) -> dict[str, Any]:
        return {"like": digest_like(self.like), "instances": 1}

    def header(self, path: Path) -> Header:
        return _header(path, labels=True)

    def dtype(self, found: Mapping[str, str]) -> str:
        return "uint16"

    def size(self, head: Header, number: int, preprocess: Preprocess) -> tuple[int, int]:
        return self.like[number][1]

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        file, index = split_plane(path)
        ids = read_labels(file, index or 0)
        original, size = self.like[number]
        refuse_other_view(path, ids.shape, original)
        there = np.unique(ids)
        there = there[there > 0]
        if there.size and there[-1] > np.iinfo(np.uint16).max:
            if there.size > np.iinfo(np.uint16).max:
                raise DataError(f"{path}: {there.size} objects in a plane; at most 65535 are read, so cut it in parts")
            # Within a plane they need only be different.
            ids = (np.searchsorted(there, ids, side="right") * (ids > 0)).astype(np.int32)
        kept: np.ndarray[Any, Any] = ids.astype(np.uint16)
        if kept.shape != size:
            kept = np.asarray(cv2.resize(kept, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT))
        about = {"height": ids.shape[0], "width": ids.shape[1], "dtype": "uint16", "objects": int(there.size)}
        content = hashlib.blake2b(np.ascontiguousarray(kept).data, digest_size=16).hexdigest()
        return kept[:, :, None], {**about, "share": float((ids > 0).mean()), "hash": content}

    def report(self, found: Sequence[Mapping[str, Any]]) -> None:
        return
