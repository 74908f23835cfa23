"""Instances as targets: how labels that number them are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from visionlab.data.definition import Target
from visionlab.data.preprocess import MapReader, Preprocess, Result, refuse_other_view
from visionlab.errors import DataError
from visionlab.io import read_labels, split_plane


@dataclass(frozen=True)
class InstanceReader(MapReader):
    """Labels of instances, a number for each and 0 between them, kept as such.

    The facts hold how many there are and the lowest and highest of their numbers, 0 where there are none.

    Args:
        like: of each label's image, the size on disk and as it is kept.
    """

    facts: ClassVar[tuple[str, ...]] = ("height", "width", "dtype", "share", "objects", "lowest", "highest", "hash")

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "instances": 2}

    def dtype(self, found: Mapping[str, str]) -> str:
        return "uint16"

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        file, index = split_plane(path)
        ids = read_labels(file, index or 0)
        original, size = self.like[number]
        refuse_other_view(path, ids.shape, original)
        there = np.unique(ids)
        there = there[there > 0]
        lowest, highest = (int(there[0]), int(there[-1])) if there.size else (0, 0)
        if highest > np.iinfo(np.uint16).max:
            if there.size > np.iinfo(np.uint16).max:
                raise DataError(f"{path}: {there.size} objects in a plane; at most 65535 are read, so cut it in parts")
            # Within a plane they need only be different.
            ids = (np.searchsorted(there, ids, side="right") * (ids > 0)).astype(np.int32)
        kept: np.ndarray[Any, Any] = ids.astype(np.uint16)
        if kept.shape != size:
            kept = np.asarray(cv2.resize(kept, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT))
        about = {"height": ids.shape[0], "width": ids.shape[1], "dtype": "uint16", "objects": int(there.size)}
        about |= {"lowest": lowest, "highest": highest}
        content = hashlib.blake2b(np.ascontiguousarray(kept).data, digest_size=16).hexdigest()
        return kept[:, :, None], {**about, "share": float((ids > 0).mean()), "hash": content}


TARGET = Target(InstanceReader, facts={"share": False, "objects": False}, ranges=("share", "objects"))
