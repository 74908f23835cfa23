"""Depth maps as targets: how their files are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from visionlab.console import LOG
from visionlab.data.definition import Target
from visionlab.data.preprocess import MapReader, Preprocess, Result, common_depth, refuse_other_view
from visionlab.errors import DataError
from visionlab.io import read_depth, resize_depth


@dataclass(frozen=True)
class DepthReader(MapReader):
    """Depth maps in the numbers of their files, NaN where nothing is known.

    Args:
        like: of each map's image, the size on disk and as it is kept.
        invalid: see :func:`visionlab.io.read_depth`.
    """

    invalid: str | float

    facts: ClassVar[tuple[str, ...]] = ("height", "width", "dtype", "min", "max", "known", "hash")

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "invalid": self.invalid}

    def dtype(self, found: Mapping[str, str]) -> str:
        common_depth({dtype: path for dtype, path in found.items() if dtype != "uint8"})
        if "uint8" in found and len(found) > 1:
            other = next(dtype for dtype in found if dtype != "uint8")
            raise DataError(
                f"expected depth maps of one kind, found uint8 ({found['uint8']}) and {other} ({found[other]}), which "
                "have no common scale; export them alike"
            )
        # A quarter of the space, where no value can be unknown.
        return "uint8" if set(found) == {"uint8"} and isinstance(self.invalid, str) else "float32"

    def read(self, path: Path, number: int, preprocess: Preprocess) -> Result:
        depth, about = read_depth(path, self.invalid)
        original, size = self.like[number]
        refuse_other_view(path, depth.shape, original)
        kept = resize_depth(depth, size)[:, :, None]
        if preprocess.dtype == "uint8":
            kept = np.rint(kept).astype(np.uint8)
        return kept, {**about, "height": depth.shape[0], "width": depth.shape[1]}

    def report(self, found: Sequence[Mapping[str, Any]]) -> None:
        known = float(np.mean([about["known"] for about in found])) if found else 1.0
        if known < 1:
            LOG.info("depth: %.1f%% of the pixels are unknown and count for nothing", 100 * (1 - known))


TARGET = Target(DepthReader, facts={"min": True, "max": True, "known": False}, ranges=("min", "max"))
